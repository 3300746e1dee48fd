// SPDX-License-Identifier: Apache-2.0
// Purpose: memory with one registered read port and one port that reads or writes.
//
// The two ports of a true dual-port block RAM: a second reader costs no second copy. A read of the address
// that is written in the same clock gives the old word, on either port. `a_rdata` stays until the next read,
// `b_rdata` until the next access of port b. Nothing is reset: the owner clears what it needs.

`default_nettype none

module nk_ram_1rw1r #(
    // Width of a word in bits, 1 or more.
    parameter W = 32,
    // Width of an address: 2**AW words, 1 to 24.
    parameter AW = 8
) (
    input  wire          clk,

    // Port a reads: `a_rdata` from the next clock on.
    input  wire          a_re,
    input  wire [AW-1:0] a_addr,
    output wire [W-1:0]  a_rdata,

    // Port b reads, and writes if b_we: `b_rdata` (the old word) from the next clock on.
    input  wire          b_en,
    input  wire          b_we,
    input  wire [AW-1:0] b_addr,
    input  wire [W-1:0]  b_wdata,
    output wire [W-1:0]  b_rdata
);

    initial begin
        if (W < 1 || AW < 1 || AW > 24) begin
            $display("%m: W = %0d (1 or more), AW = %0d (1 to 24)", W, AW);
            $finish;
        end
    end

    reg [W-1:0] mem [0:(1<<AW)-1];
    reg [W-1:0] a_rdata_reg;
    reg [W-1:0] b_rdata_reg;

    assign a_rdata = a_rdata_reg;
    assign b_rdata = b_rdata_reg;

    always @(posedge clk) begin
        if (a_re)
            a_rdata_reg <= mem[a_addr];
    end

    always @(posedge clk) begin
        if (b_en) begin
            b_rdata_reg <= mem[b_addr];
            if (b_we)
                mem[b_addr] <= b_wdata;
        end
    end

endmodule

`default_nettype wire
