// SPDX-License-Identifier: Apache-2.0
// A received segment, second half: its payload, its FIN, and the acknowledgement that they call for.
//
// Combinational. Takes the state that nk_tcp_rx_ack leaves. Payload goes straight to its place in the
// RX ring, in order or not; nk_tcp_ooo keeps the intervals that stand beyond rcv_nxt.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_rx_data (
    // Flow state after nk_tcp_rx_ack; time in microseconds.
    input  wire              en,             // data_ok of nk_tcp_rx_ack
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    // The segment: sequence number, payload bytes, FIN.
    input  wire [31:0]       seq,
    input  wire [15:0]       len,
    input  wire              f_fin,
    // Periods, microseconds.
    input  wire [31:0]       p_delayed_ack,
    input  wire [31:0]       p_time_wait,
    // State after it, and the payload to place.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              place,          // payload goes into the ring
    output wire [31:0]       place_seq,      // sequence number of its first byte
    output wire [15:0]       place_skip,     // bytes of the segment before it
    output wire [15:0]       place_len,
    output wire              refuse,         // data for a socket that the tenant has closed: RST and end
    // Counter pulses: ahead of rcv_nxt, nothing new, no interval left.
    output wire              st_ooo,
    output wire              st_duplicate,
    output wire              st_no_room
);
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire        takes   = state == `NK_FS_ESTABLISHED || state == `NK_FS_FIN_WAIT1 || state == `NK_FS_FIN_WAIT2;
    wire [31:0] rcv_nxt = tcb[`TCB_RCV_NXT];
    wire [31:0] wnd     = `SEQ_GT(rcv_nxt, tcb[`TCB_RCV_EDGE]) ? 32'd0 : tcb[`TCB_RCV_EDGE] - rcv_nxt;

    // -- trim to the window; all offsets are relative to rcv_nxt -----------------------------------
    wire [31:0] rel       = seq - rcv_nxt;
    wire        early     = rel[31];                       // begins with bytes that we have
    wire [31:0] old_bytes = early ? 32'd0 - rel : 32'd0;
    wire [31:0] len32     = {16'd0, len};
    wire [31:0] start     = early ? 32'd0 : rel;
    wire        any_new   = old_bytes < len32;
    wire [31:0] stop_raw  = rel + len32;                   // >= 0 if any_new
    wire        cut       = stop_raw > wnd;
    wire [31:0] stop      = cut ? wnd : stop_raw;
    wire        has_data  = takes && any_new && stop > start;

    wire [3:0]   iv_v;
    wire [127:0] iv_s;
    wire [127:0] iv_e;
    wire [31:0]  in_order_end;
    wire         no_room;
    wire         duplicate;

    nk_tcp_ooo #(.N(4)) ooo (
        .rcv_nxt(rcv_nxt),
        .iv_valid(tcb[`TCB_OOO_V]), .iv_start(tcb[`TCB_OOO_S]), .iv_end(tcb[`TCB_OOO_E]),
        .seg_start(rcv_nxt + start), .seg_end(rcv_nxt + stop),
        .iv_valid_out(iv_v), .iv_start_out(iv_s), .iv_end_out(iv_e),
        .in_order_end(in_order_end), .no_room(no_room), .duplicate(duplicate)
    );

    wire gone = en && takes && tcb[`TCB_CLOSED] && any_new && len != 16'd0;

    assign refuse       = gone;
    assign place        = en && has_data && !gone && !no_room && !duplicate;
    assign place_seq    = rcv_nxt + start;
    assign place_skip   = old_bytes[15:0];
    assign place_len    = stop[15:0] - start[15:0];
    assign st_ooo       = place && start != 32'd0;
    assign st_duplicate = en && takes && len != 16'd0 && (!any_new || (has_data && duplicate));
    assign st_no_room   = en && has_data && no_room;

    // -- FIN ----------------------------------------------------------------------------------------
    // One that the window cuts off will come again. An interval dropped for want of room does not
    // lose a FIN: its place is known, and it waits for the data.
    wire        fin_here = takes && f_fin && !cut;
    wire [31:0] fin_seq  = tcb[`TCB_FIN_SEEN] ? tcb[`TCB_FIN_SEQ] : seq + len32;
    wire        fin_know = tcb[`TCB_FIN_SEEN] || fin_here;
    wire [31:0] nxt_data = place ? in_order_end : rcv_nxt;
    wire        fin_take = en && takes && !gone && fin_know && fin_seq == nxt_data;
    wire        gap_left = place ? iv_v != 4'd0 : tcb[`TCB_OOO_V] != 4'd0;

    always @* begin
        tcb_out = tcb;
        if (gone) begin
            tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
            tcb_out[`TCB_N_STATUS] = `NK_ST_ABORTED;
            tcb_out[`TCB_RTX_ON]   = 1'b0;
            tcb_out[`TCB_DACK_ON]  = 1'b0;
        end else if (en) begin
            if (place) begin
                tcb_out[`TCB_OOO_V]   = iv_v;
                tcb_out[`TCB_OOO_S]   = iv_s;
                tcb_out[`TCB_OOO_E]   = iv_e;
                tcb_out[`TCB_RCV_NXT] = in_order_end;
            end
            if (takes && fin_know) begin
                tcb_out[`TCB_FIN_SEEN] = 1'b1;
                tcb_out[`TCB_FIN_SEQ]  = fin_seq;
            end
            if (len != 16'd0 || f_fin) begin
                // RFC 5681, 4.2: every second segment, at once on a gap or when one closes, else a little later.
                tcb_out[`TCB_ACK_CNT] = tcb[`TCB_ACK_CNT] + 2'd1;
                if (!place || start != 32'd0 || gap_left || tcb[`TCB_OOO_V] != 4'd0
                    || tcb[`TCB_ACK_CNT] != 2'd0 || fin_take) begin
                    tcb_out[`TCB_ACK_NOW] = 1'b1;
                end else begin
                    tcb_out[`TCB_DACK_ON] = 1'b1;
                    tcb_out[`TCB_DACK_T]  = now_us + p_delayed_ack;
                end
            end
            if (fin_take) begin
                tcb_out[`TCB_RCV_NXT]  = nxt_data + 32'd1;
                tcb_out[`TCB_FIN_RCVD] = 1'b1;
                tcb_out[`TCB_N_FIN]    = 1'b1;
                case (state)
                    `NK_FS_ESTABLISHED: tcb_out[`TCB_STATE] = `NK_FS_CLOSE_WAIT;
                    `NK_FS_FIN_WAIT1:   tcb_out[`TCB_STATE] = `NK_FS_CLOSING;
                    default: begin
                        tcb_out[`TCB_STATE]    = `NK_FS_TIME_WAIT;
                        tcb_out[`TCB_RTX_ON]   = 1'b1;
                        tcb_out[`TCB_RTX_KIND] = `NK_RTX_TIMEWAIT;
                        tcb_out[`TCB_RTX_T]    = now_us + p_time_wait;
                    end
                endcase
            end
        end
    end
endmodule

`default_nettype wire
