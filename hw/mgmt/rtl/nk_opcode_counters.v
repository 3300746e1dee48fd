// SPDX-License-Identifier: Apache-2.0
// Counts NQEs by opcode: 64 counters of 64 bits, one of which steps in a clock.

`default_nettype none

module nk_opcode_counters (
    // Clock and reset (synchronous, active high; clears all counters).
    input  wire        clk,
    input  wire        rst,

    // Pulse: an NQE with this opcode was fetched or written.
    input  wire        opc_valid,
    input  wire [5:0]  opc,

    // Value of counter `raddr`, in the next clock.
    input  wire [5:0]  raddr,
    output wire [63:0] rdata
);
    reg [63:0] count_reg [0:63];
    reg [63:0] rdata_reg;
    integer    i;

    assign rdata = rdata_reg;

    always @(posedge clk) begin
        rdata_reg <= count_reg[raddr];
        if (opc_valid) count_reg[opc] <= count_reg[opc] + 64'd1;
        if (rst)
            for (i = 0; i < 64; i = i + 1) count_reg[i] <= 64'd0;
    end
endmodule

`default_nettype wire
