// SPDX-License-Identifier: Apache-2.0
// Purpose: the network edge: frames of the MAC on one side, TCP segment descriptors and payload on the other.
//
//   rx_* ─▶ nk_net_rx_mux ─▶ nk_net_rx ─▶ seg_*, pay_*, ptb_*   (and to the mux what nk_net_loop turns round)
//             │  └──────▶ nk_icmp_echo ───────┐
//             └─▶ nk_arp ─▶ nk_neigh ◀─ nq_*  │
//                   └─────────────────────────┤
//   txd_* ─▶ nk_net_tx ──────────────▶ nk_net_tx_arb ─▶ nk_net_loop ─▶ tx_*
//               ▲ rdreq_*, rdat_*

`default_nettype none

module nk_net #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs: 1 to 64.
    parameter NVF = 8,
    // Entries of the neighbour table: a power of two, 16 to 256.
    parameter NEIGH_ENTRIES = 64,
    // log2 of the bytes of the receive staging memory, 13 to 16.
    parameter STAGE_LOG2 = 13,
    // log2 of the segments under way in the transmit path, 2 to 10.
    parameter TX_SLOTS_LOG2 = 8,
    // log2 of the bytes of its payload memory, 13 to 18.
    parameter TX_BUF_LOG2 = 15,
    // log2 of the bytes of frames that wait to turn round inside the card, 12 to 17.
    parameter LOOP_LOG2 = 15,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire              clk,
    input  wire              rst,

    // Frames from and to the MAC.
    input  wire              rx_valid,
    output wire              rx_ready,
    input  wire [W-1:0]      rx_data,
    input  wire              rx_last,
    input  wire [LW:0]       rx_bytes,
    output wire              tx_valid,
    input  wire              tx_ready,
    output wire [W-1:0]      tx_data,
    output wire              tx_last,
    output wire [LW:0]       tx_bytes,

    // Addresses of the VFs.
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,
    input  wire [NVF*16-1:0] cfg_mtu,

    // Received segments.
    output wire              seg_valid,
    input  wire              seg_ready,
    output wire [7:0]        seg_vf,
    output wire [47:0]       seg_smac,
    output wire [31:0]       seg_rip,
    output wire [15:0]       seg_rport,
    output wire [15:0]       seg_lport,
    output wire [31:0]       seg_seq,
    output wire [31:0]       seg_ack,
    output wire [8:0]        seg_flags,
    output wire [15:0]       seg_wnd,
    output wire [15:0]       seg_mss,
    output wire [3:0]        seg_wscale,
    output wire              seg_wscale_valid,
    output wire [1:0]        seg_ecn,
    output wire              seg_ts_valid,
    output wire [31:0]       seg_tsval,
    output wire [31:0]       seg_tsecr,
    output wire              seg_sack_ok,
    output wire [2:0]        seg_sack_n,
    output wire [255:0]      seg_sack,
    output wire [15:0]       seg_len,
    output wire [LW-1:0]     seg_lane,

    // Their payload.
    output wire              pay_valid,
    input  wire              pay_ready,
    output wire [W-1:0]      pay_data,
    output wire              pay_last,

    // ICMP 'fragmentation needed' about a segment from this VF's address: a pulse, at most one in 16 clocks.
    output wire              ptb_valid,
    output wire [7:0]        ptb_vf,
    output wire [31:0]       ptb_rip,
    output wire [15:0]       ptb_rport,
    output wire [15:0]       ptb_lport,
    output wire [31:0]       ptb_seq,
    output wire [15:0]       ptb_mtu,

    // Segments to send.
    input  wire              txd_valid,
    output wire              txd_ready,
    input  wire [7:0]        txd_vf,
    input  wire [47:0]       txd_dmac,
    input  wire [31:0]       txd_rip,
    input  wire [15:0]       txd_rport,
    input  wire [15:0]       txd_lport,
    input  wire [31:0]       txd_seq,
    input  wire [31:0]       txd_ack,
    input  wire [8:0]        txd_flags,
    input  wire [15:0]       txd_wnd,
    input  wire [15:0]       txd_mss,
    input  wire [3:0]        txd_wscale,
    input  wire              txd_wscale_valid,
    input  wire [1:0]        txd_ecn,
    input  wire              txd_ts_valid,
    input  wire [31:0]       txd_tsval,
    input  wire [31:0]       txd_tsecr,
    input  wire              txd_sack_ok,
    input  wire [2:0]        txd_sack_n,
    input  wire [255:0]      txd_sack,
    input  wire [15:0]       txd_len,
    input  wire [63:0]       txd_addr,
    input  wire [15:0]       txd_wrap_len,
    input  wire [63:0]       txd_wrap_addr,
    output wire              txd_done,

    // DMA reads of their payload.
    output wire              rdreq_valid,
    input  wire              rdreq_ready,
    output wire [7:0]        rdreq_func,
    output wire [63:0]       rdreq_addr,
    output wire [15:0]       rdreq_len,
    output wire [LW-1:0]     rdreq_lane,
    output wire [15:0]       rdreq_wrap_len,
    output wire [63:0]       rdreq_wrap_addr,
    input  wire              rdat_valid,
    output wire              rdat_ready,
    input  wire [W-1:0]      rdat_data,
    input  wire              rdat_last,

    // Neighbour look-up (answer in the next clock); a pulse when an address has become known; ARP requests.
    input  wire [31:0]       nq_ip,
    output wire              nq_hit,
    output wire [47:0]       nq_mac,
    output wire              nb_new_valid,
    output wire [31:0]       nb_new_ip,
    input  wire              arp_req_valid,
    output wire              arp_req_ready,
    input  wire [7:0]        arp_req_vf,
    input  wire [31:0]       arp_req_ip,

    // Neighbour table for the registers (answer in the next clock).
    input  wire [7:0]        nb_index,
    output wire [31:0]       nb_ip,
    output wire [47:0]       nb_mac,
    output wire              nb_valid,

    // Counter pulses, see hw/abi/nk_abi.yaml; a byte count goes with its frame pulse.
    output wire              stat_rx_frames,
    output wire [15:0]       stat_rx_bytes_inc,
    output wire              stat_rx_drop_runt,
    output wire              stat_rx_drop_filter,
    output wire              stat_rx_drop_proto,
    output wire              stat_rx_drop_ip_header,
    output wire              stat_rx_drop_fragment,
    output wire              stat_rx_drop_tcp_header,
    output wire              stat_rx_drop_tcp_csum,
    output wire              stat_rx_drop_overflow,
    output wire              stat_rx_arp,
    output wire              stat_rx_icmp_echo,
    output wire              stat_rx_drop_icmp,
    output wire              stat_rx_segments,
    output wire              stat_tx_frames,
    output wire [15:0]       stat_tx_bytes_inc,
    output wire              stat_tx_segments,
    output wire              stat_tx_arp_requests,
    output wire              stat_tx_arp_replies,
    output wire              stat_loop_frames,
    output wire [15:0]       stat_loop_bytes_inc,
    output wire              stat_loop_drops,

    // Anything held, or work pending.
    output wire              busy
);

    // ---- receive ----
    wire         a_valid;
    wire         a_room;
    wire         a_mine;
    wire         a_request;
    wire [7:0]   a_vf;
    wire [47:0]  a_sha;
    wire [31:0]  a_spa;
    wire         a_forged;
    wire         tap_valid;
    wire         tap_first;
    wire [W-1:0] tap_data;
    wire         echo_valid;
    wire         echo_room;
    wire [303:0] echo_hdr;
    wire [10:0]  echo_len;
    wire         rx_busy;

    wire         lp_valid;
    wire         lp_ready;
    wire [W-1:0] lp_data;
    wire         lp_last;
    wire [LW:0]  lp_bytes;
    wire         in_valid;
    wire         in_ready;
    wire [W-1:0] in_data;
    wire         in_last;
    wire [LW:0]  in_bytes;
    wire         in_local;

    nk_net_rx_mux #(.W(W)) sources (
        .clk(clk), .rst(rst),
        .w_valid(rx_valid), .w_ready(rx_ready), .w_data(rx_data), .w_last(rx_last), .w_bytes(rx_bytes),
        .l_valid(lp_valid), .l_ready(lp_ready), .l_data(lp_data), .l_last(lp_last), .l_bytes(lp_bytes),
        .m_valid(in_valid), .m_ready(in_ready), .m_data(in_data), .m_last(in_last), .m_bytes(in_bytes),
        .m_local(in_local)
    );

    nk_net_rx #(.W(W), .NVF(NVF), .STAGE_LOG2(STAGE_LOG2)) receive (
        .clk(clk), .rst(rst),
        .rx_valid(in_valid), .rx_ready(in_ready), .rx_data(in_data), .rx_last(in_last), .rx_bytes(in_bytes),
        .rx_local(in_local),
        .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip), .cfg_mtu(cfg_mtu),
        .seg_valid(seg_valid), .seg_ready(seg_ready), .seg_vf(seg_vf), .seg_smac(seg_smac), .seg_rip(seg_rip),
        .seg_rport(seg_rport), .seg_lport(seg_lport), .seg_seq(seg_seq), .seg_ack(seg_ack), .seg_flags(seg_flags),
        .seg_wnd(seg_wnd), .seg_mss(seg_mss), .seg_wscale(seg_wscale), .seg_wscale_valid(seg_wscale_valid),
        .seg_ecn(seg_ecn), .seg_ts_valid(seg_ts_valid), .seg_tsval(seg_tsval), .seg_tsecr(seg_tsecr),
        .seg_sack_ok(seg_sack_ok), .seg_sack_n(seg_sack_n), .seg_sack(seg_sack),
        .seg_len(seg_len), .seg_lane(seg_lane),
        .pay_valid(pay_valid), .pay_ready(pay_ready), .pay_data(pay_data), .pay_last(pay_last),
        .arp_valid(a_valid), .arp_room(a_room), .arp_mine(a_mine), .arp_request(a_request), .arp_vf(a_vf),
        .arp_sha(a_sha), .arp_spa(a_spa), .arp_forged(a_forged),
        .tap_valid(tap_valid), .tap_first(tap_first), .tap_data(tap_data),
        .echo_valid(echo_valid), .echo_room(echo_room), .echo_hdr(echo_hdr), .echo_len(echo_len),
        .ptb_valid(ptb_valid), .ptb_vf(ptb_vf), .ptb_rip(ptb_rip), .ptb_rport(ptb_rport), .ptb_lport(ptb_lport),
        .ptb_seq(ptb_seq), .ptb_mtu(ptb_mtu),
        .stat_rx_frames(stat_rx_frames), .stat_rx_bytes_inc(stat_rx_bytes_inc),
        .stat_rx_drop_runt(stat_rx_drop_runt), .stat_rx_drop_filter(stat_rx_drop_filter),
        .stat_rx_drop_proto(stat_rx_drop_proto), .stat_rx_drop_ip_header(stat_rx_drop_ip_header),
        .stat_rx_drop_fragment(stat_rx_drop_fragment), .stat_rx_drop_tcp_header(stat_rx_drop_tcp_header),
        .stat_rx_drop_tcp_csum(stat_rx_drop_tcp_csum), .stat_rx_drop_overflow(stat_rx_drop_overflow),
        .stat_rx_arp(stat_rx_arp), .stat_rx_icmp_echo(stat_rx_icmp_echo), .stat_rx_drop_icmp(stat_rx_drop_icmp),
        .stat_rx_segments(stat_rx_segments),
        .busy(rx_busy)
    );

    // ---- ARP, neighbours ----
    wire         ln_valid;
    wire         ln_create;
    wire [31:0]  ln_ip;
    wire [47:0]  ln_mac;
    wire         arp_valid;
    wire         arp_ready;
    wire [W-1:0] arp_data;
    wire         arp_last;
    wire [LW:0]  arp_bytes;
    wire         arp_local;
    wire         arp_busy;
    wire         neigh_busy;

    nk_arp #(.W(W), .NVF(NVF)) arp (
        .clk(clk), .rst(rst), .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip),
        .arp_valid(a_valid), .arp_room(a_room), .arp_mine(a_mine), .arp_request(a_request), .arp_vf(a_vf),
        .arp_sha(a_sha), .arp_spa(a_spa), .arp_forged(a_forged),
        .ln_valid(ln_valid), .ln_create(ln_create), .ln_ip(ln_ip), .ln_mac(ln_mac),
        .arp_req_valid(arp_req_valid), .arp_req_ready(arp_req_ready), .arp_req_vf(arp_req_vf),
        .arp_req_ip(arp_req_ip),
        .m_valid(arp_valid), .m_ready(arp_ready), .m_data(arp_data), .m_last(arp_last), .m_bytes(arp_bytes),
        .m_local(arp_local),
        .stat_tx_arp_requests(stat_tx_arp_requests), .stat_tx_arp_replies(stat_tx_arp_replies),
        .busy(arp_busy)
    );

    nk_neigh #(.ENTRIES(NEIGH_ENTRIES)) neigh (
        .clk(clk), .rst(rst),
        .ln_valid(ln_valid), .ln_create(ln_create), .ln_ip(ln_ip), .ln_mac(ln_mac),
        .nb_new_valid(nb_new_valid), .nb_new_ip(nb_new_ip),
        .nq_ip(nq_ip), .nq_hit(nq_hit), .nq_mac(nq_mac),
        .nb_index(nb_index), .nb_ip(nb_ip), .nb_mac(nb_mac), .nb_valid(nb_valid),
        .busy(neigh_busy)
    );

    // ---- ICMP ----
    wire         icmp_valid;
    wire         icmp_ready;
    wire [W-1:0] icmp_data;
    wire         icmp_last;
    wire [LW:0]  icmp_bytes;
    wire         icmp_busy;

    nk_icmp_echo #(.W(W)) icmp (
        .clk(clk), .rst(rst),
        .tap_valid(tap_valid), .tap_first(tap_first), .tap_data(tap_data),
        .echo_valid(echo_valid), .echo_room(echo_room), .echo_hdr(echo_hdr), .echo_len(echo_len),
        .m_valid(icmp_valid), .m_ready(icmp_ready), .m_data(icmp_data), .m_last(icmp_last), .m_bytes(icmp_bytes),
        .busy(icmp_busy)
    );

    // ---- transmit ----
    wire         tcp_valid;
    wire         tcp_ready;
    wire [W-1:0] tcp_data;
    wire         tcp_last;
    wire [LW:0]  tcp_bytes;
    wire         tcp_busy;
    wire         arb_busy;
    wire         loop_busy;
    wire         out_valid;
    wire         out_ready;
    wire [W-1:0] out_data;
    wire         out_last;
    wire [LW:0]  out_bytes;
    wire         out_local;

    nk_net_tx #(.W(W), .NVF(NVF), .SLOTS_LOG2(TX_SLOTS_LOG2), .BUF_LOG2(TX_BUF_LOG2)) transmit (
        .clk(clk), .rst(rst), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip),
        .txd_valid(txd_valid), .txd_ready(txd_ready), .txd_vf(txd_vf), .txd_dmac(txd_dmac), .txd_rip(txd_rip),
        .txd_rport(txd_rport), .txd_lport(txd_lport), .txd_seq(txd_seq), .txd_ack(txd_ack), .txd_flags(txd_flags),
        .txd_wnd(txd_wnd), .txd_mss(txd_mss), .txd_wscale(txd_wscale), .txd_wscale_valid(txd_wscale_valid),
        .txd_ecn(txd_ecn), .txd_ts_valid(txd_ts_valid), .txd_tsval(txd_tsval), .txd_tsecr(txd_tsecr),
        .txd_sack_ok(txd_sack_ok), .txd_sack_n(txd_sack_n), .txd_sack(txd_sack),
        .txd_len(txd_len), .txd_addr(txd_addr), .txd_wrap_len(txd_wrap_len), .txd_wrap_addr(txd_wrap_addr),
        .txd_done(txd_done),
        .rdreq_valid(rdreq_valid), .rdreq_ready(rdreq_ready), .rdreq_func(rdreq_func), .rdreq_addr(rdreq_addr),
        .rdreq_len(rdreq_len), .rdreq_lane(rdreq_lane), .rdreq_wrap_len(rdreq_wrap_len),
        .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last),
        .m_valid(tcp_valid), .m_ready(tcp_ready), .m_data(tcp_data), .m_last(tcp_last), .m_bytes(tcp_bytes),
        .stat_tx_segments(stat_tx_segments), .busy(tcp_busy)
    );

    nk_net_tx_arb #(.W(W)) merge (
        .clk(clk), .rst(rst),
        .tcp_valid(tcp_valid), .tcp_ready(tcp_ready), .tcp_data(tcp_data), .tcp_last(tcp_last),
        .tcp_bytes(tcp_bytes),
        .arp_valid(arp_valid), .arp_ready(arp_ready), .arp_data(arp_data), .arp_last(arp_last),
        .arp_bytes(arp_bytes), .arp_local(arp_local),
        .icmp_valid(icmp_valid), .icmp_ready(icmp_ready), .icmp_data(icmp_data), .icmp_last(icmp_last),
        .icmp_bytes(icmp_bytes),
        .tx_valid(out_valid), .tx_ready(out_ready), .tx_data(out_data), .tx_last(out_last), .tx_bytes(out_bytes),
        .tx_local(out_local), .busy(arb_busy)
    );

    nk_net_loop #(.W(W), .NVF(NVF), .LOOP_LOG2(LOOP_LOG2)) loop (
        .clk(clk), .rst(rst), .cfg_en(cfg_en), .cfg_mac(cfg_mac),
        .s_valid(out_valid), .s_ready(out_ready), .s_data(out_data), .s_last(out_last), .s_bytes(out_bytes),
        .s_local(out_local),
        .tx_valid(tx_valid), .tx_ready(tx_ready), .tx_data(tx_data), .tx_last(tx_last), .tx_bytes(tx_bytes),
        .l_valid(lp_valid), .l_ready(lp_ready), .l_data(lp_data), .l_last(lp_last), .l_bytes(lp_bytes),
        .stat_tx_frames(stat_tx_frames), .stat_tx_bytes_inc(stat_tx_bytes_inc), .stat_loop(stat_loop_frames),
        .stat_loop_bytes(stat_loop_bytes_inc), .stat_loop_drop(stat_loop_drops), .busy(loop_busy)
    );

    // A request that arp cannot take yet is work pending; whoever offers it may have nothing else to do.
    assign busy = rx_busy || arp_busy || neigh_busy || icmp_busy || tcp_busy || arb_busy || loop_busy || arp_req_valid;

endmodule

`default_nettype wire
