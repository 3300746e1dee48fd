// SPDX-License-Identifier: Apache-2.0
// Test only: a pass of the sender, nk_tcp_snd to nk_tcp_tx, and nk_tcp_txsel once more on the state after it.
//
// The state goes through the flow memory's format, so a number that the memory cannot hold shows here.

`default_nettype none
`include "nk_tcb.vh"

module nk_tcp_snd_loop (
    input  wire [`TCB_W-1:0] tcb,
    input  wire [1023:0]     in,      // see snd_world.py
    output wire [`TCB_W-1:0] tcb_out,
    output wire [511:0]      out
);
    wire         en         = in[0];
    wire         ev_ack     = in[1];
    wire         ev_new     = in[2];
    wire         ev_dup     = in[3];
    wire         ev_syn     = in[4];
    wire         ev_rto     = in[5];
    wire         ev_reo     = in[6];
    wire         ev_tlp     = in[7];
    wire         ts_valid   = in[8];
    wire         ece        = in[9];
    wire         tx_ok      = in[10];
    wire         neigh_hit  = in[11];
    wire [2:0]   sack_n     = in[14:12];
    wire [3:0]   p_cc       = in[19:16];
    wire [7:0]   p_flags    = in[31:24];
    wire [7:0]   p_iw       = in[39:32];
    wire [31:0]  now_us     = in[95:64];
    wire [31:0]  ts_now     = in[127:96];
    wire [31:0]  ack        = in[159:128];
    wire [31:0]  tsecr      = in[191:160];
    wire [31:0]  p_rto_min  = in[223:192];
    wire [31:0]  p_rto_max  = in[255:224];
    wire [63:0]  p_ccp      = in[319:256];
    wire [255:0] sack       = in[767:512];

    wire [`TCB_W-1:0] s_tcb;
    wire [5:0]        st;
    nk_tcp_snd snd (
        .en(en), .tcb(tcb), .now_us(now_us), .ts_now(ts_now), .ev_ack(ev_ack), .ev_new(ev_new), .ev_dup(ev_dup),
        .ev_syn(ev_syn), .ev_rto(ev_rto), .ev_reo(ev_reo), .ev_tlp(ev_tlp), .ack(ack), .ts_valid(ts_valid), .tsecr(tsecr),
        .ece(ece), .sack_n(sack_n), .sack(sack), .p_rto_min(p_rto_min), .p_rto_max(p_rto_max), .p_flags(p_flags),
        .p_cc(p_cc), .p_ccp(p_ccp), .p_initial_cwnd(p_iw), .tcb_out(s_tcb),
        .st_dupack(st[0]), .st_fast(st[1]), .st_undo(st[2]), .st_dsack(st[3]), .st_renege(st[4]), .st_ece(st[5])
    );

    wire [3:0]  kind;
    wire [31:0] seq;
    wire [15:0] len;
    wire        fin;
    wire        psh;
    wire        blocked;
    wire        more;
    nk_tcp_txsel sel (
        .tcb(s_tcb), .tx_ok(tx_ok), .kind(kind), .seq(seq), .len(len), .fin(fin), .psh(psh), .blocked(blocked), .more(more)
    );

    wire [`TCB_W-1:0] t_tcb;
    wire         send;
    wire         ask;
    wire [8:0]   flags;
    wire [15:0]  wnd;
    wire [1:0]   ecn;
    wire [15:0]  mss;
    wire         ws_valid;
    wire         sack_ok;
    wire         seg_ts;
    wire [31:0]  tsval;
    wire [31:0]  seg_tsecr;
    wire [2:0]   seg_sack_n;
    wire [255:0] seg_sack;
    wire         retx;
    wire         probe;
    wire         tlp;
    wire         keep;
    wire         is_dsack;
    nk_tcp_tx tx (
        .tcb(s_tcb), .now_us(now_us), .ts_now(ts_now), .neigh_hit(neigh_hit), .p_retries_neigh(8'd4), .mtu(16'd1500),
        .kind(kind), .seq(seq), .len(len), .fin(fin), .psh(psh), .tcb_out(t_tcb), .send(send), .ask(ask),
        .seg_flags(flags), .seg_wnd(wnd), .seg_ecn(ecn), .seg_mss(mss), .seg_ws_valid(ws_valid), .seg_sack_ok(sack_ok),
        .seg_ts_valid(seg_ts), .seg_tsval(tsval), .seg_tsecr(seg_tsecr), .seg_sack_n(seg_sack_n), .seg_sack(seg_sack),
        .is_retransmit(retx), .is_probe(probe), .is_tlp(tlp), .is_keep(keep), .is_dsack(is_dsack)
    );

    wire [3:0]  kind2;
    wire [31:0] seq2;
    wire [15:0] len2;
    wire        fin2;
    wire        psh2;
    wire        blocked2;
    wire        more2;
    nk_tcp_txsel after (
        .tcb(t_tcb), .tx_ok(1'b1), .kind(kind2), .seq(seq2), .len(len2), .fin(fin2), .psh(psh2), .blocked(blocked2),
        .more(more2)
    );

    wire [`TCB_MEM_W-1:0] mem;
    nk_tcb_pack   pack   (.tcb(t_tcb), .mem(mem));
    nk_tcb_unpack unpack (.mem(mem), .now_us(now_us), .tcb(tcb_out));

    assign out[15:0]    = {6'd0, st, kind};
    assign out[19:16]   = {fin, psh, more, send};
    assign out[23:20]   = kind2;
    assign out[31:24]   = {1'b0, t_tcb[`TCB_W_REO], t_tcb[`TCB_W_RETX], t_tcb[`TCB_W_SENT], t_tcb[`TCB_W_ACKED], retx, blocked2, blocked};
    assign out[63:32]   = seq;
    assign out[79:64]   = len;
    assign out[95:80]   = {5'd0, ecn, flags};
    assign out[127:96]  = tsval;
    assign out[159:128] = t_tcb[`TCB_W_REO_US];
    // After the ACK, before the segment.
    assign out[191:160] = s_tcb[`TCB_CWND];
    assign out[192]     = more2;
    assign out[217:193] = sel.pipe;
    assign out[511:218] = 294'd0;

    wire unused = &{1'b0, ask, wnd, mss, ws_valid, sack_ok, seg_ts, seg_tsecr, seg_sack_n, seg_sack, probe, tlp, keep,
                    is_dsack, seq2, len2, fin2, psh2, in};
endmodule

`default_nettype wire
