// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcb_pack and nk_tcb_unpack lose nothing of a state whose distances are inside their bounds.
//
// The bounds are written from hw/tcp/data/tcb.yaml by rtl-tests/formal/bounds.py.

`default_nettype none
`include "nk_tcb.vh"

module tcb (
    input wire [`TCB_W-1:0] t,
    input wire [31:0]       now_us         // when it is read
);
    wire [`TCB_MEM_W-1:0] mem;
    wire [`TCB_W-1:0]     back;
    nk_tcb_pack   pack   (.tcb(t), .mem(mem));
    nk_tcb_unpack unpack (.mem(mem), .now_us(now_us), .tcb(back));

    wire [31:0] una = t[`TCB_SND_UNA];
    wire [31:0] nxt = t[`TCB_RCV_NXT];

    // Signed and unsigned distances of at most `bits`.
    function near;
        input [31:0]  x;
        input [31:0]  base;
        input integer bits;
        reg   [31:0]  moved;
        begin
            moved = x - base + (32'd1 << (bits - 1));
            near  = (moved >> bits) == 32'd0;
        end
    endfunction
    function ahead;
        input [31:0]  x;
        input [31:0]  base;
        input integer bits;
        reg   [31:0]  distance;
        begin
            distance = x - base;
            ahead    = (distance >> bits) == 32'd0;
        end
    endfunction

    always @* begin
        `include "tcb_bounds.vh"
        assert (back == t);
    end
endmodule

`default_nettype wire
