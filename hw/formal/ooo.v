// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_ooo keeps its intervals in order and apart, and holds exactly the bytes that were received.
//
// One step from any state that obeys the invariant; the state of a new flow (no interval) obeys it. The solver's time bounds
// the window to 31 bytes, across the wrap of the sequence numbers: the module compares offsets from rcv_nxt and copies ends, so
// only the order of its twelve numbers counts, and 31 bytes have room for all orders.

`default_nettype none

module ooo #(parameter W = 5) (
    input wire [3:0]   v,
    input wire [7:0]   order,
    input wire         fewer,
    // Offsets from rcv_nxt: free space of the ring, intervals, the segment, any byte.
    input wire [W-1:0]   in_wnd,
    input wire [4*W-1:0] in_s,
    input wire [4*W-1:0] in_e,
    input wire [W-1:0]   in_seg_s,
    input wire [W-1:0]   in_seg_e,
    input wire [W-1:0]   in_p
);
    wire [31:0] rcv_nxt = 32'hFFFF_FFF0;
    wire [31:0] wnd   = in_wnd;
    wire [31:0] seg_s = in_seg_s;
    wire [31:0] seg_e = in_seg_e;
    wire [31:0] p     = in_p;
    wire [127:0] s;
    wire [127:0] e;
    genvar g;
    generate
        for (g = 0; g < 4; g = g + 1) begin : g_iv
            wire [31:0] so = in_s[W*g +: W];
            wire [31:0] eo = in_e[W*g +: W];
            assign s[32*g +: 32] = rcv_nxt + so;
            assign e[32*g +: 32] = rcv_nxt + eo;
        end
    endgenerate

    wire [3:0]   v_out;
    wire [127:0] s_out;
    wire [127:0] e_out;
    wire [7:0]   order_out;
    wire [31:0]  in_order_end;
    wire         no_room;
    wire         duplicate;
    wire         dup;
    wire [31:0]  dup_s;
    wire [31:0]  dup_e;

    nk_tcp_ooo #(.N(4), .IW(2)) dut (
        .rcv_nxt(rcv_nxt), .iv_valid(v), .iv_start(s), .iv_end(e), .iv_order(order), .fewer(fewer),
        .seg_start(rcv_nxt + seg_s), .seg_end(rcv_nxt + seg_e), .seg_s(seg_s), .seg_e(seg_e),
        .iv_valid_out(v_out), .iv_start_out(s_out), .iv_end_out(e_out), .iv_order_out(order_out),
        .in_order_end(in_order_end), .no_room(no_room), .duplicate(duplicate),
        .dup_valid(dup), .dup_start(dup_s), .dup_end(dup_e)
    );

    wire        ok;
    wire        had;
    wire        ok_out;
    wire        has;
    intervals before_i (.base(rcv_nxt), .low(32'd0), .high(wnd), .v(v), .s(s), .e(e), .order(order), .p(p), .ok(ok), .holds(had));
    wire [31:0] moved = in_order_end - rcv_nxt;
    intervals after_i (.base(rcv_nxt), .low(moved), .high(wnd), .v(v_out), .s(s_out), .e(e_out), .order(order_out), .p(p),
                       .ok(ok_out), .holds(has));

    function perm;
        input [7:0] x;
        perm = ((4'd1 << x[1:0]) | (4'd1 << x[3:2]) | (4'd1 << x[5:4]) | (4'd1 << x[7:6])) == 4'd15;
    endfunction

    wire [31:0] d_s    = dup_s - rcv_nxt;
    wire [31:0] d_e    = dup_e - rcv_nxt;
    wire        in_seg = p >= seg_s && p < seg_e;

    always @* begin
        assume (seg_s <= seg_e && seg_e <= wnd);
        assume (ok);
        assume (!(fewer && v[3]));
        assert (ok_out);
        assert (!(fewer && v_out[3]));
        // The indices are a permutation, the lowest two and the order of the others tell all of it.
        if (perm(order)) assert (perm(order_out));
        assert (moved <= wnd);
        // Exactly what was held or has come is held, or in order.
        assert ((has || p < moved) == (had || (in_seg && !no_room)));
        // Dropped only when all intervals are in use and the segment touches none of them.
        if (no_room) assert ((v == 4'hF || (fewer && v == 4'h7)) && seg_s != 32'd0 && !(in_seg && had));
        // In order as soon as the next byte is there.
        if (seg_s == 32'd0 && seg_e != 32'd0) assert (moved >= seg_e);
        if (duplicate && in_seg) assert (had);
        // D-SACK: the lowest run of the segment that was held.
        if (dup) assert (d_s >= seg_s && d_e <= seg_e && d_s < d_e);
        if (dup && p >= d_s && p < d_e) assert (had);
        if (in_seg && had) assert (dup && d_s <= p);
        if (dup && p == d_e && in_seg) assert (!had);
    end
endmodule

// The invariant: the valid ones first, ascending, not empty, not adjacent, above `low` and not beyond `high`, and the first
// entries of `order` a permutation of them. And whether `p` is in one.
module intervals (
    input  wire [31:0]  base,
    input  wire [31:0]  low,
    input  wire [31:0]  high,
    input  wire [3:0]   v,
    input  wire [127:0] s,
    input  wire [127:0] e,
    input  wire [7:0]   order,
    input  wire [31:0]  p,
    output reg          ok,
    output reg          holds
);
    reg [31:0] last;
    reg [31:0] a;
    reg [31:0] b;
    reg [3:0]  named;
    integer    i;

    always @* begin
        ok    = (v & (v + 4'd1)) == 4'd0;
        holds = 1'b0;
        last  = low;
        named = 4'd0;
        for (i = 0; i < 4; i = i + 1) begin
            a = s[32*i +: 32] - base;
            b = e[32*i +: 32] - base;
            if (v[i]) begin
                if (!(last < a && a < b && b <= high)) ok = 1'b0;
                if (p >= a && p < b) holds = 1'b1;
                last = b;
                named[order[2*i +: 2]] = 1'b1;
            end
        end
        if (named != v) ok = 1'b0;
    end
endmodule

`default_nettype wire
