// SPDX-License-Identifier: Apache-2.0
// Purpose: the state of all queue sets: ring places and sizes, indices, doorbells; switches queue sets on and off.
//
// A set is numbered vf * NQS + queue set. Every memory has one writer:
//
//   registers, doorbells (qreg_*)   places, sizes, moderation, tails of job and send, heads of completion
//                                   and receive, last arm value, send barrier
//   fetch (fc_*)                    fetch heads of job and send, completions promised, batches begun
//   writer (wu_*)                   tails of completion and receive, heads shown to the tenant,
//                                   promises resolved, batches ended
//
// and is cleared, when a set is switched on, in a clock in which its writer rests. All indices are free-running;
// every comparison is a difference of 32 bits, so that the wrap at 2^32 needs no care.
//
// Send barrier: the send tail at the time of the last job doorbell. A job NQE is fetched only after the sends
// before it, so that SHUTDOWN and CLOSE cannot overtake data that the tenant posted first.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_rings #(
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Free receive entries below which recv_room falls; 8 and those that may be on their way. Up to 64.
    parameter RECV_NEED = 32,
    // Beats that the DMA write path holds between its clients and the host interface, 1 to 15.
    parameter DRAIN = 2,
    // Number of sets, leave it.
    parameter NR = NVF * NQS,
    // Width of a set number, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high; then the memories are cleared, NR clocks).
    input  wire              clk,
    input  wire              rst,

    // Registers (nk_nqe_regs): set q_set is meant by all of these. Look-up: answer one clock after q_read, held.
    input  wire              q_read,
    input  wire [SW-1:0]     q_set,
    output wire [31:0]        q_job_base,
    output wire [31:0]        q_comp_base,
    output wire [31:0]        q_send_base,
    output wire [31:0]        q_recv_base,
    output wire [31:0]        q_sizes,
    output wire [31:0]        q_stat_base,
    output wire [23:0]        q_moder,
    output wire [31:0]        q_job_tail,
    output wire [31:0]        q_send_tail,
    output wire [31:0]        q_comp_head,
    output wire [31:0]        q_recv_head,
    output wire [31:0]        q_arm_last,
    output wire [31:0]        q_job_done,
    output wire [31:0]        q_send_done,
    output wire [31:0]        q_comp_tail,
    output wire [31:0]        q_recv_tail,
    output wire              q_on,
    // Something of the set is in progress.
    output wire              q_drain,
    // All memories of the set take their values after reset.
    input  wire              q_init,
    // Switch the set on, all indices 0, as soon as nobody is in between: then q_cleared.
    input  wire              q_clear,
    output wire              q_cleared,
    input  wire              q_off,
    // Writes, checked: a ring's place or size (by offset), moderation, doorbells.
    input  wire              q_set_ring,
    input  wire [5:0]        q_ofs,
    input  wire              q_set_moder,
    input  wire              q_set_job,
    input  wire              q_set_send,
    input  wire              q_set_comp,
    input  wire              q_set_recv,
    input  wire              q_set_arm,
    input  wire [31:0]       q_wdata,

    // Stop of a VF: its sets go off at once; `done` pulses when nothing of them is in progress, and their last write
    // has passed the DMA write data channel of the host interface, which is watched here.
    input  wire              stop_vf_valid,
    input  wire [7:0]        stop_vf,
    output wire              stop_vf_done,
    input  wire              mon_offer,
    input  wire              mon_take,

    // Sets that are on; room in their receive rings (1 for a set that is off: its events go nowhere).
    output wire [NR-1:0]     on,
    output wire [NR-1:0]     recv_room,

    // Look-up for the fetcher: answer one clock after sc_read, held until the next.
    input  wire              sc_read,
    input  wire [SW-1:0]     sc_set,
    output wire [31:0]       sc_job_tail,
    output wire [31:0]       sc_job_head,
    output wire [31:0]       sc_send_tail,
    output wire [31:0]       sc_send_head,
    output wire [31:0]       sc_send_bar,
    output wire [31:0]       sc_comp_tail,
    output wire [31:0]       sc_comp_head,
    output wire [31:0]       sc_promised,
    output wire [31:0]       sc_resolved,
    output wire [14:0]       sc_log2s,
    output wire [19:0]       sc_job_page,
    output wire [19:0]       sc_send_page,
    // A batch begins: fc_count NQEs from the job (0) or send (1) ring of set sc_set, whose fetch head was fc_head.
    input  wire              fc_valid,
    input  wire [SW-1:0]     fc_set,
    input  wire              fc_queue,
    input  wire [31:0]       fc_head,
    input  wire [31:0]       fc_promised,
    input  wire [3:0]        fc_count,
    // The fetcher holds values of set fc_set.
    input  wire              fc_active,

    // Look-up for the writer.
    input  wire              wr_read,
    input  wire [SW-1:0]     wr_set,
    output wire              wr_on,
    output wire [31:0]       wr_comp_tail,
    output wire [31:0]       wr_recv_tail,
    output wire [31:0]       wr_recv_head,
    output wire [31:0]       wr_job_done,
    output wire [31:0]       wr_send_done,
    output wire [9:0]        wr_log2s,
    output wire [19:0]       wr_comp_page,
    output wire [19:0]       wr_recv_page,
    output wire [19:0]       wr_stat_page,
    // What the writer did in set wr_set, in the order of the queue; wu_done ends a batch of wu_count NQEs.
    input  wire              wu_comp,
    input  wire              wu_recv,
    input  wire              wu_resolved,
    input  wire              wu_done,
    input  wire              wu_queue,
    input  wire [3:0]        wu_count,
    // The writer works for set wr_set.
    input  wire              wr_active,

    // Look-up for the interrupts: entries beyond the heads.
    input  wire              ir_read,
    input  wire [SW-1:0]     ir_set,
    output wire              ir_on,
    output wire [31:0]       ir_comp_pend,
    output wire [31:0]       ir_recv_pend,
    output wire [15:0]       ir_usecs,
    output wire [7:0]        ir_count,
    // An interrupt of set ir_set is on its way.
    input  wire              ir_active,

    output wire              busy
);

    localparam QSW = $clog2(NQS);
    localparam [31:0] SIZES_RESET = `NK_QS_SIZES_RESET;

    initial begin
        if (NVF < 1 || NVF > 64 || !(NQS == 1 || NQS == 2 || NQS == 4 || NQS == 8)
            || RECV_NEED < 8 || RECV_NEED > 64 || DRAIN < 1 || DRAIN > 15) begin
            $display("%m: NVF = %0d, NQS = %0d, RECV_NEED = %0d: illegal", NVF, NQS, RECV_NEED);
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

    // ---------------------------------------------------------------------------------- memories

    // written by the registers
    reg [31:0] job_base   [0:NR-1];
    reg [31:0] comp_base  [0:NR-1];
    reg [31:0] send_base  [0:NR-1];
    reg [31:0] recv_base  [0:NR-1];
    reg [31:0] sizes      [0:NR-1];
    reg [31:0] stat_base  [0:NR-1];
    reg [23:0] moderation [0:NR-1];
    reg [31:0] job_tail   [0:NR-1];
    reg [31:0] send_tail  [0:NR-1];
    reg [31:0] comp_head  [0:NR-1];
    reg [31:0] recv_head  [0:NR-1];
    reg [31:0] arm_last   [0:NR-1];
    reg [31:0] send_bar   [0:NR-1];
    // written by the fetcher
    reg [31:0] job_head   [0:NR-1];
    reg [31:0] send_head  [0:NR-1];
    reg [31:0] promised   [0:NR-1];
    reg [7:0]  begun      [0:NR-1];
    // written by the writer
    reg [31:0] comp_tail  [0:NR-1];
    reg [31:0] recv_tail  [0:NR-1];
    reg [31:0] job_done   [0:NR-1];
    reg [31:0] send_done  [0:NR-1];
    reg [31:0] resolved   [0:NR-1];
    reg [7:0]  ended      [0:NR-1];

    reg [NR-1:0] on_reg;
    reg [NR-1:0] room_reg;

    assign on        = on_reg;
    assign recv_room = room_reg | ~on_reg;

    // ----------------------------------------------------------------------- look-up of registers

    reg [31:0] q_job_base_reg;
    reg [31:0] q_comp_base_reg;
    reg [31:0] q_send_base_reg;
    reg [31:0] q_recv_base_reg;
    reg [31:0] q_sizes_reg;
    reg [31:0] q_stat_base_reg;
    reg [23:0] q_moder_reg;
    reg [31:0] q_job_tail_reg;
    reg [31:0] q_send_tail_reg;
    reg [31:0] q_comp_head_reg;
    reg [31:0] q_recv_head_reg;
    reg [31:0] q_arm_last_reg;
    reg [31:0] q_job_done_reg;
    reg [31:0] q_send_done_reg;
    reg [31:0] q_comp_tail_reg;
    reg [31:0] q_recv_tail_reg;
    reg        q_on_reg;
    reg        q_drain_reg;

    // Is anything of a set in progress? A batch, an event being written, an interrupt being sent; what the writer drops
    // for a set that is off does not count. Asked for one set at a time.
    function in_progress;
        input [SW-1:0] set;
        input [7:0]    set_begun;
        input [7:0]    set_ended;
        begin
            in_progress = set_begun != set_ended || (wr_active && wr_on_reg && wr_set == set)
                       || (ir_active && ir_set == set);
        end
    endfunction

    always @(posedge clk) begin
        if (q_read) begin
            q_job_base_reg <= job_base[q_set];
            q_comp_base_reg <= comp_base[q_set];
            q_send_base_reg <= send_base[q_set];
            q_recv_base_reg <= recv_base[q_set];
            q_sizes_reg <= sizes[q_set];
            q_stat_base_reg <= stat_base[q_set];
            q_moder_reg <= moderation[q_set];
            q_job_tail_reg <= job_tail[q_set];
            q_send_tail_reg <= send_tail[q_set];
            q_comp_head_reg <= comp_head[q_set];
            q_recv_head_reg <= recv_head[q_set];
            q_arm_last_reg <= arm_last[q_set];
            q_job_done_reg <= job_done[q_set];
            q_send_done_reg <= send_done[q_set];
            q_comp_tail_reg <= comp_tail[q_set];
            q_recv_tail_reg <= recv_tail[q_set];
            q_on_reg    <= on_reg[q_set];
            q_drain_reg <= in_progress(q_set, begun[q_set], ended[q_set]);
        end
    end

    assign q_job_base = q_job_base_reg;
    assign q_comp_base = q_comp_base_reg;
    assign q_send_base = q_send_base_reg;
    assign q_recv_base = q_recv_base_reg;
    assign q_sizes = q_sizes_reg;
    assign q_stat_base = q_stat_base_reg;
    assign q_moder = q_moder_reg;
    assign q_job_tail = q_job_tail_reg;
    assign q_send_tail = q_send_tail_reg;
    assign q_comp_head = q_comp_head_reg;
    assign q_recv_head = q_recv_head_reg;
    assign q_arm_last = q_arm_last_reg;
    assign q_job_done = q_job_done_reg;
    assign q_send_done = q_send_done_reg;
    assign q_comp_tail = q_comp_tail_reg;
    assign q_recv_tail = q_recv_tail_reg;
    assign q_on = q_on_reg;
    assign q_drain = q_drain_reg;

    // The fetcher must not hold values of the set from before: it would see `on` and believe them.
    wire may_clear    = !fc_valid && !wu_comp && !wu_recv && !wu_resolved && !wu_done
                     && !(fc_active && fc_set == q_set) && !(sc_read && sc_set == q_set);
    wire clear        = q_clear && may_clear;
    wire init         = q_init;
    assign q_cleared  = clear;

    // ------------------------------------------------- memories of the registers and the doorbells

    always @(posedge clk) begin
        if (init) begin
            job_base[q_set]   <= 32'd0;
            comp_base[q_set]  <= 32'd0;
            send_base[q_set]  <= 32'd0;
            recv_base[q_set]  <= 32'd0;
            sizes[q_set]      <= SIZES_RESET;
            stat_base[q_set]  <= 32'd0;
            moderation[q_set] <= 24'd0;
        end else if (q_set_ring) begin
            case ({26'd0, q_ofs})
                `NK_QS_JOB_BASE_OFS:        job_base[q_set]  <= q_wdata;
                `NK_QS_COMPLETION_BASE_OFS: comp_base[q_set] <= q_wdata;
                `NK_QS_SEND_BASE_OFS:       send_base[q_set] <= q_wdata;
                `NK_QS_RECEIVE_BASE_OFS:    recv_base[q_set] <= q_wdata;
                `NK_QS_SIZES_OFS:           sizes[q_set]     <= q_wdata;
                `NK_QS_STATUS_BASE_OFS:     stat_base[q_set] <= q_wdata;
                default: ;
            endcase
        end
        if (q_set_moder)
            moderation[q_set] <= q_wdata[23:0];

        if (init || clear) begin
            job_tail[q_set]  <= 32'd0;
            send_tail[q_set] <= 32'd0;
            comp_head[q_set] <= 32'd0;
            recv_head[q_set] <= 32'd0;
            arm_last[q_set]  <= 32'd0;
            send_bar[q_set]  <= 32'd0;
        end else begin
            if (q_set_job) begin
                job_tail[q_set] <= q_wdata;
                send_bar[q_set] <= q_send_tail_reg;
            end
            if (q_set_send)
                send_tail[q_set] <= q_wdata;
            if (q_set_comp)
                comp_head[q_set] <= q_wdata;
            if (q_set_recv)
                recv_head[q_set] <= q_wdata;
            if (q_set_arm)
                arm_last[q_set] <= q_wdata;
        end
    end

    // --------------------------------------------------------------------- memories of the fetcher

    wire [31:0] fc_next = fc_head + {28'd0, fc_count};

    always @(posedge clk) begin
        if (init || clear) begin
            job_head[q_set]  <= 32'd0;
            send_head[q_set] <= 32'd0;
            promised[q_set]  <= 32'd0;
            begun[q_set]     <= 8'd0;
        end else if (fc_valid) begin
            if (fc_queue)
                send_head[fc_set] <= fc_next;
            else
                job_head[fc_set] <= fc_next;
            promised[fc_set] <= fc_promised + {28'd0, fc_count};
            begun[fc_set]    <= begun[fc_set] + 8'd1;
        end
    end

    reg [31:0] sc_job_tail_reg;
    reg [31:0] sc_job_head_reg;
    reg [31:0] sc_send_tail_reg;
    reg [31:0] sc_send_head_reg;
    reg [31:0] sc_send_bar_reg;
    reg [31:0] sc_comp_tail_reg;
    reg [31:0] sc_comp_head_reg;
    reg [31:0] sc_promised_reg;
    reg [31:0] sc_resolved_reg;
    reg [14:0] sc_log2s_reg;
    reg [19:0] sc_job_page_reg;
    reg [19:0] sc_send_page_reg;

    // Bits of SIZES that a legal size needs.
    function [4:0] log2_field;
        input [31:0] all;
        input [1:0]  queue;
        reg [31:0] shifted_unused;
        begin
            shifted_unused = all >> {queue, 3'd0};
            log2_field = shifted_unused[4:0];
        end
    endfunction

    function [19:0] page_field;
        input [31:0] base_unused;
        begin
            // An enabled ring lies in a region of at most 2^20 pages.
            page_field = base_unused[19:0];
        end
    endfunction

    always @(posedge clk) begin
        if (sc_read) begin
            sc_job_tail_reg  <= job_tail[sc_set];
            sc_job_head_reg  <= job_head[sc_set];
            sc_send_tail_reg <= send_tail[sc_set];
            sc_send_head_reg <= send_head[sc_set];
            sc_send_bar_reg  <= send_bar[sc_set];
            sc_comp_tail_reg <= comp_tail[sc_set];
            sc_comp_head_reg <= comp_head[sc_set];
            sc_promised_reg  <= promised[sc_set];
            sc_resolved_reg  <= resolved[sc_set];
            sc_log2s_reg     <= {log2_field(sizes[sc_set], 2'd2), log2_field(sizes[sc_set], 2'd1),
                                 log2_field(sizes[sc_set], 2'd0)};
            sc_job_page_reg  <= page_field(job_base[sc_set]);
            sc_send_page_reg <= page_field(send_base[sc_set]);
        end
    end

    assign sc_job_tail  = sc_job_tail_reg;
    assign sc_job_head  = sc_job_head_reg;
    assign sc_send_tail = sc_send_tail_reg;
    assign sc_send_head = sc_send_head_reg;
    assign sc_send_bar  = sc_send_bar_reg;
    assign sc_comp_tail = sc_comp_tail_reg;
    assign sc_comp_head = sc_comp_head_reg;
    assign sc_promised  = sc_promised_reg;
    assign sc_resolved  = sc_resolved_reg;
    assign sc_log2s     = sc_log2s_reg;
    assign sc_job_page  = sc_job_page_reg;
    assign sc_send_page = sc_send_page_reg;

    // ---------------------------------------------------------------------- memories of the writer

    reg        wr_on_reg;
    reg [31:0] wr_comp_tail_reg;
    reg [31:0] wr_recv_tail_reg;
    reg [31:0] wr_recv_head_reg;
    reg [31:0] wr_job_done_reg;
    reg [31:0] wr_send_done_reg;
    reg [9:0]  wr_log2s_reg;
    reg [19:0] wr_comp_page_reg;
    reg [19:0] wr_recv_page_reg;
    reg [19:0] wr_stat_page_reg;

    always @(posedge clk) begin
        if (init || clear) begin
            comp_tail[q_set] <= 32'd0;
            recv_tail[q_set] <= 32'd0;
            job_done[q_set]  <= 32'd0;
            send_done[q_set] <= 32'd0;
            resolved[q_set]  <= 32'd0;
            ended[q_set]     <= 8'd0;
        end else begin
            if (wu_comp)
                comp_tail[wr_set] <= comp_tail[wr_set] + 32'd1;
            if (wu_recv)
                recv_tail[wr_set] <= recv_tail[wr_set] + 32'd1;
            if (wu_resolved)
                resolved[wr_set] <= resolved[wr_set] + 32'd1;
            if (wu_done) begin
                if (wu_queue)
                    send_done[wr_set] <= send_done[wr_set] + {28'd0, wu_count};
                else
                    job_done[wr_set] <= job_done[wr_set] + {28'd0, wu_count};
                ended[wr_set] <= ended[wr_set] + 8'd1;
            end
        end
        if (wr_read) begin
            wr_on_reg        <= on_reg[wr_set];
            wr_comp_tail_reg <= comp_tail[wr_set];
            wr_recv_tail_reg <= recv_tail[wr_set];
            wr_recv_head_reg <= recv_head[wr_set];
            wr_job_done_reg  <= job_done[wr_set];
            wr_send_done_reg <= send_done[wr_set];
            wr_log2s_reg     <= {log2_field(sizes[wr_set], 2'd3), log2_field(sizes[wr_set], 2'd1)};
            wr_comp_page_reg <= page_field(comp_base[wr_set]);
            wr_recv_page_reg <= page_field(recv_base[wr_set]);
            wr_stat_page_reg <= page_field(stat_base[wr_set]);
        end
    end

    assign wr_on        = wr_on_reg;
    assign wr_comp_tail = wr_comp_tail_reg;
    assign wr_recv_tail = wr_recv_tail_reg;
    assign wr_recv_head = wr_recv_head_reg;
    assign wr_job_done  = wr_job_done_reg;
    assign wr_send_done = wr_send_done_reg;
    assign wr_log2s     = wr_log2s_reg;
    assign wr_comp_page = wr_comp_page_reg;
    assign wr_recv_page = wr_recv_page_reg;
    assign wr_stat_page = wr_stat_page_reg;

    // ------------------------------------------------------------------------- room, on and stop

    // Room is worked out anew where a head or a tail moves. Both may move in one clock, in one set.
    wire        same      = q_set_recv && wu_recv && q_set == wr_set;
    wire [31:0] ev_used   = recv_tail[wr_set] + 32'd1 - (same ? q_wdata : recv_head[wr_set]);
    wire [31:0] ev_size   = 32'd1 << log2_field(sizes[wr_set], 2'd3);
    wire [31:0] db_used   = recv_tail[q_set] + {31'd0, same} - q_wdata;
    wire [31:0] db_size   = 32'd1 << q_sizes_reg[28:24];
    localparam [31:0] NEED = RECV_NEED;

    localparam [1:0] S_IDLE = 2'd0, S_WAIT = 2'd1, S_DRAIN = 2'd2, S_DONE = 2'd3;
    reg [1:0]    s_state_reg;
    reg [SW-1:0] s_set_reg;
    reg [3:0]    s_left_reg;
    reg [3:0]    s_drain_reg;

    assign stop_vf_done = s_state_reg == S_DONE;
    assign busy         = s_state_reg != S_IDLE;

    integer k;

    always @(posedge clk) begin
        if (wu_recv)
            room_reg[wr_set] <= ev_size - ev_used >= NEED;
        if (q_set_recv)
            room_reg[q_set] <= db_size - db_used >= NEED;

        if (clear) begin
            on_reg[q_set]   <= 1'b1;
            room_reg[q_set] <= 1'b1;
        end
        if (q_off)
            on_reg[q_set] <= 1'b0;

        case (s_state_reg)
            S_IDLE:
                if (stop_vf_valid) begin
                    // No set can be on its way to on: nk_regs said `resetting` before.
                    for (k = 0; k < NQS; k = k + 1)
                        on_reg[set_of(stop_vf, k[7:0])] <= 1'b0;
                    s_set_reg   <= set_of(stop_vf, 8'd0);
                    s_left_reg  <= NQS[3:0];
                    s_state_reg <= S_WAIT;
                end
            S_WAIT:
                if (s_left_reg == 4'd0) begin
                    s_drain_reg <= DRAIN[3:0];
                    s_state_reg <= S_DRAIN;
                end else if (!in_progress(s_set_reg, begun[s_set_reg], ended[s_set_reg])) begin
                    s_left_reg <= s_left_reg - 4'd1;
                    s_set_reg  <= s_set_reg + {{SW-1{1'b0}}, 1'b1};
                end
            S_DRAIN:
                if (!mon_offer || s_drain_reg == 4'd0)
                    s_state_reg <= S_DONE;
                else if (mon_take)
                    s_drain_reg <= s_drain_reg - 4'd1;
            default: // S_DONE
                s_state_reg <= S_IDLE;
        endcase

        if (rst) begin
            on_reg      <= {NR{1'b0}};
            room_reg    <= {NR{1'b1}};
            s_state_reg <= S_IDLE;
        end
    end

    // ----------------------------------------------------------------------- look-up of interrupts

    reg        ir_on_reg;
    reg [31:0] ir_comp_pend_reg;
    reg [31:0] ir_recv_pend_reg;
    reg [23:0] ir_moder_reg;

    always @(posedge clk) begin
        if (ir_read) begin
            ir_on_reg        <= on_reg[ir_set];
            ir_comp_pend_reg <= comp_tail[ir_set] - comp_head[ir_set];
            ir_recv_pend_reg <= recv_tail[ir_set] - recv_head[ir_set];
            ir_moder_reg     <= moderation[ir_set];
        end
    end

    assign ir_on        = ir_on_reg;
    assign ir_comp_pend = ir_comp_pend_reg;
    assign ir_recv_pend = ir_recv_pend_reg;
    assign ir_usecs     = ir_moder_reg[15:0];
    assign ir_count     = ir_moder_reg[23:16];

endmodule

`default_nettype wire
