// SPDX-License-Identifier: Apache-2.0
// Proof: nk_arb_rr starves nobody: a requester that stays waits for at most N-1 grants to others. And what it grants was asked for.

`default_nettype none

module arb #(
    parameter N  = 5,
    parameter GW = $clog2(N)
) (
    input wire         clk,
    input wire         rst,
    input wire [N-1:0] req,
    input wire         advance
);
    wire          grant_valid;
    wire [GW-1:0] grant;
    nk_arb_rr #(.N(N)) dut (.clk(clk), .rst(rst), .req(req), .advance(advance), .grant_valid(grant_valid), .grant(grant));

    // Any one requester, and how many others were served since it waits.
    (* anyconst *) wire [GW-1:0] me;
    reg           seen;                    // there was a reset
    initial seen = 1'b0;
    reg  [GW:0]   others;
    reg  [GW-1:0] last;                    // the one served last
    wire          mine = grant_valid && grant == me;

    always @(posedge clk) begin
        seen <= 1'b1;
        if (!req[me] || (advance && mine)) others <= 0;
        else if (advance) others <= others + 1'b1;
        if (advance && grant_valid) last <= grant;
        if (rst) begin
            others <= 0;
            last   <= N - 1;
        end
    end

    // The requesters from the last one's neighbour up to the one before me.
    wire [GW:0] between = me > last ? me - last - 1 : me + N - last - 1;

    // What the arbiter keeps of the last one.
`ifdef GROUPS
    localparam G = (N + 31) / 32;
    (* hierconn *) wire [GW-6:0] \dut.g_groups.group_reg ;
    (* hierconn *) wire [31:0]   \dut.g_groups.above_reg ;
    (* hierconn *) wire [G-1:0]  \dut.g_groups.higher_reg ;
    wire [31:0]  above  = 32'hffff_fffe << last[4:0];
    wire [G-1:0] higher = {{(G - 1){1'b1}}, 1'b0} << last[GW-1:5];
    wire         fresh  = last == N - 1 && \dut.g_groups.group_reg == 0 && \dut.g_groups.above_reg == 32'hffff_ffff && &\dut.g_groups.higher_reg ;
    wire         known  = \dut.g_groups.group_reg == last[GW-1:5] && \dut.g_groups.above_reg == above && \dut.g_groups.higher_reg == higher;
`else
    (* hierconn *) wire [N-1:0] \dut.g_flat.above_reg ;
    wire [N-1:0] above = {{(N - 1){1'b1}}, 1'b0} << last;
    wire         fresh = last == N - 1 && &\dut.g_flat.above_reg ;
    wire         known = \dut.g_flat.above_reg == above;
`endif

    always @* begin
        assume (seen || rst);
        assume (me < N);
        if (seen) begin
            assert (grant_valid == |req);
            if (grant_valid) assert (grant < N && req[grant]);
            assert (last < N && (known || fresh));
            assert (others + between < N);
            assert (others <= N - 1);
        end
    end
endmodule

`default_nettype wire
