// SPDX-License-Identifier: Apache-2.0
// A tenant's operation on one socket: checks it against the socket's state and applies it.
//
// Combinational. Ranges (socket, pointers) were checked before; here it is the state that decides.
// CONNECT and LISTEN pass twice, since they need the flow table: the first pass only says `want_insert`,
// the second one (`ins_done`) tells how the insertion went. A listener's accept credits stand outside
// (nk_tcp_open): `end_listener` starts handing them back, `uncredit` is one of them, `listener_done` the end.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_op (
    // Flow state before the operation.
    input  wire              en,           // 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    // The operation, fields as in the NQE (docs/abi.md).
    input  wire              flush,        // VF reset: end whatever there is
    input  wire [7:0]        op,
    input  wire [7:0]        vf,
    input  wire [7:0]        qs,
    input  wire [15:0]       socket,
    input  wire [63:0]       data,
    input  wire [63:0]       ptr,
    input  wire [31:0]       size,
    // The listener of an ACCEPT; the two passes that a closing listener causes. They go before `op`.
    input  wire              listener_ok,  // ACCEPT: the listener listens
    input  wire              uncredit,     // its listener closes: the credit goes back
    input  wire              listener_done,  // the listener has no credit any more
    // Second pass of CONNECT and LISTEN: how the insertion into the flow table went.
    input  wire              ins_done,
    input  wire              ins_ok,
    input  wire              ins_hit,
    input  wire [31:0]       isn,          // initial sequence number of a CONNECT
    // Profile of the VF and its flags (NK_PF_*); time in 2^20 us.
    input  wire [2:0]        prof,
    input  wire [7:0]        p_flags,
    input  wire [15:0]       now_s,
    // Result: state after it, status for the tenant, and what else is to happen.
    output reg  [`TCB_W-1:0] tcb_out,
    output reg  [7:0]        status,
    output reg               want_insert,  // first pass: all is well so far, the state is as before
    output reg               end_listener, // a listener was closed
    output reg               send_rst,     // <SEQ=rst_seq><RST,ACK> to the peer, if the next hop is known
    output wire [31:0]       rst_seq
);
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire [31:0] rip     = data[31:0];
    wire [15:0] rport   = data[47:32];
    wire [15:0] lport   = data[63:48];
    wire        bad_ip  = rip == 32'd0 || rip[31:28] >= 4'he || rip[31:24] == 8'd127;
    wire        synced  = state >= `NK_FS_SYN_RCVD && state <= `NK_FS_LAST_ACK;
    wire [31:0] tx_ring = 32'd1 << tcb[`TCB_TX_LOG2];
    wire [31:0] rx_ring = 32'd1 << tcb[`TCB_RX_LOG2];
    wire [31:0] tx_used = tcb[`TCB_TX_END] - tcb[`TCB_SND_NTF];
    wire [31:0] rx_held = tcb[`TCB_RCV_NTF] - (tcb[`TCB_RCV_EDGE] - rx_ring);
    // Receiver's half of silly window avoidance (RFC 9293, 3.8.6.2.2): an ACK of its own for a window that opens by half
    // the ring or two segments; by one, if less than that is left of it.
    wire [31:0] rcv_nxt = tcb[`TCB_RCV_NXT];
    wire [31:0] rcv_adv = tcb[`TCB_RCV_ADV];
    wire        passed  = `SEQ_GT(rcv_nxt, rcv_adv);
    wire [31:0] left    = passed ? 32'd0 : rcv_adv - rcv_nxt;
    wire [31:0] opened  = tcb[`TCB_RCV_EDGE] + size - (passed ? rcv_nxt : rcv_adv);
    wire [31:0] mss32   = {16'd0, tcb[`TCB_MSS]};
    wire [31:0] segs    = left < mss32 ? mss32 : mss32 << 1;
    wire [31:0] half_rx = {1'b0, rx_ring[31:1]};
    wire        worth   = opened >= (segs < half_rx ? segs : half_rx);
    // Bytes of which the tenant has not heard (of those that it has heard of it knows itself what it took).
    wire        unread  = rcv_nxt - {31'd0, tcb[`TCB_FIN_RCVD]} != tcb[`TCB_RCV_NTF];

    // A RST counts only inside the peer's window (RFC 9293, 3.5.2). What was sent beyond it, a zero-window
    // probe's byte for one, is not there: then the window's end. Our SYN took no part of a window.
    wire [31:0] flight  = tcb[`TCB_SND_NXT] - tcb[`TCB_SND_UNA];
    wire        beyond  = flight > tcb[`TCB_SND_WND] && state != `NK_FS_SYN_RCVD;
    assign rst_seq = beyond ? tcb[`TCB_SND_UNA] + tcb[`TCB_SND_WND] : tcb[`TCB_SND_NXT];

    wire [7:0]  option  = data[7:0];
    wire [31:0] value   = data[63:32];
    wire        is_bool = value[31:1] == 31'd0;
    reg         known;                     // that option exists
    reg         fits;                      // the value is one of its values

    always @* begin
        known = 1'b1;
        case (option)
            `NK_OPT_NODELAY, `NK_OPT_CORK, `NK_OPT_KEEPALIVE, `NK_OPT_QUICKACK: fits = is_bool;
            `NK_OPT_KEEPIDLE:     fits = value[31:14] == 18'd0 && value[13:0] != 14'd0;
            `NK_OPT_KEEPINTVL:    fits = value[31:8] == 24'd0 && value[7:0] != 8'd0;
            `NK_OPT_KEEPCNT:      fits = value[31:4] == 28'd0 && value[3:0] != 4'd0;
            `NK_OPT_USER_TIMEOUT: fits = value[31:10] == 22'd0;
            default: begin
                known = 1'b0;
                fits  = 1'b0;
            end
        endcase
    end

    always @* begin
        tcb_out      = tcb;
        status       = `NK_ST_OK;
        want_insert  = 1'b0;
        end_listener = 1'b0;
        send_rst     = 1'b0;
        if (!en) begin
            tcb_out = tcb;
        end else if (flush) begin
            send_rst = synced;
            tcb_out[`TCB_STATE]   = `NK_FS_FREE;
            tcb_out[`TCB_RTX_ON]  = 1'b0;
            tcb_out[`TCB_DACK_ON] = 1'b0;
        end else if (uncredit || listener_done) begin
            // Whoever a flush has ended meanwhile stays as it is.
            if (uncredit ? state == `NK_FS_CREDIT : state == `NK_FS_LISTEN && tcb[`TCB_CLOSED]) begin
                tcb_out[`TCB_CLOSED]   = 1'b1;
                tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
                tcb_out[`TCB_N_STATUS] = `NK_ST_OK;
            end
        end else case (op)
            `NK_OP_SOCKET:
                if (state != `NK_FS_FREE) status = `NK_ST_BAD_STATE;
                else begin
                    tcb_out = {`TCB_W{1'b0}};
                    // The socket before may still stand in a list.
                    tcb_out[`TCB_IN_TXQ]   = tcb[`TCB_IN_TXQ];
                    tcb_out[`TCB_IN_NTQ]   = tcb[`TCB_IN_NTQ];
                    tcb_out[`TCB_STATE]    = `NK_FS_IDLE;
                    tcb_out[`TCB_VF]       = vf;
                    tcb_out[`TCB_QS]       = qs;
                    tcb_out[`TCB_SOCKET]   = socket;
                    tcb_out[`TCB_RX_PAGE]  = ptr[31:12];
                    tcb_out[`TCB_TX_PAGE]  = data[31:12];
                    tcb_out[`TCB_RX_LOG2]  = size[4:0];
                    tcb_out[`TCB_TX_LOG2]  = size[12:8];
                    tcb_out[`TCB_MSS]      = 16'd`NK_LIM_MSS_DEFAULT;
                    tcb_out[`TCB_SSTHRESH] = 32'h01ff_ffff;
                    // As in Linux: the options' defaults, and a start without delayed ACKs.
                    tcb_out[`TCB_KA_IDLE]  = 14'd7200;
                    tcb_out[`TCB_KA_INTVL] = 8'd75;
                    tcb_out[`TCB_KA_CNT]   = 4'd9;
                    tcb_out[`TCB_QUICK]    = 4'd15;
                    tcb_out[`TCB_OOO_ORD]  = 8'b11_10_01_00;
                end
            `NK_OP_LISTEN:
                if (state != `NK_FS_IDLE) status = `NK_ST_BAD_STATE;
                else if (lport == 16'd0) status = `NK_ST_BAD_ADDR;
                else if (!ins_done) want_insert = 1'b1;
                else if (!ins_ok) status = ins_hit ? `NK_ST_ADDR_IN_USE : `NK_ST_NO_RESOURCE;
                else begin
                    tcb_out[`TCB_STATE] = `NK_FS_LISTEN;
                    tcb_out[`TCB_LPORT] = lport;
                end
            `NK_OP_CONNECT:
                if (state != `NK_FS_IDLE) status = `NK_ST_BAD_STATE;
                else if (bad_ip || rport == 16'd0 || lport == 16'd0) status = `NK_ST_BAD_ADDR;
                else if (!ins_done) want_insert = 1'b1;
                else if (!ins_ok) status = ins_hit ? `NK_ST_ADDR_IN_USE : `NK_ST_NO_RESOURCE;
                else begin
                    tcb_out[`TCB_STATE]    = `NK_FS_SYN_SENT;
                    tcb_out[`TCB_RIP]      = rip;
                    tcb_out[`TCB_RPORT]    = rport;
                    tcb_out[`TCB_LPORT]    = lport;
                    tcb_out[`TCB_PROF]     = prof;
                    tcb_out[`TCB_LAST_T]   = now_s;
                    // In SYN_SENT: offered. nk_tcp_rx_chk makes 'agreed' of it.
                    tcb_out[`TCB_SACK_OK]  = p_flags[`NK_PF_SACK];
                    tcb_out[`TCB_TS_OK]    = p_flags[`NK_PF_TS];
                    tcb_out[`TCB_ECN_OK]   = p_flags[`NK_PF_ECN];
                    tcb_out[`TCB_WS_OK]    = p_flags[`NK_PF_WS];
                    tcb_out[`TCB_ISS]      = isn;
                    tcb_out[`TCB_SND_UNA]  = isn;
                    tcb_out[`TCB_SND_NXT]  = isn;
                    tcb_out[`TCB_TX_END]   = isn + 32'd1;
                    tcb_out[`TCB_SND_NTF]  = isn + 32'd1;
                    tcb_out[`TCB_LOST_END] = isn;
                    tcb_out[`TCB_RXT_NXT]  = isn;
                    tcb_out[`TCB_RXT_MARK] = isn;
                    tcb_out[`TCB_RECOVER]  = isn;
                    tcb_out[`TCB_TLP_END]  = isn;
                    tcb_out[`TCB_RCV_EDGE] = tcb[`TCB_RCV_NXT] + rx_ring;   // the window that the SYN offers
                end
            `NK_OP_ACCEPT:
                if (state != `NK_FS_IDLE || !listener_ok) status = `NK_ST_BAD_STATE;
                else tcb_out[`TCB_STATE] = `NK_FS_CREDIT;
            `NK_OP_SEND:
                if ((state != `NK_FS_ESTABLISHED && state != `NK_FS_CLOSE_WAIT) || tcb[`TCB_FIN_REQ])
                    status = `NK_ST_BAD_STATE;
                else if (size == 32'd0 || size > tx_ring - tx_used) status = `NK_ST_BAD_SIZE;
                else tcb_out[`TCB_TX_END] = tcb[`TCB_TX_END] + size;
            `NK_OP_CREDIT:
                if (state < `NK_FS_ESTABLISHED || state > `NK_FS_DEAD) status = `NK_ST_BAD_STATE;
                else if (size == 32'd0 || size > rx_held) status = `NK_ST_BAD_SIZE;
                else begin
                    tcb_out[`TCB_RCV_EDGE] = tcb[`TCB_RCV_EDGE] + size;
                    if (worth && !tcb[`TCB_FIN_RCVD] && state <= `NK_FS_FIN_WAIT2) tcb_out[`TCB_ACK_NOW] = 1'b1;
                end
            `NK_OP_SHUTDOWN:
                case (state)
                    `NK_FS_ESTABLISHED, `NK_FS_CLOSE_WAIT: begin
                        tcb_out[`TCB_STATE]   = state == `NK_FS_ESTABLISHED ? `NK_FS_FIN_WAIT1 : `NK_FS_LAST_ACK;
                        tcb_out[`TCB_FIN_REQ] = 1'b1;
                    end
                    default: status = `NK_ST_BAD_STATE;
                endcase
            `NK_OP_CLOSE, `NK_OP_ABORT:
                if (tcb[`TCB_CLOSED] && !(op == `NK_OP_ABORT && synced) && !(op == `NK_OP_ABORT && state == `NK_FS_TIME_WAIT))
                    status = `NK_ST_BAD_STATE;
                else case (state)
                    `NK_FS_FREE, `NK_FS_CREDIT, `NK_FS_DRAIN: status = `NK_ST_BAD_STATE;
                    `NK_FS_LISTEN: begin
                        tcb_out[`TCB_CLOSED] = 1'b1;
                        end_listener = 1'b1;
                    end
                    `NK_FS_IDLE, `NK_FS_SYN_SENT, `NK_FS_DEAD: begin
                        tcb_out[`TCB_CLOSED]   = 1'b1;
                        tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
                        tcb_out[`TCB_N_STATUS] = `NK_ST_OK;
                        tcb_out[`TCB_RTX_ON]   = 1'b0;
                        tcb_out[`TCB_DACK_ON]  = 1'b0;
                    end
                    default: begin
                        tcb_out[`TCB_CLOSED] = 1'b1;
                        // The peer must not take for read what nobody has (RFC 9293, 3.6.1; RFC 2525, 2.17).
                        if (op == `NK_OP_ABORT || state == `NK_FS_SYN_RCVD || (unread && state != `NK_FS_TIME_WAIT)) begin
                            send_rst = synced;
                            tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
                            tcb_out[`TCB_N_STATUS] = `NK_ST_ABORTED;
                            tcb_out[`TCB_RTX_ON]   = 1'b0;
                            tcb_out[`TCB_DACK_ON]  = 1'b0;
                        end else begin
                            if (state == `NK_FS_ESTABLISHED) tcb_out[`TCB_STATE] = `NK_FS_FIN_WAIT1;
                            if (state == `NK_FS_CLOSE_WAIT)  tcb_out[`TCB_STATE] = `NK_FS_LAST_ACK;
                            tcb_out[`TCB_FIN_REQ] = 1'b1;
                        end
                    end
                endcase
            `NK_OP_SETOPT:
                if (state == `NK_FS_FREE || state == `NK_FS_DRAIN) status = `NK_ST_BAD_STATE;
                else if (!known) status = `NK_ST_BAD_OP;
                else if (!fits) status = `NK_ST_BAD_SIZE;
                else case (option)
                    `NK_OPT_NODELAY:   tcb_out[`TCB_NODELAY]  = value[0];
                    `NK_OPT_CORK:      tcb_out[`TCB_CORK]     = value[0];
                    `NK_OPT_KEEPALIVE: tcb_out[`TCB_KA_ON]    = value[0];
                    `NK_OPT_KEEPIDLE:  tcb_out[`TCB_KA_IDLE]  = value[13:0];
                    `NK_OPT_KEEPINTVL: tcb_out[`TCB_KA_INTVL] = value[7:0];
                    `NK_OPT_KEEPCNT:   tcb_out[`TCB_KA_CNT]   = value[3:0];
                    `NK_OPT_USER_TIMEOUT: tcb_out[`TCB_UTO]   = value[9:0];
                    default: begin     // QUICKACK
                        tcb_out[`TCB_QUICK] = {4{value[0]}};
                        // An ACK that was held back is among the next ones.
                        if (value[0] && tcb[`TCB_DACK_ON]) tcb_out[`TCB_ACK_NOW] = 1'b1;
                    end
                endcase
            `NK_OP_INFO: if (state == `NK_FS_FREE) status = `NK_ST_BAD_STATE;
            default: status = `NK_ST_BAD_OP;
        endcase
    end

    // nk_nqe has checked that the ring addresses are page offsets inside the region.
    wire unused = &{1'b0, ptr, p_flags};
endmodule

`default_nettype wire
