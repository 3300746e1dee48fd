// SPDX-License-Identifier: Apache-2.0
// Purpose: answers ICMP echo requests (RFC 792): keeps one frame and sends it back with addresses swapped.
//
// Every frame is written to the buffer while it arrives, from beat 0 on; the verdict of nk_net_rx comes with its
// last beat. Both checksums are updated, not made anew (RFC 1624): swapping addresses does not change them.
//
//   | dst MAC | src MAC | ... | ttl proto csum | src | dst | type code csum | id seq data
//   0         6         12    22          24     26    30    34        36     38          <- from here on as received

`default_nettype none

module nk_icmp_echo #(
    // Bus width in bits.
    parameter W = 512,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire         clk,
    input  wire         rst,

    // Beats from nk_net_rx, bytes behind the datagram 0.
    input  wire         tap_valid,
    input  wire         tap_first,
    input  wire [W-1:0] tap_data,

    // Verdict on the frame, with its last beat: an echo request of `echo_len` bytes, its first 38 bytes in `echo_hdr`.
    // It is dropped unless `echo_room`.
    input  wire         echo_valid,
    output wire         echo_room,
    input  wire [303:0] echo_hdr,
    input  wire [10:0]  echo_len,

    // The answer.
    output wire         m_valid,
    input  wire         m_ready,
    output wire [W-1:0] m_data,
    output wire         m_last,
    output wire [LW:0]  m_bytes,

    // An answer is on its way.
    output wire         busy
);

    localparam AW     = 11 - LW;
    localparam [31:0] BYTES  = W / 8;
    localparam [31:0] HBEATS = (38 + BYTES - 1) / BYTES;
    localparam [31:0] HLAST  = HBEATS - 1;
    localparam [31:0] HREM   = 38 % BYTES;        // new bytes in the last of these beats, never 0
    localparam [W-1:0]  OLD  = {W{1'b1}} << (8 * HREM);
    localparam [LW:0]   FULL = BYTES[LW:0];
    localparam [AW-1:0] ONE  = {{AW-1{1'b0}}, 1'b1};

    function [15:0] fold;
        input [17:0] x;
        reg   [16:0] y;
        begin
            y    = {1'b0, x[15:0]} + {15'd0, x[17:16]};
            fold = y[15:0] + {15'd0, y[16]};
        end
    endfunction

    // ---- capture ----
    reg          busy_reg;
    reg          whole_reg;    // the frame that arrives has found the buffer free from its first beat on
    wire         whole = (tap_valid && tap_first) || whole_reg;
    reg [AW-1:0] wr_reg;
    wire         we    = tap_valid && !busy_reg && whole;
    wire [AW-1:0] waddr = tap_first ? {AW{1'b0}} : wr_reg;
    wire         take  = echo_valid && echo_room;

    assign echo_room = whole && !busy_reg;

    always @(posedge clk) begin
        if (tap_valid && tap_first)
            whole_reg <= !busy_reg;
        if (we)
            wr_reg <= waddr + ONE;
        if (rst)
            whole_reg <= 1'b0;
    end

    // ---- the new header ----
    // All words little-endian: TTL in the low byte of its word, ICMP type 8 too.
    wire [15:0] ip_csum   = ~fold({2'd0, ~echo_hdr[24*8 +: 16]} + {2'd0, ~echo_hdr[22*8 +: 16]} + 18'h00140);
    wire [15:0] icmp_fold = ~fold({2'd0, ~echo_hdr[36*8 +: 16]} + 18'h0fff7);
    // 0 would be wrong for an answer that is all zeros, ffff is right for each.
    wire [15:0] icmp_csum = (icmp_fold == 16'd0) ? 16'hffff : icmp_fold;
    wire [303:0] answer   = {icmp_csum, 16'd0, echo_hdr[26*8 +: 32], echo_hdr[30*8 +: 32], ip_csum, 8'd1, 8'd64,
                             echo_hdr[12*8 +: 80], echo_hdr[47:0], echo_hdr[95:48]};

    // ---- send ----
    reg                active_reg;
    reg [AW-1:0]       beat_reg;
    reg [10:0]         left_reg;      // bytes to send, padding included
    reg [AW-1:0]       stored_reg;    // last beat with bytes of the datagram
    reg [HBEATS*W-1:0] hdr_reg;

    reg                out_valid_reg;
    reg                out_last_reg;
    reg [LW:0]         out_bytes_reg;
    reg [W-1:0]        out_hdr_reg;
    reg                out_mix_reg;
    reg                out_ram_reg;
    wire [W-1:0]       out_ram;

    wire        step    = active_reg && (!out_valid_reg || m_ready);
    wire        ending   = left_reg <= BYTES[10:0];
    wire [10:0] last_at = echo_len - 11'd1;
    wire        unused_ok = &{1'b0, last_at[LW-1:0], echo_hdr[34*8 +: 16]};

    nk_ram_1w1r #(.W(W), .AW(AW)) buffer (
        .clk(clk),
        .we(we), .waddr(waddr), .wdata(tap_data),
        .re(step), .raddr(beat_reg), .rdata(out_ram)
    );

    always @(posedge clk) begin
        if (take) begin
            busy_reg   <= 1'b1;
            active_reg <= 1'b1;
            beat_reg   <= {AW{1'b0}};
            left_reg   <= (echo_len < 11'd60) ? 11'd60 : echo_len;
            stored_reg <= last_at[10:LW];
            hdr_reg    <= {{HBEATS*W-304{1'b0}}, answer};
        end
        if (step) begin
            beat_reg      <= beat_reg + ONE;
            left_reg      <= left_reg - BYTES[10:0];
            active_reg    <= !ending;
            hdr_reg       <= hdr_reg >> W;
            out_hdr_reg   <= hdr_reg[W-1:0];
            out_last_reg  <= ending;
            out_bytes_reg <= ending ? left_reg[LW:0] : FULL;
            out_mix_reg   <= beat_reg == HLAST[AW-1:0];
            out_ram_reg   <= {1'b0, beat_reg} + {1'b0, ONE} > HLAST[AW:0] && beat_reg <= stored_reg;
        end
        out_valid_reg <= step || (out_valid_reg && !m_ready);
        if (m_valid && m_ready && m_last)
            busy_reg <= 1'b0;
        if (rst) begin
            busy_reg      <= 1'b0;
            active_reg    <= 1'b0;
            out_valid_reg <= 1'b0;
        end
    end

    assign m_valid = out_valid_reg;
    assign m_last  = out_last_reg;
    assign m_bytes = out_bytes_reg;
    assign m_data  = (!out_ram_reg ? {W{1'b0}} : out_mix_reg ? out_ram & OLD : out_ram) | out_hdr_reg;

    assign busy = busy_reg;

endmodule

`default_nettype wire
