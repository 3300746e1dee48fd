// SPDX-License-Identifier: Apache-2.0
// Purpose: cuts the DMA read data of batches into NQEs and adds what the check must know of each.

`default_nettype none

module nk_nqe_unpack #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // Width of a set number, 1 or more.
    parameter SW = 3
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // Batches, in the order of their read requests.
    input  wire          b_valid,
    output wire          b_ready,
    input  wire [SW-1:0] b_set,
    input  wire          b_queue,
    input  wire [3:0]    b_count,
    input  wire [16:0]   b_index,
    input  wire [4:0]    b_log2,

    // DMA read data.
    input  wire          rdat_valid,
    output wire          rdat_ready,
    input  wire [W-1:0]  rdat_data,

    // NQEs: as read, set, queue (0 job, 1 send), the phase bit that it must have, last of its batch,
    // NQEs of the batch.
    output wire          nq_valid,
    input  wire          nq_ready,
    output wire [255:0]  nq_data,
    output wire [SW-1:0] nq_set,
    output wire          nq_queue,
    output wire          nq_phase,
    output wire          nq_last,
    output wire [3:0]    nq_count
);

    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0) begin
            $display("%m: W = %0d, must be 64, 128, 256 or 512", W);
            $finish;
        end
    end

    wire          h_valid;
    wire          h_take;
    wire [SW-1:0] h_set;
    wire          h_queue;
    wire [3:0]    h_count;
    wire [16:0]   h_index;
    wire [4:0]    h_log2;
    wire [2:0]    level_unused;

    nk_fifo #(.W(SW + 27), .DEPTH_LOG2(2)) u_batches (
        .clk(clk), .rst(rst),
        .s_data({b_set, b_queue, b_count, b_index, b_log2}), .s_valid(b_valid), .s_ready(b_ready),
        .m_data({h_set, h_queue, h_count, h_index, h_log2}), .m_valid(h_valid), .m_ready(h_take),
        .level(level_unused)
    );

    // Number of the NQE within its batch.
    reg [3:0]    at_reg;
    wire         last  = at_reg == h_count - 4'd1;
    wire         go    = nq_valid && nq_ready;
    wire [16:0]  turns = (h_index + {13'd0, at_reg}) >> h_log2;

    assign nq_set   = h_set;
    assign nq_queue = h_queue;
    assign nq_phase = !turns[0];
    assign nq_last  = last;
    assign nq_count = h_count;
    assign h_take   = go && last;

    always @(posedge clk) begin
        if (go)
            at_reg <= last ? 4'd0 : at_reg + 4'd1;
        if (rst)
            at_reg <= 4'd0;
    end

    wire turns_unused = |turns[16:1];

    generate
        if (W == 512) begin : g_two
            // Two NQEs a beat; the second half of the last beat may be empty.
            assign nq_valid   = h_valid && rdat_valid;
            assign nq_data    = at_reg[0] ? rdat_data[W-1:W-256] : rdat_data[255:0];
            assign rdat_ready = h_valid && nq_ready && (at_reg[0] || last);
        end else if (W == 256) begin : g_one
            assign nq_valid   = h_valid && rdat_valid;
            assign nq_data    = rdat_data;
            assign rdat_ready = h_valid && nq_ready;
        end else begin : g_part
            // The last beat of an NQE passes through; the ones before are collected.
            localparam BEATS = 256 / W;
            localparam BW    = $clog2(BEATS);
            reg [255-W:0] part_reg;
            reg [BW-1:0]  beat_reg;
            wire          full = &beat_reg;
            wire [255:0]  joined = {rdat_data, part_reg};

            assign nq_valid   = h_valid && rdat_valid && full;
            assign nq_data    = joined;
            assign rdat_ready = h_valid && (nq_ready || !full);

            always @(posedge clk) begin
                if (rdat_valid && rdat_ready) begin
                    part_reg <= joined[255:W];
                    beat_reg <= beat_reg + {{BW-1{1'b0}}, 1'b1};
                end
                if (rst)
                    beat_reg <= {BW{1'b0}};
            end
        end
    endgenerate

endmodule

`default_nettype wire
