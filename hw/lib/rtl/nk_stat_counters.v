// SPDX-License-Identifier: Apache-2.0
// Purpose: N event counters of 64 bits in registers, each with its own increment in every clock.

`default_nettype none

module nk_stat_counters #(
    // Number of counters, 1 or more.
    parameter N = 46,
    // Width of `raddr`; follows from N, leave it.
    parameter RW = (N > 1) ? $clog2(N) : 1
) (
    // Clock and reset (synchronous, active high; clears all counters).
    input  wire            clk,
    input  wire            rst,

    // Increments, counter 0 in the lowest bits; 0 = nothing happened. A pulse is {15'd0, pulse}.
    input  wire [N*16-1:0] inc,

    // Value of counter `raddr`, in the next clock; 0 when there is no such counter.
    input  wire [RW-1:0]   raddr,
    output wire [63:0]     rdata
);

    initial begin
        if (N < 1 || RW != ((N > 1) ? $clog2(N) : 1)) begin
            $display("%m: N = %0d (1 or more), RW = %0d (derived)", N, RW);
            $finish;
        end
    end

    reg [63:0] count_reg [0:(1<<RW)-1];
    reg [63:0] rdata_reg;
    integer    i;

    assign rdata = rdata_reg;

    always @(posedge clk) begin
        // Most clocks count nothing: one wide test saves the simulation all the narrow ones.
        if (|inc) begin
            for (i = 0; i < N; i = i + 1)
                if (inc[16*i +: 16] != 16'd0)
                    count_reg[i] <= count_reg[i] + {48'd0, inc[16*i +: 16]};
        end
        rdata_reg <= count_reg[raddr];

        // The entries above N are never counted: they read as 0.
        if (rst)
            for (i = 0; i < (1 << RW); i = i + 1)
                count_reg[i] <= 64'd0;
    end

endmodule

`default_nettype wire
