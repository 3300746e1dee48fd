// SPDX-License-Identifier: Apache-2.0
// From the scoreboard: how many bytes are in the network, and which are to be sent again first (RFC 6675: SetPipe, NextSeg).
//
// Combinational. `pipe` counts what was sent, is not held by the peer, and is not lost or was sent again after it was lost.

`default_nettype none

module nk_tcp_pipe_est (
    // Sender's state; LOST_END and RXT_NXT are not behind SND_UNA.
    input  wire [31:0]  snd_una,
    input  wire [31:0]  snd_nxt,
    input  wire [31:0]  lost_end,
    input  wire [31:0]  rxt_nxt,
    input  wire         sack_ok,
    input  wire [3:0]   sk_v,
    input  wire [127:0] sk_s,
    input  wire [127:0] sk_e,       // without SACK: SK_E[0] - SND_UNA is the estimate of what the peer holds
    // Bytes in the network.
    output wire [24:0]  pipe,
    // Lost and not sent again: the first such run, as distances from SND_UNA.
    output wire         again,
    output wire [24:0]  again_off,
    output wire [24:0]  again_end
);
    wire [24:0] flight = snd_nxt[24:0]  - snd_una[24:0];
    wire [24:0] l      = lost_end[24:0] - snd_una[24:0];
    wire [24:0] r      = rxt_nxt[24:0]  - snd_una[24:0];
    wire        due    = l > r;

    // Held bytes, and those of them in [r, l).
    reg  [99:0] counts;     // of each range: bytes outside [r, l)
    reg  [24:0] s;
    reg  [24:0] e;
    reg  [24:0] lo;
    reg  [24:0] hi;
    reg  [24:0] start;
    reg  [24:0] stop;
    integer     i;

    always @* begin
        counts = 100'd0;
        s      = 25'd0;
        e      = 25'd0;
        lo     = 25'd0;
        hi     = 25'd0;
        start  = r;
        stop   = l;
        if (sk_v != 4'd0) begin
            for (i = 3; i >= 0; i = i - 1) begin
                s  = sk_s[32*i +: 25] - snd_una[24:0];
                e  = sk_e[32*i +: 25] - snd_una[24:0];
                lo = s > r ? s : r;
                hi = e < l ? e : l;
                counts[25*i +: 25] = !sk_v[i] ? 25'd0 : due && hi > lo ? (e - s) - (hi - lo) : e - s;
                if (sk_v[i] && s <= r && r < e) start = e;
                if (sk_v[i] && s > r && s < l)  stop  = s;
            end
        end
    end

    wire [24:0] est    = sack_ok ? 25'd0 : sk_e[24:0] - snd_una[24:0];
    wire [24:0] gone   = (counts[24:0] + counts[49:25]) + (counts[74:50] + counts[99:75]) + est;
    wire [24:0] sent   = due ? flight - (l - r) : flight;

    wire unused = &{1'b0, snd_una, snd_nxt[31:25], lost_end[31:25], rxt_nxt[31:25]};

    // An estimate may be too high; a sum of ranges is not.
    assign pipe      = sent > gone ? sent - gone : 25'd0;
    assign again     = start < stop;
    assign again_off = start;
    assign again_end = stop;
endmodule

`default_nettype wire
