// SPDX-License-Identifier: Apache-2.0
// Purpose: accept credits: for each listener a FIFO list of flows that wait for a SYN, and how many of its connections are half-open.
//
// One request at a time, for the sequencer that opens connections. A listener is the number of its own flow:
// there are as many lists as flows, heads, tails and counts stand in memory. A list begins with INIT.

`default_nettype none

module nk_tcp_credits #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number, 1 to 20.
    parameter FW = 10
) (
    // Clock and reset (synchronous, active high; then all lists are emptied, FLOWS clocks).
    input  wire          clk,
    input  wire          rst,

    // Request: 0 INIT empties the listener's list, 1 PUSH appends req_flow, 2 POP takes the first, 3 HALF the
    // same for a connection that is half-open now, 4 DEC one of those has completed or died, 5 PEEK just asks.
    input  wire          req_valid,
    output wire          req_ready,
    input  wire [2:0]    req_op,
    input  wire [FW-1:0] req_listener,
    input  wire [FW-1:0] req_flow,

    // Answer, a pulse 3 clocks later: POP and HALF: there was one, which; PEEK: there is one; of the listener's credits no more
    // than a quarter are left, or only the last, the others being half-open connections (as it is now).
    output wire          rsp_valid,
    output wire          rsp_hit,
    output wire [FW-1:0] rsp_flow,
    output wire          rsp_flood,

    // The lists are empty.
    output wire          init_done
);

    initial begin
        if (FW < 1 || FW > 20 || FLOWS < 1 || FLOWS > (1 << FW)) begin
            $display("%m: FLOWS = %0d (1 .. 2**FW), FW = %0d (1 to 20)", FLOWS, FW);
            $finish;
        end
    end

    localparam OP_INIT = 3'd0;
    localparam OP_PUSH = 3'd1;
    localparam OP_POP  = 3'd2;
    localparam OP_HALF = 3'd3;
    localparam OP_DEC  = 3'd4;
    localparam OP_PEEK = 3'd5;

    localparam integer LAST_FLOW = FLOWS - 1;
    // Counts reach FLOWS.
    localparam CW = FW + 1;
    localparam LW = 2 * CW + 2 * FW;

    reg          init_done_reg;
    reg [FW-1:0] walk_reg;
    // Clock 1: the listener's words are there. Clock 2: the next link is, they are written. Clock 3: answer.
    reg          read_reg;
    reg          write_reg;
    reg          done_reg;
    reg [2:0]    op_reg;
    reg [FW-1:0] listener_reg;
    reg [FW-1:0] flow_reg;
    reg          hit_reg;
    reg          peek_reg;
    reg [FW-1:0] head_reg;
    reg [FW-1:0] tail_reg;
    reg [CW-1:0] avail_reg;
    reg [CW-1:0] half_reg;
    reg          flood_reg;

    wire take = req_valid && req_ready;

    assign req_ready = init_done_reg && !read_reg && !write_reg;
    assign rsp_valid = done_reg;
    assign rsp_hit   = hit_reg || peek_reg;
    assign rsp_flow  = head_reg;
    assign rsp_flood = flood_reg;
    assign init_done = init_done_reg;

    wire [CW-1:0] half;
    wire [CW-1:0] avail;
    wire [FW-1:0] tail;
    wire [FW-1:0] head;
    wire [FW-1:0] next;
    wire          any  = avail != {CW{1'b0}};
    wire          pops = (op_reg == OP_POP || op_reg == OP_HALF) && any;
    wire [CW-1:0] one  = {{(CW-1){1'b0}}, 1'b1};

    wire [CW+1:0] thrice = {2'd0, avail_reg} + {1'b0, avail_reg, 1'b0};

    // What the words become; head_reg is the popped flow until it is replaced by the next.
    reg [CW-1:0]  avail_new;
    reg [CW-1:0]  half_new;

    always @* begin
        avail_new = avail;
        half_new  = half;
        case (op_reg)
            OP_INIT: begin
                avail_new = {CW{1'b0}};
                half_new  = {CW{1'b0}};
            end
            OP_PUSH: avail_new = avail + one;
            OP_POP:  avail_new = pops ? avail - one : avail;
            OP_HALF: begin
                avail_new = pops ? avail - one : avail;
                half_new  = pops ? half + one : half;
            end
            // A connection of a listener that has begun anew since: there is nothing to count down.
            OP_DEC:  half_new = (half == {CW{1'b0}}) ? half : half - one;
            default: half_new = half;
        endcase
    end

    wire [FW-1:0] head_write = hit_reg ? next : head_reg;

    nk_ram_1w1r #(.W(LW), .AW(FW)) u_lists (
        .clk(clk),
        .we(write_reg || !init_done_reg), .waddr(init_done_reg ? listener_reg : walk_reg),
        .wdata(init_done_reg ? {half_reg, avail_reg, tail_reg, head_write} : {LW{1'b0}}),
        .re(take), .raddr(req_listener), .rdata({half, avail, tail, head})
    );

    nk_ram_1w1r #(.W(FW), .AW(FW)) u_next (
        .clk(clk),
        .we(read_reg && op_reg == OP_PUSH && any), .waddr(tail), .wdata(flow_reg),
        .re(read_reg && pops), .raddr(head), .rdata(next)
    );

    always @(posedge clk) begin
        if (!init_done_reg) begin
            walk_reg      <= walk_reg + {{FW-1{1'b0}}, 1'b1};
            init_done_reg <= walk_reg == LAST_FLOW[FW-1:0];
        end

        if (take) begin
            op_reg       <= req_op;
            listener_reg <= req_listener;
            flow_reg     <= req_flow;
        end
        if (read_reg) begin
            hit_reg   <= pops;
            peek_reg  <= op_reg == OP_PEEK && any;
            head_reg  <= (op_reg == OP_PUSH && !any) ? flow_reg : head;
            tail_reg  <= (op_reg == OP_PUSH) ? flow_reg : tail;
            avail_reg <= avail_new;
            half_reg  <= half_new;
        end
        if (write_reg)
            // What is left is for those who have shown that they are there. A benign burst seldom comes that far.
            flood_reg <= half_reg != {CW{1'b0}} && ({2'd0, half_reg} >= thrice || (avail_reg == one && half_reg != one));

        read_reg  <= take;
        write_reg <= read_reg;
        done_reg  <= write_reg;

        if (rst) begin
            init_done_reg <= 1'b0;
            walk_reg      <= {FW{1'b0}};
            read_reg      <= 1'b0;
            write_reg     <= 1'b0;
            done_reg      <= 1'b0;
        end
    end

endmodule

`default_nettype wire
