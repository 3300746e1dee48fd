// SPDX-License-Identifier: Apache-2.0
// Purpose: FIFO lists of flows, linked through one memory; a flow stands in one list at most.
//
// Requests are carried out in the order in which they were accepted (both in one clock: push first), each
// in two clocks: the first reads next[head] or queued[flow], the second links or unlinks. A push of a flow
// that already stands in a list does nothing, so whoever wants a flow to be served just pushes it.

`default_nettype none

module nk_flow_lists #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number, 1 to 20.
    parameter FW = 10,
    // Number of lists, up to 2**LLW.
    parameter LISTS = 4,
    // Width of a list number, 1 to 20.
    parameter LLW = 2
) (
    // Clock and reset (synchronous, active high; then all lists are empty, after FLOWS clocks).
    input  wire             clk,
    input  wire             rst,

    // Append a flow to a list.
    input  wire             push_valid,
    output wire             push_ready,
    input  wire [LLW-1:0]   push_list,
    input  wire [FW-1:0]    push_flow,

    // Take the first flow of a list. Answer: pulse 2 clocks later or more; `pop_hit` = 0: it was empty.
    input  wire             pop_valid,
    output wire             pop_ready,
    input  wire [LLW-1:0]   pop_list,
    output wire             pop_done,
    output wire             pop_hit,
    output wire [FW-1:0]    pop_flow,

    // Lists that hold a flow; up to date with a pop in the clock of its pop_done.
    output wire [LISTS-1:0] nonempty,

    // The walk that clears the queued bits is over.
    output wire             init_done,
    // The walk is under way, or an accepted request has not been carried out yet.
    output wire             busy
);

    initial begin
        if (FW < 1 || FW > 20 || FLOWS < 1 || FLOWS > (1 << FW)
            || LLW < 1 || LLW > 20 || LISTS < 1 || LISTS > (1 << LLW)) begin
            $display("%m: FLOWS = %0d (1 .. 2**FW), FW = %0d, LISTS = %0d (1 .. 2**LLW), LLW = %0d",
                     FLOWS, FW, LISTS, LLW);
            $finish;
        end
    end

    localparam integer LAST_FLOW = FLOWS - 1;

    reg             init_done_reg;
    reg [FW-1:0]    walk_reg;

    // Requests accepted and not begun.
    reg             push_pend_reg;
    reg [LLW-1:0]   push_list_reg;
    reg [FW-1:0]    push_flow_reg;
    reg             pop_pend_reg;
    reg [LLW-1:0]   pop_list_reg;
    // Of two that wait, the pop came first.
    reg             pop_older_reg;

    reg [FW-1:0]    head [0:(1<<LLW)-1];
    reg [FW-1:0]    tail [0:(1<<LLW)-1];
    reg [LISTS-1:0] nonempty_reg;

    // Second clock of a request.
    reg             op_push_reg;
    reg             op_pop_reg;
    reg             op_hit_reg;
    reg             op_last_reg;
    reg [LLW-1:0]   op_list_reg;
    reg [FW-1:0]    op_flow_reg;

    assign push_ready = init_done_reg && !push_pend_reg;
    assign pop_ready  = init_done_reg && !pop_pend_reg;

    wire push_take = push_valid && push_ready;
    wire pop_take  = pop_valid && pop_ready;

    wire            idle      = !op_push_reg && !op_pop_reg;
    wire            pop_go    = idle && pop_pend_reg && (pop_older_reg || !push_pend_reg);
    wire            push_go   = idle && push_pend_reg && !(pop_pend_reg && pop_older_reg);
    wire [FW-1:0]   pop_head  = head[pop_list_reg];
    wire            pop_some  = nonempty_reg[pop_list_reg];
    wire            pop_last  = pop_head == tail[pop_list_reg];

    wire            queued;
    wire [FW-1:0]   next;
    wire            append    = op_push_reg && !queued;
    wire            push_some = nonempty_reg[op_list_reg];
    wire            unlink    = op_pop_reg && op_hit_reg;

    nk_ram_1w1r #(.W(FW), .AW(FW)) u_next (
        .clk(clk),
        .we(append && push_some), .waddr(tail[op_list_reg]), .wdata(op_flow_reg),
        .re(pop_go), .raddr(pop_head), .rdata(next)
    );

    nk_ram_1w1r #(.W(1), .AW(FW)) u_queued (
        .clk(clk),
        .we(!init_done_reg || append || unlink),
        .waddr(init_done_reg ? op_flow_reg : walk_reg),
        .wdata(append),
        .re(push_go), .raddr(push_flow_reg), .rdata(queued)
    );

    assign pop_done  = op_pop_reg;
    assign pop_hit   = op_hit_reg;
    assign pop_flow  = op_flow_reg;
    assign nonempty  = nonempty_reg;
    assign init_done = init_done_reg;
    assign busy      = !init_done_reg || push_pend_reg || pop_pend_reg || !idle;

    always @(posedge clk) begin
        if (!init_done_reg) begin
            walk_reg      <= walk_reg + {{FW-1{1'b0}}, 1'b1};
            init_done_reg <= walk_reg == LAST_FLOW[FW-1:0];
        end

        // Accept.
        if (push_take) begin
            push_pend_reg <= 1'b1;
            push_list_reg <= push_list;
            push_flow_reg <= push_flow;
        end else if (push_go) begin
            push_pend_reg <= 1'b0;
        end
        if (pop_take) begin
            pop_pend_reg  <= 1'b1;
            pop_list_reg  <= pop_list;
            pop_older_reg <= 1'b0;
        end else begin
            if (pop_go)
                pop_pend_reg <= 1'b0;
            if (push_take)
                pop_older_reg <= 1'b1;
        end

        // First clock: choose and read. A list whose last flow leaves is empty from the next clock on.
        op_push_reg <= push_go;
        op_pop_reg  <= pop_go;
        op_hit_reg  <= pop_some;
        op_last_reg <= pop_last;
        op_list_reg <= pop_go ? pop_list_reg : push_list_reg;
        op_flow_reg <= pop_go ? pop_head : push_flow_reg;
        if (pop_go && pop_last)
            nonempty_reg[pop_list_reg] <= 1'b0;

        // Second clock: link or unlink.
        if (append) begin
            tail[op_list_reg]         <= op_flow_reg;
            nonempty_reg[op_list_reg] <= 1'b1;
            if (!push_some)
                head[op_list_reg] <= op_flow_reg;
        end
        if (unlink && !op_last_reg)
            head[op_list_reg] <= next;

        if (rst) begin
            init_done_reg <= 1'b0;
            walk_reg      <= {FW{1'b0}};
            push_pend_reg <= 1'b0;
            pop_pend_reg  <= 1'b0;
            pop_older_reg <= 1'b0;
            op_push_reg   <= 1'b0;
            op_pop_reg    <= 1'b0;
            nonempty_reg  <= {LISTS{1'b0}};
        end
    end

endmodule

`default_nettype wire
