// SPDX-License-Identifier: Apache-2.0
// Purpose: skid buffer: cuts the combinational paths of a valid/ready stream in both directions,
// at full rate.
//
// Two words of storage: `m_data_reg` is the output, `skid_data_reg` catches the word that was
// accepted in the cycle in which the consumer stopped. s_ready and all outputs are registers.

`default_nettype none

module nk_skid #(
    // Width of a word in bits, 1 or more.
    parameter W = 64
) (
    // Clock and reset (synchronous, active high; drops what is stored).
    input  wire         clk,
    input  wire         rst,

    // Words in.
    input  wire [W-1:0] s_data,
    input  wire         s_valid,
    output wire         s_ready,

    // Words out.
    output wire [W-1:0] m_data,
    output wire         m_valid,
    input  wire         m_ready
);

    initial begin
        if (W < 1) begin
            $display("%m: W = %0d, must be 1 or more", W);
            $finish;
        end
    end

    reg [W-1:0] m_data_reg;
    reg         m_valid_reg;
    reg [W-1:0] skid_data_reg;
    reg         skid_valid_reg;
    // One more register than !skid_valid_reg, so that s_ready is low during reset: a word offered
    // then would be lost.
    reg         s_ready_reg;

    assign s_ready = s_ready_reg;
    assign m_data  = m_data_reg;
    assign m_valid = m_valid_reg;

    wire out_free = m_ready || !m_valid_reg;
    wire take     = s_valid && s_ready_reg;

    always @(posedge clk) begin
        if (out_free) begin
            // Oldest first: the skid word, if there is one, was accepted before.
            m_data_reg     <= skid_valid_reg ? skid_data_reg : s_data;
            m_valid_reg    <= skid_valid_reg || take;
            skid_valid_reg <= 1'b0;
            s_ready_reg    <= 1'b1;
        end else if (take) begin
            skid_data_reg  <= s_data;
            skid_valid_reg <= 1'b1;
            s_ready_reg    <= 1'b0;
        end else begin
            s_ready_reg    <= !skid_valid_reg;
        end

        if (rst) begin
            m_valid_reg    <= 1'b0;
            skid_valid_reg <= 1'b0;
            s_ready_reg    <= 1'b0;
        end
    end

endmodule

`default_nettype wire
