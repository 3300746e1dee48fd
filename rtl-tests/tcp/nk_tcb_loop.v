// SPDX-License-Identifier: Apache-2.0
// Test bench top: a flow's state into the memory word and back.

`default_nettype none
`include "nk_tcb.vh"

module nk_tcb_loop (
    input  wire [`TCB_W-1:0]     tcb,
    input  wire [31:0]           now_us,
    output wire [`TCB_MEM_W-1:0] mem,
    output wire [`TCB_W-1:0]     tcb_out
);
    nk_tcb_pack pack (.tcb(tcb), .mem(mem));
    nk_tcb_unpack unpack (.mem(mem), .now_us(now_us), .tcb(tcb_out));
endmodule

`default_nettype wire
