// SPDX-License-Identifier: Apache-2.0
// Purpose: staging memory of received frames: beats go in as they arrive, and come out only if the frame
// is committed; otherwise they are rolled back and never seen.
//
//   memory:   | being read | committed frames ...      | this frame so far |   free   |
//             rd_reg                            start_reg              wr_reg
//
// A commit names the beats to keep, so that header beats and padding behind the datagram are dropped too.

`default_nettype none

module nk_net_stage #(
    // Bus width in bits.
    parameter W = 512,
    // log2 of the beats that it holds. Must exceed the beats of the largest frame by RESERVE.
    parameter AW = 7,
    // log2 of the frames that may wait.
    parameter FRAMES_LOG2 = 6,
    // Beats, and frames, that may come after `room` was seen.
    parameter RESERVE = 8
) (
    input  wire         clk,
    input  wire         rst,

    // Beats of the frame that is arriving. `room`: RESERVE beats and frames more may come.
    input  wire         we,
    input  wire [W-1:0] wdata,
    output wire         room,

    // End of that frame, with its last `we` or after it: with `end_keep` beats `end_first` to `end_stop`-1 are kept
    // (one or more), else all are forgotten.
    input  wire         end_valid,
    input  wire         end_keep,
    input  wire [AW:0]  end_first,
    input  wire [AW:0]  end_stop,

    // Committed beats, frame by frame.
    output wire         pay_valid,
    input  wire         pay_ready,
    output wire [W-1:0] pay_data,
    output wire         pay_last,

    // Anything stored.
    output wire         busy
);

    localparam [AW:0] FULL = (1 << AW) - RESERVE;
    localparam [AW:0] ONE  = {{AW{1'b0}}, 1'b1};
    localparam [FRAMES_LOG2:0] LIST_FULL = (1 << FRAMES_LOG2) - RESERVE;
    localparam [FRAMES_LOG2:0] LIST_NONE = {FRAMES_LOG2+1{1'b0}};

    initial begin
        if (RESERVE >= (1 << AW) || RESERVE >= (1 << FRAMES_LOG2)) begin
            $display("%m: RESERVE = %0d must be below %0d beats, %0d frames", RESERVE, 1 << AW, 1 << FRAMES_LOG2);
            $finish;
        end
    end

    // ---- write side ----
    reg  [AW:0] wr_reg;
    reg  [AW:0] start_reg;
    reg  [AW:0] rd_reg;
    wire [AW:0] level  = wr_reg - rd_reg;
    wire        commit = end_valid && end_keep;
    wire [AW:0] first  = start_reg + end_first;
    wire [AW:0] stop   = start_reg + end_stop;
    wire [AW:0] beats  = end_stop - end_first;
    wire [FRAMES_LOG2:0] list_level;

    assign room = level <= FULL && list_level <= LIST_FULL;

    always @(posedge clk) begin
        if (end_valid) begin
            wr_reg    <= end_keep ? stop : start_reg;
            start_reg <= end_keep ? stop : start_reg;
        end else if (we)
            wr_reg <= wr_reg + ONE;
        if (rst) begin
            wr_reg    <= {AW+1{1'b0}};
            start_reg <= {AW+1{1'b0}};
        end
    end

    // ---- committed frames: where, how many beats; past the list if nobody waits in it ----
    wire [AW:0] list_first;
    wire [AW:0] list_beats;
    wire        list_valid;
    wire        list_ready;
    wire        list_get;
    wire        direct = list_get && list_level == LIST_NONE;

    nk_fifo #(.W(2*AW + 2), .DEPTH_LOG2(FRAMES_LOG2)) list (
        .clk(clk), .rst(rst),
        .s_data({first, beats}), .s_valid(commit && !direct), .s_ready(list_ready),
        .m_data({list_first, list_beats}), .m_valid(list_valid), .m_ready(list_get),
        .level(list_level)
    );

    // ---- read side: the memory's output register, then a skid buffer ----
    reg          active_reg;
    reg  [AW:0]  left_reg;
    reg          out_valid_reg;
    reg          out_last_reg;
    wire         out_ready;
    wire [W-1:0] out_data;
    wire         step = active_reg && (!out_valid_reg || out_ready);
    wire         done = step && left_reg == ONE;

    assign list_get = !active_reg || done;

    nk_ram_1w1r #(.W(W), .AW(AW)) memory (
        .clk(clk),
        .we(we), .waddr(wr_reg[AW-1:0]), .wdata(wdata),
        .re(step), .raddr(rd_reg[AW-1:0]), .rdata(out_data)
    );

    always @(posedge clk) begin
        if (step) begin
            rd_reg       <= rd_reg + ONE;
            left_reg     <= left_reg - ONE;
            out_last_reg <= left_reg == ONE;
        end
        out_valid_reg <= step || (out_valid_reg && !out_ready);
        if (list_get) begin
            active_reg <= list_valid || (commit && direct);
            // Whatever lies between the last frame and this one (header beats) is free with this.
            if (list_valid) begin
                rd_reg   <= list_first;
                left_reg <= list_beats;
            end else if (commit && direct) begin
                rd_reg   <= first;
                left_reg <= beats;
            end
        end
        if (rst) begin
            rd_reg        <= {AW+1{1'b0}};
            active_reg    <= 1'b0;
            out_valid_reg <= 1'b0;
        end
    end

    nk_skid #(.W(W + 1)) skid (
        .clk(clk), .rst(rst),
        .s_data({out_last_reg, out_data}), .s_valid(out_valid_reg), .s_ready(out_ready),
        .m_data({pay_last, pay_data}), .m_valid(pay_valid), .m_ready(pay_ready)
    );

    assign busy = level != {AW+1{1'b0}} || list_level != LIST_NONE || active_reg || out_valid_reg || pay_valid;

    // `room` has kept a place.
    wire unused = &{1'b0, list_ready};

endmodule

`default_nettype wire
