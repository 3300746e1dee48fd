// SPDX-License-Identifier: Apache-2.0
// After every pass: the flow's long timer, and what its new state asks of its surroundings.
//
// Combinational. Nobody else starts a timer: what a flow waits for follows from its state, so that one place
// can see to it that something always comes. Comparing with the state before the pass here, once, saves every
// event from knowing about lists, the timer memory and the flow table.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_post (
    // The state after the pass, and what is needed of the one before it.
    input  wire [`TCB_W-1:0] tcb,
    input  wire [3:0]        was_state,
    input  wire              was_closed,
    input  wire              was_armed,      // what the timer memory holds: RTX_ON or DACK_ON,
    input  wire [31:0]       was_deadline,   // and the earlier of the deadlines that are on
    // What nk_tcp_txsel and nk_tcp_ntf say of the state after the pass; the list that the flow was just taken from.
    input  wire              blocked,        // data waits, nothing is in flight and the window is shut
    input  wire              more_tx,        // there is a segment to send
    input  wire              more_ntf,       // there is an event to tell, or CLOSED waits
    input  wire              from_txq,
    input  wire              from_ntq,
    // Time in microseconds and in 2^20 us; periods in microseconds; flags of the flow's profile.
    input  wire [31:0]       now_us,
    input  wire [15:0]       now_s,
    input  wire [31:0]       p_rto_min,
    input  wire [31:0]       p_rto_init,
    input  wire [31:0]       p_rto_max,
    input  wire [31:0]       p_time_wait,
    input  wire [31:0]       p_fin_wait2,
    input  wire [31:0]       p_neigh_retry,
    input  wire [31:0]       p_delayed_ack,
    input  wire [7:0]        p_flags,
    input  wire [15:0]       tx_mark,        // descriptors handed to nk_net_tx so far
    // The state to write back.
    output reg  [`TCB_W-1:0] tcb_out,
    // A new deadline for the timer memory.
    output wire              timer_set,
    output wire              timer_armed,
    output wire [31:0]       timer_deadline,
    // The flow enters the transmit list, the event list.
    output wire              push_tx,
    output wire              push_ntf,
    // Life of the flow.
    output wire              hash_delete,    // the flow has left the table
    output wire              opened,         // left FREE
    output wire              freed           // became FREE
);
    // RTX_T is kept as a signed distance of 29 bits: no deadline is further away than this.
    localparam [31:0] CUT_US   = 32'd250_000_000;
    localparam [22:0] CUT_T    = 23'd15258;         // the same in 2^14 us
    localparam [31:0] CORK_US  = 32'd200_000;       // as in Linux
    localparam [31:0] PTO_MIN  = 32'd2_000;
    localparam [31:0] SYN_LOST_4TH = 32'd750_000;   // a quarter of 3 s

    wire [3:0] is   = tcb[`TCB_STATE];
    wire [3:0] kind = tcb[`TCB_RTX_KIND];
    wire       on   = tcb[`TCB_RTX_ON];
    wire       live = is >= `NK_FS_SYN_SENT && is <= `NK_FS_LAST_ACK;
    wire       synced = is >= `NK_FS_ESTABLISHED && is <= `NK_FS_LAST_ACK;

    // -- life ---------------------------------------------------------------------------------------
    wire       in_table_before = was_state >= `NK_FS_SYN_SENT && was_state <= `NK_FS_TIME_WAIT;
    wire       in_table_after  = live || is == `NK_FS_TIME_WAIT;
    wire       listens_before  = was_state == `NK_FS_LISTEN && !was_closed;
    wire       listens_after   = is == `NK_FS_LISTEN && !tcb[`TCB_CLOSED];
    wire       drains          = is == `NK_FS_DRAIN && was_state != `NK_FS_DRAIN;

    assign hash_delete = (in_table_before && !in_table_after) || (listens_before && !listens_after);
    assign opened = was_state == `NK_FS_FREE && is != `NK_FS_FREE;
    assign freed  = was_state != `NK_FS_FREE && is == `NK_FS_FREE;

    // -- lists: whoever stands in one is not pushed again; without a next hop there is no use in a turn ----
    wire       in_txq = tcb[`TCB_IN_TXQ] && !from_txq;
    wire       in_ntq = tcb[`TCB_IN_NTQ] && !from_ntq;
    wire       turn   = more_tx && !tcb[`TCB_W_NEIGH];
    assign push_tx  = turn && !in_txq;
    assign push_ntf = more_ntf && !in_ntq;

    // -- what the flow waits for --------------------------------------------------------------------------
    wire [31:0] flight  = tcb[`TCB_SND_NXT] - tcb[`TCB_SND_UNA];
    wire        flying  = flight != 32'd0;
    wire        unsent  = `SEQ_LT(tcb[`TCB_SND_NXT], tcb[`TCB_TX_END]);
    wire        acked   = tcb[`TCB_W_ACKED];
    wire        sent    = tcb[`TCB_W_SENT];
    // The oldest segment was sent again (nk_tcp_tx notes the time of it): its copy gets the full time.
    wire        head    = tcb[`TCB_W_RETX] && tcb[`TCB_RTT_T] == now_us;
    wire        probing = synced && blocked;
    wire        runs    = on && (kind == `NK_RTX_RTO || kind == `NK_RTX_TLP);
    wire        peer_wait = kind == `NK_RTX_RTO || kind == `NK_RTX_TLP || kind == `NK_RTX_REO || kind == `NK_RTX_PERSIST;

    // -- periods ------------------------------------------------------------------------------------------
    // The window has opened: the probes' long intervals are not those of data.
    wire        unprobed = kind == `NK_RTX_PERSIST && !probing;
    wire [3:0]  backoff  = unprobed ? 4'd0 : tcb[`TCB_BACKOFF];
    wire [31:0] rto;

    // A SYN of ours was lost, and the round trip is not known: nk_tcp_snd begins with a BACKOFF of 2 then. Data starts with
    // 3 s, doubled as ever (RFC 6298, 5.7). Each timeout since then counts in both BACKOFF and RETRIES.
    wire        syn_lost = synced && backoff >= 4'd2 && {4'd0, backoff} > tcb[`TCB_RETRIES];
    wire [31:0] init_4th = {2'd0, p_rto_init[31:2]};
    wire [31:0] rto_init = !syn_lost ? p_rto_init : init_4th < SYN_LOST_4TH ? SYN_LOST_4TH : init_4th;

    nk_tcp_rto rto_i (
        .srtt8(tcb[`TCB_SRTT8]), .rttvar4(tcb[`TCB_RTTVAR4]),
        .p_rto_min(p_rto_min), .p_rto_init(rto_init), .p_rto_max(p_rto_max), .backoff(backoff), .rto(rto)
    );

    // Tail loss probe (RFC 8985, 7.2), never later than the timeout.
    wire        tlp_ok   = p_flags[`NK_PF_TLP] && synced && tcb[`TCB_SACK_OK] && !tcb[`TCB_IN_REC] && !tcb[`TCB_IN_LOSS]
                        && tcb[`TCB_SK_V] == 4'd0 && tcb[`TCB_SRTT8] != 32'd0 && !tcb[`TCB_TLP_OUT] && !tcb[`TCB_TLP_DUE];
    wire [31:0] srtt8    = tcb[`TCB_SRTT8];
    wire        lone     = flight <= {16'd0, tcb[`TCB_MSS]};   // a single segment's ACK may be delayed
    wire [31:0] srtt2    = {2'd0, srtt8[31:2]};
    wire [31:0] pto_long = srtt2 + (lone ? p_delayed_ack : 32'd0);
    wire [31:0] pto_rfc  = pto_long < PTO_MIN ? PTO_MIN : pto_long;
    wire        use_pto  = tlp_ok && pto_rfc <= rto;
    wire [31:0] wait_us  = use_pto ? pto_rfc : rto;
    // Another segment after a lone one: no ACK will be delayed any more.
    wire [31:0] left     = tcb[`TCB_RTX_T] - now_us;
    wire        sooner   = use_pto && !left[31] && pto_rfc < left;

    // Silence in 2^14 us; a second is 61 + 1/32 of them (0.006 % short).
    wire [15:0] quiet    = now_s - tcb[`TCB_LAST_T];
    wire [22:0] quiet_t  = {1'b0, quiet, 6'd0};
    // A keep-alive probe that the peer has just answered does not count any more; nor does what was tried before.
    wire        answered = on && quiet == 16'd0;
    wire        probes   = kind == `NK_RTX_KEEP && tcb[`TCB_RETRIES] != 8'd0 && !answered;
    wire [22:0] secs     = probes ? {15'd0, tcb[`TCB_KA_INTVL]} : {9'd0, tcb[`TCB_KA_IDLE]};
    wire [22:0] secs_t   = (secs << 6) - (secs << 1) - secs + (secs >> 5);
    wire [22:0] keep_t   = probes ? secs_t : secs_t > quiet_t ? secs_t - quiet_t : 23'd0;
    wire [13:0] keep_cut = keep_t > CUT_T ? CUT_T[13:0] : keep_t[13:0];
    wire [22:0] uto      = {13'd0, tcb[`TCB_UTO]};
    wire [22:0] uto_all  = (uto << 6) - (uto << 1) - uto + (uto >> 5) + 23'd64;

    // -- the timer: one of `start`, `hold` (as it is), or off -----------------------------------------------
    reg         start;
    reg         hold;
    reg         peer;           // what is started waits for the peer: the user timeout bounds it
    reg  [3:0]  next;
    reg  [31:0] period;
    always @* begin
        start  = 1'b0;
        hold   = 1'b0;
        peer   = 1'b0;
        next   = kind;
        period = wait_us;
        if (!live) begin
            if (is == `NK_FS_TIME_WAIT) begin
                next   = `NK_RTX_TIMEWAIT;
                period = p_time_wait;
                hold   = on && kind == `NK_RTX_TIMEWAIT && !tcb[`TCB_W_TW];
                start  = !hold;
            end else next = `NK_RTX_RTO;
        end else if (tcb[`TCB_W_NEIGH]) begin
            next   = `NK_RTX_NEIGH;
            period = p_neigh_retry;
            start  = 1'b1;
        end else if (kind == `NK_RTX_NEIGH && !sent && (on || more_tx)) begin
            // Still waiting; or over, and its turn in the list is to come.
            hold   = on;
        end else if (is == `NK_FS_FIN_WAIT2 && tcb[`TCB_CLOSED]) begin
            next   = `NK_RTX_FINWAIT2;
            period = p_fin_wait2;
            hold   = on && kind == `NK_RTX_FINWAIT2;
            start  = !hold;
        end else if (probing) begin
            // The window shut over what was in flight: a peer that still answers is not to be given up.
            next   = `NK_RTX_PERSIST;
            period = rto;
            hold   = on && peer_wait && (kind == `NK_RTX_PERSIST || !acked);
            // A probe that waits for its turn needs no second one.
            start  = !hold && !(tcb[`TCB_PROBE] && more_tx);
            peer   = 1'b1;
        end else if (flying) begin
            peer = 1'b1;
            if (tcb[`TCB_W_REO]) begin
                next   = `NK_RTX_REO;
                period = tcb[`TCB_W_REO_US];
                start  = 1'b1;
            end else if (on && kind == `NK_RTX_REO && !acked && !head) begin
                hold   = 1'b1;
            end else if (runs && !acked && !head && !(kind == `NK_RTX_TLP && !tlp_ok)) begin
                start  = kind == `NK_RTX_TLP && sent && sooner;
                hold   = !start;
            end else begin
                next   = use_pto ? `NK_RTX_TLP : `NK_RTX_RTO;
                // Whatever has a turn to come in the transmit list starts the timer when it is sent.
                start  = on || sent || acked || !more_tx;
            end
        end else if (synced && unsent && !more_tx) begin
            // Held back by TCP_CORK, and no ACK will come that could change it.
            next   = `NK_RTX_CORK;
            period = CORK_US;
            hold   = on && kind == `NK_RTX_CORK;
            start  = !hold;
        end else if (synced && tcb[`TCB_KA_ON]) begin
            next   = `NK_RTX_KEEP;
            period = {4'd0, keep_cut, 14'd0};
            // With no probe out the deadline follows LAST_T and the options.
            hold   = on && probes;
            start  = !hold && !(tcb[`TCB_KA_PROBE] && more_tx);
        end else next = `NK_RTX_RTO;
    end

    // The wait for the peer begins here: the silence before it was nobody's fault, and tries for the next hop or
    // keep-alive probes were none for it.
    wire        fresh   = start && peer && !(peer_wait && (on || tcb[`TCB_RETRIES] != 8'd0));
    wire        untried = next != kind && (kind == `NK_RTX_NEIGH || kind == `NK_RTX_KEEP);
    wire        no_probe = next == `NK_RTX_KEEP && !probes;

    // The user timeout ends in time, not with the next long period.
    wire [22:0] uto_t   = fresh ? uto_all : uto_all > quiet_t ? uto_all - quiet_t : 23'd0;
    wire [13:0] uto_cut = uto_t > CUT_T ? CUT_T[13:0] : uto_t[13:0];
    wire        bound   = peer && tcb[`TCB_UTO] != 10'd0 && {4'd0, uto_cut, 14'd0} < period;
    wire [31:0] bounded = bound ? {4'd0, uto_cut, 14'd0} : period;
    wire [31:0] cut     = bounded > CUT_US ? CUT_US : bounded;

    always @* begin
        tcb_out = tcb;
        tcb_out[`TCB_RTX_ON]   = start || hold;
        tcb_out[`TCB_RTX_KIND] = next;
        if (start) tcb_out[`TCB_RTX_T] = now_us + cut;
        if (fresh) tcb_out[`TCB_LAST_T] = now_s;
        if (fresh || untried || no_probe) tcb_out[`TCB_RETRIES] = 8'd0;
        if (unprobed) begin
            tcb_out[`TCB_BACKOFF] = 4'd0;
            tcb_out[`TCB_PROBE]   = 1'b0;
        end
        if (acked) tcb_out[`TCB_MTU_FAIL] = 2'd0;
        if (!in_table_after) tcb_out[`TCB_DACK_ON] = 1'b0;
        tcb_out[`TCB_IN_TXQ] = in_txq || turn;
        tcb_out[`TCB_IN_NTQ] = in_ntq || more_ntf;
        // A socket that ends remembers which descriptors may still read its TX ring. (Of SND_NXT the lowest 25 bits
        // are kept.)
        if (drains) tcb_out[`TCB_SND_NXT] = {16'd0, tx_mark};
        // Requests end with their pass.
        tcb_out[`TCB_W_ACKED]  = 1'b0;
        tcb_out[`TCB_W_SENT]   = 1'b0;
        tcb_out[`TCB_W_RETX]   = 1'b0;
        tcb_out[`TCB_W_REO]    = 1'b0;
        tcb_out[`TCB_W_REO_US] = 32'd0;
        tcb_out[`TCB_W_TW]     = 1'b0;
        tcb_out[`TCB_W_NEIGH]  = 1'b0;
    end

    // The timer memory holds the earlier deadline.
    wire        rtx_o  = start || hold;
    wire        dack_o = tcb[`TCB_DACK_ON] && in_table_after;
    wire [31:0] rtx_t  = tcb_out[`TCB_RTX_T];
    wire        rtx_first = rtx_o && (!dack_o || `SEQ_LT(rtx_t, tcb[`TCB_DACK_T]));
    assign timer_armed    = rtx_o || dack_o;
    assign timer_deadline = rtx_first ? rtx_t : tcb[`TCB_DACK_T];
    assign timer_set      = timer_armed != was_armed || (timer_armed && timer_deadline != was_deadline);

    wire unused = &{1'b0, p_flags, srtt8};
endmodule

`default_nettype wire
