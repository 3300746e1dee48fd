// SPDX-License-Identifier: Apache-2.0
// Purpose: one small DMA write at a time, 32 or 8 bytes: command and data beats for the DMA write arbiter.

`default_nettype none

module nk_nqe_dmaw #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // Width of a byte lane number; follows from W, leave it.
    parameter LW = $clog2(W / 8)
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // Start a write (pulse, while not busy): 32 bytes, or only the first 8.
    input  wire          start,
    input  wire          brief,
    input  wire [7:0]    func,
    input  wire [63:0]   addr,
    input  wire [255:0]  data,
    // Command or data are not all accepted.
    output wire          busy,

    // DMA write command.
    output wire          wr_valid,
    input  wire          wr_ready,
    output wire [7:0]    wr_func,
    output wire [63:0]   wr_addr,
    output wire [15:0]   wr_len,
    output wire [LW-1:0] wr_lane,
    output wire [15:0]   wr_wrap_len,
    output wire [63:0]   wr_wrap_addr,

    // DMA write data.
    output wire          wd_valid,
    input  wire          wd_ready,
    output wire [W-1:0]  wd_data,
    output wire          wd_last
);

    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0) begin
            $display("%m: W = %0d, must be 64, 128, 256 or 512", W);
            $finish;
        end
    end

    reg          wr_valid_reg;
    reg          wd_valid_reg;
    reg          brief_reg;
    reg [7:0]    func_reg;
    reg [63:0]   addr_reg;
    reg [255:0]  data_reg;

    assign busy         = wr_valid_reg || wd_valid_reg;
    assign wr_valid     = wr_valid_reg;
    assign wr_func      = func_reg;
    assign wr_addr      = addr_reg;
    assign wr_len       = brief_reg ? 16'd8 : 16'd32;
    assign wr_lane      = {LW{1'b0}};
    assign wr_wrap_len  = 16'hffff;
    assign wr_wrap_addr = 64'd0;
    assign wd_valid     = wd_valid_reg;

    wire beat = wd_valid_reg && wd_ready;

    generate
        if (W >= 256) begin : g_one
            assign wd_last = 1'b1;
            if (W == 256) begin : g_same
                assign wd_data = data_reg;
            end else begin : g_pad
                assign wd_data = {{W-256{1'b0}}, data_reg};
            end
            always @(posedge clk)
                if (start)
                    data_reg <= data;
        end else begin : g_part
            localparam BEATS = 256 / W;
            localparam BW    = $clog2(BEATS);
            reg [BW-1:0] beat_reg;

            assign wd_last = brief_reg || (&beat_reg);
            assign wd_data = data_reg[W-1:0];

            always @(posedge clk) begin
                if (start) begin
                    data_reg <= data;
                    beat_reg <= {BW{1'b0}};
                end else if (beat) begin
                    data_reg <= {{W{1'b0}}, data_reg[255:W]};
                    beat_reg <= beat_reg + {{BW-1{1'b0}}, 1'b1};
                end
            end
        end
    endgenerate

    always @(posedge clk) begin
        if (wr_ready)
            wr_valid_reg <= 1'b0;
        if (beat && wd_last)
            wd_valid_reg <= 1'b0;
        if (start) begin
            wr_valid_reg <= 1'b1;
            wd_valid_reg <= 1'b1;
            brief_reg    <= brief;
            func_reg     <= func;
            addr_reg     <= addr;
        end
        if (rst) begin
            wr_valid_reg <= 1'b0;
            wd_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
