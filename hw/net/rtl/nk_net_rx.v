// SPDX-License-Identifier: Apache-2.0
// Purpose: receive edge: checks Ethernet, IPv4 and TCP of each frame and hands on segments as a descriptor
// and a payload stream; gives ARP and ICMP echo to their blocks; counts everything else.
//
//   byte  0        6        12      14                    14+4*ihl                 14+4*ihl+4*doff
//        | dst MAC | src MAC | type | IPv4, options       | TCP, options           | payload | padding
//                                    ver/ihl tos len  (16)  sport dport       (0)
//                                    id flags/frag    (18)  seq               (4)
//                                    ttl proto csum   (22)  ack               (8)
//                                    src (26) dst (30)      doff/flags wnd    (12)
//                                                           csum urg          (16)
//   ARP after the type:  htype(14) ptype(16) hlen plen op(20) sha(22) spa(28) tha(32) tpa(38)
//
// One frame at a time: its beats go to the staging memory and the checksum while the first 134 bytes are kept
// in `hdr_reg`; after the last beat four clocks decide, and 2 to 42 more walk the options of a SYN.
// The sum over the whole datagram is the sum over its segment: a right IPv4 header sums up to 0.

`default_nettype none
`include "nk_abi.vh"

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

    // Frames from the MAC.
    input  wire              rx_valid,
    output wire              rx_ready,
    input  wire [W-1:0]      rx_data,
    input  wire              rx_last,
    input  wire [LW:0]       rx_bytes,

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

    // Every beat a clock later with what is not datagram set to 0, for the echo buffer; and the verdict, for one
    // clock: the frame is an echo request of `echo_len` bytes (without padding) that starts with `echo_hdr`.
    output wire              tap_valid,
    output wire              tap_first,
    output wire [W-1:0]      tap_data,
    output wire              echo_valid,
    input  wire              echo_room,
    output wire [303:0]      echo_hdr,
    output wire [10:0]       echo_len,

    // Counter pulses, see hw/abi/nk_abi.yaml. stat_rx_bytes_inc goes with stat_rx_frames.
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
    localparam SEGW     = 8 + 48 + 32 + 16 + 16 + 32 + 32 + 9 + 16 + 16 + 4 + 1 + 16 + LW;
    localparam [15:0] FRAME_MAX = `NK_LIM_MTU_MAX + 14;
    // The Ethernet header does not count: first byte of the first and the second beat that does.
    localparam [31:0] FROM0     = (BYTES < 14) ? BYTES : 14;
    localparam [31:0] FROM1     = (BYTES < 14) ? 14 - BYTES : 0;
    localparam [LW:0] FULL      = BYTES[LW:0];

    localparam [2:0] S_BEATS = 3'd0, S_MATCH = 3'd1, S_ALIGN = 3'd2, S_JUDGE = 3'd3, S_VERDICT = 3'd4,
                     S_OPTIONS = 3'd5;

    localparam [3:0] V_RUNT = 4'd0, V_FILTER = 4'd1, V_PROTO = 4'd2, V_IP_HEADER = 4'd3, V_FRAGMENT = 4'd4,
                     V_TCP_HEADER = 4'd5, V_ICMP = 4'd6, V_ARP = 4'd7, V_ARP_OTHER = 4'd8, V_ECHO = 4'd9,
                     V_TCP = 4'd10;

    function [47:0] rev48;
        input [47:0] x;
        rev48 = {x[7:0], x[15:8], x[23:16], x[31:24], x[39:32], x[47:40]};
    endfunction
    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction
    function [15:0] rev16;
        input [15:0] x;
        rev16 = {x[7:0], x[15:8]};
    endfunction

    // ---- input ----
    wire         in_valid;
    wire [W-1:0] in_data;
    wire         in_last;
    wire [LW:0]  in_bytes;
    wire         in_ready;

    nk_skid #(.W(W + LW + 2)) input_skid (
        .clk(clk), .rst(rst),
        .s_data({rx_data, rx_last, rx_bytes}), .s_valid(rx_valid), .s_ready(rx_ready),
        .m_data({in_data, in_last, in_bytes}), .m_valid(in_valid), .m_ready(in_ready)
    );

    // ---- beats of a frame ----
    reg [2:0]            state_reg;
    reg [4:0]            beat_reg;     // stops at HBEATS
    reg [15:0]           bytes_reg;    // stops above 32767
    reg                  over_reg;     // longer than any frame may be: stored no further
    reg [HBEATS*W-1:0]   hdr_reg;
    reg [16:0]           end_reg;      // where the datagram ends, from the start of the frame
    reg                  tap_valid_reg;
    reg                  tap_first_reg;

    wire leave;
    wire room;
    wire fire = in_valid && in_ready;
    assign in_ready = state_reg == S_BEATS && (over_reg || room);

    wire [15:0] bytes_next = bytes_reg[15] ? bytes_reg : bytes_reg + {{15-LW{1'b0}}, in_bytes};
    wire        len_beat   = beat_reg == LEN_BEAT[4:0];
    wire        len_known  = {1'b0, beat_reg} + 6'd1 > LEN_BEAT[5:0];
    wire [16:0] end_now    = len_beat ? {1'b0, rev16(in_data[LEN_BIT +: 16])} + 17'd14 : end_reg;
    wire [16:0] rest       = end_now - {1'b0, bytes_reg};
    wire [LW:0] sum_to     = (!len_known) ? FULL
                           : (end_now <= {1'b0, bytes_reg}) ? {LW+1{1'b0}}
                           : (rest >= BYTES[16:0]) ? FULL : rest[LW:0];
    wire [LW:0] sum_from   = (beat_reg == 5'd0) ? FROM0[LW:0] : (beat_reg == 5'd1) ? FROM1[LW:0] : {LW+1{1'b0}};

    integer h;
    always @(posedge clk) begin
        tap_valid_reg  <= fire && !over_reg;
        tap_first_reg  <= beat_reg == 5'd0;
        stat_rx_frames <= fire && in_last;
        if (fire) begin
            if (beat_reg != HBEATS[4:0])
                beat_reg <= beat_reg + 5'd1;
            for (h = 0; h < HBEATS; h = h + 1)
                if (beat_reg == h[4:0])
                    hdr_reg[h*W +: W] <= in_data;
            if (len_beat)
                end_reg <= end_now;
            bytes_reg         <= bytes_next;
            stat_rx_bytes_inc <= bytes_next;
            if (bytes_next > FRAME_MAX)
                over_reg <= 1'b1;
        end
        if (rst || leave) begin
            beat_reg  <= 5'd0;
            bytes_reg <= 16'd0;
            over_reg  <= 1'b0;
        end
        if (rst) begin
            tap_valid_reg  <= 1'b0;
            stat_rx_frames <= 1'b0;
        end
    end

    wire [17:0] sum;
    wire        sum_valid;
    nk_net_sum #(.W(W)) summer (
        .clk(clk), .rst(rst),
        .s_valid(fire), .s_last(in_last), .s_data(in_data), .s_from(sum_from), .s_to(sum_to),
        .masked_data(tap_data), .sum_valid(sum_valid), .sum(sum)
    );
    assign tap_valid = tap_valid_reg;
    assign tap_first = tap_first_reg;

    // ---- the headers ----
    wire [47:0] eth_dst   = rev48(hdr_reg[47:0]);
    wire [47:0] eth_src   = rev48(hdr_reg[95:48]);
    wire [15:0] eth_type  = rev16(hdr_reg[12*8 +: 16]);
    wire [3:0]  ip_ihl    = hdr_reg[14*8 +: 4];
    wire [3:0]  ip_ver    = hdr_reg[14*8+4 +: 4];
    wire [15:0] ip_len    = rev16(hdr_reg[16*8 +: 16]);
    wire [13:0] ip_frag   = {hdr_reg[20*8 +: 6], hdr_reg[21*8 +: 8]};   // MF, offset
    wire [7:0]  ip_proto  = hdr_reg[23*8 +: 8];
    wire [31:0] ip_src    = rev32(hdr_reg[26*8 +: 32]);
    wire [31:0] ip_dst    = rev32(hdr_reg[30*8 +: 32]);
    wire [63:0] arp_kind  = hdr_reg[14*8 +: 64];
    wire [47:0] arp_tha   = rev48(hdr_reg[32*8 +: 48]);
    wire [31:0] arp_tpa   = rev32(hdr_reg[38*8 +: 32]);
    wire [5:0]  ip_hlen   = {ip_ihl, 2'b00};
    wire [15:0] l4_len    = ip_len - {10'd0, ip_hlen};

    assign arp_sha  = rev48(hdr_reg[22*8 +: 48]);
    assign arp_spa  = rev32(hdr_reg[28*8 +: 32]);
    assign echo_hdr = hdr_reg[303:0];
    assign echo_len = end_reg[10:0];

    // ---- S_MATCH: whose frame; IPv4 header sum, first half ----
    reg         mac_hit_reg;
    reg [7:0]   vf_reg;
    reg [31:0]  vf_ip_reg;
    reg [15:0]  vf_mtu_reg;
    reg         arp_hit_reg;
    reg [7:0]   arp_vf_reg;
    reg [47:0]  arp_mac_reg;
    reg         arp_forged_reg;
    reg [135:0] ip_part_reg;
    integer     v;
    integer     q;
    integer     w;

    reg [135:0] ip_part_next;
    always @* begin
        ip_part_next = 136'd0;
        for (q = 0; q < 4; q = q + 1)
            for (w = 4*q; w < 4*q + 4 && w < 15; w = w + 1)
                if (w < 5 || w < {28'd0, ip_ihl})
                    ip_part_next[34*q +: 34] = ip_part_next[34*q +: 34] + {2'd0, hdr_reg[14*8 + 32*w +: 32]};
    end

    always @(posedge clk) if (state_reg == S_MATCH) begin
        mac_hit_reg    <= 1'b0;
        arp_hit_reg    <= 1'b0;
        arp_forged_reg <= 1'b0;
        // The last assignment holds: of two VFs with one address the lower one is served.
        for (v = NVF - 1; v >= 0; v = v - 1) begin
            if (cfg_en[v] && cfg_mac[48*v +: 48] == eth_dst) begin
                mac_hit_reg <= 1'b1;
                vf_reg      <= v[7:0];
                vf_ip_reg   <= cfg_ip[32*v +: 32];
                vf_mtu_reg  <= cfg_mtu[16*v +: 16];
            end
            if (cfg_en[v] && cfg_ip[32*v +: 32] == arp_tpa) begin
                arp_hit_reg <= 1'b1;
                arp_vf_reg  <= v[7:0];
                arp_mac_reg <= cfg_mac[48*v +: 48];
            end
            if (cfg_en[v] && cfg_ip[32*v +: 32] == arp_spa && cfg_mac[48*v +: 48] != arp_sha)
                arp_forged_reg <= 1'b1;
        end
        ip_part_reg <= ip_part_next;
    end

    assign arp_vf     = arp_vf_reg;
    assign arp_forged = arp_forged_reg;

    // ---- S_ALIGN: TCP header behind IPv4's options; IPv4 header sum, second half; pseudo-header ----
    reg [479:0] tcp_reg;
    reg [35:0]  ip_sum_reg;
    reg [34:0]  pseudo_reg;

    always @(posedge clk) if (state_reg == S_ALIGN) begin
        tcp_reg    <= hdr_reg[14*8 + {23'd0, ip_hlen, 3'b000} +: 480];
        ip_sum_reg <= {2'd0, ip_part_reg[33:0]} + {2'd0, ip_part_reg[67:34]}
                    + {2'd0, ip_part_reg[101:68]} + {2'd0, ip_part_reg[135:102]};
        // ICMP's checksum has none.
        pseudo_reg <= (ip_proto != 8'd6) ? 35'd0
                    : {3'd0, hdr_reg[26*8 +: 32]} + {3'd0, hdr_reg[30*8 +: 32]}
                    + {19'd0, rev16(l4_len)} + 35'h0_0000_0600;
    end

    wire [3:0]  tcp_doff  = tcp_reg[12*8+4 +: 4];
    wire [5:0]  tcp_hlen  = {tcp_doff, 2'b00};
    wire [8:0]  tcp_flags = {tcp_reg[12*8], tcp_reg[13*8 +: 8]};
    wire        tcp_syn   = tcp_flags[1];

    // ---- S_JUDGE: everything but the segment's checksum ----
    reg [3:0]  verdict_reg;
    reg [17:0] pseudo_sum_reg;
    reg [15:0] len_reg;
    reg [7:0]  hlen_reg;

    wire [17:0] ip_fold1 = {2'd0, ip_sum_reg[15:0]} + {2'd0, ip_sum_reg[31:16]} + {14'd0, ip_sum_reg[35:32]};
    wire [16:0] ip_fold2 = {1'b0, ip_fold1[15:0]} + {15'd0, ip_fold1[17:16]};
    // All ones is the only sum of a right header: the next fold of 17'h10000 and above is never 16'hffff.
    wire        ip_sum_ok = ip_fold2 == 17'h0ffff;

    wire is_arp     = eth_type == 16'h0806;
    wire is_ip      = eth_type == 16'h0800;
    wire broadcast  = &eth_dst;
    wire src_mac_bad = eth_src[40];
    // This host, all hosts, multicast and reserved, or the VF's own address: nobody to talk to.
    wire src_ip_bad = ip_src == 32'd0 || ip_src[31:29] == 3'b111 || ip_src == vf_ip_reg;
    // Ethernet, IPv4, 6 and 4 bytes of address, request or reply.
    wire arp_ok     = (arp_kind == 64'h0100_0406_0008_0100 || arp_kind == 64'h0200_0406_0008_0100)
                    && !arp_sha[40] && arp_sha != 48'd0;
    wire arp_is_req = arp_kind[56];
    assign arp_request = arp_is_req;
    assign arp_mine    = verdict_reg == V_ARP;

    reg [3:0] verdict_next;
    always @* begin
        if (bytes_reg < 16'd14 || over_reg)
            verdict_next = V_RUNT;
        else if (!mac_hit_reg && !(broadcast && is_arp))
            verdict_next = V_FILTER;
        else if (is_arp) begin
            if (bytes_reg < 16'd42)
                verdict_next = V_RUNT;
            else if (!arp_ok)
                verdict_next = V_PROTO;
            else if (arp_hit_reg && (arp_is_req || (eth_dst == arp_mac_reg && arp_tha == arp_mac_reg)))
                verdict_next = V_ARP;
            else
                verdict_next = V_ARP_OTHER;
        end else if (!is_ip)
            verdict_next = V_PROTO;
        else if (bytes_reg < 16'd34)
            verdict_next = V_RUNT;
        else if (ip_ver != 4'd4 || ip_ihl < 4'd5)
            verdict_next = V_IP_HEADER;
        else if (bytes_reg < {10'd0, ip_hlen} + 16'd14)
            verdict_next = V_RUNT;
        else if (!ip_sum_ok || ip_len < {10'd0, ip_hlen})
            verdict_next = V_IP_HEADER;
        else if ({1'b0, bytes_reg} < end_reg || ip_len > vf_mtu_reg
                 || ({1'b0, bytes_reg} > {1'b0, vf_mtu_reg} + 17'd14 && bytes_reg > 16'd60))
            verdict_next = V_RUNT;
        else if (ip_dst != vf_ip_reg || src_ip_bad || src_mac_bad)
            verdict_next = V_FILTER;
        else if (ip_frag != 14'd0)
            verdict_next = V_FRAGMENT;
        else if (ip_proto == 8'd6)
            verdict_next = (l4_len < 16'd20 || tcp_doff < 4'd5 || {10'd0, tcp_hlen} > l4_len) ? V_TCP_HEADER : V_TCP;
        else if (ip_proto == 8'd1)
            verdict_next = (ip_ihl == 4'd5 && l4_len >= 16'd8 && tcp_reg[15:0] == 16'h0008) ? V_ECHO : V_ICMP;
        else
            verdict_next = V_PROTO;
    end

    always @(posedge clk) if (state_reg == S_JUDGE) begin
        verdict_reg    <= verdict_next;
        pseudo_sum_reg <= {2'd0, pseudo_reg[15:0]} + {2'd0, pseudo_reg[31:16]} + {15'd0, pseudo_reg[34:32]};
        len_reg        <= l4_len - {10'd0, tcp_hlen};
        hlen_reg       <= {2'd0, ip_hlen} + {2'd0, tcp_hlen} + 8'd14;
    end

    // ---- where the payload is: its first beat, its lane there, its beats ----
    wire [LW-1:0] lane      = hlen_reg[LW-1:0];
    wire [15:0]   first     = {8'd0, hlen_reg} >> LW;
    wire [15:0]   beats     = (len_reg + {{16-LW{1'b0}}, lane} + BYTES[15:0] - 16'd1) >> LW;

    // ---- S_VERDICT: the segment's checksum; commit or roll back ----
    wire [18:0] l4_fold1   = {1'b0, sum} + {1'b0, pseudo_sum_reg};
    wire [16:0] l4_fold2   = {1'b0, l4_fold1[15:0]} + {14'd0, l4_fold1[18:16]};
    wire        l4_sum_ok  = l4_fold2 == 17'h0ffff;

    wire        is_tcp     = verdict_reg == V_TCP && l4_sum_ok;
    wire        is_echo    = verdict_reg == V_ECHO && l4_sum_ok;
    wire        walk       = is_tcp && tcp_syn && tcp_doff != 4'd5 && !walked_reg;
    wire        seg_room;
    wire        stage_room;
    assign      leave      = state_reg == S_VERDICT && !walk && (!is_tcp || (seg_room && stage_room));

    // The sum is there in S_VERDICT, see nk_net_sum. TCP's checksum, urgent pointer and reserved bits say nothing.
    wire        unused_ok  = &{1'b0, sum_valid, tcp_reg[159:128], tcp_reg[99:97], first[15:AW+1], beats[15:AW+1]};

    reg         walked_reg;
    wire        walk_done;
    wire [15:0] opt_mss;
    wire [3:0]  opt_wscale;
    wire        opt_wscale_valid;

    nk_tcp_options walker (
        .clk(clk), .rst(rst),
        .start(state_reg == S_VERDICT && walk), .options(tcp_reg[479:160]), .length(tcp_hlen - 6'd20),
        .done(walk_done), .mss(opt_mss), .wscale(opt_wscale), .wscale_valid(opt_wscale_valid)
    );

    always @(posedge clk) begin
        case (state_reg)
            S_BEATS:   if (fire && in_last) state_reg <= S_MATCH;
            S_MATCH:   state_reg <= S_ALIGN;
            S_ALIGN:   state_reg <= S_JUDGE;
            S_JUDGE:   state_reg <= S_VERDICT;
            S_VERDICT: state_reg <= walk ? S_OPTIONS : leave ? S_BEATS : S_VERDICT;
            default:   if (walk_done) state_reg <= S_VERDICT;
        endcase
        if (walk_done)
            walked_reg <= 1'b1;
        if (rst || leave)
            walked_reg <= 1'b0;
        if (rst)
            state_reg <= S_BEATS;
    end

    // ---- outputs ----
    wire [AW:0]   end_beats = (is_tcp && len_reg != 16'd0) ? beats[AW:0] : {AW+1{1'b0}};
    wire          stage_busy;
    wire [4:0]    seg_level;

    nk_net_stage #(.W(W), .AW(AW), .FRAMES_LOG2(4)) stage (
        .clk(clk), .rst(rst),
        .we(fire && !over_reg), .wdata(in_data), .room(room),
        .end_valid(leave), .end_ready(stage_room), .end_first(first[AW:0]), .end_beats(end_beats),
        .pay_valid(pay_valid), .pay_ready(pay_ready), .pay_data(pay_data), .pay_last(pay_last),
        .busy(stage_busy)
    );

    nk_fifo #(.W(SEGW), .DEPTH_LOG2(4)) segs (
        .clk(clk), .rst(rst),
        .s_data({vf_reg, eth_src, ip_src, rev16(tcp_reg[15:0]), rev16(tcp_reg[31:16]), rev32(tcp_reg[63:32]),
                 rev32(tcp_reg[95:64]), tcp_flags, rev16(tcp_reg[14*8 +: 16]),
                 walked_reg ? opt_mss : 16'd0, walked_reg ? opt_wscale : 4'd0, walked_reg && opt_wscale_valid,
                 len_reg, lane}),
        .s_valid(leave && is_tcp), .s_ready(seg_room),
        .m_data({seg_vf, seg_smac, seg_rip, seg_rport, seg_lport, seg_seq, seg_ack, seg_flags, seg_wnd, seg_mss,
                 seg_wscale, seg_wscale_valid, seg_len, seg_lane}),
        .m_valid(seg_valid), .m_ready(seg_ready), .level(seg_level)
    );

    assign arp_valid  = leave && (verdict_reg == V_ARP || verdict_reg == V_ARP_OTHER);
    assign echo_valid = leave && is_echo;

    wire no_room = (verdict_reg == V_ARP && arp_is_req && !arp_room) || (is_echo && !echo_room);

    always @(posedge clk) begin
        stat_rx_drop_runt       <= leave && verdict_reg == V_RUNT;
        stat_rx_drop_filter     <= leave && (verdict_reg == V_FILTER || verdict_reg == V_ARP_OTHER);
        stat_rx_drop_proto      <= leave && verdict_reg == V_PROTO;
        stat_rx_drop_ip_header  <= leave && verdict_reg == V_IP_HEADER;
        stat_rx_drop_fragment   <= leave && verdict_reg == V_FRAGMENT;
        stat_rx_drop_tcp_header <= leave && verdict_reg == V_TCP_HEADER;
        stat_rx_drop_tcp_csum   <= leave && verdict_reg == V_TCP && !l4_sum_ok;
        stat_rx_drop_icmp       <= leave && (verdict_reg == V_ICMP || (verdict_reg == V_ECHO && !l4_sum_ok));
        stat_rx_drop_overflow   <= leave && no_room;
        stat_rx_arp             <= leave && verdict_reg == V_ARP && !no_room;
        stat_rx_icmp_echo       <= leave && is_echo && !no_room;
        stat_rx_segments        <= leave && is_tcp;
    end

    assign busy = in_valid || beat_reg != 5'd0 || state_reg != S_BEATS || stage_busy || seg_level != 5'd0;

endmodule

`default_nettype wire
