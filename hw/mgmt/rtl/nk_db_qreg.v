// SPDX-License-Identifier: Apache-2.0
// Purpose: posted doorbells onto the register port of a queue manager that has no doorbell port of its own.
//
// One at a time, as the queue manager takes them: a doorbell is held until it has been answered, and the registers
// wait so long.

`default_nettype none

module nk_db_qreg (
    // Clock and reset (synchronous, active high).
    input  wire        clk,
    input  wire        rst,

    // Doorbells, from nk_regs.
    input  wire        db_valid,
    output wire        db_ready,
    input  wire [7:0]  db_vf,
    input  wire [7:0]  db_qs,
    input  wire [5:0]  db_ofs,
    input  wire [31:0] db_wdata,

    // Registers, from nk_regs.
    input  wire        s_valid,
    output wire        s_ready,
    input  wire [7:0]  s_vf,
    input  wire [7:0]  s_qs,
    input  wire        s_db,
    input  wire [5:0]  s_ofs,
    input  wire        s_write,
    input  wire [31:0] s_wdata,
    output wire        s_rvalid,

    // Both, to the queue manager; data and error of an answer go straight to nk_regs.
    output wire        m_valid,
    input  wire        m_ready,
    output wire [7:0]  m_vf,
    output wire [7:0]  m_qs,
    output wire        m_db,
    output wire [5:0]  m_ofs,
    output wire        m_write,
    output wire [31:0] m_wdata,
    input  wire        m_rvalid,

    // A doorbell is held.
    output wire        busy
);
    localparam [1:0] D_IDLE = 2'd0, D_ASK = 2'd1, D_WAIT = 2'd2;

    reg [1:0]  state_reg;
    reg        open_reg;         // the queue manager has an access of the registers
    reg [7:0]  vf_reg;
    reg [7:0]  qs_reg;
    reg [5:0]  ofs_reg;
    reg [31:0] wdata_reg;

    wire own = state_reg != D_IDLE;

    assign db_ready = !own;
    assign s_ready  = !own && m_ready;
    assign s_rvalid = open_reg && m_rvalid;
    assign m_valid  = own ? state_reg == D_ASK : s_valid;
    assign m_vf     = own ? vf_reg : s_vf;
    assign m_qs     = own ? qs_reg : s_qs;
    assign m_db     = own || s_db;
    assign m_ofs    = own ? ofs_reg : s_ofs;
    assign m_write  = own || s_write;
    assign m_wdata  = own ? wdata_reg : s_wdata;
    assign busy     = own;

    always @(posedge clk) begin
        if (s_valid && s_ready)
            open_reg <= 1'b1;
        else if (m_rvalid)
            open_reg <= 1'b0;

        case (state_reg)
            D_IDLE:
                if (db_valid) begin
                    vf_reg    <= db_vf;
                    qs_reg    <= db_qs;
                    ofs_reg   <= db_ofs;
                    wdata_reg <= db_wdata;
                    state_reg <= D_ASK;
                end
            D_ASK:
                if (m_ready)
                    state_reg <= D_WAIT;
            default:
                if (m_rvalid)
                    state_reg <= D_IDLE;
        endcase

        if (rst) begin
            state_reg <= D_IDLE;
            open_reg  <= 1'b0;
        end
    end
endmodule

`default_nettype wire
