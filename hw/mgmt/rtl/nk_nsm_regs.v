// SPDX-License-Identifier: Apache-2.0
// Registers of the NSM profiles: what the network stack of a connection is, by the number that its VF has.
//
// Written through the PF at any time. A connection keeps the number of its profile: a change of the profile's
// parameters reaches it, a change of its VF's profile does not.

`default_nettype none
`include "nk_abi.vh"

module nk_nsm_regs (
    // Clock and reset (synchronous, active high).
    input  wire            clk,
    input  wire            rst,
    // One access: profile, byte offset in its entry; read data and error at once.
    input  wire            write,
    input  wire [2:0]      profile,
    input  wire [3:0]      ofs,
    input  wire [31:0]     wdata,
    output reg  [31:0]     rdata,
    output reg             err,         // no such register, or an algorithm that this card does not have
    // All profiles, profile 0 in the lowest bits.
    output wire [8*32-1:0] nsm_ctrl,
    output wire [8*64-1:0] nsm_prm
);
    localparam [31:0] CTRL_RESET = `NK_NSM_CTRL_RESET;
    localparam [31:0] CTRL_BITS  = 32'h00ff_1f0f;       // the fields that there are

    reg [31:0] ctrl_reg [0:7];
    reg [63:0] prm_reg [0:7];

    wire bad_cc = wdata[3:0] > `NK_CC_DCTCP;

    always @* begin
        rdata = 32'd0;
        err   = 1'b0;
        case ({28'd0, ofs})
            `NK_NSM_CTRL_OFS: begin
                rdata = ctrl_reg[profile];
                err   = write && bad_cc;
            end
            `NK_NSM_PARAM_LO_OFS: rdata = prm_reg[profile][31:0];
            `NK_NSM_PARAM_HI_OFS: rdata = prm_reg[profile][63:32];
            default:              err   = 1'b1;
        endcase
    end

    genvar g;
    generate
        for (g = 0; g < 8; g = g + 1) begin : g_profile
            assign nsm_ctrl[32*g +: 32] = ctrl_reg[g];
            assign nsm_prm[64*g +: 64]  = prm_reg[g];
        end
    endgenerate

    integer i;
    always @(posedge clk) begin
        if (write && !err)
            case ({28'd0, ofs})
                `NK_NSM_CTRL_OFS:     ctrl_reg[profile]       <= wdata & CTRL_BITS;
                `NK_NSM_PARAM_LO_OFS: prm_reg[profile][31:0]  <= wdata;
                default:              prm_reg[profile][63:32] <= wdata;
            endcase
        if (rst)
            for (i = 0; i < 8; i = i + 1) begin
                ctrl_reg[i] <= CTRL_RESET;
                prm_reg[i]  <= 64'd0;
            end
    end
endmodule

`default_nettype wire
