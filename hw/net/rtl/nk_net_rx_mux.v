// SPDX-License-Identifier: Apache-2.0
// Purpose: frames of the wire and frames that go round inside the card, one after the other, in turn.

`default_nettype none

module nk_net_rx_mux #(
    // Bus width in bits.
    parameter W = 512,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W / 8)
) (
    // Clock and reset (synchronous, active high).
    input  wire         clk,
    input  wire         rst,
    // From the wire.
    input  wire         w_valid,
    output wire         w_ready,
    input  wire [W-1:0] w_data,
    input  wire         w_last,
    input  wire [LW:0]  w_bytes,
    // From nk_net_loop.
    input  wire         l_valid,
    output wire         l_ready,
    input  wire [W-1:0] l_data,
    input  wire         l_last,
    input  wire [LW:0]  l_bytes,
    // To nk_net_rx, and whether the frame is one of the card's own.
    output wire         m_valid,
    input  wire         m_ready,
    output wire [W-1:0] m_data,
    output wire         m_last,
    output wire [LW:0]  m_bytes,
    output wire         m_local
);
    reg  inside_reg;                    // in a frame, offered or begun
    reg  local_reg;                     // of this source; between frames: the one served last
    // A frame of the wire may come with gaps; what stands in the loop is whole. After each frame it is the other's turn.
    wire take_local = inside_reg ? local_reg : l_valid && (!w_valid || !local_reg);

    assign m_valid = take_local ? l_valid : w_valid;
    assign m_data  = take_local ? l_data  : w_data;
    assign m_last  = take_local ? l_last  : w_last;
    assign m_bytes = take_local ? l_bytes : w_bytes;
    assign m_local = take_local;
    assign l_ready = m_ready && take_local;
    assign w_ready = m_ready && !take_local;

    always @(posedge clk) begin
        // What was offered stays.
        if (m_valid) begin
            inside_reg <= !(m_last && m_ready);
            local_reg  <= take_local;
        end
        if (rst) begin
            inside_reg <= 1'b0;
            local_reg  <= 1'b0;
        end
    end
endmodule

`default_nettype wire
