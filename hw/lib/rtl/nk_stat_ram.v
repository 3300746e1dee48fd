// SPDX-License-Identifier: Apache-2.0
// Purpose: 2**AW event counters of 64 bits in memory, counted by several sources, one update a clock.
//
// Each source has a small FIFO. Clock 0 of an update reads the counter, clock 1 adds and writes. The
// next update reads in clock 1: if it is of the same counter, it takes the sum instead (forwarding).

`default_nettype none

module nk_stat_ram #(
    // log2 of the number of counters, 1 to 16.
    parameter AW = 8,
    // Number of sources, 1 or more.
    parameter NSRC = 2
) (
    // Clock and reset (synchronous, active high; then all counters are cleared, 2**AW clocks).
    input  wire               clk,
    input  wire               rst,

    // Sources, source 0 in the lowest bits: add s_inc to counter s_addr.
    input  wire [NSRC-1:0]    s_valid,
    output wire [NSRC-1:0]    s_ready,
    input  wire [NSRC*AW-1:0] s_addr,
    input  wire [NSRC*16-1:0] s_inc,

    // Read port: a pulse asks; the next one not before r_valid. 3 clocks, once `ready`.
    input  wire               r_req,
    input  wire [AW-1:0]      r_addr,
    output wire               r_valid,
    output wire [63:0]        r_data,

    // All counters are cleared.
    output wire               ready,
    // Updates or the clearing are under way.
    output wire               busy
);

    initial begin
        if (AW < 1 || AW > 16 || NSRC < 1) begin
            $display("%m: AW = %0d (1 to 16), NSRC = %0d (1 or more)", AW, NSRC);
            $finish;
        end
    end

    localparam GW = (NSRC > 1) ? $clog2(NSRC) : 1;

    // ----------------------------------------------------------------------------------- sources

    wire [NSRC-1:0]    f_valid;
    wire [NSRC-1:0]    f_ready;
    wire [NSRC*AW-1:0] f_addr;
    wire [NSRC*16-1:0] f_inc;
    wire [NSRC*3-1:0]  f_level;

    genvar g;
    generate
        for (g = 0; g < NSRC; g = g + 1) begin : g_src
            nk_fifo #(.W(AW + 16), .DEPTH_LOG2(2)) u_fifo (
                .clk(clk), .rst(rst),
                .s_data({s_addr[AW*g +: AW], s_inc[16*g +: 16]}),
                .s_valid(s_valid[g]), .s_ready(s_ready[g]),
                .m_data({f_addr[AW*g +: AW], f_inc[16*g +: 16]}),
                .m_valid(f_valid[g]), .m_ready(f_ready[g]),
                .level(f_level[3*g +: 3])
            );
        end
    endgenerate

    wire          grant_valid;
    wire [GW-1:0] grant;
    wire          grant_take;

    nk_arb_rr #(.N(NSRC)) u_arb (
        .clk(clk), .rst(rst), .req(f_valid), .advance(grant_take),
        .grant_valid(grant_valid), .grant(grant)
    );

    reg [AW-1:0]   upd_addr;
    reg [15:0]     upd_inc;
    reg [NSRC-1:0] upd_ready;
    integer        i;

    always @* begin
        upd_addr  = f_addr[AW-1:0];
        upd_inc   = f_inc[15:0];
        upd_ready = {NSRC{1'b0}};
        for (i = 0; i < NSRC; i = i + 1)
            if (grant == i[GW-1:0]) begin
                upd_addr     = f_addr[AW*i +: AW];
                upd_inc      = f_inc[16*i +: 16];
                upd_ready[i] = grant_take;
            end
    end

    assign f_ready = upd_ready;

    // ---------------------------------------------------------------------- read, add, write

    reg          ready_reg;
    reg [AW-1:0] walk_reg;
    reg          rd_pend_reg;
    reg [AW-1:0] rd_addr_reg;
    // Stage 1: an update (add and write) or a read of the read port.
    reg          s1_upd_reg;
    reg          s1_rd_reg;
    reg [AW-1:0] s1_addr_reg;
    reg [15:0]   s1_inc_reg;
    reg          s1_fwd_reg;
    reg [63:0]   sum_reg;
    reg          r_valid_reg;
    reg [63:0]   r_data_reg;

    // The read port goes first: it is rare, and never more than one.
    wire          rd_go = ready_reg && rd_pend_reg;
    wire [AW-1:0] raddr = rd_go ? rd_addr_reg : upd_addr;
    assign        grant_take = ready_reg && !rd_pend_reg && grant_valid;

    wire [63:0]   rdata;
    wire [63:0]   old = s1_fwd_reg ? sum_reg : rdata;
    wire [63:0]   sum = old + {48'd0, s1_inc_reg};

    nk_ram_1w1r #(.W(64), .AW(AW)) u_ram (
        .clk(clk),
        .we(!ready_reg || s1_upd_reg),
        .waddr(ready_reg ? s1_addr_reg : walk_reg),
        .wdata(ready_reg ? sum : 64'd0),
        .re(rd_go || grant_take),
        .raddr(raddr),
        .rdata(rdata)
    );

    assign r_valid = r_valid_reg;
    assign r_data  = r_data_reg;
    assign ready   = ready_reg;
    assign busy    = !ready_reg || (|s_valid) || (|f_level) || s1_upd_reg || rd_pend_reg || s1_rd_reg;

    always @(posedge clk) begin
        if (!ready_reg) begin
            walk_reg  <= walk_reg + {{AW-1{1'b0}}, 1'b1};
            ready_reg <= &walk_reg;
        end

        if (r_req) begin
            rd_pend_reg <= 1'b1;
            rd_addr_reg <= r_addr;
        end else if (rd_go) begin
            rd_pend_reg <= 1'b0;
        end

        s1_upd_reg  <= grant_take;
        s1_rd_reg   <= rd_go;
        s1_addr_reg <= raddr;
        s1_inc_reg  <= upd_inc;
        s1_fwd_reg  <= s1_upd_reg && s1_addr_reg == raddr;
        sum_reg     <= sum;
        r_valid_reg <= s1_rd_reg;
        r_data_reg  <= old;

        if (rst) begin
            ready_reg   <= 1'b0;
            walk_reg    <= {AW{1'b0}};
            rd_pend_reg <= 1'b0;
            s1_upd_reg  <= 1'b0;
            s1_rd_reg   <= 1'b0;
            r_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
