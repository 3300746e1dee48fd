// SPDX-License-Identifier: Apache-2.0
// ICMP 'fragmentation needed' for a segment that this flow is said to have sent (RFC 1191, RFC 5927).
//
// Combinational. Whoever sends such a message need not be on the path: it counts only if what it quotes is in
// flight, and it can make segments smaller, down to a bound, never larger.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_ptb (
    // Flow state before the message.
    input  wire              en,        // 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    // Of the datagram that it quotes: whose, to whom, from which port, sequence number.
    input  wire [7:0]        vf,
    input  wire [31:0]       rip,
    input  wire [15:0]       rport,
    input  wire [15:0]       lport,
    input  wire [31:0]       seq,
    input  wire [15:0]       mtu,       // of the next hop, bytes; 0: the router does not say (RFC 1191, 5)
    // State after it; counter pulses: accepted, refused.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              st_ptb,
    output wire              st_ptb_bad
);
    // A datagram of 536 bytes, less headers and timestamps. What is smaller costs more than it brings.
    localparam [15:0] MSS_FLOOR = 16'd484;
    // RFC 791: every link carries this much.
    localparam [15:0] MTU_MIN   = 16'd68;

    wire [3:0]  state   = tcb[`TCB_STATE];
    wire        sends   = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_LAST_ACK;
    wire        ours    = tcb[`TCB_VF] == vf && tcb[`TCB_RIP] == rip
                       && tcb[`TCB_RPORT] == rport && tcb[`TCB_LPORT] == lport;
    wire [31:0] snd_una = tcb[`TCB_SND_UNA];
    wire [31:0] snd_nxt = tcb[`TCB_SND_NXT];
    wire        flying  = seq - snd_una < snd_nxt - snd_una;

    wire [15:0] mss     = tcb[`TCB_MSS];
    wire [15:0] headers = tcb[`TCB_TS_OK] ? 16'd52 : 16'd40;
    wire [15:0] size    = mss + headers;
    // RFC 1191, 7: the plateaus below 1500 and above the floor.
    wire [15:0] plateau = size > 16'd1492 ? 16'd1492 : size > 16'd1006 ? 16'd1006 : MSS_FLOOR;
    wire [15:0] limit   = mtu == 16'd0 ? plateau : mtu;
    wire        sane    = limit >= MTU_MIN && limit < size && mss > MSS_FLOOR;
    wire [15:0] fits    = limit - headers;
    wire        low     = fits < MSS_FLOOR;
    wire        good    = sends && ours && flying && sane;

    assign st_ptb     = en && good;
    assign st_ptb_bad = en && !good;

    always @* begin
        tcb_out = tcb;
        if (st_ptb) begin
            tcb_out[`TCB_MSS]      = low ? MSS_FLOOR : fits;
            // What is in flight is lost as far as it was too large, and goes out again. No congestion: cwnd stays.
            tcb_out[`TCB_LOST_END] = snd_nxt;
            tcb_out[`TCB_RXT_NXT]  = snd_una;
        end
    end
endmodule

`default_nettype wire
