// SPDX-License-Identifier: Apache-2.0
// The sender's scoreboard after one ACK: four ranges that the peer holds beyond SND.UNA, merged with up to four SACK blocks.
//
// Combinational and shallow: all ranges and blocks are compared with each other at once, those that touch become groups
// (three squarings of an 8 x 8 matrix of bits), and each group's lowest start and highest end form one range. The ranges
// are ascending, disjoint and not adjacent, none at SND.UNA, and the valid ones come first. When there are more than
// four, the lowest are forgotten: the highest show what is lost, and grow with what arrives.

`default_nettype none

module nk_tcp_sack (
    // The ACK counts and the flow uses SACK; otherwise the board passes through.
    input  wire         en,
    input  wire [31:0]  snd_una,      // before the ACK
    input  wire [31:0]  una,          // after it
    input  wire [31:0]  snd_nxt,
    input  wire [31:0]  rxt_nxt,      // lost bytes below this were sent again
    // Board before it, range 0 in the lowest bits.
    input  wire [3:0]   sk_v,
    input  wire [127:0] sk_s,
    input  wire [127:0] sk_e,
    // Its SACK blocks, {end, start} each, first block lowest.
    input  wire [2:0]   blk_n,
    input  wire [255:0] blk,
    // Board after it.
    output reg  [3:0]   sk_v_out,
    output reg  [127:0] sk_s_out,
    output reg  [127:0] sk_e_out,
    output wire [31:0]  top_s,        // its highest range
    output wire [31:0]  top_e,
    output wire [24:0]  held_old,     // bytes on the board before and after
    output wire [24:0]  held,
    // What the ACK tells.
    output reg          renege,       // the peer has dropped what it had reported: the board is cleared
    output reg          dsack,        // its first block reports a duplicate (RFC 2883)
    output reg          news,         // bytes newly reported as held
    output reg          late,         // the latest ones fill a hole, and were never sent again
    output reg          again         // the latest ones were sent again
);
    // Offsets from the old SND.UNA: 32 bits before a block is known to be sane, 25 afterwards.
    wire [31:0] moved  = una - snd_una;
    wire [31:0] flight = snd_nxt - snd_una;
    wire [31:0] rxt    = rxt_nxt - snd_una;
    wire [2:0]  n      = blk_n > 3'd4 ? 3'd4 : blk_n;

    // Item 0..3: ranges of the board, 4..7: blocks.
    reg [7:0]   v;
    reg [199:0] s;
    reg [199:0] e;
    reg [63:0]  first;     // [8*i + j]: j begins before i
    reg [63:0]  later;     // [8*i + j]: j ends after i
    reg [63:0]  t;         // [8*i + j]: i and j touch, then: belong together
    reg [63:0]  t2;
    reg [7:0]   head;      // begins its group
    reg [7:0]   tail;      // ends its group
    reg [255:0] abs_s;
    reg [255:0] abs_e;
    reg [3:0]   rank;
    reg [3:0]   above;     // heads that begin after it
    reg         many;
    reg [31:0]  group_e;
    reg [31:0]  bs;
    reg [31:0]  be;
    reg [24:0]  old_top;   // start of the highest range before the ACK
    reg [24:0]  low;       // a block's lowest new byte
    reg         known;    // no byte of it is new
    reg         all_in;
    integer     i;
    integer     j;
    integer     k;

    always @* begin
        sk_v_out = sk_v;
        sk_s_out = sk_s;
        sk_e_out = sk_e;
        renege   = 1'b0;
        dsack    = 1'b0;
        news     = 1'b0;
        late     = 1'b0;
        again    = 1'b0;
        v        = 8'd0;
        s        = 200'd0;
        e        = 200'd0;
        first    = 64'd0;
        later    = 64'd0;
        t        = 64'd0;
        t2       = 64'd0;
        head     = 8'd0;
        tail     = 8'd0;
        abs_s    = 256'd0;
        abs_e    = 256'd0;
        rank     = 4'd0;
        above    = 4'd0;
        many     = 1'b0;
        group_e  = 32'd0;
        bs       = 32'd0;
        be       = 32'd0;
        old_top  = 25'd0;
        low      = 25'd0;
        known   = 1'b0;
        all_in   = 1'b0;
        if (en && (sk_v != 4'd0 || n != 3'd0)) begin
            for (i = 0; i < 4; i = i + 1) begin
                bs = sk_s[32*i +: 32] - snd_una;
                be = sk_e[32*i +: 32] - snd_una;
                // What lies below the new SND.UNA has done its duty. SND.UNA must not come to lie at or in a range.
                v[i] = sk_v[i] && be > moved;
                if (v[i] && bs <= moved) renege = 1'b1;
                if (sk_v[i]) old_top = bs[24:0];
                s[25*i +: 25]     = bs[24:0];
                e[25*i +: 25]     = be[24:0];
                abs_s[32*i +: 32] = sk_s[32*i +: 32];
                abs_e[32*i +: 32] = sk_e[32*i +: 32];

                bs = blk[64*i +: 32] - snd_una;
                be = blk[64*i + 32 +: 32] - snd_una;
                v[4 + i] = i < n && bs > moved && be > bs && be <= flight;
                s[25*(4 + i) +: 25]     = bs[24:0];
                e[25*(4 + i) +: 25]     = be[24:0];
                abs_s[32*(4 + i) +: 32] = blk[64*i +: 32];
                abs_e[32*(4 + i) +: 32] = blk[64*i + 32 +: 32];
            end

            // RFC 2883: below the cumulative ACK, or inside the second block.
            bs     = una - blk[31:0];
            be     = blk[63:32] - blk[31:0];
            all_in = bs != 32'd0 && !bs[31] && be != 32'd0 && be <= bs;
            dsack  = n != 3'd0 && (all_in || (v[4] && v[5] && s[124:100] >= s[149:125] && e[124:100] <= e[149:125]));

            // What a block brings that is new. The first one, but for a duplicate, has what has just arrived (RFC 2018, 4); the
            // others may tell of ranges that were forgotten.
            for (i = 4; i < 8; i = i + 1) begin
                known = 1'b0;
                low    = s[25*i +: 25];
                for (j = 0; j < 4; j = j + 1)
                    if (v[j] && s[25*j +: 25] <= s[25*i +: 25] && e[25*j +: 25] >= s[25*i +: 25]) begin
                        low    = e[25*j +: 25];
                        known = e[25*j +: 25] >= e[25*i +: 25];
                    end
                if (v[i] && !known) begin
                    news = 1'b1;
                    if (i == 4 || (i == 5 && dsack)) begin
                        if ({7'd0, low} < rxt) again = 1'b1;
                        else if (low < old_top) late = 1'b1;
                    end
                end
            end

            if (renege) begin
                sk_v_out = 4'd0;
            end else begin
                // The board's own ranges are in order and apart; only blocks need to be compared.
                for (i = 0; i < 8; i = i + 1)
                    for (j = 0; j < 8; j = j + 1)
                        if (i < 4 && j < 4) begin
                            first[8*i + j] = j < i;
                            later[8*i + j] = j > i;
                            t[8*i + j]     = v[i] && i == j;
                        end else begin
                            first[8*i + j] = j < i ? s[25*j +: 25] <= s[25*i +: 25] : s[25*j +: 25] < s[25*i +: 25];
                            later[8*i + j] = j < i ? e[25*j +: 25] >= e[25*i +: 25] : e[25*j +: 25] > e[25*i +: 25];
                            t[8*i + j]     = v[i] && v[j] && s[25*i +: 25] <= e[25*j +: 25]
                                          && s[25*j +: 25] <= e[25*i +: 25];
                        end
                // A chain of eight has seven links.
                for (k = 0; k < 3; k = k + 1) begin
                    t2 = t;
                    for (i = 0; i < 8; i = i + 1)
                        for (j = 0; j < 8; j = j + 1)
                            if (t[8*i + j]) t2[8*i +: 8] = t2[8*i +: 8] | t[8*j +: 8];
                    t = t2;
                end
                for (i = 0; i < 8; i = i + 1) begin
                    head[i] = v[i] && (t[8*i +: 8] & first[8*i +: 8]) == 8'd0;
                    tail[i] = v[i] && (t[8*i +: 8] & later[8*i +: 8]) == 8'd0;
                end
                many     = {3'd0, head[0]} + {3'd0, head[1]} + {3'd0, head[2]} + {3'd0, head[3]}
                         + {3'd0, head[4]} + {3'd0, head[5]} + {3'd0, head[6]} + {3'd0, head[7]} > 4'd4;
                sk_v_out = 4'd0;
                for (i = 0; i < 8; i = i + 1) begin
                    rank    = 4'd0;
                    above   = 4'd0;
                    group_e = 32'd0;
                    for (j = 0; j < 8; j = j + 1) begin
                        rank    = rank + {3'd0, head[j] && first[8*i + j]};
                        above   = above + {3'd0, head[j] && first[8*j + i]};
                        group_e = group_e | (t[8*i + j] && tail[j] ? abs_e[32*j +: 32] : 32'd0);
                    end
                    for (k = 0; k < 4; k = k + 1)
                        if (head[i] && (many ? above == 4'd3 - k[3:0] : rank == k[3:0])) begin
                            sk_v_out[k]          = 1'b1;
                            sk_s_out[32*k +: 32] = abs_s[32*i +: 32];
                            sk_e_out[32*k +: 32] = group_e;
                        end
                end
            end
        end
    end

    // -- sums ---------------------------------------------------------------------------------------
    wire [99:0] len_old;
    wire [99:0] len_new;
    genvar g;
    generate
        for (g = 0; g < 4; g = g + 1) begin : g_len
            assign len_old[25*g +: 25] = sk_v[g]     ? sk_e[32*g +: 25] - sk_s[32*g +: 25]         : 25'd0;
            assign len_new[25*g +: 25] = sk_v_out[g] ? sk_e_out[32*g +: 25] - sk_s_out[32*g +: 25] : 25'd0;
        end
    endgenerate
    assign held_old = (len_old[24:0] + len_old[49:25]) + (len_old[74:50] + len_old[99:75]);
    assign held     = (len_new[24:0] + len_new[49:25]) + (len_new[74:50] + len_new[99:75]);

    assign top_s = sk_v_out[3] ? sk_s_out[127:96] : sk_v_out[2] ? sk_s_out[95:64]
                 : sk_v_out[1] ? sk_s_out[63:32]  : sk_s_out[31:0];
    assign top_e = sk_v_out[3] ? sk_e_out[127:96] : sk_v_out[2] ? sk_e_out[95:64]
                 : sk_v_out[1] ? sk_e_out[63:32]  : sk_e_out[31:0];
endmodule

`default_nettype wire
