// SPDX-License-Identifier: Apache-2.0
// Purpose: memory with one write port and one registered read port.
//
// A read of the address that is written in the same clock gives the old word: block RAM of every vendor
// can do that. `rdata` stays until the next read. Nothing is reset: the owner clears what it needs.

`default_nettype none

module nk_ram_1w1r #(
    // Width of a word in bits, 1 or more.
    parameter W = 32,
    // Width of an address: 2**AW words, 1 to 24.
    parameter AW = 8
) (
    input  wire          clk,

    // Write: in this clock.
    input  wire          we,
    input  wire [AW-1:0] waddr,
    input  wire [W-1:0]  wdata,

    // Read: `rdata` from the next clock on.
    input  wire          re,
    input  wire [AW-1:0] raddr,
    output wire [W-1:0]  rdata
);

    initial begin
        if (W < 1 || AW < 1 || AW > 24) begin
            $display("%m: W = %0d (1 or more), AW = %0d (1 to 24)", W, AW);
            $finish;
        end
    end

    reg [W-1:0] mem [0:(1<<AW)-1];
    reg [W-1:0] rdata_reg;

    assign rdata = rdata_reg;

    always @(posedge clk) begin
        if (we)
            mem[waddr] <= wdata;
        if (re)
            rdata_reg <= mem[raddr];
    end

endmodule

`default_nettype wire
