// SPDX-License-Identifier: Apache-2.0
// Proportional rate reduction: how much may be sent in fast recovery (RFC 6937 with the slow-start bound of RFC 9937).
//
// Combinational. Instead of RecoverFS the share ssthresh / RecoverFS is kept, rounded up to sixteenths, which needs no
// division: it only paces the way down to ssthresh, and where that ends is decided by `pipe`.

`default_nettype none

module nk_tcp_prr (
    // Recovery begins: the share, less one sixteenth.
    input  wire [24:0] flight,      // RecoverFS
    input  wire [24:0] ssthresh_new,
    output wire [3:0]  share_new,
    // An ACK in recovery. Counters include this ACK.
    input  wire [3:0]  share,
    input  wire [24:0] ssthresh,
    input  wire [24:0] pipe,
    input  wire [24:0] total,       // prr_delivered
    input  wire [24:0] sent,        // prr_out
    input  wire [24:0] delivered,   // by this ACK
    input  wire [15:0] mss,
    input  wire        safe,        // it moved snd_una and showed no further loss
    input  wire        front,       // it moved snd_una to a hole that was not sent again yet
    output wire [24:0] cwnd
);
    // The number of k in 1..15 with k / 16 * RecoverFS < ssthresh: all compared at once.
    wire [14:0] above;
    wire [28:0] scaled = {ssthresh_new, 4'd0};
    genvar k;
    generate
        for (k = 1; k < 16; k = k + 1) begin : g_above
            wire [28:0] part = {4'd0, flight} * k;
            assign above[k - 1] = part < scaled;
        end
    endgenerate
    // A thermometer: its highest mark.
    reg [3:0] mark;
    integer   i;
    always @* begin
        mark = 4'd0;
        for (i = 0; i < 15; i = i + 1)
            if (above[i]) mark = i[3:0] + 4'd1;
    end
    assign share_new = mark;

    // pipe > ssthresh: proportional. Else up to ssthresh, by what was delivered and, if that is safe, a segment more.
    wire [4:0]  times  = {1'b0, share} + 5'd1;
    wire [29:0] part   = total * times + 30'd15;
    wire [25:0] prop   = part[29:4];
    wire [25:0] paced  = prop > {1'b0, sent} ? prop - {1'b0, sent} : 26'd0;
    wire [24:0] spare  = total > sent ? total - sent : 25'd0;
    wire [24:0] more   = spare > delivered ? spare : delivered;
    wire [25:0] bound  = safe ? {1'b0, more} + {10'd0, mss} : {1'b0, spare};
    wire        over   = pipe > ssthresh;
    wire        unused = &{1'b0, part[3:0]};
    wire [24:0] room   = ssthresh - pipe;
    wire [25:0] count  = over ? paced : {1'b0, room} < bound ? {1'b0, room} : bound;
    // The way down is counted in whole segments, as the peer's ACKs are; the first retransmission, and that of a hole
    // which holds everything up, leave at once.
    wire        whole  = sent == 25'd0 || front || (over && paced != 26'd0);
    wire [25:0] least  = whole && count < {10'd0, mss} ? {10'd0, mss} : count;
    wire [26:0] sum    = {2'd0, pipe} + {1'b0, least};

    assign cwnd = sum[26:25] != 2'd0 ? 25'h1ff_ffff : sum[24:0];
endmodule

`default_nettype wire
