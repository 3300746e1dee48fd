// SPDX-License-Identifier: Apache-2.0
// Purpose: writes completions, events and status blocks into tenant memory, one DMA write after the other.
//
// Completions and events take turns. One is accepted, its write is accepted by the arbiter as a whole, then its
// tail moves, and only then the next is accepted: nothing overtakes anything. The last NQE of a batch
// is followed by the status block, so a tenant that sees its heads move finds all completions of the batch.
//
// What is meant for a queue set that is off is dropped: its owner has ended it, or a VF reset has.

`default_nettype none
`include "nk_abi.vh"

module nk_nqe_writer #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Width of a byte lane number, leave it.
    parameter LW = $clog2(W / 8),
    // Number of sets, leave it.
    parameter NR = NVF * NQS,
    // Width of a set number, leave it.
    parameter SW = (NR > 1) ? $clog2(NR) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,

    input  wire [NVF*64-1:0] region_base,

    // NQEs done, from nk_nqe_exec.
    input  wire              rt_valid,
    output wire              rt_ready,
    input  wire [255:0]      rt_data,
    input  wire [SW-1:0]     rt_set,
    input  wire              rt_queue,
    input  wire              rt_need,
    input  wire              rt_last,
    input  wire [3:0]        rt_count,

    // Events.
    input  wire              ev_valid,
    output wire              ev_ready,
    input  wire [7:0]        ev_vf,
    input  wire [7:0]        ev_qs,
    input  wire [7:0]        ev_op,
    input  wire [15:0]       ev_socket,
    input  wire [63:0]       ev_data,
    input  wire [31:0]       ev_size,
    input  wire [7:0]        ev_status,

    // Look-up and updates in nk_nqe_rings.
    output wire              wr_read,
    output wire [SW-1:0]     wr_set,
    input  wire              wr_on,
    input  wire [31:0]       wr_comp_tail,
    input  wire [31:0]       wr_recv_tail,
    input  wire [31:0]       wr_recv_head,
    input  wire [31:0]       wr_job_done,
    input  wire [31:0]       wr_send_done,
    input  wire [9:0]        wr_log2s,
    input  wire [19:0]       wr_comp_page,
    input  wire [19:0]       wr_recv_page,
    input  wire [19:0]       wr_stat_page,
    output wire              wu_comp,
    output wire              wu_recv,
    output wire              wu_resolved,
    output wire              wu_done,
    output wire              wu_queue,
    output wire [3:0]        wu_count,
    output wire              wr_active,

    // A batch of this set ended; an entry of this set was written.
    output wire              again_valid,
    output wire              entry_valid,
    output wire [SW-1:0]     entry_set,

    // The DMA write port.
    output wire              wq_valid,
    input  wire              wq_ready,
    output wire [7:0]        wq_func,
    output wire [63:0]       wq_addr,
    output wire [15:0]       wq_len,
    output wire [LW-1:0]     wq_lane,
    output wire [15:0]       wq_wrap_len,
    output wire [63:0]       wq_wrap_addr,
    output wire              wd_valid,
    input  wire              wd_ready,
    output wire [W-1:0]      wd_data,
    output wire              wd_last,

    // NQE written: pulse, queue (1 completion, 3 receive), the NQE.
    output wire              tr_valid,
    output wire [7:0]        tr_vf,
    output wire [7:0]        tr_qs,
    output wire [1:0]        tr_queue,
    output wire [255:0]      tr_nqe,

    // Pulse: an event found its ring full, though recv_room had said so, and was lost.
    output wire              stat_ev_lost,
    // VF counter source: completions, events.
    output wire              vfc_valid,
    input  wire              vfc_ready,
    output wire [7:0]        vfc_vf,
    output wire [3:0]        vfc_idx
);

    localparam QSW = $clog2(NQS);
    localparam VW  = (NVF > 1) ? $clog2(NVF) : 1;
    localparam [2:0] W_IDLE = 3'd0, W_PLACE = 3'd1, W_WRITE = 3'd2, W_NOTE = 3'd3, W_STAT = 3'd4,
                     W_STATWRITE = 3'd5;
    localparam NQE_LOG2 = $clog2(`NK_NQE_BYTES);
    localparam PAGE_LOG2 = $clog2(`NK_LIM_PAGE);
    localparam [31:0] IDX_COMPLETIONS = `NK_VFCNT_COMPLETIONS;
    localparam [31:0] IDX_EVENTS      = `NK_VFCNT_EVENTS;
    localparam [31:0] Q_COMPLETION    = `NK_QUEUE_COMPLETION;
    localparam [31:0] Q_RECEIVE       = `NK_QUEUE_RECEIVE;

    initial begin
        if (NVF < 1 || NVF > 64) begin
            $display("%m: NVF = %0d, must be 1 to 64", NVF);
            $finish;
        end
    end

    reg [2:0]    state_reg;
    // The kind served last: 1 event. The other one goes first.
    reg          turn_reg;
    reg          is_ev_reg;
    reg [SW-1:0] set_reg;
    reg [7:0]    vf_reg;
    reg [255:0]  nqe_reg;
    reg          queue_reg;
    reg          need_reg;
    reg          last_reg;
    reg [3:0]    count_reg;
    reg          wrote_reg;
    reg [63:0]   base_reg;
    reg          lost_reg;
    reg          vfc_valid_reg;
    reg [3:0]    vfc_idx_reg;
    reg [7:0]    vfc_vf_reg;

    function [SW-1:0] set_of;
        input [7:0] vf;
        input [7:0] qs;
        reg [15:0] full_unused;
        begin
            full_unused = ({8'd0, vf} << QSW) | {8'd0, qs};
            set_of = full_unused[SW-1:0];
        end
    endfunction

    function [7:0] vf_of;
        input [SW-1:0] set;
        reg [SW+7:0] full_unused;
        begin
            full_unused = {8'd0, set} >> QSW;
            vf_of = full_unused[7:0];
        end
    endfunction

    // Vectors of the VFs as arrays.
    wire [63:0] base_of [0:NVF-1];
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign base_of[g] = region_base[64*g +: 64];
        end
    endgenerate

    // ------------------------------------------------------------------------------ choose, look up

    wire idle    = state_reg == W_IDLE && !vfc_valid_reg;
    wire pick_ev = idle && ev_valid && !(rt_valid && turn_reg);
    wire pick_rt = idle && rt_valid && !pick_ev;
    wire [SW-1:0] pick_set = pick_ev ? set_of(ev_vf, ev_qs) : rt_set;

    assign ev_ready  = pick_ev;
    assign rt_ready  = pick_rt;
    assign wr_read   = pick_ev || pick_rt;
    assign wr_set    = (state_reg == W_IDLE) ? pick_set : set_reg;
    assign wr_active = state_reg != W_IDLE;

    // ---------------------------------------------------------------------------------- the write

    wire [31:0] tail  = is_ev_reg ? wr_recv_tail : wr_comp_tail;
    wire [4:0]  log2  = is_ev_reg ? wr_log2s[9:5] : wr_log2s[4:0];
    wire [19:0] page  = is_ev_reg ? wr_recv_page : wr_comp_page;
    wire [31:0] mask  = ~(32'hffffffff << log2);
    wire [31:0] slot  = tail & mask;
    wire [31:0] turns = tail >> log2;
    wire        full  = is_ev_reg && wr_recv_tail - wr_recv_head > mask;
    wire        write = wr_on && (need_reg || is_ev_reg) && !full;
    wire [255:0] nqe  = {nqe_reg[255:25], !turns[0], nqe_reg[23:16], vf_reg, nqe_reg[7:0]};
    wire        slot_unused  = |slot[31:16];
    wire        turns_unused = |turns[31:1];
    wire        phase_unused = nqe_reg[24] | (|nqe_reg[15:8]);

    wire [31:0] job_now  = wr_job_done + (queue_reg ? 32'd0 : {28'd0, count_reg});
    wire [31:0] send_now = wr_send_done + (queue_reg ? {28'd0, count_reg} : 32'd0);

    wire        dma_busy;
    wire        start_nqe  = state_reg == W_PLACE && write;
    wire        start_stat = state_reg == W_STAT && wr_on;
    wire [63:0] nqe_addr   = base_reg + {32'd0, page, {PAGE_LOG2{1'b0}}} + {43'd0, slot[15:0], {NQE_LOG2{1'b0}}};
    wire [63:0] stat_addr  = base_reg + {32'd0, wr_stat_page, {PAGE_LOG2{1'b0}}};

    nk_nqe_dmaw #(.W(W)) u_dmaw (
        .clk(clk), .rst(rst),
        .start(start_nqe || start_stat), .brief(start_stat),
        .func(vf_reg + 8'd1), .addr(start_stat ? stat_addr : nqe_addr),
        .data(start_stat ? {192'd0, send_now, job_now} : nqe),
        .busy(dma_busy),
        .wr_valid(wq_valid), .wr_ready(wq_ready), .wr_func(wq_func), .wr_addr(wq_addr), .wr_len(wq_len),
        .wr_lane(wq_lane), .wr_wrap_len(wq_wrap_len), .wr_wrap_addr(wq_wrap_addr),
        .wd_valid(wd_valid), .wd_ready(wd_ready), .wd_data(wd_data), .wd_last(wd_last)
    );

    wire note      = state_reg == W_NOTE;
    wire stat_end  = state_reg == W_STATWRITE && !dma_busy;

    assign wu_comp     = note && wrote_reg && !is_ev_reg;
    assign wu_recv     = note && wrote_reg && is_ev_reg;
    assign wu_resolved = note && !is_ev_reg;
    assign wu_done     = stat_end;
    assign wu_queue    = queue_reg;
    assign wu_count    = count_reg;
    assign again_valid = stat_end;
    assign entry_valid = note && wrote_reg;
    assign entry_set   = set_reg;

    assign tr_valid = note && wrote_reg;
    assign tr_vf    = vf_reg;
    assign tr_qs    = nqe_reg[`NK_NQE_QUEUE_SET_LSB +: 8];
    assign tr_queue = is_ev_reg ? Q_RECEIVE[1:0] : Q_COMPLETION[1:0];
    assign tr_nqe   = nqe_reg;

    assign stat_ev_lost = lost_reg;
    assign vfc_valid    = vfc_valid_reg;
    assign vfc_vf       = vfc_vf_reg;
    assign vfc_idx      = vfc_idx_reg;

    wire [7:0] pick_vf = pick_ev ? ev_vf : vf_of(rt_set);

    always @(posedge clk) begin
        lost_reg <= 1'b0;
        if (vfc_ready)
            vfc_valid_reg <= 1'b0;

        case (state_reg)
            W_IDLE:
                if (pick_ev || pick_rt) begin
                    turn_reg  <= pick_ev;
                    is_ev_reg <= pick_ev;
                    set_reg   <= pick_set;
                    vf_reg    <= pick_vf;
                    base_reg  <= base_of[pick_vf[VW-1:0]];
                    nqe_reg   <= pick_ev ? {ev_status, 24'd0, ev_size, 64'd0, ev_data, 16'd0, ev_socket,
                                            8'd0, ev_qs, 8'd0, ev_op} : rt_data;
                    queue_reg <= rt_queue;
                    need_reg  <= rt_need;
                    last_reg  <= rt_last && pick_rt;
                    count_reg <= rt_count;
                    state_reg <= W_PLACE;
                end

            W_PLACE: begin
                // Kept as written, for the trace.
                nqe_reg   <= nqe;
                wrote_reg <= write;
                lost_reg  <= wr_on && full;
                state_reg <= write ? W_WRITE : W_NOTE;
            end

            W_WRITE:
                if (!dma_busy)
                    state_reg <= W_NOTE;

            W_NOTE: begin
                if (wrote_reg) begin
                    vfc_valid_reg <= 1'b1;
                    vfc_idx_reg   <= is_ev_reg ? IDX_EVENTS[3:0] : IDX_COMPLETIONS[3:0];
                    vfc_vf_reg    <= vf_reg;
                end
                state_reg <= last_reg ? W_STAT : W_IDLE;
            end

            W_STAT:
                state_reg <= W_STATWRITE;

            default: // W_STATWRITE
                if (!dma_busy)
                    state_reg <= W_IDLE;
        endcase

        if (rst) begin
            state_reg     <= W_IDLE;
            turn_reg      <= 1'b0;
            lost_reg      <= 1'b0;
            vfc_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
