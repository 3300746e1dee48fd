// SPDX-License-Identifier: Apache-2.0
// Pipeline stage X3: at most one segment leaves, whatever the event was.
//
// Combinational. The flow's own segment by its state; or a RST, or a SYN cookie, in its place.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_x3 #(
    parameter SW = `SEG_W + 6           // bits of a segment word
) (
    // The pass: with a flow or without, class, the answer that X1 or X2 asks for, state, segment, time.
    input  wire              valid,
    input  wire              has_flow,
    input  wire [2:0]        cls,
    input  wire [1:0]        raw,
    input  wire [1:0]        rst_kind,
    input  wire              tx_ok,         // the VF may send data, by its share and its rates
    input  wire              hold,          // no room for the flow's own segment: its turn comes in the transmit list
    input  wire [`TCB_W-1:0] tcb,
    input  wire [SW-1:0]     seg,
    input  wire [47:0]       now_ext,
    input  wire [31:0]       ts_offset,
    // Next hop, rate limit, parameters.
    input  wire              neigh_hit,
    input  wire              rst_ok,
    input  wire [7:0]        p_retries_neigh,
    input  wire [15:0]       mtu,
    // State after it; a segment leaves, of the flow's own kind the word `out`; ARP is asked; counters by their index.
    output wire [`TCB_W-1:0] tcb_out,
    output wire              send,
    output wire              again,
    output wire              ask,
    output wire              follows,       // it sends, and has another one to send
    output wire [`OUT_W-1:0] out,
    output reg  [63:0]       stat
);
    wire [3:0]   due;
    wire [3:0]   kind = hold ? `NK_TX_NONE : due;
    wire [31:0]  seq;
    wire [15:0]  len;
    wire         fin, psh, blocked, more;
    wire         en = valid && has_flow && rst_kind == 2'd0 && cls != `NK_EV_FLUSH;

    nk_tcp_txsel txsel_i (
        .tcb(tcb), .tx_ok(tx_ok), .kind(due), .seq(seq), .len(len), .fin(fin), .psh(psh), .blocked(blocked), .more(more)
    );

    wire [`TCB_W-1:0] tx_tcb;
    wire         tx_send, tx_ask, tx_again, tx_probe, tx_tlp, tx_keep, tx_dsack, ws_valid, sack_ok, ts_valid;
    wire [8:0]   flags;
    wire [15:0]  wnd;
    wire [15:0]  mss;
    wire [31:0]  tsval;
    wire [31:0]  tsecr;
    wire [2:0]   sack_n;
    wire [255:0] sack;
    wire [1:0]   ecn;
    nk_tcp_tx tx_i (
        .tcb(tcb), .now_us(now_ext[31:0]), .ts_now(now_ext[41:10] + ts_offset), .neigh_hit(neigh_hit),
        .p_retries_neigh(p_retries_neigh), .mtu(mtu), .kind(kind), .seq(seq), .len(len), .fin(fin), .psh(psh),
        .tcb_out(tx_tcb), .send(tx_send), .ask(tx_ask), .seg_flags(flags), .seg_wnd(wnd), .seg_mss(mss),
        .seg_ws_valid(ws_valid), .seg_sack_ok(sack_ok), .seg_ts_valid(ts_valid), .seg_tsval(tsval), .seg_tsecr(tsecr),
        .seg_sack_n(sack_n), .seg_sack(sack), .seg_ecn(ecn), .is_retransmit(tx_again), .is_probe(tx_probe), .is_tlp(tx_tlp),
        .is_keep(tx_keep), .is_dsack(tx_dsack)
    );
    // A first SYN acknowledges nothing.
    wire [31:0]  ack     = flags[`NK_TF_ACK] ? tcb[`TCB_RCV_NXT] : 32'd0;
    wire [4:0]   ring_ws = tcb[`TCB_RX_LOG2] > 5'd15 ? tcb[`TCB_RX_LOG2] - 5'd15 : 5'd0;
    assign out = {sack, sack_n, ecn, tsecr, tsval, ts_valid, sack_ok, ring_ws[3:0], ws_valid, mss, wnd, flags, en ? len : 16'd0, ack, seq};

    // A reset goes where the segment came from; one that the tenant asked for goes to the next hop, if it is known.
    wire         from_wire = cls == `NK_EV_RX || cls == `NK_EV_RAW;
    wire         no_flow   = rst_kind == 2'd3;
    wire         rst_go    = rst_kind != 2'd0 && (from_wire || neigh_hit) && (!no_flow || rst_ok);
    wire [8:0]   seg_flags = seg[`SEG_FLAGS];

    assign tcb_out = en ? tx_tcb : tcb;
    assign send    = valid && (rst_go || raw == `NK_RAW_COOKIE || (en && tx_send));
    assign again   = en && tx_again;
    assign ask     = en && tx_ask;
    assign follows = en && tx_send && more;

    always @* begin
        stat = 64'd0;
        if (valid) begin
            stat[`NK_CNT_TX_RST]         = rst_go;
            stat[`NK_CNT_NEIGH_MISSES]   = ask;
            stat[`NK_CNT_TX_RETRANSMITS] = en && tx_send && tx_again;
            stat[`NK_CNT_TX_ZERO_WINDOW_PROBE] = en && tx_send && tx_probe;
            stat[`NK_CNT_TX_TLP]         = en && tx_send && tx_tlp;
            stat[`NK_CNT_TX_KEEPALIVE]   = en && tx_send && tx_keep;
            stat[`NK_CNT_TX_COOKIES]     = raw == `NK_RAW_COOKIE;
            stat[`NK_CNT_CHALLENGE_LIMITED] = no_flow && !rst_ok;
            // A RST for no flow is counted too, and never answered.
            stat[`NK_CNT_RX_NO_FLOW]     = no_flow || (cls == `NK_EV_RAW && raw == `NK_RAW_NONE && seg_flags[`NK_TF_RST]);
        end
    end

    wire unused = &{1'b0, blocked, tx_dsack, ring_ws, seg, seg_flags, now_ext};
endmodule

`default_nettype wire
