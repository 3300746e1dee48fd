// SPDX-License-Identifier: Apache-2.0
// Purpose: the options of a TCP segment, any arrangement of them, in three clocks, a segment each clock
// (RFC 9293, RFC 7323, RFC 2018).
//
// Where an option begins depends on all before it. The walk is cut at each 4-byte word: for each of the four
// bytes at which an option may begin there, a table tells which others begin in that word and how many bytes
// behind it are skipped then. All tables are made at once; two clocks follow them through ten words.
//
//   clock 0         1                    2                     3
//   en, options     tables -> words 0-4  words 5-9 -> places   values (from registers)
//
// An option that cannot be right (length 0 or 1, or beyond the header) ends the walk: what stands before it
// counts. A known option of a wrong length is skipped as an unknown one. Of two the last counts.

`default_nettype none

module nk_tcp_options (
    input  wire         clk,
    input  wire         rst,

    // A segment with options: their words (1 to 10), their bytes (first one in bits 7:0), whether it is a SYN.
    input  wire         en,
    input  wire         syn,
    input  wire [3:0]   words,
    input  wire [319:0] options,

    // Three clocks later, for one clock; all 0 without `en`. MSS (0: none), window scale (14 at most) and SACK
    // permitted count on a SYN only, SACK blocks ({end, start}, first one lowest, those beyond `sack_n` 0) on others.
    output reg  [15:0]  mss,
    output reg  [3:0]   wscale,
    output reg          wscale_valid,
    output reg          sack_ok,
    output reg          ts_valid,
    output reg  [31:0]  tsval,
    output reg  [31:0]  tsecr,
    output reg  [2:0]   sack_n,
    output reg  [255:0] sack
);

    localparam [7:0] KIND_END     = 8'd0;
    localparam [7:0] KIND_NOP     = 8'd1;
    localparam [7:0] KIND_MSS     = 8'd2;
    localparam [7:0] KIND_WSCALE  = 8'd3;
    localparam [7:0] KIND_SACK_OK = 8'd4;
    localparam [7:0] KIND_SACK    = 8'd5;
    localparam [7:0] KIND_TS      = 8'd8;
    // A step beyond all words, however many are subtracted from it on the way.
    localparam [5:0] STOP         = 6'd63;
    // NOP NOP TS and nothing else: by far the most frequent, known at a glance.
    localparam [31:0] PLAIN       = 32'h0a08_0101;

    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction

    wire plain = words == 4'd3 && options[31:0] == PLAIN;
    wire walk  = en && !plain;

    // ---- clock 0: tables, for all bytes alike ----
    // Entry e of word k: if an option begins at byte e, `skip` bytes behind the word belong to options of this
    // word; `begin_at`: where options begin in it.
    reg [239:0] skip_next;       // 40 of 6 bits
    reg [159:0] begin_next;      // 40 of 4 bits
    reg [39:0]  is_mss_next;
    reg [39:0]  is_wscale_next;
    reg [39:0]  is_sack_ok_next;
    reg [39:0]  is_sack_next;
    reg [39:0]  is_ts_next;
    reg [327:0] padded;
    reg [7:0]   kind;
    reg [7:0]   optlen;
    reg         fits;
    reg [23:0]  steps;           // of the bytes of a word
    reg [5:0]   step;
    integer     k;
    integer     e;
    integer     i;

    always @* begin
        skip_next       = {240{1'b1}};
        begin_next      = 160'd0;
        is_mss_next     = 40'd0;
        is_wscale_next  = 40'd0;
        is_sack_ok_next = 40'd0;
        is_sack_next    = 40'd0;
        is_ts_next      = 40'd0;
        padded          = {8'd0, options};
        kind            = 8'd0;
        optlen          = 8'd0;
        fits            = 1'b0;
        steps           = 24'd0;
        step            = 6'd0;
        i               = 0;
        if (walk) begin
            for (k = 0; k < 10; k = k + 1) begin
                for (e = 3; e >= 0; e = e - 1) begin
                    i      = 4*k + e;
                    kind   = padded[8*i +: 8];
                    optlen = padded[8*i + 8 +: 8];
                    fits   = optlen >= 8'd2 && {1'b0, optlen} + i[8:0] <= {3'd0, words, 2'b00};
                    step   = (k[3:0] >= words)   ? STOP
                           : (kind == KIND_NOP)  ? 6'd1
                           : (kind == KIND_END || !fits) ? STOP : optlen[5:0];
                    steps[6*e +: 6] = step;

                    is_mss_next[i]     = fits && kind == KIND_MSS && optlen == 8'd4;
                    is_wscale_next[i]  = fits && kind == KIND_WSCALE && optlen == 8'd3;
                    is_sack_ok_next[i] = fits && kind == KIND_SACK_OK && optlen == 8'd2;
                    is_ts_next[i]      = fits && kind == KIND_TS && optlen == 8'd10;
                    is_sack_next[i]    = fits && kind == KIND_SACK && optlen[2:0] == 3'd2 && optlen >= 8'd10
                                      && optlen <= 8'd34;
                end
                // From the last byte to the first: a step of 1, 2 or 3 leads to an entry that is known.
                skip_next[24*k + 18 +: 6] = steps[18 +: 6] - 6'd1;
                skip_next[24*k + 12 +: 6] = (steps[12 +: 6] == 6'd1) ? skip_next[24*k + 18 +: 6]
                                          : steps[12 +: 6] - 6'd2;
                skip_next[24*k + 6 +: 6]  = (steps[6 +: 6] == 6'd1) ? skip_next[24*k + 12 +: 6]
                                          : (steps[6 +: 6] == 6'd2) ? skip_next[24*k + 18 +: 6]
                                          : steps[6 +: 6] - 6'd3;
                skip_next[24*k +: 6]      = (steps[5:0] == 6'd1) ? skip_next[24*k + 6 +: 6]
                                          : (steps[5:0] == 6'd2) ? skip_next[24*k + 12 +: 6]
                                          : (steps[5:0] == 6'd3) ? skip_next[24*k + 18 +: 6]
                                          : steps[5:0] - 6'd4;
                begin_next[16*k + 12 +: 4] = 4'b1000;
                begin_next[16*k + 8 +: 4]  = 4'b0100 | ((steps[12 +: 6] == 6'd1) ? 4'b1000 : 4'd0);
                begin_next[16*k + 4 +: 4]  = 4'b0010
                                           | ((steps[6 +: 6] == 6'd1) ? begin_next[16*k + 8 +: 4]
                                            : (steps[6 +: 6] == 6'd2) ? 4'b1000 : 4'd0);
                begin_next[16*k +: 4]      = 4'b0001
                                           | ((steps[5:0] == 6'd1) ? begin_next[16*k + 4 +: 4]
                                            : (steps[5:0] == 6'd2) ? begin_next[16*k + 8 +: 4]
                                            : (steps[5:0] == 6'd3) ? 4'b1000 : 4'd0);
            end
        end
    end

    // ---- registers of clock 1 ----
    reg         en_1_reg;
    reg         walk_1_reg;
    reg         syn_1_reg;
    reg [319:0] options_1_reg;
    reg [239:0] skip_1_reg;
    reg [159:0] begin_1_reg;
    reg [39:0]  is_mss_1_reg;
    reg [39:0]  is_wscale_1_reg;
    reg [39:0]  is_sack_ok_1_reg;
    reg [39:0]  is_sack_1_reg;
    reg [39:0]  is_ts_1_reg;

    // ---- clock 1: words 0 to 4 ----
    reg [5:0]   at_1;
    reg [19:0]  begins_1;
    integer     m;
    always @* begin
        at_1     = 6'd0;
        begins_1 = 20'd0;
        if (walk_1_reg)
            for (m = 0; m < 5; m = m + 1)
                if (at_1[5:2] == 4'd0) begin
                    begins_1[4*m +: 4] = begin_1_reg[16*m + {28'd0, at_1[1:0], 2'd0} +: 4];
                    at_1               = skip_1_reg[24*m + 6*{30'd0, at_1[1:0]} +: 6];
                end else
                    at_1 = at_1 - 6'd4;
    end

    // ---- registers of clock 2 ----
    reg         en_2_reg;
    reg         walk_2_reg;
    reg         syn_2_reg;
    reg [319:0] options_2_reg;
    reg [119:0] skip_2_reg;
    reg [79:0]  begin_2_reg;
    reg [39:0]  is_mss_2_reg;
    reg [39:0]  is_wscale_2_reg;
    reg [39:0]  is_sack_ok_2_reg;
    reg [39:0]  is_sack_2_reg;
    reg [39:0]  is_ts_2_reg;
    reg [5:0]   at_2_reg;
    reg [19:0]  begins_2_reg;

    // ---- clock 2: words 5 to 9 ----
    reg [5:0]   at_2;
    reg [39:0]  begins_2;
    integer     n;
    always @* begin
        at_2     = at_2_reg;
        begins_2 = {20'd0, begins_2_reg};
        if (walk_2_reg)
            for (n = 0; n < 5; n = n + 1)
                if (at_2[5:2] == 4'd0) begin
                    begins_2[20 + 4*n +: 4] = begin_2_reg[16*n + {28'd0, at_2[1:0], 2'd0} +: 4];
                    at_2                    = skip_2_reg[24*n + 6*{30'd0, at_2[1:0]} +: 6];
                end else
                    at_2 = at_2 - 6'd4;
    end

    // ---- registers of clock 3: where each option that counts stands ----
    reg         en_3_reg;
    reg [319:0] options_3_reg;
    reg [39:0]  mss_3_reg;
    reg [39:0]  wscale_3_reg;
    reg         sack_ok_3_reg;
    reg [39:0]  sack_3_reg;
    reg [39:0]  ts_3_reg;

    always @(posedge clk) begin
        en_1_reg   <= en;
        walk_1_reg <= walk;
        if (en) begin
            syn_1_reg     <= syn;
            options_1_reg <= options;
        end
        if (walk) begin
            skip_1_reg       <= skip_next;
            begin_1_reg      <= begin_next;
            is_mss_1_reg     <= is_mss_next;
            is_wscale_1_reg  <= is_wscale_next;
            is_sack_ok_1_reg <= is_sack_ok_next;
            is_sack_1_reg    <= is_sack_next;
            is_ts_1_reg      <= is_ts_next;
        end

        en_2_reg   <= en_1_reg;
        walk_2_reg <= walk_1_reg;
        if (en_1_reg) begin
            syn_2_reg     <= syn_1_reg;
            options_2_reg <= options_1_reg;
        end
        if (walk_1_reg) begin
            skip_2_reg       <= skip_1_reg[239:120];
            begin_2_reg      <= begin_1_reg[159:80];
            is_mss_2_reg     <= is_mss_1_reg;
            is_wscale_2_reg  <= is_wscale_1_reg;
            is_sack_ok_2_reg <= is_sack_ok_1_reg;
            is_sack_2_reg    <= is_sack_1_reg;
            is_ts_2_reg      <= is_ts_1_reg;
            at_2_reg         <= at_1;
            begins_2_reg     <= begins_1;
        end

        en_3_reg <= en_2_reg;
        if (en_2_reg) begin
            options_3_reg <= options_2_reg;
            mss_3_reg     <= (walk_2_reg && syn_2_reg)  ? begins_2 & is_mss_2_reg    : 40'd0;
            wscale_3_reg  <= (walk_2_reg && syn_2_reg)  ? begins_2 & is_wscale_2_reg : 40'd0;
            sack_ok_3_reg <= walk_2_reg && syn_2_reg && |(begins_2 & is_sack_ok_2_reg);
            sack_3_reg    <= (walk_2_reg && !syn_2_reg) ? begins_2 & is_sack_2_reg   : 40'd0;
            ts_3_reg      <= walk_2_reg ? begins_2 & is_ts_2_reg : 40'd4;
        end

        if (rst) begin
            en_1_reg   <= 1'b0;
            walk_1_reg <= 1'b0;
            en_2_reg   <= 1'b0;
            walk_2_reg <= 1'b0;
            en_3_reg   <= 1'b0;
        end
    end

    // ---- clock 3: values ----
    // The number of the highest bit that is set.
    function [5:0] last_of;
        input [39:0] x;
        reg   [39:0] y;
        begin
            y       = x | x >> 1;
            y       = y | y >> 2;
            y       = y | y >> 4;
            y       = y | y >> 8;
            y       = y | y >> 16;
            y       = y | y >> 32;
            y       = y & ~(y >> 1);
            last_of = {|(y & 40'hff_0000_0000), |(y & 40'h00_ffff_0000), |(y & 40'h00_ff00_ff00),
                       |(y & 40'hf0_f0f0_f0f0), |(y & 40'hcc_cccc_cccc), |(y & 40'haa_aaaa_aaaa)};
        end
    endfunction

    // Places beyond the 40 bytes read as 0.
    wire [591:0] far = {272'd0, options_3_reg};
    reg  [8:0]   at;
    reg  [7:0]   size;
    reg  [255:0] blocks;
    integer      p;

    always @* begin
        mss          = 16'd0;
        wscale       = 4'd0;
        wscale_valid = 1'b0;
        sack_ok      = en_3_reg && sack_ok_3_reg;
        ts_valid     = en_3_reg && ts_3_reg != 40'd0;
        tsval        = 32'd0;
        tsecr        = 32'd0;
        sack_n       = 3'd0;
        sack         = 256'd0;
        at           = 9'd0;
        size         = 8'd0;
        blocks       = 256'd0;
        if (en_3_reg && mss_3_reg != 40'd0) begin
            at  = {last_of(mss_3_reg), 3'd0};
            mss = {far[{23'd0, at} + 16 +: 8], far[{23'd0, at} + 24 +: 8]};
        end
        if (en_3_reg && wscale_3_reg != 40'd0) begin
            at           = {last_of(wscale_3_reg), 3'd0};
            size         = far[{23'd0, at} + 16 +: 8];
            wscale_valid = 1'b1;
            // RFC 7323: a shift above 14 is used as 14.
            wscale       = (size > 8'd14) ? 4'd14 : size[3:0];
        end
        if (ts_valid) begin
            at    = {last_of(ts_3_reg), 3'd0};
            tsval = rev32(far[{23'd0, at} + 16 +: 32]);
            tsecr = rev32(far[{23'd0, at} + 48 +: 32]);
        end
        if (en_3_reg && sack_3_reg != 40'd0) begin
            at     = {last_of(sack_3_reg), 3'd0};
            size   = far[{23'd0, at} + 8 +: 8];
            sack_n = size[5:3];
            blocks = far[{23'd0, at} + 16 +: 256];
            for (p = 0; p < 4; p = p + 1)
                if (p[2:0] < sack_n)
                    sack[64*p +: 64] = {rev32(blocks[64*p + 32 +: 32]), rev32(blocks[64*p +: 32])};
        end
    end

endmodule

`default_nettype wire
