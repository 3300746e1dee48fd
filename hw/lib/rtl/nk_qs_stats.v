// SPDX-License-Identifier: Apache-2.0
// Purpose: N counters of 64 bits for each of 2**SW queue sets, each with a source of its own, one record a clock each.
//
// A memory a counter. Clock 0 reads it, clock 1 adds and writes. The next record reads in clock 1: if it is of
// the same set, it takes the sum instead (forwarding). Software reads a second copy, so it costs no record.

`default_nettype none

module nk_qs_stats #(
    // log2 of the number of queue sets, 1 to 12.
    parameter SW = 6,
    // Counters a queue set, 1 to 16.
    parameter N = 7
) (
    // Clock and reset (synchronous, active high; then all counters are cleared, 2**SW clocks).
    input  wire            clk,
    input  wire            rst,

    // Sources, counter 0 in the lowest bits: add qsc_inc to that counter of set qsc_set. Always taken, once `ready`.
    input  wire [N-1:0]    qsc_valid,
    input  wire [N*SW-1:0] qsc_set,
    input  wire [N*8-1:0]  qsc_inc,

    // Read port: a pulse asks for counter r_index of r_set; the next one not before r_valid. 3 clocks, once `ready`.
    input  wire            r_req,
    input  wire [SW-1:0]   r_set,
    input  wire [3:0]      r_index,
    output wire            r_valid,
    output wire [63:0]     r_data,

    // All counters are cleared.
    output wire            ready,
    // A record, a read or the clearing is under way.
    output wire            busy
);

    initial begin
        if (SW < 1 || SW > 12 || N < 1 || N > 16) begin
            $display("%m: SW = %0d (1 to 12), N = %0d (1 to 16)", SW, N);
            $finish;
        end
    end

    reg          ready_reg;
    reg [SW-1:0] walk_reg;
    reg          r_pend_reg;
    reg          r_read_reg;
    reg          r_valid_reg;
    reg [SW-1:0] r_set_reg;
    reg [3:0]    r_index_reg;
    reg [63:0]   r_data_reg;

    wire            r_go = r_pend_reg && ready_reg;
    wire [N*64-1:0] copies;
    wire [N-1:0]    adding;

    genvar g;
    generate
        for (g = 0; g < N; g = g + 1) begin : g_counter
            wire          take = qsc_valid[g] && ready_reg;
            wire [SW-1:0] set  = qsc_set[SW*g +: SW];
            reg           upd_reg;
            reg [SW-1:0]  set_reg;
            reg [7:0]     inc_reg;
            reg           fwd_reg;
            reg [63:0]    sum_reg;
            wire [63:0]   old;
            wire [63:0]   sum = (fwd_reg ? sum_reg : old) + {56'd0, inc_reg};

            assign adding[g] = upd_reg;

            nk_ram_1w1r #(.W(64), .AW(SW)) u_ram (
                .clk(clk),
                .we(upd_reg || !ready_reg), .waddr(ready_reg ? set_reg : walk_reg), .wdata(ready_reg ? sum : 64'd0),
                .re(take), .raddr(set), .rdata(old)
            );

            nk_ram_1w1r #(.W(64), .AW(SW)) u_copy (
                .clk(clk),
                .we(upd_reg || !ready_reg), .waddr(ready_reg ? set_reg : walk_reg), .wdata(ready_reg ? sum : 64'd0),
                .re(r_go), .raddr(r_set_reg), .rdata(copies[64*g +: 64])
            );

            always @(posedge clk) begin
                upd_reg <= take && !rst;
                if (take) begin
                    set_reg <= set;
                    inc_reg <= qsc_inc[8*g +: 8];
                    fwd_reg <= upd_reg && set_reg == set;
                end
                if (upd_reg)
                    sum_reg <= sum;
            end
        end
    endgenerate

    assign r_valid = r_valid_reg;
    assign r_data  = r_data_reg;
    assign ready   = ready_reg;
    assign busy    = !ready_reg || (|qsc_valid) || (|adding) || r_pend_reg || r_read_reg;

    reg [63:0] r_word;
    integer    i;

    always @* begin
        r_word = 64'd0;
        for (i = 0; i < N; i = i + 1)
            if (r_index_reg == i[3:0])
                r_word = copies[64*i +: 64];
    end

    always @(posedge clk) begin
        if (!ready_reg) begin
            walk_reg  <= walk_reg + {{SW-1{1'b0}}, 1'b1};
            ready_reg <= &walk_reg;
        end

        if (r_req) begin
            r_pend_reg  <= 1'b1;
            r_set_reg   <= r_set;
            r_index_reg <= r_index;
        end else if (r_go) begin
            r_pend_reg <= 1'b0;
        end
        r_read_reg  <= r_go;
        r_valid_reg <= r_read_reg;
        if (r_read_reg)
            r_data_reg <= r_word;

        if (rst) begin
            ready_reg   <= 1'b0;
            walk_reg    <= {SW{1'b0}};
            r_pend_reg  <= 1'b0;
            r_read_reg  <= 1'b0;
            r_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
