// SPDX-License-Identifier: Apache-2.0
// What a received segment carries: payload, FIN, and the acknowledgement that they call for.
//
// Combinational. Takes the state that nk_tcp_rx_chk leaves; works beside nk_tcp_snd, and changes no field of the
// sender. Payload goes straight to its place in the RX ring, in order or not; nk_tcp_ooo keeps the intervals
// that stand beyond rcv_nxt.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_rcv (
    // Flow state after nk_tcp_rx_chk; time in microseconds.
    input  wire              en,             // data_ok of nk_tcp_rx_chk; 0: the state passes through
    input  wire [`TCB_W-1:0] tcb,
    input  wire [31:0]       now_us,
    // The segment: sequence number, payload bytes, flags, ECN field of its IP header.
    input  wire [31:0]       seq,
    input  wire [15:0]       len,
    input  wire              f_fin,
    input  wire              f_cwr,
    input  wire [1:0]        ecn,
    // Period of a delayed ACK, microseconds; congestion control of the flow's profile (NK_CC_*).
    input  wire [31:0]       p_delayed_ack,
    input  wire [3:0]        p_cc,
    // State after it, and the payload to place.
    output reg  [`TCB_W-1:0] tcb_out,
    output wire              place,          // payload goes into the ring
    output wire [31:0]       place_seq,      // sequence number of its first byte
    output wire [15:0]       place_skip,     // bytes of the segment before it
    output wire [15:0]       place_len,
    output wire              refuse,         // data for a socket that the tenant has closed: RST and end
    // Counter pulses: ahead of rcv_nxt, nothing new, no interval left, duplicate to report, marked CE.
    output wire              st_ooo,
    output wire              st_duplicate,
    output wire              st_no_room,
    output wire              st_dsack,
    output wire              st_ce
);
    // Segments to be acknowledged at once after a gap or a duplicate: the peer's window is small then.
    localparam [3:0] QUICK_ALL = 4'd15;

    wire [3:0]  state   = tcb[`TCB_STATE];
    wire        takes   = state == `NK_FS_ESTABLISHED || state == `NK_FS_FIN_WAIT1 || state == `NK_FS_FIN_WAIT2;
    wire [31:0] rcv_nxt = tcb[`TCB_RCV_NXT];
    wire        data    = len != 16'd0;

    // -- trim to the window; all offsets are relative to rcv_nxt -----------------------------------
    // Behind a FIN that came ahead nothing can follow.
    wire [31:0] room      = tcb[`TCB_RCV_EDGE] - rcv_nxt;
    wire [31:0] wnd       = room[31] ? 32'd0 : room;
    wire [31:0] to_fin    = tcb[`TCB_FIN_SEQ] - rcv_nxt;
    wire        fin_bound = tcb[`TCB_FIN_SEEN] && (to_fin[31] || to_fin < wnd);
    wire [31:0] bound     = !fin_bound ? wnd : to_fin[31] ? 32'd0 : to_fin;
    wire [31:0] rel       = seq - rcv_nxt;
    wire        early     = rel[31];                       // begins with bytes that we have
    wire [15:0] old_bytes = early ? 16'd0 - rel[15:0] : 16'd0;   // an acceptable segment is not older than it is long
    wire [31:0] len32     = {16'd0, len};
    wire [31:0] start     = early ? 32'd0 : rel;
    wire [31:0] seq_end   = seq + len32;
    wire [31:0] stop_raw  = rel + len32;                   // positive if any_new
    wire        any_new   = data && !stop_raw[31] && stop_raw != 32'd0;
    wire        cut       = stop_raw > bound;
    wire [31:0] stop      = cut ? bound : stop_raw;
    wire        has_data  = takes && any_new && stop > start;

    wire [3:0]   iv_full = tcb[`TCB_OOO_V];
    wire [3:0]   iv_v;
    wire [127:0] iv_s;
    wire [127:0] iv_e;
    wire [7:0]   iv_ord;
    wire [31:0]  in_order_end;
    wire         no_room;
    wire         covered;
    wire         held;
    wire [31:0]  held_s;
    wire [31:0]  held_e;

    nk_tcp_ooo #(.N(4), .IW(2)) ooo (
        .rcv_nxt(rcv_nxt),
        .iv_valid(tcb[`TCB_OOO_V]), .iv_start(tcb[`TCB_OOO_S]), .iv_end(tcb[`TCB_OOO_E]), .iv_order(tcb[`TCB_OOO_ORD]),
        .fewer(tcb[`TCB_FIN_SEEN]),
        .seg_start(early ? rcv_nxt : seq), .seg_end(cut ? rcv_nxt + bound : seq_end), .seg_s(start), .seg_e(stop),
        .iv_valid_out(iv_v), .iv_start_out(iv_s), .iv_end_out(iv_e), .iv_order_out(iv_ord),
        .in_order_end(in_order_end), .no_room(no_room), .duplicate(covered),
        .dup_valid(held), .dup_start(held_s), .dup_end(held_e)
    );

    wire gone = en && takes && tcb[`TCB_CLOSED] && any_new;
    wire live = en && takes && !gone;

    assign refuse       = gone;
    assign place        = live && has_data && !no_room && !covered;
    assign place_seq    = early ? rcv_nxt : seq;
    assign place_skip   = old_bytes;
    assign place_len    = stop[15:0] - start[15:0];
    assign st_ooo       = place && start != 32'd0;
    assign st_duplicate = live && data && (!any_new || (has_data && covered));
    assign st_no_room   = live && has_data && no_room;

    // -- duplicate bytes (RFC 2883): only the lowest run of a segment is reported ------------------
    wire        dup_old  = data && early;                  // before rcv_nxt
    wire        dup_held = has_data && held;               // in an interval
    wire        dup      = live && (dup_old || dup_held);
    wire [31:0] dup_s    = dup_old ? seq : held_s;
    wire [15:0] held_len = held_e[15:0] - held_s[15:0];
    wire [15:0] dup_len  = !dup_old ? held_len : any_new ? old_bytes : len;
    assign st_dsack = dup && tcb[`TCB_SACK_OK];

    // -- FIN ----------------------------------------------------------------------------------------
    // One that the window cuts off will come again, and so will one ahead of missing data when four intervals are held:
    // where it stands is kept in the fourth one's place. Beside three an interval dropped for want of room does not
    // lose it: it waits for the data.
    wire        fin_here = f_fin && !cut;
    wire [31:0] fin_seq  = tcb[`TCB_FIN_SEEN] ? tcb[`TCB_FIN_SEQ] : seq_end;
    wire        fin_know = tcb[`TCB_FIN_SEEN] || fin_here;
    wire [31:0] nxt_data = place ? in_order_end : rcv_nxt;
    wire        fin_take = live && fin_know && fin_seq == nxt_data;
    wire        fin_room = place ? !iv_v[3] : !iv_full[3];
    wire        fin_keep = tcb[`TCB_FIN_SEEN] || (fin_here && fin_room) || fin_take;

    // -- congestion marks ----------------------------------------------------------------------------
    wire        marked   = ecn == `NK_ECN_CE;
    wire        ecn_data = en && !gone && data && tcb[`TCB_ECN_OK];
    wire        dctcp    = p_cc == `NK_CC_DCTCP;
    // RFC 8257, 3.2: ECE says what the last segment was, and every change is reported at once.
    // RFC 3168, 6.1.3: ECE from a mark until the peer's CWR, which does not undo a mark beside it.
    wire        ece_next = marked || (!dctcp && tcb[`TCB_ECE_SEND] && !f_cwr);
    wire        ece_news = ecn_data && (dctcp ? marked != tcb[`TCB_ECE_SEND] : marked && !tcb[`TCB_ECE_SEND]);
    assign st_ce = ecn_data && marked;

    // -- ACK (RFC 5681, 4.2) -------------------------------------------------------------------------
    wire        gap      = start != 32'd0;
    wire        had_gap  = tcb[`TCB_OOO_V] != 4'd0;
    wire        plain    = place && !gap && !had_gap && !dup;   // the next bytes, and nothing special about them
    wire        at_once  = !plain || tcb[`TCB_ACK_CNT] != 2'd0 || tcb[`TCB_QUICK] != 4'd0 || fin_take || ece_news;

    always @* begin
        tcb_out = tcb;
        if (gone) begin
            tcb_out[`TCB_STATE]    = `NK_FS_DRAIN;
            tcb_out[`TCB_N_STATUS] = `NK_ST_ABORTED;
            tcb_out[`TCB_DACK_ON]  = 1'b0;
        end else if (en) begin
            if (live && has_data && !no_room) tcb_out[`TCB_OOO_ORD] = iv_ord;
            if (place) begin
                tcb_out[`TCB_OOO_V]   = iv_v;
                tcb_out[`TCB_OOO_S]   = iv_s;
                tcb_out[`TCB_OOO_E]   = iv_e;
                tcb_out[`TCB_RCV_NXT] = in_order_end;
            end
            if (ecn_data) tcb_out[`TCB_ECE_SEND] = ece_next;
            if (st_dsack) begin
                tcb_out[`TCB_DSACK_V]   = 1'b1;
                tcb_out[`TCB_DSACK_S]   = dup_s;
                tcb_out[`TCB_DSACK_LEN] = dup_len;
            end
            if (takes && fin_keep) begin
                tcb_out[`TCB_FIN_SEEN] = 1'b1;
                tcb_out[`TCB_FIN_SEQ]  = fin_seq;
            end
            if (data || f_fin) begin
                // What nk_tcp_rx_chk takes for the last ACK sent: the count must not come round to 0.
                if (place && !gap && tcb[`TCB_ACK_CNT] != 2'd3) tcb_out[`TCB_ACK_CNT] = tcb[`TCB_ACK_CNT] + 2'd1;
                if (at_once) begin
                    tcb_out[`TCB_ACK_NOW] = 1'b1;
                end else if (!tcb[`TCB_DACK_ON]) begin
                    tcb_out[`TCB_DACK_ON] = 1'b1;
                    tcb_out[`TCB_DACK_T]  = now_us + p_delayed_ack;
                end
                if ((has_data && gap) || dup)
                    tcb_out[`TCB_QUICK] = QUICK_ALL;
                else if (plain && tcb[`TCB_QUICK] != 4'd0)
                    tcb_out[`TCB_QUICK] = tcb[`TCB_QUICK] - 4'd1;
            end
            if (fin_take) begin
                tcb_out[`TCB_RCV_NXT]  = fin_seq + 32'd1;
                tcb_out[`TCB_FIN_RCVD] = 1'b1;
                tcb_out[`TCB_N_FIN]    = 1'b1;
                // Nothing stands behind a FIN; if the peer says otherwise, we do not.
                tcb_out[`TCB_OOO_V]    = 4'd0;
                case (state)
                    `NK_FS_ESTABLISHED: tcb_out[`TCB_STATE] = `NK_FS_CLOSE_WAIT;
                    `NK_FS_FIN_WAIT1:   tcb_out[`TCB_STATE] = `NK_FS_CLOSING;
                    default: begin
                        tcb_out[`TCB_STATE] = `NK_FS_TIME_WAIT;
                        tcb_out[`TCB_W_TW]  = 1'b1;
                    end
                endcase
            end
        end
    end

    wire unused = &{1'b0, held_e, iv_full[2:0]};
endmodule

`default_nettype wire
