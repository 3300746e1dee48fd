// SPDX-License-Identifier: Apache-2.0
// Purpose: VF resets, one at a time: stop the queues of the VF, flush its flows, then say that it is over.
//
// A request is remembered in one bit a VF until its turn, so any number may ask at once. Round robin: a
// tenant that asks without end costs the others one reset's time at most.

`default_nettype none

module nk_vf_reset #(
    // VFs, 1 to 252.
    parameter NVF = 8,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire           clk,
    input  wire           rst,

    // Pulse a VF: reset it, once more if a reset of it is under way.
    input  wire [NVF-1:0] request,
    // A reset of the VF waits or is under way.
    output wire [NVF-1:0] resetting,
    // Pulse: the reset of this VF ended, and no other one waits for it.
    output wire           done,
    output wire [VW-1:0]  done_vf,

    // Queue manager: switch the queue sets of the VF off; `done` once nothing of it is in progress.
    output wire           stop_vf_valid,
    output wire [7:0]     stop_vf,
    input  wire           stop_vf_done,

    // Protocol engine: free every flow of the VF.
    output wire           flush_valid,
    input  wire           flush_ready,
    output wire [7:0]     flush_vf,
    input  wire           flush_done
);

    localparam [2:0] R_IDLE = 3'd0, R_STOP = 3'd1, R_FLUSH = 3'd2, R_WAIT = 3'd3, R_END = 3'd4;

    reg [2:0]      state_reg;
    reg [NVF-1:0]  wait_reg;
    // One-hot and binary: the VF under reset.
    reg [NVF-1:0]  active_reg;
    reg [VW-1:0]   vf_reg;

    wire           grant_valid;
    wire [VW-1:0]  grant;
    wire           pick = state_reg == R_IDLE && grant_valid;
    wire [NVF-1:0] grant_hot = {{NVF-1{1'b0}}, 1'b1} << grant;

    nk_arb_rr #(.N(NVF)) u_arb (
        .clk(clk), .rst(rst), .req(wait_reg), .advance(pick), .grant_valid(grant_valid), .grant(grant)
    );

    assign resetting     = wait_reg | active_reg;
    // `resetting` falls only after `done`: what `done` clears cannot meet a write that was allowed already.
    assign done          = state_reg == R_END && ((wait_reg | request) & active_reg) == {NVF{1'b0}};
    assign done_vf       = vf_reg;
    assign stop_vf_valid = state_reg == R_STOP;
    assign flush_valid   = state_reg == R_FLUSH;
    assign stop_vf       = {{8-VW{1'b0}}, vf_reg};
    assign flush_vf      = stop_vf;

    always @(posedge clk) begin
        wait_reg <= (wait_reg & ~(pick ? grant_hot : {NVF{1'b0}})) | request;

        case (state_reg)
            R_IDLE:
                if (grant_valid) begin
                    vf_reg     <= grant;
                    active_reg <= grant_hot;
                    state_reg  <= R_STOP;
                end
            R_STOP:
                if (stop_vf_done)
                    state_reg <= R_FLUSH;
            R_FLUSH:
                if (flush_ready)
                    state_reg <= flush_done ? R_END : R_WAIT;
            R_WAIT:
                if (flush_done)
                    state_reg <= R_END;
            default: begin
                active_reg <= {NVF{1'b0}};
                state_reg  <= R_IDLE;
            end
        endcase

        if (rst) begin
            state_reg  <= R_IDLE;
            wait_reg   <= {NVF{1'b0}};
            active_reg <= {NVF{1'b0}};
        end
    end

endmodule

`default_nettype wire
