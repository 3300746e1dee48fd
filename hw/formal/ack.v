// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_rx_chk takes no ACK beyond SND.NXT or before SND.UNA, whatever the segment and the flow's state.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module ack (
    input wire              en,
    input wire [`TCB_W-1:0] tcb,
    input wire [15:0]       now_s,
    input wire [8:0]        ts_age,
    input wire              is_open,
    input wire              is_cookie,
    input wire [31:0]       isn,
    input wire [15:0]       listener,
    input wire [2:0]        prof,
    input wire [7:0]        vf,
    input wire [31:0]       rip,
    input wire [15:0]       rport,
    input wire [15:0]       lport,
    input wire [31:0]       seq,
    input wire [31:0]       seg_ack,
    input wire [8:0]        flags,
    input wire [15:0]       wnd,
    input wire [15:0]       mss,
    input wire [3:0]        wscale,
    input wire              wscale_valid,
    input wire              sack_ok,
    input wire              ts_valid,
    input wire [31:0]       tsval,
    input wire [15:0]       len,
    input wire [15:0]       mtu,
    input wire [7:0]        p_flags,
    input wire              challenge_ok
);
    wire [`TCB_W-1:0] out;
    wire              data_ok;
    wire              ev_ack;
    wire              ev_new;
    wire              ev_dup;
    wire              ev_syn;

    nk_tcp_rx_chk dut (
        .en(en), .tcb(tcb), .now_s(now_s), .ts_age(ts_age), .is_open(is_open), .is_cookie(is_cookie), .isn(isn), .listener(listener),
        .prof(prof), .vf(vf), .rip(rip), .rport(rport), .lport(lport), .seq(seq), .ack(seg_ack), .flags(flags), .wnd(wnd), .mss(mss),
        .wscale(wscale), .wscale_valid(wscale_valid), .sack_ok(sack_ok), .ts_valid(ts_valid), .tsval(tsval), .len(len), .mtu(mtu),
        .p_flags(p_flags), .challenge_ok(challenge_ok),
        .tcb_out(out), .data_ok(data_ok), .ev_ack(ev_ack), .ev_new(ev_new), .ev_dup(ev_dup), .ev_syn(ev_syn),
        .reply_rst(), .reopen(), .challenge(), .stranger(), .st_unacceptable(), .st_bad_ack(), .st_rst(), .st_paws(), .st_challenge(),
        .st_limited(), .st_dsack()
    );

    wire [31:0] flight = tcb[`TCB_SND_NXT] - tcb[`TCB_SND_UNA];
    wire [31:0] una    = out[`TCB_SND_UNA];           // nk_tcp_snd moves it later
    wire [31:0] moves  = seg_ack - una;
    wire [31:0] most   = out[`TCB_SND_NXT] - una;
    wire        synced = tcb[`TCB_STATE] >= `NK_FS_ESTABLISHED && tcb[`TCB_STATE] <= `NK_FS_TIME_WAIT;
    wire        plain  = flags[`NK_TF_ACK] && !flags[`NK_TF_RST] && !flags[`NK_TF_SYN];
    wire        beyond = seg_ack - tcb[`TCB_SND_UNA] > flight && seg_ack - tcb[`TCB_SND_NXT] < 32'h8000_0000;

    always @* begin
        assume (flight <= 32'h0200_0000);
        assume (!(is_open && is_cookie));
        // What is taken lies between SND.UNA and SND.NXT.
        if (ev_ack) assert (moves <= most && most <= 32'h0200_0000);
        if (ev_new) assert (ev_ack && moves != 32'd0);
        if (ev_dup) assert (ev_ack && moves == 32'd0);
        if (ev_syn) assert (ev_new);
        if (ev_ack) assert (en && flags[`NK_TF_ACK] || is_cookie);
        // An ACK of what was never sent changes nothing, and neither does what comes with it.
        if (synced && plain && beyond && !is_open && !is_cookie) begin
            assert (!data_ok && !ev_ack);
            assert (out[`TCB_STATE] == tcb[`TCB_STATE]);
            assert (out[`TCB_SND_WND] == tcb[`TCB_SND_WND]);
            assert (out[`TCB_RCV_NXT] == tcb[`TCB_RCV_NXT]);
            assert (out[`TCB_TS_RECENT] == tcb[`TCB_TS_RECENT]);
        end
        if (!en) assert (out == tcb && !data_ok && !ev_ack);
    end
endmodule

`default_nettype wire
