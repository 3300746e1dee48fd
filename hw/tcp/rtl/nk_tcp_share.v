// SPDX-License-Identifier: Apache-2.0
// Purpose: shares the transmit side among VFs by weight: deficit round robin over bytes, by rounds.
//
// In a round each VF may send QUANTUM bytes times its weight. The round ends when no VF that has something to send
// has any of that left. A flow's pass takes it out of its VF's list for some clocks, so a VF counts as having something to
// send for 64 to 128 clocks after its list was last seen full; meanwhile the others send on only if the wire would
// stand still (`idle`). Credits are worked out when a VF sends for the first time in a round (`stamp`), so a round
// ends in one clock.

`default_nettype none

module nk_tcp_share #(
    // VFs, 1 to 252.
    parameter NVF = 8,
    // log2 of the bytes that weight 1 sends in a round; several segments, since some are under way unaccounted.
    parameter QUANTUM_LOG2 = 14,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire             clk,
    input  wire             rst,
    // Weights; 0 counts as 1.
    input  wire [NVF*8-1:0] weight,
    // VFs that have something to send and may by their rates.
    input  wire [NVF-1:0]   waiting,
    // Little stands before the wire.
    input  wire             idle,
    // Sent.
    input  wire             charge_valid,
    input  wire [VW-1:0]    charge_vf,
    input  wire [15:0]      charge_bytes,
    // VFs that may send.
    output wire [NVF-1:0]   ok
);
    localparam CW = QUANTUM_LOG2 + 10;   // signed: twice 255 quanta

    initial begin
        if (NVF < 1 || NVF > 252 || QUANTUM_LOG2 < 12 || QUANTUM_LOG2 > 20) begin
            $display("%m: NVF = %0d (1 to 252), QUANTUM_LOG2 = %0d (12 to 20)", NVF, QUANTUM_LOG2);
            $finish;
        end
    end

    reg  [CW-1:0]  credit [0:NVF-1];
    reg  [7:0]     stamp  [0:NVF-1];
    reg  [7:0]     round_reg;
    reg  [NVF-1:0] spent_reg;
    reg  [NVF-1:0] fresh_reg;            // never charged since reset
    reg  [NVF-1:0] now_reg;              // seen waiting in this stretch of 64 clocks
    reg  [NVF-1:0] last_reg;             // in the one before
    reg  [5:0]     clocks_reg;

    wire [7:0]     weight_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign weight_of[g] = (weight[8*g +: 8] == 8'd0) ? 8'd1 : weight[8*g +: 8];
        end
    endgenerate

    wire [NVF-1:0] hungry   = waiting | now_reg | last_reg;
    wire           over     = (hungry & ~spent_reg) == {NVF{1'b0}};
    wire [7:0]     round    = round_reg + {7'd0, over && |hungry};
    assign ok = idle ? {NVF{1'b1}} : ~spent_reg;

    // What a new round gives goes on top of a debt; what was left of an old one is lost.
    wire [CW-1:0]  quantum  = {2'd0, weight_of[charge_vf], {QUANTUM_LOG2{1'b0}}};
    wire [CW-1:0]  held     = credit[charge_vf];
    wire           debt     = held[CW-1];
    wire [CW-1:0]  have     = fresh_reg[charge_vf] ? quantum : (stamp[charge_vf] == round) ? held : quantum + (debt ? held : {CW{1'b0}});
    wire [CW-1:0]  left     = have - {{(CW - 16){1'b0}}, charge_bytes};
    // Whoever used what nobody else wanted does not pay for it for ever.
    wire [CW-1:0]  floor    = {CW{1'b0}} - quantum;
    wire           deep     = left[CW-1] && $signed(left) < $signed(floor);

    always @(posedge clk) begin
        clocks_reg <= clocks_reg + 6'd1;
        now_reg    <= now_reg | waiting;
        if (clocks_reg == 6'd63) begin
            last_reg <= now_reg;
            now_reg  <= waiting;
        end
        if (over) spent_reg <= {NVF{1'b0}};
        round_reg <= round;
        if (charge_valid) begin
            credit[charge_vf]    <= deep ? floor : left;
            stamp[charge_vf]     <= round;
            fresh_reg[charge_vf] <= 1'b0;
            spent_reg[charge_vf] <= left[CW-1] || left == {CW{1'b0}};
        end
        if (rst) begin
            round_reg  <= 8'd0;
            spent_reg  <= {NVF{1'b0}};
            fresh_reg  <= {NVF{1'b1}};
            now_reg    <= {NVF{1'b0}};
            last_reg   <= {NVF{1'b0}};
            clocks_reg <= 6'd0;
        end
    end
endmodule

`default_nettype wire
