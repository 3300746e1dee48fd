// SPDX-License-Identifier: Apache-2.0
// Congestion control: hands an event to the flow's algorithm and takes its answer; the table of the algorithms.
//
// Each algorithm is a module with exactly these ports but `alg`. A new one is one module and one row below
// (docs/congestion-control.md). All of them see every input; only the chosen one's answer counts.

`default_nettype none
`include "nk_abi.vh"

module nk_cc (
    // profile: algorithm (NK_CC_*) and its parameters, 0 = its default; prm[32]: no HyStart
    input  wire [3:0]  alg,
    input  wire [63:0] prm,
    // state; cc_s belongs to the algorithm, 0 when the flow opens; in the first slow start partly to HyStart
    input  wire [31:0] cwnd,
    input  wire [31:0] ssthresh,     // 2^25 - 1: not yet known
    input  wire [95:0] cc_s,
    // events. The first one that is set here counts, and ev_round beside any of them
    input  wire        ev_rto,       // retransmission timeout
    input  wire        ev_loss,      // fast recovery begins
    input  wire        ev_ecn,       // first ECE of a round trip
    input  wire        ev_undo,      // the last cut was spurious
    input  wire        ev_exit,      // fast recovery is over
    input  wire        ev_idle,      // about to send after an idle RTO (RFC 5681, 4.1)
    input  wire        ev_ack,       // new data acknowledged, outside fast recovery
    input  wire        ev_round,     // an ACK that counts, in recovery or not
    // what came with it
    input  wire [31:0] acked,        // bytes: ack - snd_una; after a timeout, what was delivered (SACKed too)
    input  wire        ece,          // the ACK carries ECE
    input  wire        limited,      // cwnd is what holds the sender back: it may grow
    input  wire        rtt_v,        // the ACK measures a round trip
    input  wire [10:0] rtt,          // in 1024 us
    // the flow
    input  wire [31:0] flight,       // snd_nxt - snd_una, before the ACK
    input  wire [15:0] mss,
    input  wire [31:0] iw,           // initial window, bytes
    input  wire [31:0] undo_cwnd,    // cwnd and ssthresh before the cut that ev_undo takes back
    input  wire [31:0] undo_sst,
    input  wire [31:0] srtt8,
    input  wire [31:0] now_us,
    input  wire [31:0] snd_una,      // before the ACK
    input  wire [31:0] snd_nxt,
    input  wire [31:0] ack,
    // state after it
    output wire [31:0] cwnd_out,
    output wire [31:0] ssthresh_out,
    output wire [95:0] cc_s_out
);
    localparam N = 3;                // rows of the table; their numbers are 0 to N - 1
    localparam W = 160;              // an answer: {cc_s, ssthresh, cwnd}
    localparam [24:0] UNKNOWN = 25'h1FFFFFF;

    wire [N*W-1:0] answers;

    // In the first slow start some bits are HyStart's: of Reno's count of ACKs, which begins later, and of DCTCP's marks,
    // which end it. The round in bits 50:25 is kept by DCTCP itself, for the others here.
    wire        first  = ssthresh[24:0] == UNKNOWN && !prm[32];
    wire        rounds = alg == `NK_CC_DCTCP;
    wire [95:0] own    = !first ? cc_s : rounds ? {cc_s[95:83], 16'd0, cc_s[66:25], 25'd0} : 96'd0;

    `define NK_CC_ROW(NUMBER, ALGORITHM, INSTANCE) \
        ALGORITHM INSTANCE ( \
            .prm(prm), .cwnd(cwnd), .ssthresh(ssthresh), .cc_s(own), \
            .ev_rto(ev_rto), .ev_loss(ev_loss), .ev_ecn(ev_ecn), .ev_undo(ev_undo), .ev_exit(ev_exit), \
            .ev_idle(ev_idle), .ev_ack(ev_ack), .ev_round(ev_round), \
            .acked(acked), .ece(ece), .limited(limited), .flight(flight), .mss(mss), .iw(iw), \
            .undo_cwnd(undo_cwnd), .undo_sst(undo_sst), .srtt8(srtt8), .now_us(now_us), \
            .snd_una(snd_una), .snd_nxt(snd_nxt), .ack(ack), \
            .cwnd_out(answers[NUMBER*W +: 32]), .ssthresh_out(answers[NUMBER*W + 32 +: 32]), \
            .cc_s_out(answers[NUMBER*W + 64 +: 96]) \
        );

    //         number       module        instance
    `NK_CC_ROW(`NK_CC_RENO,  nk_cc_reno,  reno)
    `NK_CC_ROW(`NK_CC_CUBIC, nk_cc_cubic, cubic)
    `NK_CC_ROW(`NK_CC_DCTCP, nk_cc_dctcp, dctcp)

    `undef NK_CC_ROW

    // A number without an algorithm stands for Reno.
    wire [3:0] chosen = {28'd0, alg} < N ? alg : `NK_CC_RENO;
    wire [95:0] s;
    wire [31:0] sst;
    assign {s, sst, cwnd_out} = answers[chosen*W +: W];

    wire        other  = ev_rto || ev_loss || ev_ecn || ev_undo || ev_exit || ev_idle;
    wire        grows  = first && ev_ack && !other;
    wire        leaves;
    wire [40:0] hy;
    wire [24:0] round_end;
    nk_cc_hystart hystart (
        .hy({cc_s[82:67], cc_s[24:0]}), .on(cc_s[25]), .round_end(cc_s[50:26]), .rtt_v(rtt_v), .rtt(rtt), .now(now_us[17:9]),
        .cwnd(cwnd), .mss(mss), .snd_una(snd_una), .snd_nxt(snd_nxt), .ack(ack),
        .leave(leaves), .hy_out(hy), .round_end_out(round_end)
    );
    wire        leave  = grows && leaves;
    // Anything but an ACK makes it begin anew, also when an undo brings the first slow start back.
    wire        fresh  = leave || (other && sst[24:0] == UNKNOWN && !prm[32]);
    wire        its    = fresh || (first && !other);
    wire [66:0] hy_s   = fresh ? 67'd0 : grows ? {hy[40:25], round_end, 1'b1, hy[24:0]} : {cc_s[82:67], cc_s[50:0]};
    assign ssthresh_out    = leave ? cwnd_out : sst;
    assign cc_s_out[24:0]  = its ? hy_s[24:0] : s[24:0];
    assign cc_s_out[50:25] = its && !rounds ? hy_s[50:25] : s[50:25];
    assign cc_s_out[66:51] = fresh && !rounds ? 16'd0 : s[66:51];
    assign cc_s_out[82:67] = its ? hy_s[66:51] : s[82:67];
    assign cc_s_out[95:83] = fresh && !rounds ? 13'd0 : s[95:83];
endmodule

`default_nettype wire
