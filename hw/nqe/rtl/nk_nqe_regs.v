// SPDX-License-Identifier: Apache-2.0
// Purpose: registers and doorbells of the queue sets: what a tenant may write, and when it has effect.
//
// One access at a time: [idle] -> [read the set's state] -> [act] -> [answer]; switching a set on takes five clocks
// more, one for each ring and the status block, to prove that they lie in the region. A doorbell that breaks a
// rule changes nothing and is counted.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_regs #(
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Number of sets; follows from the above, leave it.
    parameter NR = NVF * NQS,
    // Width of a set number; follows from the above, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high; then all sets are cleared, NR clocks).
    input  wire              clk,
    input  wire              rst,

    // Accesses, from nk_regs. One answer (qreg_rvalid) each, reads and writes.
    input  wire              qreg_valid,
    output wire              qreg_ready,
    input  wire [7:0]        qreg_vf,
    input  wire [7:0]        qreg_qs,
    input  wire              qreg_db,
    input  wire [5:0]        qreg_ofs,
    input  wire              qreg_write,
    input  wire [31:0]       qreg_wdata,
    output wire              qreg_rvalid,
    output wire [31:0]       qreg_rdata,
    output wire              qreg_err,

    // State of the VFs.
    input  wire [NVF-1:0]    vf_enabled,
    input  wire [NVF-1:0]    vf_resetting,
    input  wire [NVF*32-1:0] region_pages,

    // State of set q_set in nk_nqe_rings, one clock after q_read.
    output wire              q_read,
    output wire [SW-1:0]     q_set,
    input  wire [31:0]       q_job_base,
    input  wire [31:0]       q_comp_base,
    input  wire [31:0]       q_send_base,
    input  wire [31:0]       q_recv_base,
    input  wire [31:0]       q_sizes,
    input  wire [31:0]       q_stat_base,
    input  wire [23:0]       q_moder,
    input  wire [31:0]       q_job_tail,
    input  wire [31:0]       q_send_tail,
    input  wire [31:0]       q_comp_head,
    input  wire [31:0]       q_recv_head,
    input  wire [31:0]       q_arm_last,
    input  wire [31:0]       q_job_done,
    input  wire [31:0]       q_send_done,
    input  wire [31:0]       q_comp_tail,
    input  wire [31:0]       q_recv_tail,
    input  wire              q_on,
    input  wire              q_drain,
    // Changes of it, see there.
    output wire              q_init,
    output wire              q_clear,
    input  wire              q_cleared,
    output wire              q_off,
    output wire              q_set_ring,
    output wire [5:0]        q_ofs,
    output wire              q_set_moder,
    output wire              q_set_job,
    output wire              q_set_send,
    output wire              q_set_comp,
    output wire              q_set_recv,
    output wire              q_set_arm,
    output wire [31:0]       q_wdata,

    // There may be work for the fetcher in this set.
    output wire              work_valid,
    output wire [SW-1:0]     work_set,
    // The interrupt condition of this set may have changed: armed, moderation, or the set is new.
    output wire              arm_valid,
    output wire              arm_is_arm,
    output wire              arm_is_clear,
    output wire [SW-1:0]     arm_set,

    // Doorbells refused: pulse, and a VF counter source.
    output wire              stat_doorbell_errors,
    output wire              vfc_valid,
    input  wire              vfc_ready,
    output wire [7:0]        vfc_vf,

    // An access is under way.
    output wire              busy
);

    localparam QSW = $clog2(NQS);
    localparam VW  = (NVF > 1) ? $clog2(NVF) : 1;
    localparam [31:0] NR_MINUS_1 = NR - 1;
    localparam [SW-1:0] LAST_SET = NR_MINUS_1[SW-1:0];
    // log2 of the NQEs in a page.
    localparam NPP_LOG2 = $clog2(`NK_LIM_PAGE / `NK_NQE_BYTES);

    initial begin
        if (NVF < 1 || NVF > 64 || !(NQS == 1 || NQS == 2 || NQS == 4 || NQS == 8)) begin
            $display("%m: NVF = %0d, NQS = %0d: illegal", NVF, NQS);
            $finish;
        end
    end

    function [SW-1:0] set_of;
        input [7:0] vf;
        input [7:0] qs;
        reg [15:0] full_unused;
        begin
            full_unused = ({8'd0, vf} << QSW) | {8'd0, qs};
            set_of = full_unused[SW-1:0];
        end
    endfunction

    // Ring entries in whole pages.
    function [20:0] pages_of;
        input [7:0] log2;
        begin
            pages_of = (log2 <= NPP_LOG2[7:0]) ? 21'd1 : 21'd1 << (log2 - NPP_LOG2[7:0]);
        end
    endfunction

    function log2_ok;
        input [7:0] log2;
        begin
            log2_ok = log2 >= `NK_LIM_QUEUE_LOG2_MIN && log2 <= `NK_LIM_QUEUE_LOG2_MAX;
        end
    endfunction

    // Vectors of the VFs as arrays.
    wire [31:0] region_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign region_of[g] = region_pages[32*g +: 32];
        end
    endgenerate

    // ------------------------------------------------------------------------------ the sequence

    localparam [2:0] Q_INIT = 3'd0, Q_IDLE = 3'd1, Q_READ = 3'd2, Q_ACT = 3'd3, Q_CHECK = 3'd4,
                     Q_CLEAR = 3'd5, Q_COUNT = 3'd6, Q_ANSWER = 3'd7;

    reg [2:0]    q_state_reg;
    reg [SW-1:0] q_set_reg;
    reg [7:0]    q_vf_reg;
    reg          q_db_reg;
    reg [5:0]    q_ofs_reg;
    reg          q_write_reg;
    reg [31:0]   q_wdata_reg;
    reg [31:0]   q_rdata_reg;
    reg          q_err_reg;
    reg          q_allowed_reg;
    // Which ring the enable check looks at: 0 to 3 as the queues, 4 the status block.
    reg [2:0]    q_step_reg;

    reg [31:0]   q_pages_reg;

    // Doorbell rules. Entries between head and tail never exceed the ring; heads never pass tails;
    // nothing ever moves back: a value behind the old one differs from it by almost 2^32.
    wire [31:0] job_adv   = q_wdata_reg - q_job_tail;
    wire [31:0] job_free  = (32'd1 << q_sizes[4:0]) - (q_job_tail - q_job_done);
    wire [31:0] send_adv  = q_wdata_reg - q_send_tail;
    wire [31:0] send_free = (32'd1 << q_sizes[20:16]) - (q_send_tail - q_send_done);
    wire        job_ok    = job_adv <= job_free;
    wire        send_ok   = send_adv <= send_free;
    wire        comp_ok   = q_wdata_reg - q_comp_head <= q_comp_tail - q_comp_head;
    wire        recv_ok   = q_wdata_reg - q_recv_head <= q_recv_tail - q_recv_head;

    // Enable check: one ring a clock.
    reg  [31:0] chk_page;
    reg  [7:0]  chk_log2;

    always @* begin
        case (q_step_reg)
            3'd0:    begin chk_page = q_job_base;  chk_log2 = q_sizes[7:0];   end
            3'd1:    begin chk_page = q_comp_base; chk_log2 = q_sizes[15:8];  end
            3'd2:    begin chk_page = q_send_base; chk_log2 = q_sizes[23:16]; end
            3'd3:    begin chk_page = q_recv_base; chk_log2 = q_sizes[31:24]; end
            default: begin chk_page = q_stat_base; chk_log2 = `NK_LIM_QUEUE_LOG2_MIN; end
        endcase
    end

    wire [32:0] chk_end = {1'b0, chk_page} + {12'd0, pages_of(chk_log2)};
    wire        chk_ok  = log2_ok(chk_log2) && chk_end <= {1'b0, q_pages_reg};

    wire act_write    = q_state_reg == Q_ACT && q_write_reg;
    wire cfg_write    = act_write && !q_db_reg;
    wire db_write     = act_write && q_db_reg && q_on;
    // Ring registers hold still while the card uses them.
    wire ring_write   = cfg_write && !q_on && !q_drain;

    wire db_job  = db_write && {26'd0, q_ofs_reg} == `NK_DB_JOB_TAIL_OFS;
    wire db_send = db_write && {26'd0, q_ofs_reg} == `NK_DB_SEND_TAIL_OFS;
    wire db_comp = db_write && {26'd0, q_ofs_reg} == `NK_DB_COMPLETION_HEAD_OFS;
    wire db_recv = db_write && {26'd0, q_ofs_reg} == `NK_DB_RECEIVE_HEAD_OFS;
    wire db_arm  = db_write && {26'd0, q_ofs_reg} == `NK_DB_IRQ_ARM_OFS;
    wire moder_write = cfg_write && {26'd0, q_ofs_reg} == `NK_QS_IRQ_MODERATION_OFS;

    reg          work_valid_reg;
    reg          arm_valid_reg;
    reg          arm_is_arm_reg;
    reg          arm_is_clear_reg;
    reg          stat_db_reg;

    assign q_read      = q_state_reg == Q_READ;
    assign q_set       = q_set_reg;
    assign q_init      = q_state_reg == Q_INIT;
    assign q_clear     = q_state_reg == Q_CLEAR;
    assign q_off       = cfg_write && {26'd0, q_ofs_reg} == `NK_QS_CTRL_OFS && !q_wdata_reg[0];
    assign q_set_ring  = ring_write;
    assign q_ofs       = q_ofs_reg;
    assign q_set_moder = moder_write;
    assign q_set_job   = db_job && job_ok;
    assign q_set_send  = db_send && send_ok;
    assign q_set_comp  = db_comp && comp_ok;
    assign q_set_recv  = db_recv && recv_ok;
    assign q_set_arm   = db_arm;
    assign q_wdata     = q_wdata_reg;
    assign busy        = q_state_reg != Q_IDLE || work_valid_reg || arm_valid_reg;

    assign qreg_ready   = q_state_reg == Q_IDLE;
    assign qreg_rvalid  = q_state_reg == Q_ANSWER;
    assign qreg_rdata   = q_rdata_reg;
    assign qreg_err     = q_err_reg;
    assign work_valid   = work_valid_reg;
    assign work_set     = q_set_reg;
    assign arm_valid    = arm_valid_reg;
    assign arm_is_arm   = arm_is_arm_reg;
    assign arm_is_clear = arm_is_clear_reg;
    assign arm_set      = q_set_reg;
    assign stat_doorbell_errors = stat_db_reg;
    assign vfc_valid    = q_state_reg == Q_COUNT;
    assign vfc_vf       = q_vf_reg;

    always @(posedge clk) begin
        work_valid_reg   <= 1'b0;
        arm_valid_reg    <= 1'b0;
        arm_is_arm_reg   <= 1'b0;
        arm_is_clear_reg <= 1'b0;
        stat_db_reg      <= 1'b0;

        case (q_state_reg)
            Q_INIT: begin
                q_set_reg <= q_set_reg + {{SW-1{1'b0}}, 1'b1};
                if (q_set_reg == LAST_SET)
                    q_state_reg <= Q_IDLE;
            end

            Q_IDLE:
                if (qreg_valid) begin
                    q_set_reg   <= set_of(qreg_vf, qreg_qs);
                    q_vf_reg    <= qreg_vf;
                    q_db_reg    <= qreg_db;
                    q_ofs_reg   <= qreg_ofs;
                    q_write_reg <= qreg_write;
                    q_wdata_reg <= qreg_wdata;
                    q_state_reg <= Q_READ;
                end

            Q_READ: begin
                q_allowed_reg   <= vf_enabled[q_vf_reg[VW-1:0]] && !vf_resetting[q_vf_reg[VW-1:0]];
                q_pages_reg     <= region_of[q_vf_reg[VW-1:0]];
                q_state_reg     <= Q_ACT;
                q_err_reg       <= 1'b0;
                q_rdata_reg     <= 32'd0;
                q_step_reg      <= 3'd0;
            end

            Q_ACT: begin
                q_state_reg <= Q_ANSWER;
                if (!q_write_reg && !q_db_reg) begin
                    case ({26'd0, q_ofs_reg})
                        `NK_QS_JOB_BASE_OFS:        q_rdata_reg <= q_job_base;
                        `NK_QS_COMPLETION_BASE_OFS: q_rdata_reg <= q_comp_base;
                        `NK_QS_SEND_BASE_OFS:       q_rdata_reg <= q_send_base;
                        `NK_QS_RECEIVE_BASE_OFS:    q_rdata_reg <= q_recv_base;
                        `NK_QS_SIZES_OFS:           q_rdata_reg <= q_sizes;
                        `NK_QS_STATUS_BASE_OFS:     q_rdata_reg <= q_stat_base;
                        // 1 until nothing of the set is in progress: only then can it be switched on again.
                        `NK_QS_CTRL_OFS:            q_rdata_reg <= {31'd0, q_on || q_drain};
                        `NK_QS_IRQ_MODERATION_OFS:  q_rdata_reg <= {8'd0, q_moder};
                        `NK_QS_JOB_HEAD_OFS:        q_rdata_reg <= q_job_done;
                        `NK_QS_SEND_HEAD_OFS:       q_rdata_reg <= q_send_done;
                        `NK_QS_COMPLETION_TAIL_OFS: q_rdata_reg <= q_comp_tail;
                        `NK_QS_RECEIVE_TAIL_OFS:    q_rdata_reg <= q_recv_tail;
                        default:                    q_err_reg   <= 1'b1;
                    endcase
                end else if (!q_write_reg) begin
                    case ({26'd0, q_ofs_reg})
                        `NK_DB_JOB_TAIL_OFS:        q_rdata_reg <= q_job_tail;
                        `NK_DB_SEND_TAIL_OFS:       q_rdata_reg <= q_send_tail;
                        `NK_DB_COMPLETION_HEAD_OFS: q_rdata_reg <= q_comp_head;
                        `NK_DB_RECEIVE_HEAD_OFS:    q_rdata_reg <= q_recv_head;
                        `NK_DB_IRQ_ARM_OFS:         q_rdata_reg <= q_arm_last;
                        default:                    q_err_reg   <= 1'b1;
                    endcase
                end else if (!q_db_reg) begin
                    case ({26'd0, q_ofs_reg})
                        `NK_QS_JOB_BASE_OFS, `NK_QS_COMPLETION_BASE_OFS, `NK_QS_SEND_BASE_OFS,
                        `NK_QS_RECEIVE_BASE_OFS, `NK_QS_SIZES_OFS, `NK_QS_STATUS_BASE_OFS:
                            q_err_reg <= !ring_write;
                        `NK_QS_IRQ_MODERATION_OFS:
                            arm_valid_reg <= 1'b1;
                        `NK_QS_CTRL_OFS:
                            if (q_wdata_reg[0] && !q_on) begin
                                q_err_reg   <= !q_allowed_reg || q_drain;
                                q_state_reg <= (q_allowed_reg && !q_drain) ? Q_CHECK : Q_ANSWER;
                            end
                        default:
                            q_err_reg <= 1'b1;
                    endcase
                end else begin
                    case ({26'd0, q_ofs_reg})
                        `NK_DB_JOB_TAIL_OFS, `NK_DB_SEND_TAIL_OFS, `NK_DB_COMPLETION_HEAD_OFS,
                        `NK_DB_RECEIVE_HEAD_OFS, `NK_DB_IRQ_ARM_OFS:
                            if (!q_on || (db_job && !job_ok) || (db_send && !send_ok)
                                || (db_comp && !comp_ok) || (db_recv && !recv_ok)) begin
                                stat_db_reg <= 1'b1;
                                q_state_reg <= Q_COUNT;
                            end
                        default:
                            q_err_reg <= 1'b1;
                    endcase
                    work_valid_reg <= db_job || db_send || db_comp;
                    arm_valid_reg  <= db_arm && q_wdata_reg != q_arm_last;
                    arm_is_arm_reg <= db_arm && q_wdata_reg != q_arm_last;
                end
            end

            Q_CHECK: begin
                q_step_reg <= q_step_reg + 3'd1;
                if (!chk_ok) begin
                    q_err_reg   <= 1'b1;
                    q_state_reg <= Q_ANSWER;
                end else if (q_step_reg == 3'd4) begin
                    q_state_reg <= Q_CLEAR;
                end
            end

            Q_CLEAR:
                if (q_cleared) begin
                    arm_valid_reg    <= 1'b1;
                    arm_is_clear_reg <= 1'b1;
                    q_state_reg      <= Q_ANSWER;
                end

            Q_COUNT:
                if (vfc_ready)
                    q_state_reg <= Q_ANSWER;

            default: // Q_ANSWER
                q_state_reg <= Q_IDLE;
        endcase

        if (rst) begin
            q_state_reg <= Q_INIT;
            q_set_reg   <= {SW{1'b0}};
        end
    end

endmodule

`default_nettype wire
