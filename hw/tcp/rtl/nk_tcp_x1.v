// SPDX-License-Identifier: Apache-2.0
// Pipeline stage X1: what the event means for the flow. Chooses between the event's kinds; they do the work.
//
// Combinational.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_x1 #(
    parameter NVF     = 8,                            // VFs
    parameter VW      = (NVF > 1) ? $clog2(NVF) : 1,  // derived
    parameter SW      = `SEG_W + 6,                   // bits of a segment word
    parameter MSS_MIN = 64                            // smallest MSS that a peer may ask for
) (
    // The event, see nk_tcp_pipe; valid only with a flow.
    input  wire              valid,
    input  wire [2:0]        cls,
    input  wire [7:0]        vf,
    input  wire [SW-1:0]     seg,
    input  wire [`OPW_W-1:0] op,
    input  wire              is_open,
    input  wire              is_cookie,
    input  wire [31:0]       isn,
    input  wire [15:0]       listener,
    input  wire              wake,
    input  wire [47:0]       now_ext,
    input  wire [`TCB_W-1:0] tcb,
    // Configuration and parameters.
    input  wire [NVF*16-1:0] cfg_mtu,
    input  wire [NVF*3-1:0]  cfg_nsm,
    input  wire [8*32-1:0]   nsm_ctrl,
    input  wire              challenge_ok,
    input  wire [7:0]        p_retries_data,
    input  wire [7:0]        p_retries_syn,
    // State after it, and what X2 has to do: receiver, ACK for the sender, timer for the sender.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              data_ok,
    output wire              ev_ack,
    output wire              ev_new,
    output wire              ev_dup,
    output wire              ev_syn,
    output wire              ev_rto,
    output wire              ev_reo,
    output wire              ev_tlp,
    // Answer with a RST: 1 <SEQ=ack><RST>, 2 <SEQ=rst_seq><RST,ACK>, 3 the flow is not the segment's.
    output reg  [1:0]        rst_kind,
    output wire [31:0]       rst_seq,
    output wire              stranger,
    output wire              reopen,
    // An operation's answer.
    output wire [7:0]        status,
    output wire              want_insert,
    output wire              end_listener,
    // Counter pulses by their index.
    output reg  [63:0]       stat
);
    wire is_rx  = valid && cls == `NK_EV_RX;
    wire is_ptb = valid && cls == `NK_EV_PTB;
    wire is_tmr = valid && cls == `NK_EV_TMR;
    wire is_op  = valid && (cls == `NK_EV_OP || cls == `NK_EV_FLUSH);

    // A connection takes its VF's profile when it opens.
    wire [VW-1:0] ix      = vf[VW-1:0];
    wire [2:0]    prof    = cfg_nsm[ix * 3 +: 3];
    wire          opens   = is_open || is_cookie || is_op;
    wire [2:0]    prof_at = opens ? prof : tcb[`TCB_PROF];
    wire [31:0]   nsm     = nsm_ctrl[prof_at * 32 +: 32];
    wire [15:0]   mtu     = cfg_mtu[ix * 16 +: 16];
    wire [8:0]    flags   = seg[`SEG_FLAGS];

    wire [`TCB_W-1:0] rx_tcb;
    wire [`TCB_W-1:0] op_tcb;
    wire [`TCB_W-1:0] tmr_tcb;
    wire [`TCB_W-1:0] ptb_tcb;
    wire reply_rst, challenge, op_rst;
    wire st_unacceptable, st_bad_ack, st_rst, st_paws, st_challenge, st_limited, st_dsack, st_ptb, st_ptb_bad, st_rto, st_give_up, st_blackhole;

    nk_tcp_rx_chk #(.MSS_MIN(MSS_MIN)) rx_chk (
        .en(is_rx), .tcb(tcb), .now_s(now_ext[35:20]), .ts_age(now_ext[42:34]), .is_open(is_open), .is_cookie(is_cookie), .isn(isn),
        .listener(listener), .prof(prof), .vf(vf), .rip(seg[`SEG_RIP]), .rport(seg[`SEG_RPORT]), .lport(seg[`SEG_LPORT]),
        .seq(seg[`SEG_SEQ]), .ack(seg[`SEG_ACK]), .flags(flags), .wnd(seg[`SEG_WND]), .mss(seg[`SEG_MSS]), .wscale(seg[`SEG_WS]),
        .wscale_valid(seg[`SEG_WSV]), .sack_ok(seg[`SEG_SACKOK]), .ts_valid(seg[`SEG_TSV]), .tsval(seg[`SEG_TSVAL]), .len(seg[`SEG_LEN]),
        .mtu(mtu), .p_flags(nsm[15:8]), .challenge_ok(challenge_ok),
        .tcb_out(rx_tcb), .data_ok(data_ok), .ev_ack(ev_ack), .ev_new(ev_new), .ev_dup(ev_dup), .ev_syn(ev_syn),
        .reply_rst(reply_rst), .reopen(reopen), .challenge(challenge), .stranger(stranger),
        .st_unacceptable(st_unacceptable), .st_bad_ack(st_bad_ack), .st_rst(st_rst), .st_paws(st_paws), .st_challenge(st_challenge),
        .st_limited(st_limited), .st_dsack(st_dsack)
    );
    nk_tcp_ptb ptb (
        .en(is_ptb), .tcb(tcb), .vf(vf), .rip(seg[`SEG_RIP]), .rport(seg[`SEG_RPORT]), .lport(seg[`SEG_LPORT]), .seq(seg[`SEG_SEQ]),
        .mtu(seg[`SEG_MSS]), .tcb_out(ptb_tcb), .st_ptb(st_ptb), .st_ptb_bad(st_ptb_bad)
    );
    nk_tcp_tmr tmr (
        .en(is_tmr), .tcb(tcb), .now_us(now_ext[31:0]), .now_s(now_ext[35:20]), .p_retries_data(p_retries_data), .p_retries_syn(p_retries_syn),
        .tcb_out(tmr_tcb), .ev_rto(ev_rto), .ev_reo(ev_reo), .ev_tlp(ev_tlp), .st_rto(st_rto), .st_give_up(st_give_up), .st_blackhole(st_blackhole)
    );
    nk_tcp_op op_i (
        .en(is_op), .tcb(tcb), .flush(cls == `NK_EV_FLUSH), .op(op[`OPW_CODE]), .vf(vf), .qs(op[`OPW_QS]), .socket(op[`OPW_SOCKET]),
        .data(op[`OPW_DATA]), .ptr(op[`OPW_PTR]), .size(op[`OPW_SIZE]), .listener_ok(op[`OPW_LOK]), .uncredit(op[`OPW_UNCREDIT]),
        .listener_done(op[`OPW_LDONE]), .ins_done(op[`OPW_INS]), .ins_ok(op[`OPW_INS_OK]), .ins_hit(op[`OPW_INS_HIT]), .isn(isn),
        .prof(prof), .p_flags(nsm[15:8]), .now_s(now_ext[35:20]),
        .tcb_out(op_tcb), .status(status), .want_insert(want_insert), .end_listener(end_listener), .send_rst(op_rst), .rst_seq(rst_seq)
    );

    wire waits = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH;

    always @* begin
        tcb_out  = tcb;
        rst_kind = 2'd0;
        stat     = 64'd0;
        case (cls)
            `NK_EV_RX: begin
                tcb_out = rx_tcb;
                // A SYN that comes while the flow changes hands comes again; nobody is to be refused for that.
                if (stranger) rst_kind = flags[`NK_TF_RST] || flags[`NK_TF_SYN] ? 2'd0 : 2'd3;
                else if (reply_rst) rst_kind = 2'd1;
                stat[`NK_CNT_RX_UNACCEPTABLE]   = st_unacceptable;
                stat[`NK_CNT_RX_BAD_ACK]        = st_bad_ack;
                stat[`NK_CNT_RX_RST]            = st_rst;
                stat[`NK_CNT_RX_PAWS]           = st_paws;
                stat[`NK_CNT_TX_CHALLENGE_ACKS] = st_challenge;
                stat[`NK_CNT_CHALLENGE_LIMITED] = st_limited;
                stat[`NK_CNT_TX_DSACK]          = st_dsack;
            end
            `NK_EV_OP, `NK_EV_FLUSH: begin
                tcb_out = op_tcb;
                if (op_rst) rst_kind = 2'd2;
            end
            `NK_EV_TMR: begin
                tcb_out = tmr_tcb;
                stat[`NK_CNT_TX_RTO]        = st_rto;
                stat[`NK_CNT_FLOW_TIMEOUTS] = st_give_up;
                stat[`NK_CNT_TX_BLACKHOLE]  = st_blackhole;
            end
            `NK_EV_PTB: begin
                tcb_out = ptb_tcb;
                stat[`NK_CNT_RX_PTB]     = st_ptb;
                stat[`NK_CNT_RX_PTB_BAD] = st_ptb_bad;
            end
            // The next hop has answered: the flow need not wait for its timer.
            default: if (wake && waits) tcb_out[`TCB_RTX_ON] = 1'b0;
        endcase
    end

    wire unused = &{1'b0, challenge, nsm, seg, op, now_ext};
endmodule

`default_nettype wire
