// SPDX-License-Identifier: Apache-2.0
// Purpose: merges a received segment into the intervals of data held beyond rcv_nxt (combinational).
//
// All work is on offsets from rcv_nxt, so sequence numbers may wrap. The intervals are ordered, disjoint,
// not adjacent, above rcv_nxt, and the valid ones come first; what comes out is so again. The intervals
// that the segment touches or overlaps are neighbours: [first touched .. last touched] becomes one.

`default_nettype none

module nk_tcp_ooo #(
    // Number of intervals, 1 to 8.
    parameter N  = 4,
    // Bits of an index into them, 1 to 3, enough for N.
    parameter IW = N > 4 ? 3 : N > 2 ? 2 : 1
) (
    // Next sequence number expected.
    input  wire [31:0]     rcv_nxt,

    // Intervals held, [start, end), interval 0 in the lowest bits. Their order by age: as many indices as there
    // are intervals, the interval that changed last in the lowest bits.
    input  wire [N-1:0]    iv_valid,
    input  wire [N*32-1:0] iv_start,
    input  wire [N*32-1:0] iv_end,
    input  wire [N*IW-1:0] iv_order,
    // The last interval's place is taken by something else: hold one less. It is not valid then.
    input  wire            fewer,

    // The segment [seg_start, seg_end): at or above rcv_nxt, within the window; and the same less rcv_nxt.
    input  wire [31:0]     seg_start,
    input  wire [31:0]     seg_end,
    input  wire [31:0]     seg_s,
    input  wire [31:0]     seg_e,

    // Intervals afterwards.
    output wire [N-1:0]    iv_valid_out,
    output wire [N*32-1:0] iv_start_out,
    output wire [N*32-1:0] iv_end_out,
    output reg  [N*IW-1:0] iv_order_out,

    // The new rcv_nxt; rcv_nxt when the segment does not start there.
    output wire [31:0]     in_order_end,
    // Would need one interval more: drop the segment. The intervals stay.
    output wire            no_room,
    // No new byte. The intervals stay.
    output wire            duplicate,
    // The lowest run of its bytes that was held already, as sequence numbers.
    output reg             dup_valid,
    output reg  [31:0]     dup_start,
    output reg  [31:0]     dup_end
);

    initial begin
        if (N < 1 || N > 8) begin
            $display("%m: N = %0d (1 to 8)", N);
            $finish;
        end
        if ((1 << IW) < N) begin
            $display("%m: IW = %0d cannot count %0d intervals", IW, N);
            $finish;
        end
    end

    wire empty    = seg_s == seg_e;
    wire in_order = seg_s == 32'd0 && !empty;

    // Each interval lies below the segment, touches it, or lies above it (or is not there).
    reg [N-1:0] below;
    reg [N-1:0] touch;
    reg [N-1:0] covers;
    // The union of the segment and what it touches.
    reg [31:0]  merged_s;
    reg [31:0]  merged_e;
    reg [31:0]  s;
    reg [31:0]  e;
    reg         head_in;
    reg         tail_in;
    integer     i;

    always @* begin
        below     = {N{1'b0}};
        touch     = {N{1'b0}};
        covers    = {N{1'b0}};
        merged_s  = seg_start;
        merged_e  = seg_end;
        dup_valid = 1'b0;
        dup_start = seg_start;
        dup_end   = seg_end;
        // From the highest down: of several overlaps the lowest is reported.
        for (i = N - 1; i >= 0; i = i - 1) begin
            s         = iv_start[32*i +: 32] - rcv_nxt;
            e         = iv_end[32*i +: 32] - rcv_nxt;
            head_in   = s < seg_s;                     // it begins before the segment
            tail_in   = e > seg_e;                     // it ends behind it
            below[i]  = iv_valid[i] && e < seg_s;
            touch[i]  = iv_valid[i] && e >= seg_s && s <= seg_e;
            covers[i] = iv_valid[i] && s <= seg_s && seg_e <= e;
            // At most one touched interval begins below the segment, at most one ends above it.
            if (touch[i] && head_in) merged_s = iv_start[32*i +: 32];
            if (touch[i] && tail_in) merged_e = iv_end[32*i +: 32];
            if (iv_valid[i] && !empty && e > seg_s && s < seg_e) begin
                dup_valid = 1'b1;
                dup_start = head_in ? seg_start : iv_start[32*i +: 32];
                dup_end   = tail_in ? seg_end : iv_end[32*i +: 32];
            end
        end
    end

    assign duplicate    = empty || (|covers);
    wire [N-1:0] used   = iv_valid | ({N{fewer}} & ~({N{1'b1}} >> 1));
    assign no_room      = !in_order && !duplicate && (&used) && !(|touch);
    assign in_order_end = in_order ? merged_e : rcv_nxt;

    // Entry k afterwards: below the merged one the same entry; behind it the untouched ones move up over
    // the touched ones, or down by one place when nothing was touched. In order there is no merged entry:
    // it counts as one more touched.
    reg [3:0]      gone;
    reg [N-1:0]    out_valid;
    reg [N*32-1:0] out_start;
    reg [N*32-1:0] out_end;
    reg            merged_here;
    integer        j;
    integer        k;
    integer        d;

    always @* begin
        gone = {3'd0, in_order};
        for (j = 0; j < N; j = j + 1)
            gone = gone + {3'd0, touch[j]};

        out_valid = iv_valid;
        out_start = iv_start;
        out_end   = iv_end;
        d         = 0;
        // The merged interval stands in the first place behind those below it.
        merged_here = !in_order;
        if (!duplicate && !no_room) begin
            for (k = 0; k < N; k = k + 1) begin
                if (!below[k]) begin
                    out_valid[k] = merged_here;
                    if (merged_here) begin
                        out_start[32*k +: 32] = merged_s;
                        out_end[32*k +: 32]   = merged_e;
                    end else begin
                        for (j = 0; j < N; j = j + 1) begin
                            d = j - k + 1;
                            if (d >= 0 && gone == d[3:0]) begin
                                out_valid[k]          = iv_valid[j];
                                out_start[32*k +: 32] = iv_start[32*j +: 32];
                                out_end[32*k +: 32]   = iv_end[32*j +: 32];
                            end
                        end
                    end
                    merged_here = 1'b0;
                end
            end
        end
    end

    assign iv_valid_out = out_valid;
    assign iv_start_out = out_start;
    assign iv_end_out   = out_end;

    // The order by age (RFC 2018, 4: the block with the segment that causes the ACK comes first, so a duplicate
    // brings its interval to the front too). What was touched is in front; the others keep their order, and those
    // above have moved by as many places as intervals have gone.
    reg [3:0]    place;     // of the interval in front: the number of those below
    reg [3:0]    slot;      // next free one
    reg [IW-1:0] old;
    reg [3:0]    moved;
    integer      m;
    integer      q;

    always @* begin
        place = 4'd0;
        for (m = 0; m < N; m = m + 1)
            place = place + {3'd0, below[m]};
        iv_order_out = iv_order;
        old          = {IW{1'b0}};
        moved        = 4'd0;
        slot         = 4'd0;
        if (!empty && !no_room) begin
            // The valid ones are the lowest: behind them each index stands in its own place, so that none is there twice.
            for (m = 0; m < N; m = m + 1)
                iv_order_out[IW*m +: IW] = m[IW-1:0];
            if (!in_order) begin
                iv_order_out[0 +: IW] = place[IW-1:0];
                slot = 4'd1;
            end
            for (m = 0; m < N; m = m + 1) begin
                old   = iv_order[IW*m +: IW];
                moved = {{(4 - IW){1'b0}}, old} + 4'd1 - gone;
                if (iv_valid[m] && !touch[old]) begin
                    for (q = 0; q < N; q = q + 1)
                        if (slot == q[3:0]) iv_order_out[IW*q +: IW] = below[old] ? old : moved[IW-1:0];
                    slot = slot + 4'd1;
                end
            end
        end
    end

    wire unused = &{1'b0, moved};
endmodule

`default_nettype wire
