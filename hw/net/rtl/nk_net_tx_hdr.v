// SPDX-License-Identifier: Apache-2.0
// Purpose: builds the Ethernet, IPv4 and TCP header of a segment and the parts of its checksums that do not need the payload.
//
//   0         6         12     14                  34       54                                            54 + 4 * words
//   | dst MAC | src MAC | 0800 | IPv4, DF, TTL 64  | TCP 20 | options, up to 40                            |
//
//   options, sack_n = 0:   [ MSS | maxseg ] [ SACK permitted or 2 NOPs | timestamps ] [ NOP | scale | shift ]
//   options, sack_n > 0:   [ 2 NOPs | timestamps ] [ 2 NOPs | SACK | left | right | ... ]
//
//   clock  0     1       2               3              4       5
//          s_*   fields  m_*: the header  partial sums  totals  sum_*
//
// A segment a clock; nothing waits. The two checksum fields are 0 in m_hdr.

`default_nettype none

module nk_net_tx_hdr (
    // Clock and reset (synchronous, active high).
    input  wire         clk,
    input  wire         rst,

    // A segment: what the descriptor says, its VF's addresses, its IPv4 id. At most 3 SACK blocks count beside
    // timestamps, and 4 else; `s_words` is what nk_net_tx_opt says.
    input  wire         s_valid,
    input  wire [47:0]  s_dmac,
    input  wire [47:0]  s_smac,
    input  wire [31:0]  s_sip,
    input  wire [31:0]  s_dip,
    input  wire [15:0]  s_id,
    input  wire [1:0]   s_ecn,
    input  wire [15:0]  s_sport,
    input  wire [15:0]  s_dport,
    input  wire [31:0]  s_seq,
    input  wire [31:0]  s_ack,
    input  wire [8:0]   s_flags,
    input  wire [15:0]  s_wnd,
    input  wire [15:0]  s_len,
    input  wire [3:0]   s_words,
    input  wire [319:0] s_options,

    // The header, byte 0 in the lowest bits, and the bytes of the whole frame without padding.
    output wire         m_valid,
    output wire [751:0] m_hdr,
    output wire [10:0]  m_bytes,
    output wire [3:0]   m_words,
    output wire         m_payload,

    // Three clocks after it: the IPv4 checksum as it stands in the frame (first byte in the low bits), and the
    // little-endian sum of the TCP and the pseudo header, not yet folded to 16 bits.
    output wire         sum_valid,
    output wire [15:0]  sum_ip,
    output wire [17:0]  sum_tcp
);

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

    // ---- fields -------------------------------------------------------------------------------
    reg         f_valid_reg;
    reg [47:0]  dmac_reg;
    reg [47:0]  smac_reg;
    reg [31:0]  sip_reg;
    reg [31:0]  dip_reg;
    reg [15:0]  id_reg;
    reg [1:0]   ecn_reg;
    reg [15:0]  sport_reg;
    reg [15:0]  dport_reg;
    reg [31:0]  seq_reg;
    reg [31:0]  ack_reg;
    reg [8:0]   flags_reg;
    reg [15:0]  wnd_reg;
    reg [15:0]  tcp_len_reg;
    reg         payload_reg;
    reg [3:0]   words_reg;
    reg [319:0] options_reg;

    always @(posedge clk) begin
        f_valid_reg <= s_valid;
        if (s_valid) begin
            dmac_reg    <= s_dmac;
            smac_reg    <= s_smac;
            sip_reg     <= s_sip;
            dip_reg     <= s_dip;
            id_reg      <= s_id;
            ecn_reg     <= s_ecn;
            sport_reg   <= s_sport;
            dport_reg   <= s_dport;
            seq_reg     <= s_seq;
            ack_reg     <= s_ack;
            flags_reg   <= s_flags;
            wnd_reg     <= s_wnd;
            tcp_len_reg <= s_len + {10'd0, s_words, 2'b00} + 16'd20;
            payload_reg <= s_len != 16'd0;
            words_reg   <= s_words;
            options_reg <= s_options;
        end
        if (rst)
            f_valid_reg <= 1'b0;
    end

    // ---- header -------------------------------------------------------------------------------
    // The byte with the data offset holds AE, the ninth flag, in bit 0.
    wire [15:0] offset = {words_reg + 4'd5, 3'd0, flags_reg};
    wire [15:0] ip_len = tcp_len_reg + 16'd20;

    reg         h_valid_reg;
    reg [751:0] hdr_reg;
    reg [15:0]  h_tcp_len_reg;
    reg [3:0]   h_words_reg;
    reg         h_payload_reg;

    always @(posedge clk) begin
        h_valid_reg <= f_valid_reg;
        if (f_valid_reg) begin
            hdr_reg <= {options_reg,
                        16'd0, 16'd0, rev16(wnd_reg), rev16(offset), rev32(ack_reg), rev32(seq_reg),
                        rev16(dport_reg), rev16(sport_reg),
                        rev32(dip_reg), rev32(sip_reg), 16'd0, 16'h0640, 16'h0040, rev16(id_reg),
                        rev16(ip_len), {6'd0, ecn_reg}, 8'h45, 16'h0008, rev48(smac_reg), rev48(dmac_reg)};
            h_tcp_len_reg <= tcp_len_reg;
            h_words_reg   <= words_reg;
            h_payload_reg <= payload_reg;
        end
        if (rst)
            h_valid_reg <= 1'b0;
    end

    assign m_valid   = h_valid_reg;
    assign m_hdr     = hdr_reg;
    assign m_bytes   = h_tcp_len_reg[10:0] + 11'd34;
    assign m_words   = h_words_reg;
    assign m_payload = h_payload_reg;

    // ---- sums: 32-bit words as they stand on the bus, see nk_net_sum ----------------------------
    reg         p_valid_reg;
    reg [34:0]  p_ip_reg;
    reg [34:0]  p_reg [0:3];
    reg         t_valid_reg;
    reg [17:0]  t_ip_reg;
    reg [36:0]  t_tcp_reg;
    reg         o_valid_reg;
    reg [15:0]  o_ip_reg;
    reg [17:0]  o_tcp_reg;

    function [15:0] fold;
        input [17:0] x;
        reg   [16:0] y;
        begin
            y    = {1'b0, x[15:0]} + {15'd0, x[17:16]};
            fold = y[15:0] + {15'd0, y[16]};
        end
    endfunction

    // The IPv4 header (3 and 4 are the addresses), the TCP header behind it (9 has the checksum, still 0).
    wire [34:0] word0  = {3'd0, hdr_reg[112 +: 32]};
    wire [34:0] word1  = {3'd0, hdr_reg[144 +: 32]};
    wire [34:0] word2  = {3'd0, hdr_reg[176 +: 32]};
    wire [34:0] word3  = {3'd0, hdr_reg[208 +: 32]};
    wire [34:0] word4  = {3'd0, hdr_reg[240 +: 32]};
    wire [34:0] word5  = {3'd0, hdr_reg[272 +: 32]};
    wire [34:0] word6  = {3'd0, hdr_reg[304 +: 32]};
    wire [34:0] word7  = {3'd0, hdr_reg[336 +: 32]};
    wire [34:0] word8  = {3'd0, hdr_reg[368 +: 32]};
    wire [34:0] word10 = {3'd0, hdr_reg[432 +: 32]};
    wire [34:0] word11 = {3'd0, hdr_reg[464 +: 32]};
    wire [34:0] word12 = {3'd0, hdr_reg[496 +: 32]};
    wire [34:0] word13 = {3'd0, hdr_reg[528 +: 32]};
    wire [34:0] word14 = {3'd0, hdr_reg[560 +: 32]};
    wire [34:0] word15 = {3'd0, hdr_reg[592 +: 32]};
    wire [34:0] word16 = {3'd0, hdr_reg[624 +: 32]};
    wire [34:0] word17 = {3'd0, hdr_reg[656 +: 32]};
    wire [34:0] word18 = {3'd0, hdr_reg[688 +: 32]};
    wire [34:0] word19 = {3'd0, hdr_reg[720 +: 32]};

    always @(posedge clk) begin
        p_valid_reg <= h_valid_reg;
        if (h_valid_reg) begin
            p_ip_reg <= word0 + word1 + word2 + word3 + word4;
            p_reg[0] <= word3 + word4 + word5 + word6 + word7;
            p_reg[1] <= word8 + word10 + word11 + word12
                      + {19'd0, 16'h0600};
            p_reg[2] <= word13 + word14 + word15 + word16
                      + {19'd0, rev16(h_tcp_len_reg)};
            p_reg[3] <= word17 + word18 + word19;
        end

        t_valid_reg <= p_valid_reg;
        if (p_valid_reg) begin
            t_ip_reg  <= {2'd0, p_ip_reg[15:0]} + {2'd0, p_ip_reg[31:16]} + {15'd0, p_ip_reg[34:32]};
            t_tcp_reg <= {2'd0, p_reg[0]} + {2'd0, p_reg[1]} + {2'd0, p_reg[2]} + {2'd0, p_reg[3]};
        end

        o_valid_reg <= t_valid_reg;
        if (t_valid_reg) begin
            o_ip_reg  <= ~fold(t_ip_reg);
            o_tcp_reg <= {2'd0, t_tcp_reg[15:0]} + {2'd0, t_tcp_reg[31:16]} + {13'd0, t_tcp_reg[36:32]};
        end

        if (rst) begin
            p_valid_reg <= 1'b0;
            t_valid_reg <= 1'b0;
            o_valid_reg <= 1'b0;
        end
    end

    assign sum_valid = o_valid_reg;
    assign sum_ip    = o_ip_reg;
    assign sum_tcp   = o_tcp_reg;

endmodule

`default_nettype wire
