// SPDX-License-Identifier: Apache-2.0
// How often tenants hear: whenever there is something to tell, but seldom while payload fills the DMA write channel.
//
// An event costs a beat of that channel and may wait: it tells of all that came meanwhile. So while the channel is
// full, only turns of the event list tell, and these are spaced; the more flows wait in the list, the less, so that
// each of up to 1,024 flows is heard of every 16,384 clocks.

`default_nettype none

module nk_tcp_pace #(
    parameter FW = 10               // bits of a flow number
) (
    // Clock and reset (synchronous, active high).
    input  wire clk,
    input  wire rst,
    // The DMA write channel has a beat; a flow enters the event list, leaves it.
    input  wire wr_busy,
    input  wire enters,
    input  wire leaves,
    // Any pass may tell; a turn of the event list may start.
    output wire calm,
    output wire turn
);
    localparam [6:0] FULL = 7'd60;  // beats in 64 clocks

    reg  [FW:0] waiting_reg;
    reg  [5:0]  window_reg;
    reg  [6:0]  beats_reg;
    reg         full_reg;
    reg  [7:0]  since_reg;          // clocks since the last turn, at most 255

    wire [31:0] waiting = {{(31 - FW){1'b0}}, waiting_reg};
    reg  [7:0]  spacing;
    always @* begin
        if (waiting <= 32'd64)       spacing = 8'd255;
        else if (waiting <= 32'd128) spacing = 8'd127;
        else if (waiting <= 32'd256) spacing = 8'd63;
        else if (waiting <= 32'd512) spacing = 8'd31;
        else                         spacing = 8'd15;
    end
    assign calm = !full_reg;
    assign turn = calm || since_reg >= spacing;

    always @(posedge clk) begin
        if (enters != leaves) waiting_reg <= enters ? waiting_reg + 1'b1 : waiting_reg - 1'b1;
        window_reg <= window_reg + 6'd1;
        if (window_reg == 6'd63) begin
            full_reg  <= beats_reg + {6'd0, wr_busy} >= FULL;
            beats_reg <= 7'd0;
        end else beats_reg <= beats_reg + {6'd0, wr_busy};
        if (leaves)                  since_reg <= 8'd0;
        else if (since_reg != 8'hff) since_reg <= since_reg + 8'd1;
        if (rst) begin
            waiting_reg <= {(FW + 1){1'b0}};
            window_reg  <= 6'd0;
            beats_reg   <= 7'd0;
            full_reg    <= 1'b0;
            since_reg   <= 8'd0;
        end
    end
endmodule

`default_nettype wire
