// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcb_pack and nk_tcb_unpack lose nothing that is needed of a state whose numbers are inside their bounds.
//
// The bounds are written from hw/tcp/data/tcb.yaml by rtl-tests/formal/bounds.py; what is needed, and how near a float must
// come, says nk_tcb_check. Beside them what the modules keep true of a state: no fourth interval beside a FIN that waits
// (nk_tcp_rcv), no FIN before the first byte that is missing, and that a set of intervals is one (ooo.v, sack.v).

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"

module tcb (
    input wire [`TCB_W-1:0] t,
    input wire [31:0]       now_us,        // when it is read
    input wire [15:0]       in_wnd         // a window as it stands in a header
);
    wire [`TCB_MEM_W-1:0]   mem;
    wire [`TCB_CHECK_W-1:0] bad;
    nk_tcb_pack  pack  (.tcb(t), .mem(mem));
    wire [`TCB_W-1:0]       back;
    nk_tcb_unpack unpack (.mem(mem), .now_us(now_us), .tcb(back));
    nk_tcb_check check (.tcb(t), .mem(mem), .now_us(now_us), .bad(bad));

    wire [31:0] una     = t[`TCB_SND_UNA];
    wire [31:0] nxt     = t[`TCB_RCV_NXT];
    wire [3:0]  state   = t[`TCB_STATE];
    wire        opening = state == `NK_FS_SYN_SENT || state == `NK_FS_SYN_RCVD;

    // Signed and unsigned distances of at most `bits`.
    function near;
        input [31:0]  x;
        input [31:0]  base;
        input integer bits;
        reg   [31:0]  moved;
        begin
            moved = x - base + (32'd1 << (bits - 1));
            near  = (moved >> bits) == 32'd0;
        end
    endfunction
    function ahead;
        input [31:0]  x;
        input [31:0]  base;
        input integer bits;
        reg   [31:0]  distance;
        begin
            distance = x - base;
            ahead    = (distance >> bits) == 32'd0;
        end
    endfunction

    wire [3:0]   sk_v  = t[`TCB_SK_V];
    wire [127:0] sk_s  = t[`TCB_SK_S];
    wire [127:0] sk_e  = t[`TCB_SK_E];
    wire [3:0]   ooo_v = t[`TCB_OOO_V];
    wire [127:0] ooo_s = t[`TCB_OOO_S];
    wire [127:0] ooo_e = t[`TCB_OOO_E];
    wire [7:0]   ord   = t[`TCB_OOO_ORD];
    wire [4:0]   rx    = t[`TCB_RX_LOG2];
    wire [4:0]   tx    = t[`TCB_TX_LOG2];
    wire [3:0]   ws    = t[`TCB_SND_WS];
    wire [31:0]  wnd   = t[`TCB_SND_WND];
    wire [31:0]  scaled = {16'd0, in_wnd} << ws;
    wire [31:0]  edge_ = t[`TCB_RCV_EDGE];
    wire [31:0]  open_ = edge_ - t[`TCB_RCV_ADV];
    wire [15:0]  named = (16'd1 << ord[1:0]) | (16'd1 << ord[3:2]) | (16'd1 << ord[5:4]) | (16'd1 << ord[7:6]);
    integer      i;

    always @* begin
        `include "tcb_bounds.vh"
        for (i = 0; i < 4; i = i + 1) begin
            if (sk_v[i])  assume (sk_s[32*i +: 24]  != sk_e[32*i +: 24]);
            if (ooo_v[i]) assume (ooo_s[32*i +: 24] != ooo_e[32*i +: 24]);
        end
        if (!t[`TCB_SACK_OK]) assume (sk_v == 4'd0);
        if (t[`TCB_FIN_SEEN]) assume (!ooo_v[3]);
        if (t[`TCB_IN_REC]) assume (!t[`TCB_IN_LOSS] && !t[`TCB_IN_CWR] && t[`TCB_MTU_FAIL] == 2'd0 && !t[`TCB_TLP_OUT]);
        assume (named == 16'd15);
`ifdef FLOATS
        // The floats alone, for the solver's time: the others stand at one place.
        assume (una == 32'd0 && nxt == 32'd0 && now_us == 32'd0 && sk_v == 4'd0 && ooo_v == 4'd0);
`else
        assume (t[`TCB_SSTHRESH] == 32'd0 && t[`TCB_SRTT8] == 32'd0 && t[`TCB_RTTVAR4] == 32'd0 && t[`TCB_UNDO_CWND] == 32'd0);
        assume (t[`TCB_UNDO_SST] == 32'd0 && wnd == 32'd0);
`endif
        assume (rx >= 5'd12 && rx <= 5'd24 && tx >= 5'd12 && tx <= 5'd24);
        // As nk_tcp_rx_chk sets them: 16 bits, shifted once the handshake is over, at most 2^24; our own shift.
        assume (wnd <= 32'h0100_0000);
        assume (wnd <= 32'hFFFF || wnd == 32'h0100_0000 || wnd == scaled);
        assume (opening || t[`TCB_RCV_WS] == (t[`TCB_WS_OK] && rx > 5'd15 ? rx - 5'd15 : 5'd0));
        assume (open_ <= 32'h0200_0000 || open_ == 32'hFFFF_FFFF);
`ifdef PART
        // A quarter of the fields at a time, for the solver's time.
        assert (((bad >> `PART * (`TCB_CHECK_W / 4 + 1)) & ({`TCB_CHECK_W{1'b1}} >> (`TCB_CHECK_W - `TCB_CHECK_W / 4 - 1))) == {`TCB_CHECK_W{1'b0}});
`else
        assert (bad == {`TCB_CHECK_W{1'b0}});
`endif
        // Without SACK the first end is an estimate, whatever SK_V says.
        if (!t[`TCB_SACK_OK] && ahead(sk_e[31:0], una, 24)) assert (back[`TCB_SK_E] << 96 == t[`TCB_SK_E] << 96);
        // What is displaced reads as what nobody can be harmed by.
        if (t[`TCB_TLP_OUT]) assert (back[`TCB_RXT_MARK] == back[`TCB_SND_NXT]);
        assert (!(t[`TCB_IN_REC] && back[`TCB_RTT_ON]));
        assert (back[`TCB_RTT_ON] == (t[`TCB_RTT_ON] && !t[`TCB_IN_REC]));
        assert (back[`TCB_DSACK_V] == (t[`TCB_DSACK_V] && !t[`TCB_FIN_SEEN] && !ooo_v[3]));
    end
endmodule

`default_nettype wire
