// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_sack keeps its ranges in order and apart, and holds only what the peer has reported.
//
// One step from any board that obeys the invariant, with blocks sane or not; an empty board obeys it. The solver's time bounds
// it: up to 9 bytes in flight, which is the least in which four ranges stand apart (the module compares offsets and copies
// ends, so only their order counts), across the wrap of the sequence numbers; any board with up to two blocks, or (`BLOCKS)
// a board of one range with up to three.

`default_nettype none

module sack #(parameter W = 5) (
    input wire           en,
    input wire [2:0]     blk_n,
    input wire [3:0]     v,
    input wire [31:0]    rxt_nxt,
    // Offsets from SND.UNA: SND.NXT, the ACK, ranges, blocks, any byte.
    input wire [W-1:0]   in_flight,
    input wire [W-1:0]   in_moved,
    input wire [4*W-1:0] in_s,
    input wire [4*W-1:0] in_e,
    input wire [4*W-1:0] in_bs,
    input wire [4*W-1:0] in_be,
    input wire [W-1:0]   in_p
);
    wire [31:0] snd_una = 32'hFFFF_FFF0;
    wire [24:0] flight = in_flight;
    wire [24:0] moved  = in_moved;
    wire [31:0] p      = in_p;
    wire [127:0] s;
    wire [127:0] e;
    wire [255:0] blk;
    genvar g;
    generate
        for (g = 0; g < 4; g = g + 1) begin : g_iv
            wire [31:0] so = in_s[W*g +: W];
            wire [31:0] eo = in_e[W*g +: W];
            wire signed [W-1:0] bs = in_bs[W*g +: W];
            wire signed [W-1:0] be = in_be[W*g +: W];
            wire signed [31:0] bso = bs;
            wire signed [31:0] beo = be;
            assign s[32*g +: 32] = snd_una + so;
            assign e[32*g +: 32] = snd_una + eo;
            assign blk[64*g +: 32] = snd_una + bso;
            assign blk[64*g + 32 +: 32] = snd_una + beo;
        end
    endgenerate

    wire [3:0]   v_out;
    wire [127:0] s_out;
    wire [127:0] e_out;
    wire [31:0]  top_s;
    wire [31:0]  top_e;
    wire [24:0]  held_old;
    wire [24:0]  held;
    wire         renege;
    wire         dsack;
    wire         news;
    wire         late;
    wire         again;

    nk_tcp_sack dut (
        .en(en), .snd_una(snd_una), .una(snd_una + {7'd0, moved}), .snd_nxt(snd_una + {7'd0, flight}), .rxt_nxt(rxt_nxt),
        .sk_v(v), .sk_s(s), .sk_e(e), .blk_n(blk_n), .blk(blk), .sk_v_out(v_out), .sk_s_out(s_out), .sk_e_out(e_out),
        .top_s(top_s), .top_e(top_e), .held_old(held_old), .held(held),
        .renege(renege), .dsack(dsack), .news(news), .late(late), .again(again)
    );

    wire ok;
    wire had;
    wire in_old;
    wire ok_out;
    wire has;
    wire in_new;
    wire [31:0] low  = {7'd0, moved};
    wire [31:0] high = {7'd0, flight};
    ranges before_i (.base(snd_una), .low(32'd0), .high(high), .v(v), .s(s), .e(e), .p(p), .q(low), .ok(ok), .holds(had), .near(in_old));
    ranges after_i (.base(snd_una), .low(low), .high(high), .v(v_out), .s(s_out), .e(e_out), .p(p), .q(low), .ok(ok_out), .holds(has),
                    .near(in_new));

    // Whether a block that makes sense reports the byte: above the new SND.UNA, nothing beyond SND.NXT.
    reg        told;
    reg [31:0] a;
    reg [31:0] b;
    integer    i;
    always @* begin
        told = 1'b0;
        for (i = 0; i < 4; i = i + 1) begin
            a = blk[64*i +: 32] - snd_una;
            b = blk[64*i + 32 +: 32] - snd_una;
            if (i < blk_n && a > low && a < b && b <= high && p >= a && p < b) told = 1'b1;
        end
    end

    wire [31:0] end_of_all = e_out[127:96] - snd_una;

    always @* begin
        assume (flight <= 25'd9 && moved <= flight);
`ifdef BLOCKS
        assume (!v[1] && blk_n <= 3'd3);
`else
        assume (blk_n <= 3'd2);
`endif
        assume (en || v == 4'd0);     // without SACK the board is empty
        assume (ok);
        assert (ok_out);
        if (en && has) assert (had || told);
        // Nothing is lost but for want of a fifth range, and then the highest; or the peer has reneged.
        if (en && (had || told) && p > low && !has) assert (renege || (v_out == 4'hF && p > end_of_all));
        // Reneging shows when SND.UNA comes to lie at or in a range.
        if (en) assert (renege == in_old);
        if (renege) assert (v_out == 4'd0);
        // Of what is new the board hears, and of nothing else.
        if (en && told && !had) assert (news);
        if (late || again) assert (news);
        if (v_out == 4'd0) assert (held == 25'd0);
    end
endmodule

// The invariant: the valid ones first, ascending, not empty, not adjacent, above `low` and not beyond `high`. Whether `p` is in
// one, and whether `q` is in one or at its begin (and that one not wholly below it).
module ranges (
    input  wire [31:0]  base,
    input  wire [31:0]  low,
    input  wire [31:0]  high,
    input  wire [3:0]   v,
    input  wire [127:0] s,
    input  wire [127:0] e,
    input  wire [31:0]  p,
    input  wire [31:0]  q,
    output reg          ok,
    output reg          holds,
    output reg          near
);
    reg [31:0] last;
    reg [31:0] a;
    reg [31:0] b;
    integer    i;

    always @* begin
        ok    = (v & (v + 4'd1)) == 4'd0;
        holds = 1'b0;
        near  = 1'b0;
        last  = low;
        for (i = 0; i < 4; i = i + 1) begin
            a = s[32*i +: 32] - base;
            b = e[32*i +: 32] - base;
            if (v[i]) begin
                if (!(last < a && a < b && b <= high)) ok = 1'b0;
                if (p >= a && p < b) holds = 1'b1;
                if (q >= a && q < b) near = 1'b1;
                last = b;
            end
        end
    end
endmodule

`default_nettype wire
