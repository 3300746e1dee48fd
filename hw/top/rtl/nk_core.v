// SPDX-License-Identifier: Apache-2.0
// The device-independent card: registers, queue manager, TCP engine and network edges, wired together.
//
// Ports by docs/interfaces.md. A board adds a shim for its host bus and one for its MAC.

`default_nettype none
`include "nk_abi.vh"

module nk_core #(
    parameter W        = 512,          // bus bits: 64, 128, 256 or 512
    parameter NVF      = 8,            // VFs, 1 to 64
    parameter NQS      = 1,            // queue sets a VF, 1 to 8
    parameter FLOWS    = 1024,         // flows, power of two, 16 to 65536
    parameter BUILD_ID = 0,            // CRC-32 over the sources
    parameter MSS_MIN  = 64,           // smallest MSS that a peer may ask for
    parameter LW       = $clog2(W / 8) // derived
) (
    input  wire          clk,
    input  wire          rst,
    input  wire [31:0]   now_us,           // free-running microseconds

    // MMIO
    input  wire          mmio_valid,
    output wire          mmio_ready,
    input  wire [7:0]    mmio_func,        // 0: PF, n+1: VF n
    input  wire          mmio_write,
    input  wire [16:0]   mmio_addr,
    input  wire [31:0]   mmio_wdata,
    output wire          mmio_rvalid,
    output wire [31:0]   mmio_rdata,

    // DMA read
    output wire          rdreq_valid,
    input  wire          rdreq_ready,
    output wire [7:0]    rdreq_func,
    output wire [63:0]   rdreq_addr,
    output wire [15:0]   rdreq_len,
    output wire [LW-1:0] rdreq_lane,
    output wire [15:0]   rdreq_wrap_len,
    output wire [63:0]   rdreq_wrap_addr,
    input  wire          rdat_valid,
    output wire          rdat_ready,
    input  wire [W-1:0]  rdat_data,
    input  wire          rdat_last,

    // DMA write
    output wire          wrreq_valid,
    input  wire          wrreq_ready,
    output wire [7:0]    wrreq_func,
    output wire [63:0]   wrreq_addr,
    output wire [15:0]   wrreq_len,
    output wire [LW-1:0] wrreq_lane,
    output wire [15:0]   wrreq_wrap_len,
    output wire [63:0]   wrreq_wrap_addr,
    output wire          wdat_valid,
    input  wire          wdat_ready,
    output wire [W-1:0]  wdat_data,
    output wire          wdat_last,

    // interrupts
    output wire          irq_valid,
    input  wire          irq_ready,
    output wire [7:0]    irq_func,
    output wire [7:0]    irq_vector,

    // activity, for shims that stop the clock
    output wire          busy,
    output wire          next_us_valid,
    output wire [31:0]   next_us,

    // MAC
    input  wire          rx_valid,
    output wire          rx_ready,
    input  wire [W-1:0]  rx_data,
    input  wire          rx_last,
    input  wire [LW:0]   rx_bytes,
    output wire          tx_valid,
    input  wire          tx_ready,
    output wire [W-1:0]  tx_data,
    output wire          tx_last,
    output wire [LW:0]   tx_bytes,

    // every NQE fetched or written, for traces
    output wire          tr_valid,
    output wire [7:0]    tr_vf,
    output wire [7:0]    tr_qs,
    output wire [1:0]    tr_queue,
    output wire [255:0]  tr_nqe
);
    localparam FW  = $clog2(FLOWS);
    localparam AW   = 324 + LW;            // action word, see nk_place
    localparam TXDW = 717;                 // descriptor word, see nk_tcp_words
    localparam PDL  = 5;                   // log2 of the action words that wait
    localparam NST = `NK_CNT_COUNT;        // global counters
    localparam VW  = (NVF > 1) ? $clog2(NVF) : 1;
    localparam VSN = 5;                    // sources of VF counters in the queue manager

    // ---- configuration --------------------------------------------------------------------------
    wire [NVF-1:0]    cfg_en;
    wire [NVF*48-1:0] cfg_mac;
    wire [NVF*32-1:0] cfg_ip;
    wire [NVF*32-1:0] cfg_mask;
    wire [NVF*32-1:0] cfg_gw;
    wire [NVF*16-1:0] cfg_mtu;
    wire [NVF*3-1:0]  cfg_nsm;
    wire [8*32-1:0]   nsm_ctrl;
    wire [8*64-1:0]   nsm_prm;
    wire [NVF*32-1:0] cfg_sock_base;
    wire [NVF*32-1:0] cfg_sock_count;
    wire [NVF*8-1:0]  cfg_weight;
    wire [NVF-1:0]    cfg_vm_share;
    wire [NVF*20-1:0] cfg_tx_max;
    wire [NVF*20-1:0] cfg_tx_min;
    wire [NVF*20-1:0] cfg_rx_max;
    wire [NVF*32-1:0] cfg_nqe_rate;
    wire [NVF*32-1:0] cfg_burst;
    wire [NVF*32-1:0] cfg_limits;
    wire [NVF*17-1:0] cfg_vlan;
    wire [NVF*25-1:0] cfg_vni;
    wire [NVF*32-1:0] cfg_remote;
    wire [31:0]       p_vtep_ip;
    wire [31:0]       p_vtep_mask;
    wire [31:0]       p_vtep_gw;
    wire [47:0]       p_vtep_mac;
    wire [15:0]       p_vxlan_port;
    wire [NVF*64-1:0] region_base;
    wire [NVF*32-1:0] region_pages;
    wire [NVF-1:0]    vf_enabled;
    wire [NVF-1:0]    vf_resetting;
    wire [127:0]      hash_key;
    wire [31:0]      p_rto_min;
    wire [31:0]      p_rto_init;
    wire [31:0]      p_rto_max;
    wire [31:0]      p_time_wait;
    wire [31:0]      p_delayed_ack;
    wire [31:0]      p_neigh_retry;
    wire [31:0]      p_fin_wait2;
    wire [7:0]       p_retries_data;
    wire [7:0]       p_retries_syn;
    wire [7:0]       p_retries_neigh;
    wire [7:0]       p_initial_cwnd;

    // ---- segments in and out ----------------------------------------------------------------------
    wire            seg_valid;
    wire            seg_ready;
    wire [7:0]      seg_vf;
    wire [47:0]     seg_smac;
    wire [31:0]     seg_rip;
    wire [15:0]     seg_rport;
    wire [15:0]     seg_lport;
    wire [31:0]     seg_seq;
    wire [31:0]     seg_ack;
    wire [8:0]      seg_flags;
    wire [15:0]     seg_wnd;
    wire [15:0]     seg_mss;
    wire [3:0]      seg_wscale;
    wire            seg_wscale_valid;
    wire [15:0]     seg_len;
    wire [LW-1:0]   seg_lane;
    wire [1:0]      seg_ecn;
    wire            seg_ts_valid;
    wire [31:0]     seg_tsval;
    wire [31:0]     seg_tsecr;
    wire            seg_sack_ok;
    wire [2:0]      seg_sack_n;
    wire [255:0]    seg_sack;
    wire            ptb_valid;
    wire [7:0]      ptb_vf;
    wire [31:0]     ptb_rip;
    wire [15:0]     ptb_rport;
    wire [15:0]     ptb_lport;
    wire [31:0]     ptb_seq;
    wire [15:0]     ptb_mtu;
    wire            pay_valid;
    wire            pay_ready;
    wire [W-1:0]    pay_data;
    wire            pay_last;
    wire            txd_valid;
    wire            txd_ready;
    wire            txd_done;
    wire [TXDW-1:0] txd;
    wire [7:0]      txd_vf;
    wire [47:0]     txd_dmac;
    wire [31:0]     txd_rip;
    wire [15:0]     txd_rport;
    wire [15:0]     txd_lport;
    wire [31:0]     txd_seq;
    wire [31:0]     txd_ack;
    wire [8:0]      txd_flags;
    wire [15:0]     txd_wnd;
    wire [15:0]     txd_mss;
    wire [3:0]      txd_wscale;
    wire            txd_wscale_valid;
    wire [15:0]     txd_len;
    wire [63:0]     txd_addr;
    wire [15:0]     txd_wrap_len;
    wire [63:0]     txd_wrap_addr;
    wire [1:0]      txd_ecn;
    wire            txd_ts_valid;
    wire [31:0]     txd_tsval;
    wire [31:0]     txd_tsecr;
    wire            txd_sack_ok;
    wire [2:0]      txd_sack_n;
    wire [255:0]    txd_sack;
    wire            nb_new_valid;
    wire [31:0]     nb_new_ip;
    wire [31:0]     nq_ip;
    wire            nq_hit;
    wire [47:0]     nq_mac;
    wire            arp_req_valid;
    wire            arp_req_ready;
    wire [7:0]      arp_req_vf;
    wire [31:0]     arp_req_ip;
    wire [7:0]      nb_index;
    wire [31:0]     nb_ip;
    wire [47:0]     nb_mac;
    wire            nb_valid;

    // ---- operations, events, flush ------------------------------------------------------------------
    wire            op_valid;
    wire            op_ready;
    wire [7:0]      op_vf;
    wire [7:0]      op_qs;
    wire [7:0]      op_code;
    wire [FW-1:0]   op_flow;
    wire [15:0]     op_socket;
    wire [FW-1:0]   op_child;
    wire            op_child_ok;
    wire [63:0]     op_data;
    wire [63:0]     op_ptr;
    wire [31:0]     op_size;
    wire            opr_valid;
    wire [7:0]      opr_status;
    wire [63:0]     opr_data;
    wire [63:0]     opr_ptr;
    wire [31:0]     opr_size;
    wire            tx_late_valid;
    wire [VW-1:0]   tx_late_vf;
    wire [15:0]     tx_late_us;
    wire            sop_valid = 1'b0;
    wire            sop_ready;
    wire [7:0]      sop_vf = 8'd0;
    wire [7:0]      sop_qs = 8'd0;
    wire [7:0]      sop_code = 8'd0;
    wire [FW-1:0]   sop_flow = {FW{1'b0}};
    wire [15:0]     sop_socket = 16'd0;
    wire [31:0]     sop_size = 32'd0;
    wire            sopr_valid;
    wire [7:0]      sopr_status;
    wire            act_valid;
    wire            act_ready;
    wire [PDL:0]    act_level;
    wire [AW-1:0]   act;
    wire            ev_valid;
    wire            ev_ready;
    wire [7:0]      ev_vf;
    wire [7:0]      ev_qs;
    wire [7:0]      ev_op;
    wire [15:0]     ev_socket;
    wire [63:0]     ev_data;
    wire [31:0]     ev_size;
    wire [7:0]      ev_status;
    wire [NVF*NQS-1:0] recv_room;
    wire            flush_valid;
    wire            flush_ready;
    wire [7:0]      flush_vf;
    wire            flush_done;
    wire            stop_vf_valid;
    wire [7:0]      stop_vf;
    wire            stop_vf_done;

    // ---- doorbells and queue-set registers --------------------------------------------------------------
    wire            db_valid;
    wire            db_ready;
    wire [7:0]      db_vf;
    wire [7:0]      db_qs;
    wire [5:0]      db_ofs;
    wire [31:0]     db_wdata;
    wire            rreg_valid;            // of nk_regs, before the doorbells join
    wire            rreg_ready;
    wire [7:0]      rreg_vf;
    wire [7:0]      rreg_qs;
    wire            rreg_db;
    wire [5:0]      rreg_ofs;
    wire            rreg_write;
    wire [31:0]     rreg_wdata;
    wire            rreg_rvalid;
    wire            qreg_valid;
    wire            qreg_ready;
    wire [7:0]      qreg_vf;
    wire [7:0]      qreg_qs;
    wire            qreg_db;
    wire [5:0]      qreg_ofs;
    wire            qreg_write;
    wire [31:0]     qreg_wdata;
    wire            qreg_rvalid;
    wire [31:0]     qreg_rdata;
    wire            qreg_err;

    // ---- counters -------------------------------------------------------------------------------------
    wire        stat_rx_frames;
    wire [15:0] stat_rx_bytes_inc;
    wire        stat_rx_drop_runt;
    wire        stat_rx_drop_filter;
    wire        stat_rx_drop_proto;
    wire        stat_rx_drop_ip_header;
    wire        stat_rx_drop_fragment;
    wire        stat_rx_drop_tcp_header;
    wire        stat_rx_drop_tcp_csum;
    wire        stat_rx_drop_overflow;
    wire        stat_rx_arp;
    wire        stat_rx_icmp_echo;
    wire        stat_rx_drop_icmp;
    wire        stat_rx_segments;
    wire        stat_tx_frames;
    wire [15:0] stat_tx_bytes_inc;
    wire        stat_tx_segments;
    wire        stat_tx_arp_requests;
    wire        stat_tx_arp_replies;
    wire        stat_loop_frames;
    wire [15:0] stat_loop_bytes_inc;
    wire        stat_loop_drops;
    wire [63:0] stat_tcp;                  // pulses, by index
    wire        stat_nqe_fetched;
    wire        stat_nqe_errors;
    wire        stat_doorbell_errors;
    wire        stat_irq_sent;
    wire        stat_ev_lost;
    wire        stat_mmio_errors;
    wire [NST*16-1:0] stat_inc;
    wire            vst_valid;
    wire [7:0]      vst_vf;
    wire            vst_rx;
    wire [15:0]     vst_rx_bytes;
    wire            vst_tx;
    wire [15:0]     vst_tx_bytes;
    wire            vst_retx;
    wire            vst_opened;
    wire            vst_closed;
    wire            vst_drop;
    wire [7:0]      vst_drop_vf;
    wire [4:0]      vfc_valid;
    wire [4:0]      vfc_ready;
    wire [5*(VW+4)-1:0] vfc_addr;
    wire [79:0]     vfc_inc;
    wire            opc_valid;
    wire [5:0]      opc;
    wire [NVF*16-1:0] vf_sockets;
    wire [31:0]     flows_in_use;
    wire [31:0]     hash_in_use;

    assign stat_inc[`NK_CNT_RX_FRAMES*16 +: 16] = {15'd0, stat_rx_frames};
    assign stat_inc[`NK_CNT_RX_BYTES*16 +: 16] = stat_rx_frames ? stat_rx_bytes_inc : 16'd0;
    assign stat_inc[`NK_CNT_RX_DROP_RUNT*16 +: 16] = {15'd0, stat_rx_drop_runt};
    assign stat_inc[`NK_CNT_RX_DROP_FILTER*16 +: 16] = {15'd0, stat_rx_drop_filter};
    assign stat_inc[`NK_CNT_RX_DROP_PROTO*16 +: 16] = {15'd0, stat_rx_drop_proto};
    assign stat_inc[`NK_CNT_RX_DROP_IP_HEADER*16 +: 16] = {15'd0, stat_rx_drop_ip_header};
    assign stat_inc[`NK_CNT_RX_DROP_FRAGMENT*16 +: 16] = {15'd0, stat_rx_drop_fragment};
    assign stat_inc[`NK_CNT_RX_DROP_TCP_HEADER*16 +: 16] = {15'd0, stat_rx_drop_tcp_header};
    assign stat_inc[`NK_CNT_RX_DROP_TCP_CSUM*16 +: 16] = {15'd0, stat_rx_drop_tcp_csum};
    assign stat_inc[`NK_CNT_RX_DROP_OVERFLOW*16 +: 16] = {14'd0, stat_rx_drop_overflow && stat_loop_drops, stat_rx_drop_overflow != stat_loop_drops};
    assign stat_inc[`NK_CNT_RX_ARP*16 +: 16] = {15'd0, stat_rx_arp};
    assign stat_inc[`NK_CNT_RX_ICMP_ECHO*16 +: 16] = {15'd0, stat_rx_icmp_echo};
    assign stat_inc[`NK_CNT_RX_DROP_ICMP*16 +: 16] = {15'd0, stat_rx_drop_icmp};
    assign stat_inc[`NK_CNT_RX_SEGMENTS*16 +: 16] = {15'd0, stat_rx_segments};
    assign stat_inc[`NK_CNT_TX_FRAMES*16 +: 16] = {15'd0, stat_tx_frames};
    assign stat_inc[`NK_CNT_TX_BYTES*16 +: 16] = stat_tx_frames ? stat_tx_bytes_inc : 16'd0;
    assign stat_inc[`NK_CNT_TX_SEGMENTS*16 +: 16] = {15'd0, stat_tx_segments};
    assign stat_inc[`NK_CNT_TX_ARP_REQUESTS*16 +: 16] = {15'd0, stat_tx_arp_requests};
    assign stat_inc[`NK_CNT_TX_ARP_REPLIES*16 +: 16] = {15'd0, stat_tx_arp_replies};
    assign stat_inc[`NK_CNT_NQE_FETCHED*16 +: 16] = {15'd0, stat_nqe_fetched};
    assign stat_inc[`NK_CNT_NQE_ERRORS*16 +: 16] = {15'd0, stat_nqe_errors};
    assign stat_inc[`NK_CNT_DOORBELL_ERRORS*16 +: 16] = {15'd0, stat_doorbell_errors};
    assign stat_inc[`NK_CNT_IRQ_SENT*16 +: 16] = {15'd0, stat_irq_sent};
    assign stat_inc[`NK_CNT_MMIO_ERRORS*16 +: 16] = {15'd0, stat_mmio_errors};
    assign stat_inc[`NK_CNT_CLOCKS*16 +: 16] = 16'd1;
    assign stat_inc[`NK_CNT_EVENTS_LOST*16 +: 16] = {15'd0, stat_ev_lost};
    // What the TCP block counts: two ranges of indices.
    genvar g;
    generate
        for (g = `NK_CNT_RX_NO_FLOW; g <= `NK_CNT_FLOW_TIMEOUTS; g = g + 1) begin : g_tcp_low
            assign stat_inc[g*16 +: 16] = {15'd0, stat_tcp[g]};
        end
        for (g = `NK_CNT_RX_PAWS; g < NST; g = g + 1) begin : g_tcp_high
            assign stat_inc[g*16 +: 16] = {15'd0, stat_tcp[g]};
        end
    endgenerate
    assign stat_inc[`NK_CNT_NEIGH_MISSES*16 +: 16] = {15'd0, stat_tcp[`NK_CNT_NEIGH_MISSES]};

    // ---- network edges ----------------------------------------------------------------------------------
    wire            net_rd_valid;
    wire            net_rd_ready;
    wire [7:0]      net_rd_func;
    wire [63:0]     net_rd_addr;
    wire [15:0]     net_rd_len;
    wire [LW-1:0]   net_rd_lane;
    wire [15:0]     net_rd_wrap_len;
    wire [63:0]     net_rd_wrap_addr;
    wire            net_rdat_ready;
    wire            nqe_rd_valid;
    wire            nqe_rd_ready;
    wire [7:0]      nqe_rd_func;
    wire [63:0]     nqe_rd_addr;
    wire [15:0]     nqe_rd_len;
    wire [LW-1:0]   nqe_rd_lane;
    wire [15:0]     nqe_rd_wrap_len;
    wire [63:0]     nqe_rd_wrap_addr;
    wire            nqe_rdat_ready;
    wire [1:0]      rd_d_valid;
    wire [W-1:0]    rd_d_data;
    wire            rd_d_last;
    wire            net_busy;

    nk_net #(.W(W), .NVF(NVF)) net (
        .clk(clk), .rst(rst),
        .rx_valid(rx_valid), .rx_ready(rx_ready), .rx_data(rx_data), .rx_last(rx_last), .rx_bytes(rx_bytes),
        .tx_valid(tx_valid), .tx_ready(tx_ready), .tx_data(tx_data), .tx_last(tx_last), .tx_bytes(tx_bytes),
        .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip), .cfg_mtu(cfg_mtu),
        .seg_valid(seg_valid), .seg_ready(seg_ready), .seg_vf(seg_vf), .seg_smac(seg_smac),
        .seg_rip(seg_rip), .seg_rport(seg_rport), .seg_lport(seg_lport), .seg_seq(seg_seq),
        .seg_ack(seg_ack), .seg_flags(seg_flags), .seg_wnd(seg_wnd), .seg_mss(seg_mss),
        .seg_wscale(seg_wscale), .seg_wscale_valid(seg_wscale_valid), .seg_len(seg_len), .seg_lane(seg_lane),
        .seg_ecn(seg_ecn), .seg_ts_valid(seg_ts_valid), .seg_tsval(seg_tsval), .seg_tsecr(seg_tsecr),
        .seg_sack_ok(seg_sack_ok), .seg_sack_n(seg_sack_n), .seg_sack(seg_sack),
        .ptb_valid(ptb_valid), .ptb_vf(ptb_vf), .ptb_rip(ptb_rip), .ptb_rport(ptb_rport), .ptb_lport(ptb_lport),
        .ptb_seq(ptb_seq), .ptb_mtu(ptb_mtu),
        .pay_valid(pay_valid), .pay_ready(pay_ready), .pay_data(pay_data), .pay_last(pay_last),
        .txd_valid(txd_valid), .txd_ready(txd_ready), .txd_vf(txd_vf), .txd_dmac(txd_dmac),
        .txd_rip(txd_rip), .txd_rport(txd_rport), .txd_lport(txd_lport), .txd_seq(txd_seq),
        .txd_ack(txd_ack), .txd_flags(txd_flags), .txd_wnd(txd_wnd), .txd_mss(txd_mss),
        .txd_wscale(txd_wscale), .txd_wscale_valid(txd_wscale_valid), .txd_len(txd_len), .txd_addr(txd_addr),
        .txd_wrap_len(txd_wrap_len), .txd_wrap_addr(txd_wrap_addr), .txd_done(txd_done),
        .txd_ecn(txd_ecn), .txd_ts_valid(txd_ts_valid), .txd_tsval(txd_tsval), .txd_tsecr(txd_tsecr),
        .txd_sack_ok(txd_sack_ok), .txd_sack_n(txd_sack_n), .txd_sack(txd_sack),
        .rdreq_valid(net_rd_valid), .rdreq_ready(net_rd_ready), .rdreq_func(net_rd_func), .rdreq_addr(net_rd_addr),
        .rdreq_len(net_rd_len), .rdreq_lane(net_rd_lane), .rdreq_wrap_len(net_rd_wrap_len), .rdreq_wrap_addr(net_rd_wrap_addr),
        .rdat_valid(rd_d_valid[0]), .rdat_ready(net_rdat_ready), .rdat_data(rd_d_data), .rdat_last(rd_d_last),
        .nq_ip(nq_ip), .nq_hit(nq_hit), .nq_mac(nq_mac), .arp_req_valid(arp_req_valid),
        .arp_req_ready(arp_req_ready), .arp_req_vf(arp_req_vf), .arp_req_ip(arp_req_ip),
        .nb_index(nb_index), .nb_ip(nb_ip), .nb_mac(nb_mac), .nb_valid(nb_valid), .nb_new_valid(nb_new_valid), .nb_new_ip(nb_new_ip),
        .stat_rx_frames(stat_rx_frames), .stat_rx_bytes_inc(stat_rx_bytes_inc), .stat_rx_drop_runt(stat_rx_drop_runt),
        .stat_rx_drop_filter(stat_rx_drop_filter), .stat_rx_drop_proto(stat_rx_drop_proto), .stat_rx_drop_ip_header(stat_rx_drop_ip_header),
        .stat_rx_drop_fragment(stat_rx_drop_fragment), .stat_rx_drop_tcp_header(stat_rx_drop_tcp_header), .stat_rx_drop_tcp_csum(stat_rx_drop_tcp_csum),
        .stat_rx_drop_overflow(stat_rx_drop_overflow), .stat_rx_arp(stat_rx_arp), .stat_rx_icmp_echo(stat_rx_icmp_echo),
        .stat_rx_drop_icmp(stat_rx_drop_icmp), .stat_rx_segments(stat_rx_segments), .stat_tx_frames(stat_tx_frames),
        .stat_tx_bytes_inc(stat_tx_bytes_inc), .stat_tx_segments(stat_tx_segments), .stat_tx_arp_requests(stat_tx_arp_requests),
        .stat_tx_arp_replies(stat_tx_arp_replies), .stat_loop_frames(stat_loop_frames),
        .stat_loop_bytes_inc(stat_loop_bytes_inc), .stat_loop_drops(stat_loop_drops),
        .busy(net_busy)
    );

    // ---- protocol ---------------------------------------------------------------------------------------
    wire        tcp_busy;
    wire        tcp_next_valid;
    wire [31:0] tcp_next_us;

    assign {txd_sack, txd_sack_n, txd_sack_ok, txd_tsecr, txd_tsval, txd_ts_valid, txd_ecn, txd_wrap_addr, txd_wrap_len, txd_addr, txd_len,
            txd_wscale_valid, txd_wscale, txd_mss, txd_wnd, txd_flags, txd_ack, txd_seq, txd_lport, txd_rport, txd_rip, txd_dmac,
            txd_vf} = txd;

    nk_tcp #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .MSS_MIN(MSS_MIN), .PDL(PDL)) tcp (
        .clk(clk), .rst(rst), .now_us(now_us),
        .cfg_ip(cfg_ip), .cfg_mask(cfg_mask), .cfg_gw(cfg_gw), .cfg_mtu(cfg_mtu), .cfg_nsm(cfg_nsm),
        .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count), .region_base(region_base), .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm),
        .hash_key(hash_key),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait),
        .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry), .p_fin_wait2(p_fin_wait2), .p_retries_data(p_retries_data),
        .p_retries_syn(p_retries_syn), .p_retries_neigh(p_retries_neigh), .p_initial_cwnd(p_initial_cwnd),
        .seg_valid(seg_valid), .seg_ready(seg_ready), .seg_vf(seg_vf), .seg_smac(seg_smac),
        .seg_rip(seg_rip), .seg_rport(seg_rport), .seg_lport(seg_lport), .seg_seq(seg_seq),
        .seg_ack(seg_ack), .seg_flags(seg_flags), .seg_wnd(seg_wnd), .seg_mss(seg_mss),
        .seg_wscale(seg_wscale), .seg_wscale_valid(seg_wscale_valid), .seg_len(seg_len), .seg_lane(seg_lane),
        .seg_ecn(seg_ecn), .seg_ts_valid(seg_ts_valid), .seg_tsval(seg_tsval), .seg_tsecr(seg_tsecr),
        .seg_sack_ok(seg_sack_ok), .seg_sack_n(seg_sack_n), .seg_sack(seg_sack),
        .ptb_valid(ptb_valid), .ptb_vf(ptb_vf), .ptb_rip(ptb_rip), .ptb_rport(ptb_rport), .ptb_lport(ptb_lport),
        .ptb_seq(ptb_seq), .ptb_mtu(ptb_mtu),
        .txd_valid(txd_valid), .txd_ready(txd_ready), .txd(txd), .txd_done(txd_done),
        .nq_ip(nq_ip), .nq_hit(nq_hit), .nq_mac(nq_mac), .nb_new_valid(nb_new_valid), .nb_new_ip(nb_new_ip),
        .arp_req_valid(arp_req_valid), .arp_req_ready(arp_req_ready), .arp_req_vf(arp_req_vf), .arp_req_ip(arp_req_ip),
        .op_valid(op_valid), .op_ready(op_ready), .op_vf(op_vf), .op_qs(op_qs),
        .op_code(op_code), .op_flow(op_flow), .op_socket(op_socket), .op_child(op_child),
        .op_child_ok(op_child_ok), .op_data(op_data), .op_ptr(op_ptr), .op_size(op_size),
        .opr_valid(opr_valid), .opr_status(opr_status), .opr_data(opr_data), .opr_ptr(opr_ptr),
        .opr_size(opr_size),
        .sop_valid(sop_valid), .sop_ready(sop_ready), .sop_vf(sop_vf), .sop_qs(sop_qs), .sop_code(sop_code), .sop_flow(sop_flow),
        .sop_socket(sop_socket), .sop_size(sop_size), .sopr_valid(sopr_valid), .sopr_status(sopr_status),
        .cfg_weight(cfg_weight), .cfg_tx_max(cfg_tx_max), .cfg_tx_min(cfg_tx_min), .cfg_burst(cfg_burst),
        .tx_late_valid(tx_late_valid), .tx_late_vf(tx_late_vf), .tx_late_us(tx_late_us),
        .act_valid(act_valid), .act(act), .act_level(act_level), .ev_out(ev_valid && ev_ready), .wr_busy(wdat_valid), .recv_room(recv_room),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf),
        .vf_sockets(vf_sockets), .flows_in_use(flows_in_use), .hash_in_use(hash_in_use), .stat(stat_tcp),
        .vst_valid(vst_valid), .vst_vf(vst_vf), .vst_rx(vst_rx), .vst_rx_bytes(vst_rx_bytes), .vst_tx(vst_tx), .vst_tx_bytes(vst_tx_bytes),
        .vst_retx(vst_retx), .vst_opened(vst_opened), .vst_closed(vst_closed), .vst_drop(vst_drop), .vst_drop_vf(vst_drop_vf),
        .busy(tcp_busy), .next_us_valid(tcp_next_valid), .next_us(tcp_next_us)
    );

    // ---- placement ----------------------------------------------------------------------------------------
    wire            pl_wr_valid;
    wire            pl_wr_ready;
    wire [7:0]      pl_wr_func;
    wire [63:0]     pl_wr_addr;
    wire [15:0]     pl_wr_len;
    wire [LW-1:0]   pl_wr_lane;
    wire [15:0]     pl_wr_wrap_len;
    wire [63:0]     pl_wr_wrap_addr;
    wire            pl_wd_valid;
    wire            pl_wd_ready;
    wire [W-1:0]    pl_wd_data;
    wire            pl_wd_last;
    wire            place_busy;

    nk_place #(.W(W), .DEPTH_LOG2(PDL)) place (
        .clk(clk), .rst(rst), .act_valid(act_valid), .act_ready(act_ready), .act(act), .act_level(act_level),
        .pay_valid(pay_valid), .pay_ready(pay_ready), .pay_data(pay_data), .pay_last(pay_last),
        .wr_valid(pl_wr_valid), .wr_ready(pl_wr_ready), .wr_func(pl_wr_func), .wr_addr(pl_wr_addr), .wr_len(pl_wr_len),
        .wr_lane(pl_wr_lane), .wr_wrap_len(pl_wr_wrap_len), .wr_wrap_addr(pl_wr_wrap_addr),
        .wd_valid(pl_wd_valid), .wd_ready(pl_wd_ready), .wd_data(pl_wd_data), .wd_last(pl_wd_last),
        .ev_valid(ev_valid), .ev_ready(ev_ready), .ev_vf(ev_vf), .ev_qs(ev_qs), .ev_op(ev_op),
        .ev_socket(ev_socket), .ev_data(ev_data), .ev_size(ev_size), .ev_status(ev_status),
        .flushed(flush_done), .busy(place_busy)
    );

    // ---- queues -------------------------------------------------------------------------------------------
    wire            nq_wr_valid;
    wire            nq_wr_ready;
    wire [7:0]      nq_wr_func;
    wire [63:0]     nq_wr_addr;
    wire [15:0]     nq_wr_len;
    wire [LW-1:0]   nq_wr_lane;
    wire [15:0]     nq_wr_wrap_len;
    wire [63:0]     nq_wr_wrap_addr;
    wire            nq_wd_valid;
    wire            nq_wd_ready;
    wire [W-1:0]    nq_wd_data;
    wire            nq_wd_last;
    wire            nqe_busy;
    wire            nqe_next_valid;
    wire [31:0]     nqe_next_us;

    nk_nqe #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS)) nqe (
        .clk(clk), .rst(rst), .now_us(now_us),
        .vf_enabled(vf_enabled), .vf_resetting(vf_resetting), .region_base(region_base), .region_pages(region_pages),
        .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .qreg_valid(qreg_valid), .qreg_ready(qreg_ready), .qreg_vf(qreg_vf), .qreg_qs(qreg_qs), .qreg_db(qreg_db),
        .qreg_ofs(qreg_ofs), .qreg_write(qreg_write), .qreg_wdata(qreg_wdata), .qreg_rvalid(qreg_rvalid),
        .qreg_rdata(qreg_rdata), .qreg_err(qreg_err),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .op_valid(op_valid), .op_ready(op_ready), .op_vf(op_vf), .op_qs(op_qs), .op_code(op_code), .op_flow(op_flow),
        .op_socket(op_socket), .op_child(op_child), .op_child_ok(op_child_ok), .op_data(op_data), .op_ptr(op_ptr),
        .op_size(op_size), .opr_valid(opr_valid), .opr_status(opr_status), .opr_data(opr_data), .opr_ptr(opr_ptr),
        .opr_size(opr_size),
        .ev_valid(ev_valid), .ev_ready(ev_ready), .ev_vf(ev_vf), .ev_qs(ev_qs), .ev_op(ev_op), .ev_socket(ev_socket),
        .ev_data(ev_data), .ev_size(ev_size), .ev_status(ev_status), .recv_room(recv_room),
        .rd_valid(nqe_rd_valid), .rd_ready(nqe_rd_ready), .rd_func(nqe_rd_func), .rd_addr(nqe_rd_addr),
        .rd_len(nqe_rd_len), .rd_lane(nqe_rd_lane), .rd_wrap_len(nqe_rd_wrap_len), .rd_wrap_addr(nqe_rd_wrap_addr),
        .rdat_valid(rd_d_valid[1]), .rdat_ready(nqe_rdat_ready), .rdat_data(rd_d_data),
        .wr_valid(nq_wr_valid), .wr_ready(nq_wr_ready), .wr_func(nq_wr_func), .wr_addr(nq_wr_addr), .wr_len(nq_wr_len),
        .wr_lane(nq_wr_lane), .wr_wrap_len(nq_wr_wrap_len), .wr_wrap_addr(nq_wr_wrap_addr),
        .wd_valid(nq_wd_valid), .wd_ready(nq_wd_ready), .wd_data(nq_wd_data), .wd_last(nq_wd_last),
        .mon_wdat_valid(wdat_valid), .mon_wdat_ready(wdat_ready),
        .irq_valid(irq_valid), .irq_ready(irq_ready), .irq_func(irq_func), .irq_vector(irq_vector),
        .tr_valid(tr_valid), .tr_vf(tr_vf), .tr_qs(tr_qs), .tr_queue(tr_queue), .tr_nqe(tr_nqe),
        .stat_nqe_fetched(stat_nqe_fetched), .stat_nqe_errors(stat_nqe_errors),
        .stat_doorbell_errors(stat_doorbell_errors), .stat_irq_sent(stat_irq_sent), .stat_ev_lost(stat_ev_lost),
        .opc_valid(opc_valid), .opc(opc),
        .vfc_valid(vfc_valid), .vfc_ready(vfc_ready), .vfc_addr(vfc_addr), .vfc_inc(vfc_inc),
        .busy(nqe_busy), .next_valid(nqe_next_valid), .next_us(nqe_next_us)
    );


    // ---- host side ------------------------------------------------------------------------------------------
    wire wr_busy;
    wire rd_busy;

    // Client 0: payload, client 1: NQEs. The arbiter's order is the order that the tenant sees.
    nk_dma_wr_arb #(.W(W), .N(2)) wr_arb (
        .clk(clk), .rst(rst),
        .s_valid({nq_wr_valid, pl_wr_valid}), .s_ready({nq_wr_ready, pl_wr_ready}), .s_func({nq_wr_func, pl_wr_func}),
        .s_addr({nq_wr_addr, pl_wr_addr}), .s_len({nq_wr_len, pl_wr_len}), .s_lane({nq_wr_lane, pl_wr_lane}),
        .s_wrap_len({nq_wr_wrap_len, pl_wr_wrap_len}), .s_wrap_addr({nq_wr_wrap_addr, pl_wr_wrap_addr}),
        .sd_valid({nq_wd_valid, pl_wd_valid}), .sd_ready({nq_wd_ready, pl_wd_ready}),
        .sd_data({nq_wd_data, pl_wd_data}), .sd_last({nq_wd_last, pl_wd_last}),
        .wrreq_valid(wrreq_valid), .wrreq_ready(wrreq_ready), .wrreq_func(wrreq_func), .wrreq_addr(wrreq_addr),
        .wrreq_len(wrreq_len), .wrreq_lane(wrreq_lane), .wrreq_wrap_len(wrreq_wrap_len), .wrreq_wrap_addr(wrreq_wrap_addr),
        .wdat_valid(wdat_valid), .wdat_ready(wdat_ready), .wdat_data(wdat_data), .wdat_last(wdat_last),
        .busy(wr_busy)
    );

    nk_dma_rd_arb #(.W(W), .N(2)) rd_arb (
        .clk(clk), .rst(rst),
        .s_valid({nqe_rd_valid, net_rd_valid}), .s_ready({nqe_rd_ready, net_rd_ready}), .s_func({nqe_rd_func, net_rd_func}),
        .s_addr({nqe_rd_addr, net_rd_addr}), .s_len({nqe_rd_len, net_rd_len}), .s_lane({nqe_rd_lane, net_rd_lane}),
        .s_wrap_len({nqe_rd_wrap_len, net_rd_wrap_len}), .s_wrap_addr({nqe_rd_wrap_addr, net_rd_wrap_addr}),
        .d_valid(rd_d_valid), .d_ready({nqe_rdat_ready, net_rdat_ready}), .d_data(rd_d_data), .d_last(rd_d_last),
        .rdreq_valid(rdreq_valid), .rdreq_ready(rdreq_ready), .rdreq_func(rdreq_func), .rdreq_addr(rdreq_addr),
        .rdreq_len(rdreq_len), .rdreq_lane(rdreq_lane), .rdreq_wrap_len(rdreq_wrap_len), .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last),
        .busy(rd_busy)
    );

    // ---- registers and counters --------------------------------------------------------------------------
    wire [5:0]    gs_raddr;
    wire [63:0]   gs_rdata;
    wire [5:0]    os_raddr;
    wire [63:0]   os_rdata;
    wire          vs_req;
    wire [VW+4:0] vs_addr;
    wire          vs_valid;
    wire [63:0]   vs_data;
    wire          qc_req;
    wire [7:0]    qc_vf;
    wire [3:0]    qc_qs;
    wire [3:0]    qc_index;
    wire          qc_valid;
    wire [63:0]   qc_data;
    wire          regs_busy;
    wire          db_busy;
    wire          qc_ready;
    wire          qc_busy;
    wire          vst_busy;
    wire          vst_ram_ready;

    nk_regs #(.W(W), .NVF(NVF), .NQS(NQS), .FLOWS(FLOWS), .BUILD_ID(BUILD_ID)) regs (
        .clk(clk), .rst(rst),
        .mmio_valid(mmio_valid), .mmio_ready(mmio_ready), .mmio_func(mmio_func), .mmio_write(mmio_write),
        .mmio_addr(mmio_addr), .mmio_wdata(mmio_wdata), .mmio_rvalid(mmio_rvalid), .mmio_rdata(mmio_rdata),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait),
        .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry), .p_retries_data(p_retries_data),
        .p_retries_syn(p_retries_syn), .p_retries_neigh(p_retries_neigh), .p_fin_wait2(p_fin_wait2),
        .p_initial_cwnd(p_initial_cwnd), .hash_key(hash_key),
        .p_vtep_ip(p_vtep_ip), .p_vtep_mask(p_vtep_mask), .p_vtep_gw(p_vtep_gw), .p_vtep_mac(p_vtep_mac),
        .p_vxlan_port(p_vxlan_port),
        .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip), .cfg_mask(cfg_mask), .cfg_gw(cfg_gw), .cfg_mtu(cfg_mtu),
        .cfg_nsm(cfg_nsm), .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm),
        .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .cfg_weight(cfg_weight), .cfg_vm_share(cfg_vm_share), .cfg_tx_max(cfg_tx_max), .cfg_tx_min(cfg_tx_min),
        .cfg_rx_max(cfg_rx_max), .cfg_nqe_rate(cfg_nqe_rate), .cfg_burst(cfg_burst), .cfg_limits(cfg_limits),
        .cfg_vlan(cfg_vlan), .cfg_vni(cfg_vni), .cfg_remote(cfg_remote),
        .vf_enabled(vf_enabled), .vf_resetting(vf_resetting), .region_base(region_base), .region_pages(region_pages),
        .flows_in_use(flows_in_use), .hash_in_use(hash_in_use), .now_us(now_us), .vf_sockets(vf_sockets),
        .nb_index(nb_index), .nb_ip(nb_ip), .nb_mac(nb_mac), .nb_valid(nb_valid),
        .gs_raddr(gs_raddr), .gs_rdata(gs_rdata), .os_raddr(os_raddr), .os_rdata(os_rdata),
        .vs_req(vs_req), .vs_addr(vs_addr), .vs_valid(vs_valid), .vs_data(vs_data),
        .qc_req(qc_req), .qc_vf(qc_vf), .qc_qs(qc_qs), .qc_index(qc_index), .qc_valid(qc_valid), .qc_data(qc_data),
        .db_valid(db_valid), .db_ready(db_ready), .db_vf(db_vf), .db_qs(db_qs), .db_ofs(db_ofs), .db_wdata(db_wdata),
        .qreg_valid(rreg_valid), .qreg_ready(rreg_ready), .qreg_vf(rreg_vf), .qreg_qs(rreg_qs), .qreg_db(rreg_db),
        .qreg_ofs(rreg_ofs), .qreg_write(rreg_write), .qreg_wdata(rreg_wdata), .qreg_rvalid(rreg_rvalid),
        .qreg_rdata(qreg_rdata), .qreg_err(qreg_err),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf), .flush_done(flush_done),
        .stat_mmio_errors(stat_mmio_errors), .busy(regs_busy)
    );

    nk_db_qreg doorbells (
        .clk(clk), .rst(rst),
        .db_valid(db_valid), .db_ready(db_ready), .db_vf(db_vf), .db_qs(db_qs), .db_ofs(db_ofs), .db_wdata(db_wdata),
        .s_valid(rreg_valid), .s_ready(rreg_ready), .s_vf(rreg_vf), .s_qs(rreg_qs), .s_db(rreg_db), .s_ofs(rreg_ofs),
        .s_write(rreg_write), .s_wdata(rreg_wdata), .s_rvalid(rreg_rvalid),
        .m_valid(qreg_valid), .m_ready(qreg_ready), .m_vf(qreg_vf), .m_qs(qreg_qs), .m_db(qreg_db), .m_ofs(qreg_ofs),
        .m_write(qreg_write), .m_wdata(qreg_wdata), .m_rvalid(qreg_rvalid), .busy(db_busy)
    );

    // Counters of queue sets: what the trace shows, interrupts, and doorbells while nk_nqe is busy with them.
    localparam QSN = `NK_QSCNT_COUNT;
    localparam QSW = (NVF * NQS > 1) ? $clog2(NVF * NQS) : 1;
    localparam QL  = $clog2(NQS);
    function [QSW-1:0] set_of;
        input [7:0] vf;
        input [7:0] qs;
        reg [15:0] full_unused;
        begin
            full_unused = ({8'd0, vf} << QL) | {8'd0, qs};
            set_of = full_unused[QSW-1:0];
        end
    endfunction
    wire [QSW-1:0] tr_set = set_of(tr_vf, tr_qs);
    wire           tr_bad = tr_nqe[`NK_NQE_COOKIE_LSB + `NK_COOKIE_STATUS_LSB +: `NK_COOKIE_STATUS_W] != `NK_ST_OK;
    wire [QSN-1:0]     qsc_valid;
    wire [QSN*QSW-1:0] qsc_set;
    assign qsc_valid[`NK_QSCNT_JOBS]            = tr_valid && tr_queue == `NK_QUEUE_JOB;
    assign qsc_valid[`NK_QSCNT_SENDS]           = tr_valid && tr_queue == `NK_QUEUE_SEND;
    assign qsc_valid[`NK_QSCNT_COMPLETIONS]     = tr_valid && tr_queue == `NK_QUEUE_COMPLETION;
    assign qsc_valid[`NK_QSCNT_EVENTS]          = tr_valid && tr_queue == `NK_QUEUE_RECEIVE;
    assign qsc_valid[`NK_QSCNT_ERRORS]          = tr_valid && tr_queue == `NK_QUEUE_COMPLETION && tr_bad;
    assign qsc_valid[`NK_QSCNT_IRQS]            = irq_valid && irq_ready;
    assign qsc_valid[`NK_QSCNT_DOORBELL_ERRORS] = stat_doorbell_errors;
    assign qsc_set[`NK_QSCNT_JOBS*QSW +: 5*QSW]           = {5{tr_set}};
    assign qsc_set[`NK_QSCNT_IRQS*QSW +: QSW]             = set_of(irq_func - 8'd1, irq_vector);
    assign qsc_set[`NK_QSCNT_DOORBELL_ERRORS*QSW +: QSW]  = set_of(qreg_vf, qreg_qs);
    nk_qs_stats #(.SW(QSW), .N(QSN)) qs_counters (
        .clk(clk), .rst(rst), .qsc_valid(qsc_valid), .qsc_set(qsc_set), .qsc_inc({QSN{8'd1}}),
        .r_req(qc_req), .r_set(set_of(qc_vf, {4'd0, qc_qs})), .r_index(qc_index), .r_valid(qc_valid), .r_data(qc_data),
        .ready(qc_ready), .busy(qc_busy)
    );

    nk_stat_counters #(.N(NST), .RW(6)) global_counters (
        .clk(clk), .rst(rst), .inc(stat_inc), .raddr(gs_raddr), .rdata(gs_rdata)
    );

    // One source an opcode counter would be 64 comparators; a RAM does it.
    nk_opcode_counters opcode_counters (
        .clk(clk), .rst(rst), .opc_valid(opc_valid), .opc(opc), .raddr(os_raddr), .rdata(os_rdata)
    );

    // What the pipeline counts comes once a pass, for one VF; the rest is rarer and takes turns.
    localparam [4:0] VS_FIRST = `NK_VFCNT_RX_SEGMENTS;
    localparam [4:0] VS_LAST  = `NK_VFCNT_FLOWS_CLOSED;
    localparam VSE = `NK_VFCNT_FLOWS_CLOSED - `NK_VFCNT_RX_SEGMENTS + 1;
    wire          vs_of_tcp = vs_addr[4:0] >= VS_FIRST && vs_addr[4:0] <= VS_LAST;
    wire [4:0]    vs_tcp    = vs_addr[4:0] - VS_FIRST;
    wire          tcp_vs_valid;
    wire [63:0]   tcp_vs_data;
    wire          tcp_vs_ready;
    wire          tcp_vs_busy;
    wire          ram_vs_valid;
    wire [63:0]   ram_vs_data;
    wire          drop_ready;
    nk_vf_stats #(.VW(VW), .N(VSE)) vf_traffic (
        .clk(clk), .rst(rst), .s_valid(vst_valid), .s_vf(vst_vf[VW-1:0]),
        .s_inc({15'd0, vst_closed, 15'd0, vst_opened, 15'd0, vst_retx, vst_tx_bytes, 15'd0, vst_tx, vst_rx_bytes, 15'd0, vst_rx}),
        .r_req(vs_req && vs_of_tcp), .r_vf(vs_addr[VW+4:5]), .r_index(vs_tcp[3:0]), .r_valid(tcp_vs_valid), .r_data(tcp_vs_data),
        .ready(tcp_vs_ready), .busy(tcp_vs_busy)
    );
    // A drop that is not taken at once is held, and one that comes meanwhile is counted with it.
    reg  [15:0]   drops_reg;
    reg  [VW-1:0] drop_vf_reg;
    wire [15:0]   drops_left = drop_ready ? 16'd0 : drops_reg;
    always @(posedge clk) begin
        drops_reg <= drops_left + {15'd0, vst_drop};
        if (vst_drop) drop_vf_reg <= vst_drop_vf[VW-1:0];
        if (rst) drops_reg <= 16'd0;
    end
    // The queue manager's addresses are {vf, index[3:0]}.
    wire [VSN*(VW+5)-1:0] vfc_addr5;
    genvar c;
    generate
        for (c = 0; c < VSN; c = c + 1) begin : g_vfc
            assign vfc_addr5[(VW+5)*c +: VW + 5] = {vfc_addr[(VW+4)*c + 4 +: VW], 1'b0, vfc_addr[(VW+4)*c +: 4]};
        end
    endgenerate
    // Each VF may say at once how long it waited.
    wire          late_valid, late_ready, late_in_ready;
    wire [VW-1:0] late_vf;
    wire [15:0]   late_us;
    wire [8:0]    late_level;
    nk_fifo #(.W(VW + 16), .DEPTH_LOG2(8)) late_fifo (
        .clk(clk), .rst(rst), .s_data({tx_late_vf, tx_late_us}), .s_valid(tx_late_valid), .s_ready(late_in_ready),
        .m_data({late_vf, late_us}), .m_valid(late_valid), .m_ready(late_ready), .level(late_level)
    );
    nk_stat_ram #(.AW(VW + 5), .NSRC(VSN + 2)) vf_counters (
        .clk(clk), .rst(rst),
        .s_valid({late_valid, vfc_valid, drops_reg != 16'd0}), .s_ready({late_ready, vfc_ready, drop_ready}),
        .s_addr({late_vf, 5'd`NK_VFCNT_TX_THROTTLED_US, vfc_addr5, drop_vf_reg, 5'd`NK_VFCNT_ACCEPT_DROPS}), .s_inc({late_us, vfc_inc, drops_reg}),
        .r_req(vs_req && !vs_of_tcp), .r_addr(vs_addr), .r_valid(ram_vs_valid), .r_data(ram_vs_data),
        .ready(vst_ram_ready), .busy(vst_busy)
    );
    assign vs_valid = tcp_vs_valid || ram_vs_valid;
    assign vs_data  = tcp_vs_valid ? tcp_vs_data : ram_vs_data;

    // ---- activity -------------------------------------------------------------------------------------------
    // Nothing here may be left out: a shim stops the clock when `busy` is 0.
    assign busy = net_busy || tcp_busy || place_busy || nqe_busy || regs_busy || wr_busy || rd_busy
               || vst_busy || !vst_ram_ready || tcp_vs_busy || !tcp_vs_ready || qc_busy || !qc_ready || db_busy || drops_reg != 16'd0 || late_valid || pay_valid;

    wire unused = &{1'b0, act_ready, vst_vf, vst_drop_vf, stat_tcp, cfg_vm_share, cfg_rx_max, stat_loop_frames, stat_loop_bytes_inc, late_in_ready, late_level,
                     sop_ready, sopr_valid, sopr_status, cfg_nqe_rate, cfg_limits, cfg_vlan, cfg_vni, cfg_remote, p_vtep_ip, p_vtep_mask, p_vtep_gw,
                     p_vtep_mac, p_vxlan_port, vs_tcp[4]};

    wire nqe_sooner = (nqe_next_us - tcp_next_us) >> 31 != 32'd0;
    assign next_us_valid = tcp_next_valid || nqe_next_valid;
    assign next_us       = nqe_next_valid && (!tcp_next_valid || nqe_sooner) ? nqe_next_us : tcp_next_us;

endmodule

`default_nettype wire
