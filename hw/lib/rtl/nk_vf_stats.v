// SPDX-License-Identifier: Apache-2.0
// Purpose: N counters of 64 bits for each of 2**VW VFs, counted together, a record every clock.
//
// A memory a counter. Clock 0 reads it, clock 1 adds and writes. The next record reads in clock 1: if it is of
// the same VF, it takes the sum instead (forwarding). Software reads a second copy, so it costs no record.

`default_nettype none

module nk_vf_stats #(
    // log2 of the number of VFs, 1 to 12.
    parameter VW = 3,
    // Counters a VF, 1 to 16.
    parameter N = 8
) (
    // Clock and reset (synchronous, active high; then all counters are cleared, 2**VW clocks).
    input  wire            clk,
    input  wire            rst,

    // Record: what to add to the counters of s_vf, counter 0 in the lowest bits. Always taken, once `ready`.
    input  wire            s_valid,
    input  wire [VW-1:0]   s_vf,
    input  wire [N*16-1:0] s_inc,

    // Read port: a pulse asks for counter r_index of r_vf; the next one not before r_valid. 3 clocks, once `ready`.
    input  wire            r_req,
    input  wire [VW-1:0]   r_vf,
    input  wire [3:0]      r_index,
    output wire            r_valid,
    output wire [63:0]     r_data,

    // All counters are cleared.
    output wire            ready,
    // A record or the clearing is under way.
    output wire            busy
);

    initial begin
        if (VW < 1 || VW > 12 || N < 1 || N > 16) begin
            $display("%m: VW = %0d (1 to 12), N = %0d (1 to 16)", VW, N);
            $finish;
        end
    end

    reg          ready_reg;
    reg [VW-1:0] walk_reg;
    reg          add_reg;
    reg [VW-1:0] vf_reg;
    reg          r_pend_reg;
    reg          r_read_reg;
    reg          r_valid_reg;
    reg [VW-1:0] r_vf_reg;
    reg [3:0]    r_index_reg;
    reg [63:0]   r_data_reg;

    wire take = s_valid && ready_reg;
    wire r_go = r_pend_reg && ready_reg;

    wire [N*64-1:0] copies;

    genvar g;
    generate
        for (g = 0; g < N; g = g + 1) begin : g_counter
            // Most records leave most counters as they are: nothing is read or written then.
            wire [15:0] inc = s_inc[16*g +: 16];
            wire        use_it = take && inc != 16'd0;
            reg         upd_reg;
            reg [15:0]  inc_reg;
            reg         fwd_reg;
            reg [63:0]  sum_reg;
            wire [63:0] old;
            wire [63:0] sum = (fwd_reg ? sum_reg : old) + {48'd0, inc_reg};

            nk_ram_1w1r #(.W(64), .AW(VW)) u_ram (
                .clk(clk),
                .we(upd_reg || !ready_reg), .waddr(ready_reg ? vf_reg : walk_reg), .wdata(ready_reg ? sum : 64'd0),
                .re(use_it), .raddr(s_vf), .rdata(old)
            );

            nk_ram_1w1r #(.W(64), .AW(VW)) u_copy (
                .clk(clk),
                .we(upd_reg || !ready_reg), .waddr(ready_reg ? vf_reg : walk_reg), .wdata(ready_reg ? sum : 64'd0),
                .re(r_go), .raddr(r_vf_reg), .rdata(copies[64*g +: 64])
            );

            always @(posedge clk) begin
                upd_reg <= use_it && !rst;
                if (use_it) begin
                    inc_reg <= inc;
                    fwd_reg <= upd_reg && vf_reg == s_vf;
                end
                if (upd_reg)
                    sum_reg <= sum;
            end
        end
    endgenerate

    assign r_valid = r_valid_reg;
    assign r_data  = r_data_reg;
    assign ready   = ready_reg;
    assign busy    = !ready_reg || s_valid || add_reg || r_pend_reg || r_read_reg;

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
            walk_reg  <= walk_reg + {{VW-1{1'b0}}, 1'b1};
            ready_reg <= &walk_reg;
        end

        add_reg <= take;
        if (take)
            vf_reg <= s_vf;

        if (r_req) begin
            r_pend_reg  <= 1'b1;
            r_vf_reg    <= r_vf;
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
            walk_reg    <= {VW{1'b0}};
            add_reg     <= 1'b0;
            r_pend_reg  <= 1'b0;
            r_read_reg  <= 1'b0;
            r_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
