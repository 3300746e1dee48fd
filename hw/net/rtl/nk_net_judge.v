// SPDX-License-Identifier: Apache-2.0
// Purpose: judges a received frame by its first 134 bytes, its length and its sum, in four clocks, a frame each
// clock: whose it is, what it is, whether it is right; and takes the fields out.
//
//   byte  0        6        12      14                    14+4*ihl                 14+4*ihl+4*doff
//        | dst MAC | src MAC | type | IPv4, options       | TCP, options           | payload | padding
//                                    ver/ihl tos len  (16)  sport dport       (0)
//                                    id flags/frag    (18)  seq               (4)
//                                    ttl proto csum   (22)  ack               (8)
//                                    src (26) dst (30)      doff/flags wnd    (12)
//                                                           csum urg          (16)
//   ICMP in place of TCP:  type code csum - mtu(6), the header that it is about (8): IPv4 (20 bytes), ports, seq
//   ARP after the type:    htype(14) ptype(16) hlen plen op(20) sha(22) spa(28) tha(32) tpa(38)
//
//   clock 1        2                    3                  4              5
//         whose?   comparisons,         the first wrong    the segment's  judged
//         align    options' tables      thing, options     sum, options
//
// `f_sum` runs over the whole datagram, which is the sum over its segment: a right IPv4 header sums up to 0.

`default_nettype none
`include "nk_abi.vh"
`include "nk_net_verdict.vh"

module nk_net_judge #(
    // VFs: 1 to 64.
    parameter NVF = 8,
    // log2 of the bytes of a beat: 3 to 6.
    parameter LW = 6
) (
    input  wire              clk,
    input  wire              rst,

    // Addresses of the VFs.
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,
    input  wire [NVF*16-1:0] cfg_mtu,

    // A frame, clock 1: its first bytes (those beyond its end are rubbish), how many it has, and whether it comes from
    // this card. Three clocks later its sum, as nk_net_sum gives it.
    input  wire              f_valid,
    input  wire [1071:0]     f_hdr,
    input  wire [15:0]       f_bytes,
    input  wire [17:0]       f_sum,
    input  wire              f_local,

    // The verdict, clock 5; NK_NV_* of nk_net_verdict.vh.
    output wire              j_valid,
    output wire [3:0]        j_verdict,

    // Of a segment. `j_l4`: TCP header (or ICMP), first byte in bits 7:0. Its payload stands in beats `j_first` to
    // `j_stop`-1 of the frame and begins at lane `j_lane`.
    output wire [7:0]        j_vf,
    output wire [47:0]       j_smac,
    output wire [31:0]       j_rip,
    output wire [1:0]        j_ecn,
    output wire [287:0]      j_l4,
    output wire [15:0]       j_len,
    output wire [LW-1:0]     j_lane,
    output wire [7:0]        j_first,
    output wire [7:0]        j_stop,
    output wire [15:0]       j_mss,
    output wire [3:0]        j_wscale,
    output wire              j_wscale_valid,
    output wire              j_sack_ok,
    output wire              j_ts_valid,
    output wire [31:0]       j_tsval,
    output wire [31:0]       j_tsecr,
    output wire [2:0]        j_sack_n,
    output wire [255:0]      j_sack,

    // Of ARP and ICMP: the first bytes, the VF that an ARP frame is for, whether its sender claims the address of
    // a VF with another MAC, and the bytes of the datagram with its Ethernet header.
    output wire [303:0]      j_early,
    output wire [7:0]        j_arp_vf,
    output wire              j_arp_forged,
    output wire [10:0]       j_end,

    // A frame is in here.
    output wire              busy
);

    initial begin
        if (NVF < 1 || NVF > 64 || LW < 3 || LW > 6) begin
            $display("%m: NVF = %0d (1 to 64), LW = %0d (3 to 6)", NVF, LW);
            $finish;
        end
    end

    localparam [15:0] FRAME_MAX = `NK_LIM_MTU_MAX + 14;
    localparam [10:0] ROUND_UP  = (1 << LW) - 1;

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

    reg valid_2_reg;
    reg valid_3_reg;
    reg valid_4_reg;
    reg valid_5_reg;

    always @(posedge clk) begin
        valid_2_reg <= f_valid;
        valid_3_reg <= valid_2_reg;
        valid_4_reg <= valid_3_reg;
        valid_5_reg <= valid_4_reg;
        if (rst) begin
            valid_2_reg <= 1'b0;
            valid_3_reg <= 1'b0;
            valid_4_reg <= 1'b0;
            valid_5_reg <= 1'b0;
        end
    end

    assign busy = f_valid || valid_2_reg || valid_3_reg || valid_4_reg || valid_5_reg;

    // ---- clock 1: whose frame; IPv4 header sum, first half; the segment moved from behind IPv4's options ----
    wire [47:0] eth_dst   = rev48(f_hdr[47:0]);
    wire [15:0] eth_type  = rev16(f_hdr[12*8 +: 16]);
    wire        is_arp    = eth_type == 16'h0806;
    wire [3:0]  ip_ihl    = f_hdr[14*8 +: 4];
    wire [15:0] ip_len    = rev16(f_hdr[16*8 +: 16]);
    wire [31:0] arp_spa   = rev32(f_hdr[28*8 +: 32]);
    wire [47:0] arp_sha   = rev48(f_hdr[22*8 +: 48]);
    wire [31:0] arp_tpa   = rev32(f_hdr[38*8 +: 32]);
    wire [63:0] arp_kind  = f_hdr[14*8 +: 64];

    reg         mac_hit_2_reg;
    reg [7:0]   vf_2_reg;
    reg         local_2_reg;
    reg [31:0]  vf_ip_2_reg;
    reg [15:0]  vf_mtu_2_reg;
    reg         arp_hit_2_reg;
    reg [7:0]   arp_vf_2_reg;
    reg [47:0]  arp_mac_2_reg;
    reg         arp_forged_2_reg;
    reg         arp_ok_2_reg;
    reg [135:0] ip_part_2_reg;
    reg [479:0] l4_2_reg;
    reg [303:0] hdr_2_reg;
    reg [15:0]  bytes_2_reg;
    reg [15:0]  l4_len_2_reg;
    integer     v;
    integer     q;
    integer     w;

    reg [135:0] ip_part;
    always @* begin
        ip_part = 136'd0;
        if (f_valid && !is_arp)
            for (q = 0; q < 4; q = q + 1)
                for (w = 4*q; w < 4*q + 4 && w < 15; w = w + 1)
                    if (w < 5 || w < {28'd0, ip_ihl})
                        ip_part[34*q +: 34] = ip_part[34*q +: 34] + {2'd0, f_hdr[14*8 + 32*w +: 32]};
    end

    always @(posedge clk) if (f_valid) begin
        hdr_2_reg     <= f_hdr[303:0];
        bytes_2_reg   <= f_bytes;
        local_2_reg   <= f_local;
        l4_len_2_reg  <= ip_len - {10'd0, ip_ihl, 2'b00};
        mac_hit_2_reg <= 1'b0;
        // The last assignment holds: of two VFs with one address the lower one is served.
        for (v = NVF - 1; v >= 0; v = v - 1)
            if (cfg_en[v] && cfg_mac[48*v +: 48] == eth_dst) begin
                mac_hit_2_reg <= 1'b1;
                vf_2_reg      <= v[7:0];
                vf_ip_2_reg   <= cfg_ip[32*v +: 32];
                vf_mtu_2_reg  <= cfg_mtu[16*v +: 16];
            end
        if (is_arp) begin
            arp_hit_2_reg    <= 1'b0;
            arp_forged_2_reg <= 1'b0;
            for (v = NVF - 1; v >= 0; v = v - 1) begin
                if (cfg_en[v] && cfg_ip[32*v +: 32] == arp_tpa) begin
                    arp_hit_2_reg <= 1'b1;
                    arp_vf_2_reg  <= v[7:0];
                    arp_mac_2_reg <= cfg_mac[48*v +: 48];
                end
                if (cfg_en[v] && cfg_ip[32*v +: 32] == arp_spa && cfg_mac[48*v +: 48] != arp_sha)
                    arp_forged_2_reg <= 1'b1;
            end
            // Ethernet, IPv4, 6 and 4 bytes of address, request or reply; a sender that can be answered.
            arp_ok_2_reg <= (arp_kind == 64'h0100_0406_0008_0100 || arp_kind == 64'h0200_0406_0008_0100)
                         && !arp_sha[40] && arp_sha != 48'd0;
        end else begin
            ip_part_2_reg <= ip_part;
            l4_2_reg      <= f_hdr[14*8 + {23'd0, ip_ihl, 5'd0} +: 480];
        end
    end

    // ---- clock 2: comparisons; IPv4 header sum, second half; pseudo-header ----
    wire [47:0] eth_dst_2  = rev48(hdr_2_reg[47:0]);
    wire [47:0] eth_src_2  = rev48(hdr_2_reg[95:48]);
    wire [15:0] eth_type_2 = rev16(hdr_2_reg[12*8 +: 16]);
    wire        is_arp_2   = eth_type_2 == 16'h0806;
    wire [3:0]  ip_ihl_2   = hdr_2_reg[14*8 +: 4];
    wire [3:0]  ip_ver_2   = hdr_2_reg[14*8+4 +: 4];
    wire [15:0] ip_len_2   = rev16(hdr_2_reg[16*8 +: 16]);
    wire [13:0] ip_frag_2  = {hdr_2_reg[20*8 +: 6], hdr_2_reg[21*8 +: 8]};   // MF, offset
    wire [7:0]  ip_proto_2 = hdr_2_reg[23*8 +: 8];
    wire [31:0] ip_src_2   = rev32(hdr_2_reg[26*8 +: 32]);
    wire [31:0] ip_dst_2   = rev32(hdr_2_reg[30*8 +: 32]);
    wire [5:0]  ip_hlen_2  = {ip_ihl_2, 2'b00};
    wire [47:0] arp_tha_2  = rev48(hdr_2_reg[32*8 +: 48]);
    wire [16:0] end_2      = {1'b0, ip_len_2} + 17'd14;
    wire [3:0]  tcp_doff_2 = l4_2_reg[12*8+4 +: 4];
    wire        slow_2     = is_arp_2 || ip_proto_2 == 8'd1;

    // The header that an ICMP message is about: a segment of ours has no IPv4 options, and only a first fragment
    // has ports.
    wire        quote_ok_2 = l4_2_reg[64 +: 8] == 8'h45 && l4_2_reg[(8+9)*8 +: 8] == 8'd6
                          && {l4_2_reg[(8+6)*8 +: 5], l4_2_reg[(8+7)*8 +: 8]} == 13'd0
                          && rev32(l4_2_reg[(8+12)*8 +: 32]) == vf_ip_2_reg;

    reg         unfit_3_reg;     // shorter or longer than any frame
    reg         filter_3_reg;    // nobody's
    reg         is_arp_3_reg;
    reg         is_ip_3_reg;
    reg         arp_ok_3_reg;
    reg         arp_mine_3_reg;
    reg         lt42_3_reg;
    reg         lt34_3_reg;
    reg         ip_bad_3_reg;    // version, IHL
    reg         lt_hlen_3_reg;
    reg         len_bad_3_reg;   // total length below the header
    reg         size_bad_3_reg;  // cut off, or beyond the MTU
    reg         addr_bad_3_reg;
    reg         frag_3_reg;
    reg         is_tcp_3_reg;
    reg         is_icmp_3_reg;
    reg         tcp_bad_3_reg;
    reg         echo_3_reg;
    reg         ptb_3_reg;
    reg         slow_3_reg;
    reg [35:0]  ip_sum_3_reg;
    reg [34:0]  pseudo_3_reg;
    reg [7:0]   hlen_3_reg;
    reg [15:0]  len_3_reg;
    reg [7:0]   vf_3_reg;
    reg [47:0]  smac_3_reg;
    reg [31:0]  rip_3_reg;
    reg [1:0]   ecn_3_reg;
    reg [287:0] l4_3_reg;
    reg [303:0] early_3_reg;
    reg [7:0]   arp_vf_3_reg;
    reg         arp_forged_3_reg;
    reg [10:0]  end_3_reg;

    always @(posedge clk) if (valid_2_reg) begin
        unfit_3_reg    <= bytes_2_reg < 16'd14 || bytes_2_reg > FRAME_MAX;
        filter_3_reg   <= !mac_hit_2_reg && !(&eth_dst_2 && is_arp_2);
        is_arp_3_reg   <= is_arp_2;
        is_ip_3_reg    <= eth_type_2 == 16'h0800;
        arp_ok_3_reg   <= arp_ok_2_reg;
        arp_mine_3_reg <= arp_hit_2_reg && (hdr_2_reg[21*8] || (eth_dst_2 == arp_mac_2_reg
                                                                && arp_tha_2 == arp_mac_2_reg));
        lt42_3_reg     <= bytes_2_reg < 16'd42;
        lt34_3_reg     <= bytes_2_reg < 16'd34;
        ip_bad_3_reg   <= ip_ver_2 != 4'd4 || ip_ihl_2 < 4'd5;
        lt_hlen_3_reg  <= bytes_2_reg < {10'd0, ip_hlen_2} + 16'd14;
        len_bad_3_reg  <= ip_len_2 < {10'd0, ip_hlen_2};
        size_bad_3_reg <= {1'b0, bytes_2_reg} < end_2 || ip_len_2 > vf_mtu_2_reg
                       || ({1'b0, bytes_2_reg} > {1'b0, vf_mtu_2_reg} + 17'd14 && bytes_2_reg > 16'd60);
        // A sender of 0.0.0.0, multicast and above, or on the wire with the VF's own address: nobody to talk to.
        addr_bad_3_reg <= ip_dst_2 != vf_ip_2_reg || ip_src_2 == 32'd0 || ip_src_2[31:29] == 3'b111
                       || (ip_src_2 == vf_ip_2_reg && !local_2_reg) || eth_src_2[40];
        frag_3_reg     <= ip_frag_2 != 14'd0;
        is_tcp_3_reg   <= ip_proto_2 == 8'd6;
        is_icmp_3_reg  <= ip_proto_2 == 8'd1;
        tcp_bad_3_reg  <= l4_len_2_reg < 16'd20 || tcp_doff_2 < 4'd5
                       || {10'd0, tcp_doff_2, 2'b00} > l4_len_2_reg;
        echo_3_reg     <= ip_ihl_2 == 4'd5 && l4_len_2_reg >= 16'd8 && l4_2_reg[15:0] == 16'h0008;
        ptb_3_reg      <= l4_len_2_reg >= 16'd36 && l4_2_reg[15:0] == 16'h0403 && quote_ok_2;
        slow_3_reg     <= slow_2;
        ip_sum_3_reg   <= {2'd0, ip_part_2_reg[33:0]} + {2'd0, ip_part_2_reg[67:34]}
                        + {2'd0, ip_part_2_reg[101:68]} + {2'd0, ip_part_2_reg[135:102]};
        // ICMP's checksum has none.
        pseudo_3_reg   <= (ip_proto_2 != 8'd6) ? 35'd0
                        : {3'd0, hdr_2_reg[26*8 +: 32]} + {3'd0, hdr_2_reg[30*8 +: 32]}
                        + {19'd0, rev16(l4_len_2_reg)} + 35'h0_0000_0600;
        hlen_3_reg     <= {2'd0, ip_hlen_2} + {2'd0, tcp_doff_2, 2'b00} + 8'd14;
        len_3_reg      <= l4_len_2_reg - {10'd0, tcp_doff_2, 2'b00};
        vf_3_reg       <= vf_2_reg;
        smac_3_reg     <= eth_src_2;
        rip_3_reg      <= ip_src_2;
        ecn_3_reg      <= hdr_2_reg[15*8 +: 2];
        l4_3_reg       <= l4_2_reg[287:0];
        if (slow_2) begin
            early_3_reg      <= hdr_2_reg;
            arp_vf_3_reg     <= arp_vf_2_reg;
            arp_forged_3_reg <= arp_forged_2_reg;
            end_3_reg        <= end_2[10:0];
        end
    end

    // Its values come in clock 5.
    nk_tcp_options walker (
        .clk(clk), .rst(rst),
        .en(valid_2_reg && !is_arp_2 && ip_proto_2 == 8'd6 && tcp_doff_2 > 4'd5), .syn(l4_2_reg[13*8+1]),
        .words(tcp_doff_2 - 4'd5), .options(l4_2_reg[479:160]),
        .mss(j_mss), .wscale(j_wscale), .wscale_valid(j_wscale_valid), .sack_ok(j_sack_ok),
        .ts_valid(j_ts_valid), .tsval(j_tsval), .tsecr(j_tsecr), .sack_n(j_sack_n), .sack(j_sack)
    );

    // ---- clock 3: the first thing that is wrong, but for the segment's checksum ----
    wire [17:0] ip_fold1 = {2'd0, ip_sum_3_reg[15:0]} + {2'd0, ip_sum_3_reg[31:16]} + {14'd0, ip_sum_3_reg[35:32]};
    wire [16:0] ip_fold2 = {1'b0, ip_fold1[15:0]} + {15'd0, ip_fold1[17:16]};
    // All ones is the only sum of a right header: the next fold of 17'h10000 and above is never 16'hffff.
    wire        ip_sum_ok = ip_fold2 == 17'h0ffff;

    reg [3:0]   verdict;
    always @* begin
        if (unfit_3_reg)
            verdict = `NK_NV_RUNT;
        else if (filter_3_reg)
            verdict = `NK_NV_FILTER;
        else if (is_arp_3_reg)
            verdict = lt42_3_reg ? `NK_NV_RUNT : !arp_ok_3_reg ? `NK_NV_PROTO
                    : arp_mine_3_reg ? `NK_NV_ARP : `NK_NV_ARP_OTHER;
        else if (!is_ip_3_reg)
            verdict = `NK_NV_PROTO;
        else if (lt34_3_reg)
            verdict = `NK_NV_RUNT;
        else if (ip_bad_3_reg)
            verdict = `NK_NV_IP_HEADER;
        else if (lt_hlen_3_reg)
            verdict = `NK_NV_RUNT;
        else if (!ip_sum_ok || len_bad_3_reg)
            verdict = `NK_NV_IP_HEADER;
        else if (size_bad_3_reg)
            verdict = `NK_NV_RUNT;
        else if (addr_bad_3_reg)
            verdict = `NK_NV_FILTER;
        else if (frag_3_reg)
            verdict = `NK_NV_FRAGMENT;
        else if (is_tcp_3_reg)
            verdict = tcp_bad_3_reg ? `NK_NV_TCP_HEADER : `NK_NV_TCP;
        else if (is_icmp_3_reg)
            verdict = echo_3_reg ? `NK_NV_ECHO : ptb_3_reg ? `NK_NV_PTB : `NK_NV_ICMP;
        else
            verdict = `NK_NV_PROTO;
    end

    reg [3:0]   verdict_4_reg;
    reg [17:0]  pseudo_4_reg;
    reg [7:0]   hlen_4_reg;
    reg [10:0]  stop_4_reg;      // in bytes
    reg [15:0]  len_4_reg;
    reg [7:0]   vf_4_reg;
    reg [47:0]  smac_4_reg;
    reg [31:0]  rip_4_reg;
    reg [1:0]   ecn_4_reg;
    reg [287:0] l4_4_reg;
    reg         slow_4_reg;
    reg [303:0] early_4_reg;
    reg [7:0]   arp_vf_4_reg;
    reg         arp_forged_4_reg;
    reg [10:0]  end_4_reg;

    always @(posedge clk) if (valid_3_reg) begin
        verdict_4_reg <= verdict;
        pseudo_4_reg  <= {2'd0, pseudo_3_reg[15:0]} + {2'd0, pseudo_3_reg[31:16]} + {15'd0, pseudo_3_reg[34:32]};
        hlen_4_reg    <= hlen_3_reg;
        stop_4_reg    <= {3'd0, hlen_3_reg} + len_3_reg[10:0];
        len_4_reg     <= len_3_reg;
        vf_4_reg      <= vf_3_reg;
        smac_4_reg    <= smac_3_reg;
        rip_4_reg     <= rip_3_reg;
        ecn_4_reg     <= ecn_3_reg;
        l4_4_reg      <= l4_3_reg;
        slow_4_reg    <= slow_3_reg;
        if (slow_3_reg) begin
            early_4_reg      <= early_3_reg;
            arp_vf_4_reg     <= arp_vf_3_reg;
            arp_forged_4_reg <= arp_forged_3_reg;
            end_4_reg        <= end_3_reg;
        end
    end

    // ---- clock 4: the segment's checksum ----
    wire [18:0] l4_fold1  = {1'b0, f_sum} + {1'b0, pseudo_4_reg};
    wire [16:0] l4_fold2  = {1'b0, l4_fold1[15:0]} + {14'd0, l4_fold1[18:16]};
    wire        l4_sum_ok = l4_fold2 == 17'h0ffff;

    wire [10:0] stop_beat = (stop_4_reg + ROUND_UP) >> LW;

    reg [3:0]   verdict_5_reg;
    reg [7:0]   hlen_5_reg;
    reg [7:0]   stop_5_reg;
    reg [15:0]  len_5_reg;
    reg [7:0]   vf_5_reg;
    reg [47:0]  smac_5_reg;
    reg [31:0]  rip_5_reg;
    reg [1:0]   ecn_5_reg;
    reg [287:0] l4_5_reg;
    reg [303:0] early_5_reg;
    reg [7:0]   arp_vf_5_reg;
    reg         arp_forged_5_reg;
    reg [10:0]  end_5_reg;

    always @(posedge clk) if (valid_4_reg) begin
        verdict_5_reg <= verdict_4_reg;
        if (!l4_sum_ok && verdict_4_reg == `NK_NV_TCP)
            verdict_5_reg <= `NK_NV_TCP_CSUM;
        if (!l4_sum_ok && (verdict_4_reg == `NK_NV_ECHO || verdict_4_reg == `NK_NV_PTB))
            verdict_5_reg <= `NK_NV_ICMP;
        hlen_5_reg    <= hlen_4_reg;
        stop_5_reg    <= stop_beat[7:0];
        len_5_reg     <= len_4_reg;
        vf_5_reg      <= vf_4_reg;
        smac_5_reg    <= smac_4_reg;
        rip_5_reg     <= rip_4_reg;
        ecn_5_reg     <= ecn_4_reg;
        l4_5_reg      <= l4_4_reg;
        if (slow_4_reg) begin
            early_5_reg      <= early_4_reg;
            arp_vf_5_reg     <= arp_vf_4_reg;
            arp_forged_5_reg <= arp_forged_4_reg;
            end_5_reg        <= end_4_reg;
        end
    end

    assign j_valid      = valid_5_reg;
    assign j_verdict    = verdict_5_reg;
    assign j_vf         = vf_5_reg;
    assign j_smac       = smac_5_reg;
    assign j_rip        = rip_5_reg;
    assign j_ecn        = ecn_5_reg;
    assign j_l4         = l4_5_reg;
    assign j_len        = len_5_reg;
    assign j_lane       = hlen_5_reg[LW-1:0];
    assign j_first      = hlen_5_reg >> LW;
    assign j_stop       = stop_5_reg;

    wire unused = &{1'b0, stop_beat[10:8]};
    assign j_early      = early_5_reg;
    assign j_arp_vf     = arp_vf_5_reg;
    assign j_arp_forged = arp_forged_5_reg;
    assign j_end        = end_5_reg;

endmodule

`default_nettype wire
