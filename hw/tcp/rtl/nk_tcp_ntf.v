// SPDX-License-Identifier: Apache-2.0
// Which event the tenant hears next about a flow, and the state after it.
//
// Combinational. One event a pass, in the order in which a program may need them: the connection,
// its data, acknowledged bytes, the peer's FIN, the connection's end, the socket's end.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_ntf (
    // Flow state.
    input  wire [`TCB_W-1:0] tcb,
    input  wire              tx_drained,  // DRAIN since an earlier pass, and no DMA read for its segments is under way
    // The event, fields as in the NQE (docs/abi.md), and the state after it.
    output wire              any,         // there is something to announce
    output reg  [7:0]        op,
    output reg  [63:0]       op_data,
    output reg  [31:0]       size,
    output reg  [7:0]        status,
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              waits,       // CLOSED is due but tx_drained is not yet 1
    output wire              more         // after this event there is another one
);
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire        open    = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_DEAD && !tcb[`TCB_CLOSED];
    wire [31:0] rx_end  = tcb[`TCB_RCV_NXT] - {31'd0, tcb[`TCB_FIN_RCVD]};
    wire [31:0] rx_new  = rx_end - tcb[`TCB_RCV_NTF];
    wire [31:0] tx_done = `SEQ_GT(tcb[`TCB_SND_UNA], tcb[`TCB_TX_END]) ? tcb[`TCB_TX_END] : tcb[`TCB_SND_UNA];
    // Before the SYN is acknowledged snd_una stands one before the first byte.
    wire [31:0] tx_new  = `SEQ_GT(tx_done, tcb[`TCB_SND_NTF]) ? tx_done - tcb[`TCB_SND_NTF] : 32'd0;
    wire [63:0] addr    = {tcb[`TCB_LPORT], tcb[`TCB_RPORT], tcb[`TCB_RIP]};
    wire        drain   = state == `NK_FS_DRAIN;

    wire conn = tcb[`TCB_N_CONN];
    wire data = rx_new != 32'd0;
    wire sent = tx_new != 32'd0;
    wire fin  = tcb[`TCB_N_FIN];
    wire gone = tcb[`TCB_N_RST];

    assign any   = drain ? tx_drained : open && (conn || data || sent || fin || gone);
    assign waits = drain && !tx_drained;
    // Each event tells all of its kind, so another one is of another kind.
    assign more  = open && ((conn && (data || sent || fin || gone)) || (data && (sent || fin || gone))
                            || (sent && (fin || gone)) || (fin && gone));

    always @* begin
        op      = `NK_OP_CLOSED;
        op_data = 64'd0;
        size    = 32'd0;
        status  = `NK_ST_OK;
        tcb_out = tcb;
        if (drain) begin
            status = tcb[`TCB_N_STATUS];
            tcb_out[`TCB_STATE] = `NK_FS_FREE;
        end else if (open) begin
            if (conn) begin
                op      = tcb[`TCB_PASSIVE] ? `NK_OP_ACCEPTED : `NK_OP_CONNECTED;
                op_data = addr;
                size    = tcb[`TCB_PASSIVE] ? {16'd0, tcb[`TCB_LISTENER]} : {16'd0, tcb[`TCB_MSS]};
                tcb_out[`TCB_N_CONN] = 1'b0;
            end else if (data) begin
                op   = `NK_OP_DATA;
                size = rx_new;
                tcb_out[`TCB_RCV_NTF] = rx_end;
            end else if (sent) begin
                op   = `NK_OP_SENT;
                size = tx_new;
                tcb_out[`TCB_SND_NTF] = tx_done;
            end else if (fin) begin
                op = `NK_OP_PEER_CLOSED;
                tcb_out[`TCB_N_FIN] = 1'b0;
            end else if (gone) begin
                op     = tcb[`TCB_N_STATUS] == `NK_ST_TIMED_OUT ? `NK_OP_TIMEOUT : `NK_OP_RESET;
                status = tcb[`TCB_N_STATUS];
                tcb_out[`TCB_N_RST] = 1'b0;
            end
        end
    end
endmodule

`default_nettype wire
