// SPDX-License-Identifier: Apache-2.0
// Purpose: synchronous FIFO with first-word fall-through, a registered output and full throughput.
//
// The output register is the read register of the memory, so the memory maps onto block RAM. It is
// loaded whenever it is free and the memory holds a word: a word written in clock t shows at m_* in t+2.
// With FAST a word that finds the memory empty goes past it and shows in t+1; the memory is then LUT RAM.

`default_nettype none

module nk_fifo #(
    // Width of a word in bits, 1 or more.
    parameter W = 64,
    // log2 of the number of words that it holds, 1 to 20; full throughput from 2 on (FAST: from 1 on).
    parameter DEPTH_LOG2 = 4,
    // 1: a word shows a clock earlier when the FIFO is empty, for shallow FIFOs on a path that must be short.
    parameter FAST = 0
) (
    // Clock and reset (synchronous, active high; drops what is stored).
    input  wire                clk,
    input  wire                rst,

    // Words in.
    input  wire [W-1:0]        s_data,
    input  wire                s_valid,
    output wire                s_ready,

    // Words out.
    output wire [W-1:0]        m_data,
    output wire                m_valid,
    input  wire                m_ready,

    // Words stored, the one shown at m_* included: 0 .. 2**DEPTH_LOG2.
    output wire [DEPTH_LOG2:0] level
);

    initial begin
        if (W < 1 || DEPTH_LOG2 < 1 || DEPTH_LOG2 > 20 || FAST < 0 || FAST > 1) begin
            $display("%m: W = %0d (1 or more), DEPTH_LOG2 = %0d (1 to 20), FAST = %0d (0, 1)", W, DEPTH_LOG2, FAST);
            $finish;
        end
    end

    localparam [DEPTH_LOG2:0] DEPTH = {1'b1, {DEPTH_LOG2{1'b0}}};
    localparam [DEPTH_LOG2:0] ONE   = {{DEPTH_LOG2{1'b0}}, 1'b1};

    reg [W-1:0]          mem [0:(1<<DEPTH_LOG2)-1];
    // One bit more than the address, so that equal pointers mean empty.
    reg [DEPTH_LOG2:0]   wr_reg;
    reg [DEPTH_LOG2:0]   rd_reg;
    reg [DEPTH_LOG2:0]   level_reg;
    // Low during reset, so that no word is taken that would be lost.
    reg                  s_ready_reg;
    reg [W-1:0]          m_data_reg;
    reg                  m_valid_reg;

    assign s_ready = s_ready_reg;
    assign m_data  = m_data_reg;
    assign m_valid = m_valid_reg;
    assign level   = level_reg;

    wire put     = s_valid && s_ready_reg;
    wire get     = m_valid_reg && m_ready;
    wire free    = m_ready || !m_valid_reg;
    wire mem_has = wr_reg != rd_reg;
    wire load    = mem_has && free;
    wire past    = FAST != 0 && put && !mem_has && free;
    wire store   = put && !past;

    // The word shown counts into `level`, so the memory never holds more than its size.
    wire [DEPTH_LOG2:0] level_next = (put == get) ? level_reg
                                   : put          ? level_reg + ONE
                                                  : level_reg - ONE;

    always @(posedge clk) begin
        if (store) begin
            mem[wr_reg[DEPTH_LOG2-1:0]] <= s_data;
            wr_reg <= wr_reg + ONE;
        end
        if (load) begin
            m_data_reg <= mem[rd_reg[DEPTH_LOG2-1:0]];
            rd_reg     <= rd_reg + ONE;
        end
        if (past)
            m_data_reg <= s_data;
        m_valid_reg <= load || past || (m_valid_reg && !m_ready);
        level_reg   <= level_next;
        s_ready_reg <= level_next != DEPTH;

        if (rst) begin
            wr_reg      <= {DEPTH_LOG2+1{1'b0}};
            rd_reg      <= {DEPTH_LOG2+1{1'b0}};
            level_reg   <= {DEPTH_LOG2+1{1'b0}};
            s_ready_reg <= 1'b0;
            m_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
