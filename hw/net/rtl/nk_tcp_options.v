// SPDX-License-Identifier: Apache-2.0
// Purpose: walks the options of a SYN segment, byte by byte, for MSS and window scale (RFC 9293, RFC 7323).
//
// An option that cannot be right (length 0 or 1, or beyond the header) ends the walk: what was found before
// counts. A known option of a wrong length is skipped as an unknown one. Of two the last counts.
// Takes at most one clock a byte and two more.

`default_nettype none

module nk_tcp_options (
    input  wire         clk,
    input  wire         rst,

    // `start` loads the option bytes (first one in bits 7:0) and their number, 0 to 40, and clears the results.
    input  wire         start,
    input  wire [319:0] options,
    input  wire [5:0]   length,

    // One clock at the end; the results stay until the next start.
    output wire         done,
    output wire [15:0]  mss,
    output wire [3:0]   wscale,
    output wire         wscale_valid
);

    localparam [7:0] KIND_END    = 8'd0;
    localparam [7:0] KIND_NOP    = 8'd1;
    localparam [7:0] KIND_MSS    = 8'd2;
    localparam [7:0] KIND_WSCALE = 8'd3;

    reg [319:0] bytes_reg;
    reg [5:0]   left_reg;
    reg [5:0]   skip_reg;
    reg         active_reg;
    reg         done_reg;
    reg [15:0]  mss_reg;
    reg [3:0]   wscale_reg;
    reg         wscale_valid_reg;

    assign done         = done_reg;
    assign mss          = mss_reg;
    assign wscale       = wscale_reg;
    assign wscale_valid = wscale_valid_reg;

    wire [7:0] kind   = bytes_reg[7:0];
    wire [7:0] optlen = bytes_reg[15:8];
    wire       bad    = left_reg < 6'd2 || optlen < 8'd2 || optlen > {2'd0, left_reg};

    always @(posedge clk) begin
        done_reg <= 1'b0;
        if (start) begin
            bytes_reg        <= options;
            left_reg         <= length;
            skip_reg         <= 6'd0;
            active_reg       <= 1'b1;
            mss_reg          <= 16'd0;
            wscale_reg       <= 4'd0;
            wscale_valid_reg <= 1'b0;
        end else if (active_reg) begin
            bytes_reg <= bytes_reg >> 8;
            left_reg  <= left_reg - 6'd1;
            if (left_reg == 6'd0) begin
                active_reg <= 1'b0;
                done_reg   <= 1'b1;
            end else if (skip_reg != 6'd0) begin
                skip_reg <= skip_reg - 6'd1;
            end else if (kind == KIND_END || (kind != KIND_NOP && bad)) begin
                active_reg <= 1'b0;
                done_reg   <= 1'b1;
            end else if (kind != KIND_NOP) begin
                skip_reg <= optlen[5:0] - 6'd1;
                if (kind == KIND_MSS && optlen == 8'd4)
                    mss_reg <= {bytes_reg[23:16], bytes_reg[31:24]};
                if (kind == KIND_WSCALE && optlen == 8'd3) begin
                    // RFC 7323: a shift above 14 is used as 14.
                    wscale_reg       <= (bytes_reg[23:16] > 8'd14) ? 4'd14 : bytes_reg[19:16];
                    wscale_valid_reg <= 1'b1;
                end
            end
        end
        if (rst) begin
            active_reg <= 1'b0;
            done_reg   <= 1'b0;
        end
    end

endmodule

`default_nettype wire
