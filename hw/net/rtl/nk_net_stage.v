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
    // log2 of the beats that it holds. Must exceed the beats of the largest frame.
    parameter AW = 7,
    // log2 of the frames that may wait.
    parameter FRAMES_LOG2 = 4
) (
    input  wire         clk,
    input  wire         rst,

    // Beats of the frame that is arriving. `room`: one more may be written.
    input  wire         we,
    input  wire [W-1:0] wdata,
    output wire         room,

    // End of that frame, after its last `we`: keep `end_beats` beats from beat `end_first` on; 0 beats: forget it.
    input  wire         end_valid,
    output wire         end_ready,
    input  wire [AW:0]  end_first,
    input  wire [AW:0]  end_beats,

    // Committed beats, frame by frame.
    output wire         pay_valid,
    input  wire         pay_ready,
    output wire [W-1:0] pay_data,
    output wire         pay_last,

    // Anything stored.
    output wire         busy
);

    localparam [AW:0] DEPTH = {1'b1, {AW{1'b0}}};
    localparam [AW:0] ONE   = {{AW{1'b0}}, 1'b1};

    // ---- write side ----
    reg  [AW:0] wr_reg;
    reg  [AW:0] start_reg;
    reg  [AW:0] rd_reg;
    wire [AW:0] level = wr_reg - rd_reg;
    wire        take  = end_valid && end_ready;
    wire        keep  = end_beats != {AW+1{1'b0}};
    wire [AW:0] first = start_reg + end_first;
    wire        list_ready;

    assign room      = level != DEPTH;
    assign end_ready = !keep || list_ready;

    always @(posedge clk) begin
        if (we)
            wr_reg <= wr_reg + ONE;
        if (take) begin
            wr_reg    <= keep ? first + end_beats : start_reg;
            start_reg <= keep ? first + end_beats : start_reg;
        end
        if (rst) begin
            wr_reg    <= {AW+1{1'b0}};
            start_reg <= {AW+1{1'b0}};
        end
    end

    // ---- committed frames: where, how many beats ----
    wire [AW:0] list_first;
    wire [AW:0] list_beats;
    wire        list_valid;
    wire        list_get;
    wire [FRAMES_LOG2:0] list_level;

    nk_fifo #(.W(2*AW + 2), .DEPTH_LOG2(FRAMES_LOG2)) list (
        .clk(clk), .rst(rst),
        .s_data({first, end_beats}), .s_valid(end_valid && keep), .s_ready(list_ready),
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
            active_reg <= list_valid;
            if (list_valid) begin
                // Whatever lies between the last frame and this one (header beats) is free with this.
                rd_reg   <= list_first;
                left_reg <= list_beats;
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

    assign busy = level != {AW+1{1'b0}} || list_level != {FRAMES_LOG2+1{1'b0}} || active_reg
               || out_valid_reg || pay_valid;

endmodule

`default_nettype wire
