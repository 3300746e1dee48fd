// SPDX-License-Identifier: Apache-2.0
// Decides, from a flow's state alone, what its next segment is: the one place where that is decided.
//
// Combinational. Used twice in a pass: to build the segment, and on the state after it (with tx_ok = 1), to learn
// whether the flow belongs into the transmit list and whether it waits for the peer's window.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"

module nk_tcp_txsel (
    // Flow state; may the VF send data now?
    input  wire [`TCB_W-1:0] tcb,
    input  wire              tx_ok,
    // Its next segment.
    output reg  [3:0]        kind,     // NK_TX_*; NK_TX_NONE: nothing to send
    output reg  [31:0]       seq,      // sequence number of the segment
    output reg  [15:0]       len,      // payload bytes
    output reg               fin,      // FIN goes with it
    output reg               psh,      // last byte that the tenant gave
    output wire              blocked,  // data waits, nothing is in flight and the window is shut
    output reg               more      // another one may follow, or waits for tx_ok; 0: surely none
);
    wire [3:0]  state   = tcb[`TCB_STATE];
    wire [31:0] una     = tcb[`TCB_SND_UNA];
    wire [31:0] nxt     = tcb[`TCB_SND_NXT];
    wire [31:0] tx_end  = tcb[`TCB_TX_END];
    wire [31:0] lost_end = tcb[`TCB_LOST_END];
    wire [31:0] rxt_nxt = tcb[`TCB_RXT_NXT];
    wire [15:0] mss     = tcb[`TCB_MSS];
    wire [24:0] mss25   = {9'd0, mss};
    wire [31:0] wnd32   = tcb[`TCB_SND_WND];
    wire [31:0] cwnd32  = tcb[`TCB_CWND];
    wire [24:0] wnd     = wnd32[24:0];
    wire [24:0] cwnd    = cwnd32[24:0];

    wire syn_state  = state == `NK_FS_SYN_SENT || state == `NK_FS_SYN_RCVD;
    wire synced     = state >= `NK_FS_ESTABLISHED && state <= `NK_FS_TIME_WAIT;
    wire may_send   = synced && state != `NK_FS_FIN_WAIT2 && state != `NK_FS_TIME_WAIT;
    wire no_nexthop = tcb[`TCB_RTX_ON] && tcb[`TCB_RTX_KIND] == `NK_RTX_NEIGH;
    wire repairing  = tcb[`TCB_IN_REC] || tcb[`TCB_IN_LOSS];

    // -- what is out. All distances are from SND_UNA -----------------------------------------------------
    wire [24:0] flight  = nxt[24:0] - una[24:0];
    wire [24:0] pipe;
    wire        again;
    wire [24:0] again_off;
    wire [24:0] again_end;
    wire        lost    = may_send && `SEQ_LT(rxt_nxt, lost_end);
    wire [127:0] sk_s   = tcb[`TCB_SK_S];
    wire [3:0]  sk_v    = tcb[`TCB_SK_V];

    nk_tcp_pipe_est est_i (
        .snd_una(una), .snd_nxt(nxt), .lost_end(lost_end), .rxt_nxt(rxt_nxt), .sack_ok(tcb[`TCB_SACK_OK]),
        .sk_v(sk_v), .sk_s(sk_s), .sk_e(tcb[`TCB_SK_E]),
        .pipe(pipe), .again(again), .again_off(again_off), .again_end(again_end)
    );
    wire        empty   = pipe == 25'd0;              // then one segment may always go
    wire [24:0] avail   = cwnd > pipe ? cwnd - pipe : 25'd0;

    // A FIN already sent puts SND_NXT one past TX_END.
    wire        past_fin = `SEQ_GT(nxt, tx_end);
    wire [24:0] data_end = past_fin ? flight - 25'd1 : flight;   // bytes of it that are data
    wire        fin_due = tcb[`TCB_FIN_REQ] && !past_fin;

    // -- lost bytes: the first run that was not sent again; before it the oldest segment, when its copy alone is late --
    wire        rescue  = tcb[`TCB_TLP_DUE] && repairing && flight != 25'd0 && wnd != 25'd0;
    wire [24:0] rex_off = rescue ? 25'd0 : again_off;
    wire [24:0] rex_lim = !rescue ? again_end : sk_v[0] ? sk_s[24:0] - una[24:0] : flight;
    wire        rex_due = may_send && (rescue || (lost && again));
    wire [24:0] rex_top = rex_lim < data_end ? rex_lim : data_end;
    wire [24:0] rex_all = rex_top > rex_off ? rex_top - rex_off : 25'd0;
    wire [24:0] rex_wnd = wnd > rex_off ? wnd - rex_off : 25'd0;
    wire [24:0] rex_fit = rex_wnd < mss25 ? rex_wnd : mss25;
    wire [24:0] rex_len = rex_all < rex_fit ? rex_all : rex_fit;
    wire        rex_fin = past_fin && rex_lim == flight && rex_len == rex_all;
    wire        rex_go  = rex_due && (rex_len != 25'd0 || rex_fin) && (rescue || empty || avail >= rex_len);

    // -- new data ------------------------------------------------------------------------------------------
    wire [31:0] to_end  = tx_end - nxt;
    wire [24:0] unsent  = past_fin ? 25'd0 : to_end[24:0];
    wire [24:0] room    = wnd > flight ? wnd - flight : 25'd0;
    wire [24:0] fits    = room < mss25 ? room : mss25;
    wire [24:0] dlen    = unsent < fits ? unsent : fits;
    wire        full    = dlen == mss25;
    wire        last    = dlen == unsent;
    wire        quiet   = flight == 25'd0;
    // Nagle (RFC 9293, 3.7.4) in Minshall's form, as in Linux: a small piece waits only for a small one before it. TCP_CORK waits for a full segment, even with nothing in flight; its timer, off but not
    // forgotten, ends that for this pass.
    wire        uncork  = tcb[`TCB_RTX_KIND] == `NK_RTX_CORK && !tcb[`TCB_RTX_ON];
    wire        held    = tcb[`TCB_CORK] && !uncork;
    wire        tail_ok   = tcb[`TCB_FIN_REQ] || (!held && (tcb[`TCB_NODELAY] || quiet || !tcb[`TCB_SML]));
    // Silly windows (RFC 9293, 3.8.6.2.1): a piece that the window cuts off only when no ACK is on its way to open it, and if
    // it is about half of the largest window seen, or has waited (the same timer as for TCP_CORK).
    wire [24:0] halves  = {dlen[23:0], 1'b0} >> tcb[`TCB_MAX_WND_L2];
    wire        worth   = full || (last ? tail_ok : quiet && (halves != 25'd0 || uncork));
    wire        data_go = may_send && dlen != 25'd0 && worth && (empty || avail >= dlen);
    wire        fin_go  = may_send && fin_due && unsent == 25'd0;

    // -- tail loss probe (RFC 8985, 7.3): new data beyond cwnd if the window takes it, else the last segment -----
    wire        tlp_due = may_send && tcb[`TCB_TLP_DUE] && !repairing && flight != 25'd0;
    wire        tlp_new = dlen != 25'd0 && (full || last);
    wire [24:0] tlp_len = data_end < mss25 ? data_end : mss25;

    // -- the window is shut over what waits, and nothing is on its way that could bring news -------------------
    wire        shut    = lost && again ? rex_all != 25'd0 && rex_wnd == 25'd0 : unsent != 25'd0 && room == 25'd0;
    assign blocked = may_send && empty && shut;
    wire        probe_due = blocked && tcb[`TCB_PROBE];

    // An ACK stands inside the peer's window: beyond it, two ends that have shut their windows would answer each
    // other's ACKs for ever (a probe's byte moves SND_NXT).
    wire [24:0] ack_off = flight > wnd ? wnd : flight;
    wire        owes    = (synced || state == `NK_FS_SYN_RCVD) && tcb[`TCB_ACK_NOW];
    // SACK and D-SACK blocks do not go with data.
    wire        owes_sack = owes && tcb[`TCB_SACK_OK] && (tcb[`TCB_OOO_V] != 4'd0 || tcb[`TCB_DSACK_V]);
    wire        keep_due = synced && tcb[`TCB_KA_PROBE];

    wire        waits   = rex_go || tlp_due || probe_due || data_go || fin_go;

    // What would follow new data.
    wire [24:0] rest    = unsent - dlen;
    wire [24:0] part    = rest < mss25 ? rest : mss25;
    wire        rest_ok = rest != 25'd0 && (part == mss25 || tcb[`TCB_FIN_REQ] || ((tcb[`TCB_NODELAY] || (full && !tcb[`TCB_SML])) && !held))
                       && room - dlen >= part && avail >= dlen && avail - dlen >= part;

    always @* begin
        kind = `NK_TX_NONE;
        seq  = una + {7'd0, ack_off};
        len  = 16'd0;
        fin  = 1'b0;
        psh  = 1'b0;
        more = 1'b0;
        if (no_nexthop) begin
            // Nothing can leave before ARP has answered; the timer asks again.
            kind = `NK_TX_NONE;
        end else if (syn_state && (nxt == tcb[`TCB_ISS] || `SEQ_LT(rxt_nxt, lost_end))) begin
            kind = `NK_TX_SYN;
            seq  = una;
        end else if (owes_sack) begin
            kind = `NK_TX_ACK;
            more = waits || keep_due;
        end else if (tx_ok && rex_go) begin
            kind = `NK_TX_REXMIT;
            seq  = una + {7'd0, rex_off};
            len  = rex_len[15:0];
            fin  = rex_fin;
            psh  = rex_off + rex_len == data_end && nxt == tx_end + {31'd0, past_fin};
            more = 1'b1;
        end else if (tx_ok && tlp_due) begin
            kind = `NK_TX_TLP;
            seq  = tlp_new ? nxt : una + {7'd0, data_end - tlp_len};
            len  = tlp_new ? dlen[15:0] : tlp_len[15:0];
            fin  = tlp_new ? fin_due && last : past_fin;
            psh  = tlp_new ? last : nxt == tx_end + {31'd0, past_fin};
            more = unsent != 25'd0 || keep_due;
        end else if (tx_ok && probe_due) begin
            kind = `NK_TX_PROBE;
            seq  = una;
            len  = 16'd1;
        end else if (tx_ok && (data_go || fin_go)) begin
            kind = `NK_TX_DATA;
            seq  = nxt;
            len  = dlen[15:0];
            fin  = fin_due && last;
            psh  = last;
            more = rest_ok || keep_due;
        end else if (keep_due) begin
            kind = `NK_TX_KEEP;
            seq  = una - 32'd1;
            more = waits;
        end else if (owes) begin
            kind = `NK_TX_ACK;
            more = waits;
        end else begin
            more = waits;
        end
    end

    // A pure function of a few of the state's fields.
    wire unused = &{1'b0, tcb, to_end[31:25], wnd32[31:25], cwnd32[31:25]};
endmodule

`default_nettype wire
