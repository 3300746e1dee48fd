// SPDX-License-Identifier: Apache-2.0
// Purpose: receive edge: checks Ethernet, IPv4 and TCP of each frame and hands on segments as a descriptor
// and a payload stream; gives ARP, ICMP echo and 'fragmentation needed' to their blocks; counts everything else.
//
// A beat a clock, whatever the frames: nothing waits once a beat is taken. Beats pass nk_net_sum and four clocks
// of delay; meanwhile nk_net_judge looks at the headers, so that a frame's last beat and its verdict come to the
// staging memory together.
//
//   clock  0          1            2    3    4         5                       6
//          rx beat    hdr_reg,     nk_net_judge        verdict: commit or      seg_valid, stat_*
//                     masked beat  nk_net_sum          roll back, counters

`default_nettype none
`include "nk_abi.vh"
`include "nk_net_verdict.vh"

module nk_net_rx #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs: 1 to 64.
    parameter NVF = 8,
    // log2 of the bytes of the staging memory, 13 or more (four full frames).
    parameter STAGE_LOG2 = 13,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire              clk,
    input  wire              rst,

    // Frames, and whether they come from this card (nk_net_loop).
    input  wire              rx_valid,
    output wire              rx_ready,
    input  wire [W-1:0]      rx_data,
    input  wire              rx_last,
    input  wire [LW:0]       rx_bytes,
    input  wire              rx_local,

    // Addresses of the VFs.
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,
    input  wire [NVF*16-1:0] cfg_mtu,

    // Segments, see docs/interfaces.md.
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

    // A well-formed ARP frame, for one clock. `arp_mine`: a request for a VF's address, or an answer to a VF;
    // otherwise it can only refresh what is known. `arp_room`: a request can be answered now.
    output wire              arp_valid,
    input  wire              arp_room,
    output wire              arp_mine,
    output wire              arp_request,
    output wire [7:0]        arp_vf,
    output wire [47:0]       arp_sha,
    output wire [31:0]       arp_spa,
    // The sender claims the address of a VF, with another MAC.
    output wire              arp_forged,

    // Every beat with what is not datagram set to 0, for the echo buffer; and with the last one the verdict, for
    // one clock: the frame is an echo request of `echo_len` bytes (without padding) that starts with `echo_hdr`.
    output wire              tap_valid,
    output wire              tap_first,
    output wire [W-1:0]      tap_data,
    output wire              echo_valid,
    input  wire              echo_room,
    output wire [303:0]      echo_hdr,
    output wire [10:0]       echo_len,

    // ICMP 'fragmentation needed' about a segment from this VF's address: a pulse, at most one in 16 clocks.
    output reg               ptb_valid,
    output reg  [7:0]        ptb_vf,
    output reg  [31:0]       ptb_rip,
    output reg  [15:0]       ptb_rport,
    output reg  [15:0]       ptb_lport,
    output reg  [31:0]       ptb_seq,
    output reg  [15:0]       ptb_mtu,

    // Counter pulses, see hw/abi/nk_abi.yaml; a frame raises one of them or `ptb_valid`. stat_rx_bytes_inc goes with
    // stat_rx_frames.
    output reg               stat_rx_frames,
    output reg  [15:0]       stat_rx_bytes_inc,
    output reg               stat_rx_drop_runt,
    output reg               stat_rx_drop_filter,
    output reg               stat_rx_drop_proto,
    output reg               stat_rx_drop_ip_header,
    output reg               stat_rx_drop_fragment,
    output reg               stat_rx_drop_tcp_header,
    output reg               stat_rx_drop_tcp_csum,
    output reg               stat_rx_drop_overflow,
    output reg               stat_rx_arp,
    output reg               stat_rx_icmp_echo,
    output reg               stat_rx_drop_icmp,
    output reg               stat_rx_segments,

    // Anything held.
    output wire              busy
);

    initial begin
        if ((W != 64 && W != 128 && W != 256 && W != 512) || NVF < 1 || NVF > 64 || STAGE_LOG2 < 13
            || STAGE_LOG2 > 16 || LW != $clog2(W/8)) begin
            $display("%m: W = %0d (64, 128, 256, 512), NVF = %0d (1 to 64), STAGE_LOG2 = %0d (13 to 16), LW = %0d (derived)",
                     W, NVF, STAGE_LOG2, LW);
            $finish;
        end
    end

    localparam [31:0] BYTES    = W / 8;
    localparam [31:0] HBEATS   = (134 + BYTES - 1) / BYTES;   // beats that hold headers at their longest
    localparam [31:0] LEN_BEAT = 16 / BYTES;                  // the beat with IPv4's total length, and where in it
    localparam [31:0] LEN_BIT  = (16 % BYTES) * 8;
    localparam AW       = STAGE_LOG2 - LW;
    localparam SEGW     = 8 + 48 + 32 + 16 + 16 + 32 + 32 + 9 + 16 + 16 + 4 + 1 + 2 + 1 + 32 + 32 + 1 + 3 + 256 + 16 + LW;
    localparam [15:0] FRAME_MAX = `NK_LIM_MTU_MAX + 14;
    // The Ethernet header does not count: first byte of the first and the second beat that does.
    localparam [31:0] FROM0     = (BYTES < 14) ? BYTES : 14;
    localparam [31:0] FROM1     = (BYTES < 14) ? 14 - BYTES : 0;
    localparam [LW:0] FULL      = BYTES[LW:0];
    localparam SEGS_LOG2        = 5;
    // Frames under way when `rx_ready` falls: fewer than this.
    localparam RESERVE          = 8;
    localparam [SEGS_LOG2:0] SEGS_FULL = (1 << SEGS_LOG2) - RESERVE;

    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction
    function [15:0] rev16;
        input [15:0] x;
        rev16 = {x[7:0], x[15:8]};
    endfunction
    function [47:0] rev48;
        input [47:0] x;
        rev48 = {x[7:0], x[15:8], x[23:16], x[31:24], x[39:32], x[47:40]};
    endfunction

    // ---- clock 0: a beat ----
    wire                 stage_room;
    wire [SEGS_LOG2:0]   segs_level;
    reg                  rx_ready_reg;
    reg [4:0]            beat_reg;     // stops at HBEATS
    reg [15:0]           bytes_reg;    // stops above 32767
    reg [16:0]           past_reg;     // the same without the Ethernet header; negative at first
    reg                  over_reg;     // longer than any frame may be: stored no further
    reg [15:0]           len_reg;      // IPv4's total length
    reg [HBEATS*W-1:0]   hdr_reg;
    reg                  ended_reg;
    reg [15:0]           ended_bytes_reg;
    reg                  local_reg;

    assign rx_ready = rx_ready_reg;

    wire        fire       = rx_valid && rx_ready_reg;
    wire [15:0] bytes_next = bytes_reg[15] ? bytes_reg : bytes_reg + {{15-LW{1'b0}}, rx_bytes};
    wire        len_beat   = beat_reg == LEN_BEAT[4:0];
    wire        len_known  = {1'b0, beat_reg} + 6'd1 > LEN_BEAT[5:0];
    wire [15:0] len_now    = len_beat ? rev16(rx_data[LEN_BIT +: 16]) : len_reg;
    // Bytes of the datagram from this beat on.
    wire [16:0] rest       = {1'b0, len_now} - past_reg;
    wire [LW:0] sum_to     = (!len_known) ? FULL
                           : ($signed({past_reg[16], past_reg}) >= $signed({2'b00, len_now})) ? {LW+1{1'b0}}
                           : (rest >= BYTES[16:0]) ? FULL : rest[LW:0];
    wire [LW:0] sum_from   = (beat_reg == 5'd0) ? FROM0[LW:0] : (beat_reg == 5'd1) ? FROM1[LW:0] : {LW+1{1'b0}};

    integer h;
    always @(posedge clk) begin
        rx_ready_reg   <= stage_room && segs_level <= SEGS_FULL;
        ended_reg      <= fire && rx_last;
        stat_rx_frames <= fire && rx_last;
        if (fire) begin
            for (h = 0; h < HBEATS; h = h + 1)
                if (beat_reg == h[4:0])
                    hdr_reg[h*W +: W] <= rx_data;
            if (beat_reg != HBEATS[4:0])
                beat_reg <= beat_reg + 5'd1;
            if (len_beat)
                len_reg <= len_now;
            bytes_reg         <= bytes_next;
            past_reg          <= {1'b0, bytes_next} - 17'd14;
            ended_bytes_reg   <= bytes_next;
            local_reg         <= rx_local;
            stat_rx_bytes_inc <= bytes_next;
            over_reg          <= bytes_next > FRAME_MAX;
        end
        if (rst || (fire && rx_last)) begin
            beat_reg  <= 5'd0;
            bytes_reg <= 16'd0;
            past_reg  <= 17'd0 - 17'd14;
            over_reg  <= 1'b0;
        end
        if (rst) begin
            rx_ready_reg   <= 1'b0;
            ended_reg      <= 1'b0;
            stat_rx_frames <= 1'b0;
        end
    end

    // ---- clocks 1 to 4: sum, delay, verdict ----
    wire [W-1:0] masked;
    wire [17:0]  sum;
    wire         sum_valid;

    nk_net_sum #(.W(W)) summer (
        .clk(clk), .rst(rst),
        .s_valid(fire), .s_last(rx_last), .s_data(rx_data), .s_from(sum_from), .s_to(sum_to),
        .masked_data(masked), .sum_valid(sum_valid), .sum(sum)
    );

    // Bit n: a beat to store is in clock n+1; it is the first of its frame.
    reg  [4:0]   beats_reg;
    reg  [4:0]   firsts_reg;
    reg  [1:0]   slot_reg;
    wire [W-1:0] stored;

    always @(posedge clk) begin
        beats_reg  <= {beats_reg[3:0], fire && !over_reg};
        firsts_reg <= {firsts_reg[3:0], beat_reg == 5'd0};
        slot_reg   <= slot_reg + 2'd1;
        if (rst) begin
            beats_reg <= 5'd0;
            slot_reg  <= 2'd0;
        end
    end

    nk_ram_1w1r #(.W(W), .AW(2)) delay (
        .clk(clk),
        .we(beats_reg[0]), .waddr(slot_reg), .wdata(masked),
        .re(beats_reg[3]), .raddr(slot_reg + 2'd1), .rdata(stored)
    );

    wire         valid;
    wire [3:0]   verdict;
    wire [7:0]   vf;
    wire [47:0]  smac;
    wire [31:0]  rip;
    wire [1:0]   ecn;
    wire [287:0] l4;
    wire [15:0]  len;
    wire [LW-1:0] lane;
    wire [7:0]   first;
    wire [7:0]   stop;
    wire [15:0]  mss;
    wire [3:0]   wscale;
    wire         wscale_valid;
    wire         sack_ok;
    wire         ts_valid;
    wire [31:0]  tsval;
    wire [31:0]  tsecr;
    wire [2:0]   sack_n;
    wire [255:0] sack;
    wire [303:0] early;
    wire         judge_busy;

    nk_net_judge #(.NVF(NVF), .LW(LW)) judge (
        .clk(clk), .rst(rst),
        .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip), .cfg_mtu(cfg_mtu),
        .f_valid(ended_reg), .f_hdr(hdr_reg[1071:0]), .f_bytes(ended_bytes_reg), .f_sum(sum), .f_local(local_reg),
        .j_valid(valid), .j_verdict(verdict),
        .j_vf(vf), .j_smac(smac), .j_rip(rip), .j_ecn(ecn), .j_l4(l4), .j_len(len),
        .j_lane(lane), .j_first(first), .j_stop(stop),
        .j_mss(mss), .j_wscale(wscale), .j_wscale_valid(wscale_valid), .j_sack_ok(sack_ok),
        .j_ts_valid(ts_valid), .j_tsval(tsval), .j_tsecr(tsecr), .j_sack_n(sack_n), .j_sack(sack),
        .j_early(early), .j_arp_vf(arp_vf), .j_arp_forged(arp_forged), .j_end(echo_len),
        .busy(judge_busy)
    );

    // ---- clock 5: the verdict, beside the last beat ----
    wire        is_tcp  = valid && verdict == `NK_NV_TCP;
    wire        is_arp  = valid && verdict == `NK_NV_ARP;
    wire        is_echo = valid && verdict == `NK_NV_ECHO;
    wire        is_ptb  = valid && verdict == `NK_NV_PTB;
    wire [15:0] first16 = {8'd0, first};
    wire [15:0] stop16  = {8'd0, stop};
    wire        stage_busy;
    wire        segs_ready;

    nk_net_stage #(.W(W), .AW(AW), .FRAMES_LOG2(6), .RESERVE(RESERVE)) stage (
        .clk(clk), .rst(rst),
        .we(beats_reg[4]), .wdata(stored), .room(stage_room),
        .end_valid(valid), .end_keep(is_tcp && len != 16'd0), .end_first(first16[AW:0]), .end_stop(stop16[AW:0]),
        .pay_valid(pay_valid), .pay_ready(pay_ready), .pay_data(pay_data), .pay_last(pay_last),
        .busy(stage_busy)
    );

    nk_fifo #(.W(SEGW), .DEPTH_LOG2(SEGS_LOG2), .FAST(1)) segs (
        .clk(clk), .rst(rst),
        .s_data({vf, smac, rip, rev16(l4[15:0]), rev16(l4[31:16]), rev32(l4[63:32]), rev32(l4[95:64]),
                 l4[12*8], l4[13*8 +: 8], rev16(l4[14*8 +: 16]), mss, wscale, wscale_valid,
                 ecn, ts_valid, tsval, tsecr, sack_ok, sack_n, sack, len, lane}),
        .s_valid(is_tcp), .s_ready(segs_ready),
        .m_data({seg_vf, seg_smac, seg_rip, seg_rport, seg_lport, seg_seq, seg_ack, seg_flags, seg_wnd, seg_mss,
                 seg_wscale, seg_wscale_valid, seg_ecn, seg_ts_valid, seg_tsval, seg_tsecr, seg_sack_ok, seg_sack_n,
                 seg_sack, seg_len, seg_lane}),
        .m_valid(seg_valid), .m_ready(seg_ready), .level(segs_level)
    );

    assign arp_valid   = is_arp || (valid && verdict == `NK_NV_ARP_OTHER);
    assign arp_mine    = is_arp;
    assign arp_request = early[21*8];
    assign arp_sha     = rev48(early[22*8 +: 48]);
    assign arp_spa     = rev32(early[28*8 +: 32]);

    assign tap_valid   = beats_reg[4];
    assign tap_first   = firsts_reg[4];
    assign tap_data    = stored;
    assign echo_valid  = is_echo;
    assign echo_hdr    = early;

    // ---- what becomes of each frame ----
    reg [3:0] ptb_rest_reg;      // clocks until the next may go
    reg       counted_reg;
    wire      ptb_go   = is_ptb && ptb_rest_reg == 4'd0;
    wire      no_room  = (is_arp && arp_request && !arp_room) || (is_echo && !echo_room) || (is_ptb && !ptb_go);

    always @(posedge clk) begin
        counted_reg             <= valid;
        stat_rx_drop_runt       <= valid && verdict == `NK_NV_RUNT;
        stat_rx_drop_filter     <= valid && (verdict == `NK_NV_FILTER || verdict == `NK_NV_ARP_OTHER);
        stat_rx_drop_proto      <= valid && verdict == `NK_NV_PROTO;
        stat_rx_drop_ip_header  <= valid && verdict == `NK_NV_IP_HEADER;
        stat_rx_drop_fragment   <= valid && verdict == `NK_NV_FRAGMENT;
        stat_rx_drop_tcp_header <= valid && verdict == `NK_NV_TCP_HEADER;
        stat_rx_drop_tcp_csum   <= valid && verdict == `NK_NV_TCP_CSUM;
        stat_rx_drop_icmp       <= valid && verdict == `NK_NV_ICMP;
        stat_rx_drop_overflow   <= no_room;
        stat_rx_arp             <= is_arp && !no_room;
        stat_rx_icmp_echo       <= is_echo && !no_room;
        stat_rx_segments        <= is_tcp;

        ptb_valid <= ptb_go;
        if (ptb_go) begin
            ptb_vf    <= vf;
            ptb_mtu   <= rev16(l4[6*8 +: 16]);
            ptb_rip   <= rev32(l4[(8+16)*8 +: 32]);
            ptb_lport <= rev16(l4[28*8 +: 16]);
            ptb_rport <= rev16(l4[30*8 +: 16]);
            ptb_seq   <= rev32(l4[32*8 +: 32]);
        end
        if (ptb_go)
            ptb_rest_reg <= 4'd15;
        else if (ptb_rest_reg != 4'd0)
            ptb_rest_reg <= ptb_rest_reg - 4'd1;

        if (rst) begin
            counted_reg  <= 1'b0;
            ptb_valid    <= 1'b0;
            ptb_rest_reg <= 4'd0;
        end
    end

    assign busy = beat_reg != 5'd0 || judge_busy || |beats_reg || stage_busy
               || segs_level != {SEGS_LOG2+1{1'b0}} || counted_reg;

    // `rx_ready` has kept a place; the judge knows when the sum comes. TCP's checksum, urgent pointer and reserved
    // bits say nothing.
    wire unused = &{1'b0, sum_valid, segs_ready, hdr_reg[HBEATS*W-1:1072], l4[159:128], l4[103:97], l4[191:160],
                    first16[15:AW+1], stop16[15:AW+1]};

endmodule

`default_nettype wire
