// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_rx_chk and nk_tcp_rcv together place no byte outside the RX ring's free space, whatever the segment.
//
// One step from any state whose free space is at most 2^24 bytes, with any intervals, in order or not; all 32 bits are there.
// That RCV.NXT and the intervals stay inside that space when a segment joins them is ooo.v's part.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module place (
    input wire              en,
    input wire [`TCB_W-1:0] tcb,
    input wire [31:0]       now_us,
    input wire [15:0]       now_s,
    input wire [8:0]        ts_age,
    input wire              is_open,
    input wire              is_cookie,
    input wire [31:0]       isn,
    input wire [7:0]        vf,
    input wire [31:0]       rip,
    input wire [15:0]       rport,
    input wire [15:0]       lport,
    input wire [31:0]       seq,
    input wire [31:0]       seg_ack,
    input wire [8:0]        flags,
    input wire [15:0]       wnd,
    input wire              sack_ok,
    input wire              ts_valid,
    input wire [31:0]       tsval,
    input wire [15:0]       len,
    input wire [15:0]       mtu,
    input wire [7:0]        p_flags,
    input wire [1:0]        ecn,
    input wire [31:0]       p_delayed_ack,
    input wire [3:0]        p_cc
);
    wire [`TCB_W-1:0] checked;
    wire [`TCB_W-1:0] out;
    wire              data_ok;
    wire              put;
    wire [31:0]       at;
    wire [15:0]       skip;
    wire [15:0]       count;

    nk_tcp_rx_chk chk (
        .en(en), .tcb(tcb), .now_s(now_s), .ts_age(ts_age), .is_open(is_open), .is_cookie(is_cookie), .isn(isn), .listener(16'd0),
        .prof(3'd0), .vf(vf), .rip(rip), .rport(rport), .lport(lport), .seq(seq), .ack(seg_ack), .flags(flags), .wnd(wnd), .mss(16'd0),
        .wscale(4'd0), .wscale_valid(1'b0), .sack_ok(sack_ok), .ts_valid(ts_valid), .tsval(tsval), .len(len), .mtu(mtu),
        .p_flags(p_flags), .challenge_ok(1'b0),
        .tcb_out(checked), .data_ok(data_ok), .ev_ack(), .ev_new(), .ev_dup(), .ev_syn(),
        .reply_rst(), .reopen(), .challenge(), .stranger(), .st_unacceptable(), .st_bad_ack(), .st_rst(), .st_paws(), .st_challenge(),
        .st_limited(), .st_dsack()
    );
    nk_tcp_rcv rcv (
        .en(data_ok), .tcb(checked), .now_us(now_us), .seq(seq), .len(len), .f_fin(flags[`NK_TF_FIN]), .f_cwr(flags[`NK_TF_CWR]),
        .ecn(ecn), .p_delayed_ack(p_delayed_ack), .p_cc(p_cc),
        .tcb_out(out), .place(put), .place_seq(at), .place_skip(skip), .place_len(count), .refuse(),
        .st_ooo(), .st_duplicate(), .st_no_room(), .st_dsack(), .st_ce()
    );

    // The free space. Behind a FIN RCV.NXT may stand one beyond the edge, and nothing is taken any more.
    wire [31:0] room  = checked[`TCB_RCV_EDGE] - checked[`TCB_RCV_NXT];
    wire [31:0] was   = tcb[`TCB_RCV_EDGE] - tcb[`TCB_RCV_NXT];
    wire [31:0] space = room[31] ? 32'd0 : room;
    wire [31:0] from  = at - checked[`TCB_RCV_NXT];

    always @* begin
        assume (was <= 32'h0100_0000 || was == 32'hFFFF_FFFF);
        assume (tcb[`TCB_RX_LOG2] <= 5'd24);
        assume (!(is_open && is_cookie));
        assert (room <= 32'h0100_0000 || room == 32'hFFFF_FFFF);
        if (put) begin
            assert (count != 16'd0);
            assert (from < space && from + {16'd0, count} <= space);
            // It is that part of the segment.
            assert (at == seq + {16'd0, skip});
            assert ({1'b0, skip} + {1'b0, count} <= {1'b0, len});
        end
        // Nobody but the tenant moves the edge.
        assert (out[`TCB_RCV_EDGE] == checked[`TCB_RCV_EDGE]);
    end
endmodule

`default_nettype wire
