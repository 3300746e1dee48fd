// SPDX-License-Identifier: Apache-2.0
// Whatever takes the flow table, a listener's credits or two flows: it is brought into passes of one flow here.
//
// One job at a time: a SYN for a listener, the last ACK of a handshake by SYN cookie, CONNECT, LISTEN, ACCEPT,
// CLOSE, one accept credit of a closing listener. Beside it, entries of ended flows leave the table, and the
// next SYN's listener and sequence number are looked for.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module nk_tcp_open #(
    parameter NVF = 8,                             // VFs
    parameter FW  = 10,                            // bits of a flow number
    parameter SW  = `SEG_W + 6,                    // bits of a segment word
    parameter VW  = (NVF > 1) ? $clog2(NVF) : 1    // derived
) (
    // Clock and reset (synchronous, active high); time in microseconds.
    input  wire              clk,
    input  wire              rst,
    input  wire [47:0]       now_ext,
    input  wire [127:0]      key,
    input  wire [NVF*32-1:0] cfg_ip,
    input  wire [NVF*32-1:0] cfg_sock_base,
    // Segments without a flow: SYNs, and ACKs that may answer a cookie (s_ack). Their payload is dropped elsewhere.
    input  wire              s_valid,
    output wire              s_ready,
    input  wire [SW-1:0]     s_word,
    input  wire              s_ack,
    output wire              cookies_on,     // an ACK may answer a cookie
    // A tenant's operation that takes more than one pass, or CLOSE.
    input  wire              o_valid,
    output wire              o_ready,
    input  wire [7:0]        o_vf,
    input  wire [FW-1:0]     o_flow,         // the socket; of an ACCEPT: the listener
    input  wire [FW-1:0]     o_child,        // ACCEPT: the credit
    input  wire              o_child_ok,
    input  wire [`OPW_W-1:0] o_op,
    output wire              o_busy,         // its answer is still to come
    // A pass.
    output wire              p_valid,
    input  wire              p_ready,
    output wire              p_has_flow,
    output wire [2:0]        p_cls,
    output wire [FW-1:0]     p_flow,
    output wire [7:0]        p_vf,
    output wire [SW-1:0]     p_seg,
    output wire [`OPW_W-1:0] p_op,
    output wire              p_open,
    output wire              p_cookie,
    output wire [31:0]       p_isn,
    output wire [15:0]       p_listener,
    output wire [1:0]        p_raw,
    // What passes gave.
    input  wire              wb_op_done,     // an operation's pass
    input  wire [FW-1:0]     wb_flow,
    input  wire [7:0]        wb_vf,
    input  wire [7:0]        wb_status,
    input  wire              wb_want_insert,
    input  wire              wb_end_listener,
    input  wire              wb_unlisten,
    input  wire              wb_half_dec,
    input  wire [15:0]       wb_listener,
    input  wire              wb_delete,
    input  wire [71:0]       wb_del_key,
    output wire              wb_room,        // eight more of each may come
    output wire              del_idle,       // every ended flow is out of the table
    // Flow table.
    output wire              lk_valid,       // has the look-up port in this clock
    output wire [71:0]       lk_key,         // {vf, rip, rport, lport}
    input  wire              lk_done,
    input  wire              lk_hit,
    input  wire [FW-1:0]     lk_flow,
    output wire              up_valid,
    input  wire              up_ready,
    output wire [1:0]        up_op,
    output wire [71:0]       up_key,
    output wire [FW-1:0]     up_flow,
    input  wire              up_done,
    input  wire              up_ok,
    input  wire              up_hit,
    output wire              init_done,
    output wire              busy,
    // Counter pulses, and the VF of an accept drop.
    output reg               stat_no_credit,
    output reg               stat_no_room,
    output reg               stat_cookie_ok,
    output reg               stat_cookie_bad,
    output wire              stat_inserts,
    output wire              stat_deletes,
    output reg  [7:0]        stat_vf
);
    // ---- requests wait here -------------------------------------------------------------------------------
    wire          sq_valid;
    wire          sq_take;
    wire [SW-1:0] sq_word;
    wire          sq_ack;
    wire [4:0]    sq_level;
    nk_fifo #(.W(SW + 1), .DEPTH_LOG2(4)) syn_fifo (
        .clk(clk), .rst(rst), .s_data({s_ack, s_word}), .s_valid(s_valid), .s_ready(s_ready),
        .m_data({sq_ack, sq_word}), .m_valid(sq_valid), .m_ready(sq_take), .level(sq_level)
    );

    reg           del_busy_reg;   // the table works on a deletion
    wire          del_valid;
    wire          del_take;
    wire          del_in_ready;
    wire [71:0]   del_key;
    wire [FW-1:0] del_flow;
    wire [4:0]    del_level;
    nk_fifo #(.W(72 + FW), .DEPTH_LOG2(4)) del_fifo (
        .clk(clk), .rst(rst), .s_data({wb_flow, wb_del_key}), .s_valid(wb_delete), .s_ready(del_in_ready),
        .m_data({del_flow, del_key}), .m_valid(del_valid), .m_ready(del_take), .level(del_level)
    );

    // A listener's flow follows from its VF's range and its socket id.
    wire [31:0]   half_base = cfg_sock_base[wb_vf[VW-1:0] * 32 +: 32];
    wire          half_valid;
    wire          half_take;
    wire          half_in_ready;
    wire [FW-1:0] half_flow;
    wire [4:0]    half_level;
    nk_fifo #(.W(FW), .DEPTH_LOG2(4)) half_fifo (
        .clk(clk), .rst(rst), .s_data(half_base[FW-1:0] + wb_listener[FW-1:0]), .s_valid(wb_half_dec), .s_ready(half_in_ready),
        .m_data(half_flow), .m_valid(half_valid), .m_ready(half_take), .level(half_level)
    );

    // Listeners that are closing: their credits go back one at a time, between other jobs.
    wire          end_valid;
    wire          end_take;
    wire          end_in_ready;
    wire [FW-1:0] end_flow;
    wire [7:0]    end_vf;
    wire [4:0]    end_level;
    nk_fifo #(.W(FW + 8), .DEPTH_LOG2(4)) end_fifo (
        .clk(clk), .rst(rst), .s_data({wb_vf, wb_flow}), .s_valid(wb_end_listener), .s_ready(end_in_ready),
        .m_data({end_vf, end_flow}), .m_valid(end_valid), .m_ready(end_take), .level(end_level)
    );
    assign del_idle = del_level == 5'd0 && !del_busy_reg;
    // Both empty themselves, whatever the job in hand waits for.
    assign wb_room = del_level <= 5'd7 && half_level <= 5'd7;

    // ---- the job in hand --------------------------------------------------------------------------------------
    localparam [3:0] S_IDLE = 4'd0,
                     S_ISN  = 4'd2,    // wait for the sequence number, or the cookie
                     S_POP  = 4'd3,    // take a credit
                     S_INS  = 4'd4,    // into the flow table
                     S_PASS = 4'd5,
                     S_WAIT = 4'd6,    // an operation's result
                     S_PUSH = 4'd7,    // a credit into the list, or back
                     S_INIT = 4'd8,    // a new listener's list
                     S_BIT  = 4'd9,    // does the listener listen?
                     S_DEC  = 4'd10,
                     S_PEEK = 4'd11;   // is there a credit, and for whom?
    localparam [1:0] J_SYN = 2'd0, J_OP = 2'd1, J_END = 2'd2;
    localparam [2:0] CR_INIT = 3'd0, CR_PUSH = 3'd1, CR_POP = 3'd2, CR_HALF = 3'd3, CR_DEC = 3'd4, CR_PEEK = 3'd5;

    reg  [3:0]        st_reg;
    reg  [1:0]        job_reg;
    reg               asked_reg;      // the request of this state was taken; its answer is awaited
    reg  [SW-1:0]     seg_reg;
    reg               ack_reg;        // the segment is an ACK that may answer a cookie
    reg  [7:0]        vf_reg;
    reg  [FW-1:0]     lis_reg;        // listener
    reg  [FW-1:0]     flow_reg;       // flow of the pass: credit, or the operation's socket
    reg  [`OPW_W-1:0] op_reg;
    reg               second_reg;     // the operation's second pass
    reg  [31:0]       isn_reg;
    reg  [15:0]       mss_reg;
    reg  [1:0]        raw_reg;        // the pass is without a flow
    reg               op_job_reg;
    reg               tail_reg;       // nothing follows the operation's pass but its answer: other jobs go on
    reg               ins_busy_reg;
    reg               odd_reg;        // jobs of both kinds take turns
    reg               o_child_reg;    // ACCEPT: the credit's id is in range

    // ---- the next SYN: who listens on that port, and our sequence number (or the check of a cookie) --------------
    reg               look_asked_reg;
    reg               look_done_reg;
    reg               look_old_reg;   // a listener has ended since it was asked
    reg               look_hold_reg;  // a listener's entry is still to leave the table
    reg               look_hit_reg;
    reg  [FW-1:0]     look_flow_reg;
    reg               pre_asked_reg;
    reg               pre_done_reg;
    reg  [31:0]       pre_isn_reg;
    reg               pre_ok_reg;
    reg  [15:0]       pre_mss_reg;
    wire              sq_known = sq_valid && look_done_reg && pre_done_reg;

    wire [7:0]  code      = op_reg[`OPW_CODE];
    wire [63:0] op_data   = op_reg[`OPW_DATA];
    wire        is_conn   = code == `NK_OP_CONNECT;
    wire        is_listen = code == `NK_OP_LISTEN;
    wire        last_pass = code == `NK_OP_CLOSE || code == `NK_OP_ABORT || (is_conn && second_reg);
    wire [7:0]  in_code   = o_op[`OPW_CODE];
    wire        in_accept = in_code == `NK_OP_ACCEPT;
    wire [31:0] base_ip   = cfg_ip[vf_reg[VW-1:0] * 32 +: 32];

    // ---- accept credits -------------------------------------------------------------------------------------------
    reg  [2:0]    cr_op;
    wire          cr_ready;
    wire          cr_done;
    wire          cr_hit;
    wire          cr_flood;
    wire          cr_init;
    wire [FW-1:0] cr_flow;
    wire          cr_wants = (st_reg == S_POP || st_reg == S_PUSH || st_reg == S_INIT || st_reg == S_DEC || st_reg == S_PEEK)
                          && !asked_reg;
    always @* begin
        case (st_reg)
            S_POP:   cr_op = job_reg == J_SYN && !ack_reg ? CR_HALF : CR_POP;
            S_PUSH:  cr_op = CR_PUSH;
            S_INIT:  cr_op = CR_INIT;
            S_PEEK:  cr_op = CR_PEEK;
            default: cr_op = CR_DEC;
        endcase
    end
    // Half-open connections are counted off beside the job in hand.
    reg           cr_half_reg;
    wire          cr_rsp;
    assign half_take = half_valid && !cr_wants && cr_ready;
    assign cr_done   = cr_rsp && !cr_half_reg;
    nk_tcp_credits #(.FLOWS(1 << FW), .FW(FW)) credits (
        .clk(clk), .rst(rst), .req_valid(cr_wants || half_valid), .req_ready(cr_ready), .req_op(cr_wants ? cr_op : CR_DEC),
        .req_listener(cr_wants ? lis_reg : half_flow), .req_flow(flow_reg), .rsp_valid(cr_rsp), .rsp_hit(cr_hit), .rsp_flow(cr_flow), .rsp_flood(cr_flood), .init_done(cr_init)
    );

    // Which sockets listen: an ACCEPT may only name one of them.
    reg           walk_done_reg;
    reg  [FW-1:0] walk_reg;
    wire          listens;
    wire set_listens = st_reg == S_INIT && !asked_reg && cr_ready;
    reg            unlisten_reg;
    reg  [FW-1:0]  unlisten_flow_reg;
    nk_ram_1w1r #(.W(1), .AW(FW)) listen_ram (
        .clk(clk), .we(!walk_done_reg || set_listens || unlisten_reg),
        .waddr(!walk_done_reg ? walk_reg : set_listens ? lis_reg : unlisten_flow_reg), .wdata(walk_done_reg && set_listens),
        .re(1'b1), .raddr(lis_reg), .rdata(listens)
    );
    assign init_done = walk_done_reg && cr_init;

    // ---- sequence numbers and cookies ---------------------------------------------------------------------------------
    wire        isn_ready;
    wire        isn_done;
    wire        isn_ok;
    wire [31:0] isn_value;
    wire [15:0] isn_mss;
    // For the job in hand: CONNECT (RFC 6528), from its first pass on, or a SYN that gets a cookie.
    reg         isn_asked_reg;
    reg         isn_done_reg;
    reg         isn_own_reg;      // the answer to come is for the job in hand
    wire        isn_op    = job_reg == J_OP;
    wire        isn_wants = !isn_asked_reg && (st_reg == S_ISN || (st_reg == S_PASS && isn_op && is_conn));
    wire        pre_wants = sq_valid && !pre_asked_reg && !isn_wants;
    wire [SW-1:0] isn_seg = isn_wants ? seg_reg : sq_word;
    wire [31:0] isn_seq   = isn_seg[`SEG_SEQ];
    wire [31:0] isn_ack   = isn_seg[`SEG_ACK];
    wire        isn_tuple = isn_wants && isn_op;
    wire [7:0]  pre_vf    = sq_word[`SEG_VF];
    wire [31:0] pre_ip    = cfg_ip[pre_vf[VW-1:0] * 32 +: 32];
    nk_tcp_isn isn_i (
        .clk(clk), .rst(rst), .key(key), .now_ext(now_ext),
        .req_valid(isn_wants || pre_wants), .req_ready(isn_ready), .req_cookie(isn_wants ? {1'b0, !isn_op} : {sq_ack, 1'b0}),
        .req_lip(isn_wants ? base_ip : pre_ip), .req_lport(isn_tuple ? op_data[63:48] : isn_seg[`SEG_LPORT]),
        .req_rip(isn_tuple ? op_data[31:0] : isn_seg[`SEG_RIP]), .req_rport(isn_tuple ? op_data[47:32] : isn_seg[`SEG_RPORT]),
        .req_irs(!isn_wants && sq_ack ? isn_seq - 32'd1 : isn_seq), .req_mss(isn_seg[`SEG_MSS]), .req_cookie_value(isn_ack - 32'd1),
        .rsp_valid(isn_done), .rsp_isn(isn_value), .rsp_ok(isn_ok), .rsp_mss(isn_mss)
    );
    // Cookies live two turns of the counter, 2^26 us each; after that no ACK can answer one.
    reg         cookie_ever_reg;
    reg  [21:0] cookie_turn_reg;
    wire [21:0] turn = now_ext[47:26];
    assign cookies_on = cookie_ever_reg && turn - cookie_turn_reg <= 22'd1;

    // ---- flow table ---------------------------------------------------------------------------------------------------
    wire        ins_wants = st_reg == S_INS && !asked_reg && !del_valid && !del_busy_reg;
    wire [71:0] ins_key   = job_reg == J_SYN ? {vf_reg, seg_reg[`SEG_RIP], seg_reg[`SEG_RPORT], seg_reg[`SEG_LPORT]}
                          : {vf_reg, is_listen ? 48'd0 : {op_data[31:0], op_data[47:32]}, op_data[63:48]};
    assign lk_valid = sq_valid && !look_asked_reg && !look_hold_reg;
    assign lk_key   = {pre_vf, 48'd0, sq_word[`SEG_LPORT]};
    assign up_valid = !ins_busy_reg && !del_busy_reg && (del_valid || ins_wants);
    assign up_op    = del_valid ? 2'd2 : 2'd1;
    assign up_key   = del_valid ? del_key : ins_key;
    assign up_flow  = del_valid ? del_flow : flow_reg;
    assign del_take = del_valid && up_ready && up_valid;
    assign stat_inserts = ins_busy_reg && up_done && up_ok;
    assign stat_deletes = del_busy_reg && up_done && up_ok;

    // ---- choice of a job ------------------------------------------------------------------------------------------------
    wire idle     = st_reg == S_IDLE && init_done;
    wire go_op    = idle && o_valid && end_in_ready && (!odd_reg || !(sq_known || end_valid));
    wire go_syn   = idle && !go_op && sq_known && !wb_unlisten;
    wire go_end   = idle && !go_op && !sq_known && end_valid;
    assign o_ready   = go_op;
    assign sq_take   = go_syn;
    // The last step of a closing listener takes it off the list.
    assign end_take  = st_reg == S_POP && job_reg == J_END && asked_reg && cr_done && !cr_hit;
    assign o_busy    = op_job_reg;

    // ---- the pass ---------------------------------------------------------------------------------------------------------
    reg [`OPW_W-1:0] pass_op;
    always @* begin
        pass_op = op_reg;
        pass_op[`OPW_INS] = second_reg;
    end
    reg [SW-1:0] pass_seg;
    always @* begin
        pass_seg = seg_reg;
        if (ack_reg) begin
            pass_seg[`SEG_LEN] = 16'd0;    // what came with it will come again
            pass_seg[`SEG_MSS] = mss_reg;
        end
    end
    assign p_valid    = st_reg == S_PASS;
    assign p_has_flow = raw_reg == `NK_RAW_NONE;
    assign p_cls      = raw_reg != `NK_RAW_NONE ? `NK_EV_RAW : job_reg == J_SYN ? `NK_EV_RX : `NK_EV_OP;
    assign p_flow     = flow_reg;
    assign p_vf       = vf_reg;
    assign p_seg      = pass_seg;
    assign p_op       = pass_op;
    assign p_open     = job_reg == J_SYN && !ack_reg;
    assign p_cookie   = job_reg == J_SYN && ack_reg;
    assign p_isn      = isn_reg;
    assign p_raw      = raw_reg;
    wire [31:0] lis_base = cfg_sock_base[vf_reg[VW-1:0] * 32 +: 32];
    wire [FW-1:0] lis_id = lis_reg - lis_base[FW-1:0];
    wire [FW+15:0] lis_wide = {16'd0, lis_id};
    assign p_listener = lis_wide[15:0];

    assign busy = st_reg != S_IDLE || tail_reg || cr_half_reg || sq_valid || sq_level != 5'd0 || del_level != 5'd0 || half_level != 5'd0 || end_level != 5'd0
               || del_busy_reg || !init_done || unlisten_reg;

    wire unused = &{1'b0, isn_seg, lis_wide, lis_base, half_base, del_in_ready, half_in_ready, wb_listener, wb_status, up_hit};

    always @(posedge clk) begin
        stat_no_credit  <= 1'b0;
        stat_no_room    <= 1'b0;
        stat_cookie_ok  <= 1'b0;
        stat_cookie_bad <= 1'b0;

        if (!walk_done_reg) begin
            walk_reg      <= walk_reg + 1'b1;
            walk_done_reg <= &walk_reg;
        end
        if (wb_unlisten) begin
            unlisten_reg      <= 1'b1;
            unlisten_flow_reg <= wb_flow;
        end else if (!set_listens) unlisten_reg <= 1'b0;

        if (half_take)   cr_half_reg <= 1'b1;
        else if (cr_rsp) cr_half_reg <= 1'b0;
        if (tail_reg && wb_op_done) begin
            tail_reg   <= 1'b0;
            op_job_reg <= 1'b0;
        end
        if (up_valid && up_ready) begin
            del_busy_reg <= del_valid;
            ins_busy_reg <= !del_valid;
        end else if (up_done) begin
            del_busy_reg <= 1'b0;
            ins_busy_reg <= 1'b0;
        end

        // Answers of nk_tcp_isn come in order, one at a time. One that nobody waits for any more is dropped.
        if ((isn_wants || pre_wants) && isn_ready) begin
            isn_own_reg <= isn_wants;
            if (isn_wants) isn_asked_reg <= 1'b1;
            else           pre_asked_reg <= 1'b1;
        end
        if (isn_done && isn_own_reg && isn_asked_reg) begin
            isn_done_reg <= 1'b1;
            isn_reg      <= isn_value;
        end
        if (isn_done && !isn_own_reg) begin
            pre_done_reg <= 1'b1;
            pre_isn_reg  <= isn_value;
            pre_ok_reg   <= isn_ok;
            pre_mss_reg  <= isn_mss;
        end

        if (lk_valid) look_asked_reg <= 1'b1;
        if (lk_done) begin
            look_done_reg  <= !look_old_reg && !wb_unlisten;
            look_asked_reg <= !look_old_reg && !wb_unlisten;
            look_old_reg   <= 1'b0;
            look_hit_reg   <= lk_hit;
            look_flow_reg  <= lk_flow;
        end else if (wb_unlisten) begin
            // What was found may be the listener that is gone: once it is out of the table, ask again.
            look_done_reg <= 1'b0;
            look_old_reg  <= (look_asked_reg && !look_done_reg) || lk_valid;
            if (look_done_reg) look_asked_reg <= 1'b0;
        end
        if (wb_unlisten)   look_hold_reg <= 1'b1;
        else if (del_idle) look_hold_reg <= 1'b0;
        if (go_syn) begin
            look_asked_reg <= 1'b0;
            look_done_reg  <= 1'b0;
            pre_asked_reg  <= 1'b0;
            pre_done_reg   <= 1'b0;
        end

        case (st_reg)
            S_IDLE: begin
                asked_reg     <= 1'b0;
                isn_asked_reg <= 1'b0;
                isn_done_reg  <= 1'b0;
                raw_reg    <= `NK_RAW_NONE;
                second_reg <= 1'b0;
                ack_reg    <= 1'b0;
                if (go_op) begin
                    odd_reg    <= 1'b1;
                    op_job_reg <= 1'b1;
                    job_reg    <= J_OP;
                    op_reg     <= o_op;
                    vf_reg     <= o_vf;
                    lis_reg    <= o_flow;
                    flow_reg   <= in_accept ? o_child : o_flow;
                    o_child_reg <= o_child_ok;
                    st_reg     <= in_accept ? S_BIT : S_PASS;
                end else if (go_syn) begin
                    odd_reg <= 1'b0;
                    job_reg <= J_SYN;
                    seg_reg <= sq_word;
                    ack_reg <= sq_ack;
                    vf_reg  <= pre_vf;
                    lis_reg <= look_flow_reg;
                    isn_reg <= pre_isn_reg;
                    mss_reg <= pre_mss_reg;
                    st_reg  <= sq_ack ? S_POP : S_PEEK;
                    if (!look_hit_reg) begin
                        raw_reg <= `NK_RAW_RST;
                        st_reg  <= S_PASS;
                    end else if (sq_ack && !pre_ok_reg) begin
                        stat_cookie_bad <= 1'b1;
                        raw_reg         <= `NK_RAW_RST;
                        st_reg          <= S_PASS;
                    end
                end else if (go_end) begin
                    odd_reg <= 1'b0;
                    job_reg <= J_END;
                    lis_reg <= end_flow;
                    vf_reg  <= end_vf;
                    st_reg  <= S_POP;
                end
            end

            S_ISN: if (isn_done_reg) begin
                st_reg <= S_PASS;
                if (!isn_op) begin
                    raw_reg         <= `NK_RAW_COOKIE;
                    cookie_ever_reg <= 1'b1;
                    cookie_turn_reg <= turn;
                end
            end

            S_PEEK: begin
                if (cr_ready) asked_reg <= 1'b1;
                if (asked_reg && cr_done) begin
                    asked_reg <= 1'b0;
                    st_reg    <= S_POP;
                    if (!cr_hit) begin
                        stat_no_credit <= 1'b1;
                        stat_vf        <= vf_reg;
                        st_reg         <= S_IDLE;
                    end else if (cr_flood) begin
                        // Too many half-open connections for the credits left: from here on strangers get no state.
                        st_reg <= S_ISN;
                    end
                end
            end

            S_POP: begin
                if (cr_ready) asked_reg <= 1'b1;
                if (asked_reg && cr_done) begin
                    asked_reg <= 1'b0;
                    flow_reg  <= cr_flow;
                    if (job_reg == J_END) begin
                        op_reg                <= {`OPW_W{1'b0}};
                        op_reg[`OPW_CODE]     <= `NK_OP_CLOSE;
                        op_reg[`OPW_QUIET]    <= 1'b1;
                        op_reg[`OPW_UNCREDIT] <= cr_hit;
                        op_reg[`OPW_LDONE]    <= !cr_hit;
                        if (!cr_hit) flow_reg <= lis_reg;
                        st_reg <= S_PASS;
                    end else if (cr_hit) begin
                        st_reg <= S_INS;
                    end else begin
                        stat_no_credit <= 1'b1;
                        stat_vf        <= vf_reg;
                        st_reg         <= S_IDLE;
                    end
                end
            end

            S_INS: begin
                if (ins_wants && up_ready) asked_reg <= 1'b1;
                if (asked_reg && ins_busy_reg && up_done) begin
                    asked_reg <= 1'b0;
                    if (job_reg == J_OP) begin
                        second_reg           <= 1'b1;
                        op_reg[`OPW_INS_OK]  <= up_ok;
                        op_reg[`OPW_INS_HIT] <= up_hit;
                        st_reg               <= up_ok && is_conn ? S_ISN : S_PASS;
                    end else if (up_ok) begin
                        stat_cookie_ok <= ack_reg;
                        st_reg         <= S_PASS;
                    end else begin
                        // The same SYN twice, or no room: the credit goes back.
                        stat_no_room <= !up_hit;
                        st_reg       <= S_PUSH;
                    end
                end
            end

            S_BIT: begin
                asked_reg <= 1'b1;     // the memory answers in the next clock
                if (asked_reg) begin
                    asked_reg         <= 1'b0;
                    op_reg[`OPW_LOK]  <= listens && o_child_reg;
                    st_reg            <= S_PASS;
                end
            end

            S_PASS: if (p_ready) begin
                asked_reg <= 1'b0;
                st_reg    <= job_reg == J_OP && !last_pass ? S_WAIT : S_IDLE;
                // Another job's pass may be here before the answer that tail_reg waits for.
                if (job_reg == J_OP) tail_reg <= last_pass;
            end

            S_WAIT: if (wb_op_done && wb_flow == flow_reg) begin
                op_job_reg <= 1'b0;
                st_reg     <= S_IDLE;
                if (wb_want_insert) begin
                    op_job_reg <= 1'b1;
                    st_reg     <= S_INS;
                end else if (code == `NK_OP_ACCEPT && wb_status == `NK_ST_OK) begin
                    st_reg <= S_PUSH;
                end else if (is_listen && second_reg && wb_status == `NK_ST_OK) begin
                    st_reg <= S_INIT;
                end
            end

            S_PUSH, S_INIT, S_DEC: begin
                if (cr_ready) asked_reg <= 1'b1;
                if (asked_reg && cr_done) begin
                    asked_reg <= 1'b0;
                    // A half-open credit that goes back is counted off again.
                    st_reg    <= st_reg == S_PUSH && job_reg == J_SYN && !ack_reg ? S_DEC : S_IDLE;
                end
            end

            default: st_reg <= S_IDLE;
        endcase

        if (rst) begin
            st_reg          <= S_IDLE;
            isn_asked_reg   <= 1'b0;
            look_asked_reg  <= 1'b0;
            look_done_reg   <= 1'b0;
            look_old_reg    <= 1'b0;
            look_hold_reg   <= 1'b0;
            pre_asked_reg   <= 1'b0;
            pre_done_reg    <= 1'b0;
            op_job_reg      <= 1'b0;
            tail_reg        <= 1'b0;
            cr_half_reg     <= 1'b0;
            del_busy_reg    <= 1'b0;
            ins_busy_reg    <= 1'b0;
            odd_reg         <= 1'b0;
            cookie_ever_reg <= 1'b0;
            walk_done_reg   <= 1'b0;
            walk_reg        <= {FW{1'b0}};
            unlisten_reg    <= 1'b0;
        end
    end
endmodule

`default_nettype wire
