// SPDX-License-Identifier: Apache-2.0
// A tenant's operation on one socket: checks it against the socket's state and applies it.
//
// Combinational. Ranges (socket, pointers) were checked before; here it is the state that decides.
// The engine calls twice for operations that need the flow table: `pre_ok` says that the state allows
// it, then `hash_ok`/`hash_hit` tell how the insertion went.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_op (
    // Flow state before the operation.
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
    // The listener of an ACCEPT.
    input  wire              listener_ok,  // ACCEPT: the listener listens
    input  wire              listener_v,   // its first credit so far
    input  wire [15:0]       listener_link,
    // Second call: how the insertion into the flow table went.
    input  wire              hash_done,
    input  wire              hash_ok,
    input  wire              hash_hit,
    // Initial sequence number for a CONNECT; time and periods in microseconds.
    input  wire [31:0]       isn,
    input  wire [31:0]       now_us,
    input  wire [31:0]       p_rto_init,
    input  wire [31:0]       p_fin_wait2,
    // Result: state after it, status for the tenant, and what else is to happen.
    output reg  [`TCB_W-1:0] tcb_out,
    output reg  [7:0]        status,
    output wire              needs_hash,   // CONNECT, LISTEN
    output reg               pre_ok,
    output reg               send_rst,     // to the peer, if the next hop is known
    output reg               wake          // a closing listener: put it into the transmit list
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
    wire [31:0] opened  = tcb[`TCB_RCV_EDGE] + size - tcb[`TCB_RCV_ADV];
    wire [31:0] mss2    = {15'd0, tcb[`TCB_MSS], 1'b0};
    wire [31:0] half_rx = {1'b0, rx_ring[31:1]};
    wire        worth   = opened >= (mss2 < half_rx ? mss2 : half_rx);

    assign needs_hash = !flush && (op == `NK_OP_CONNECT || op == `NK_OP_LISTEN);

    always @* begin
        tcb_out  = tcb;
        status   = `NK_ST_OK;
        pre_ok   = 1'b0;
        send_rst = 1'b0;
        wake     = 1'b0;
        if (flush) begin
            send_rst = synced;
            tcb_out[`TCB_STATE]   = `NK_FS_FREE;
            tcb_out[`TCB_RTX_ON]  = 1'b0;
            tcb_out[`TCB_DACK_ON] = 1'b0;
        end else case (op)
            `NK_OP_SOCKET:
                if (state != `NK_FS_FREE) status = `NK_ST_BAD_STATE;
                else begin
                    tcb_out = {`TCB_W{1'b0}};
                    tcb_out[`TCB_STATE]    = `NK_FS_IDLE;
                    tcb_out[`TCB_VF]       = vf;
                    tcb_out[`TCB_QS]       = qs;
                    tcb_out[`TCB_SOCKET]   = socket;
                    tcb_out[`TCB_RX_PAGE]  = ptr[31:12];
                    tcb_out[`TCB_TX_PAGE]  = data[31:12];
                    tcb_out[`TCB_RX_LOG2]  = size[4:0];
                    tcb_out[`TCB_TX_LOG2]  = size[12:8];
                    tcb_out[`TCB_MSS]      = 16'd`NK_LIM_MSS_DEFAULT;
                    tcb_out[`TCB_SSTHRESH] = 32'h7fff_ffff;
                end
            `NK_OP_LISTEN:
                if (state != `NK_FS_IDLE) status = `NK_ST_BAD_STATE;
                else if (lport == 16'd0) status = `NK_ST_BAD_ADDR;
                else begin
                    pre_ok = 1'b1;
                    if (hash_done && !hash_ok) status = hash_hit ? `NK_ST_ADDR_IN_USE : `NK_ST_NO_RESOURCE;
                    else begin
                        tcb_out[`TCB_STATE] = `NK_FS_LISTEN;
                        tcb_out[`TCB_LPORT] = lport;
                    end
                end
            `NK_OP_CONNECT:
                if (state != `NK_FS_IDLE) status = `NK_ST_BAD_STATE;
                else if (bad_ip || rport == 16'd0 || lport == 16'd0) status = `NK_ST_BAD_ADDR;
                else begin
                    pre_ok = 1'b1;
                    if (hash_done && !hash_ok) status = hash_hit ? `NK_ST_ADDR_IN_USE : `NK_ST_NO_RESOURCE;
                    else begin
                        tcb_out[`TCB_STATE]   = `NK_FS_SYN_SENT;
                        tcb_out[`TCB_RIP]     = rip;
                        tcb_out[`TCB_RPORT]   = rport;
                        tcb_out[`TCB_LPORT]   = lport;
                        tcb_out[`TCB_ISS]     = isn;
                        tcb_out[`TCB_SND_UNA] = isn;
                        tcb_out[`TCB_SND_NXT] = isn;
                        tcb_out[`TCB_SND_MAX] = isn;
                        tcb_out[`TCB_TX_END]  = isn + 32'd1;
                        tcb_out[`TCB_SND_NTF] = isn + 32'd1;
                        tcb_out[`TCB_RECOVER] = isn;
                        tcb_out[`TCB_RTO]     = p_rto_init;
                        tcb_out[`TCB_RCV_EDGE] = rx_ring;   // the window that the SYN offers
                    end
                end
            `NK_OP_ACCEPT:
                if (state != `NK_FS_IDLE || !listener_ok) status = `NK_ST_BAD_STATE;
                else begin
                    tcb_out[`TCB_STATE]  = `NK_FS_CREDIT;
                    tcb_out[`TCB_LINK_V] = listener_v;
                    tcb_out[`TCB_LINK]   = listener_link;
                end
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
                    // Receiver's half of silly window avoidance (RFC 9293, 3.8.6.2.2).
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
                        wake = 1'b1;
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
                        if (op == `NK_OP_ABORT || state == `NK_FS_SYN_RCVD) begin
                            send_rst = synced;
                            tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
                            tcb_out[`TCB_N_STATUS] = `NK_ST_ABORTED;
                            tcb_out[`TCB_RTX_ON]   = 1'b0;
                            tcb_out[`TCB_DACK_ON]  = 1'b0;
                        end else begin
                            if (state == `NK_FS_ESTABLISHED) tcb_out[`TCB_STATE] = `NK_FS_FIN_WAIT1;
                            if (state == `NK_FS_CLOSE_WAIT)  tcb_out[`TCB_STATE] = `NK_FS_LAST_ACK;
                            tcb_out[`TCB_FIN_REQ] = 1'b1;
                            if (state == `NK_FS_FIN_WAIT2) begin
                                tcb_out[`TCB_RTX_ON]   = 1'b1;
                                tcb_out[`TCB_RTX_KIND] = `NK_RTX_FINWAIT2;
                                tcb_out[`TCB_RTX_T]    = now_us + p_fin_wait2;
                            end
                        end
                    end
                endcase
            `NK_OP_INFO: if (state == `NK_FS_FREE) status = `NK_ST_BAD_STATE;
            default: status = `NK_ST_BAD_OP;
        endcase
    end

    // nk_nqe has checked that the ring addresses are page offsets inside the region.
    wire unused = &{1'b0, ptr};
endmodule

`default_nettype wire
