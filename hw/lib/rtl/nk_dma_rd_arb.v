// SPDX-License-Identifier: Apache-2.0
// Purpose: shares one DMA read channel between N clients and hands each its own data back.
//
// Requests are granted round robin. The number of the granted client goes into an order FIFO; data come
// back in the order of the requests, so its head says whose beat this is, up to the beat with `last`.

`default_nettype none

module nk_dma_rd_arb #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 64,
    // Number of clients, 1 or more.
    parameter N = 2,
    // log2 of the number of requests under way, 1 to 12; a beat a clock for short requests from 3 on.
    parameter DEPTH_LOG2 = 8,
    // Width of a byte lane number; follows from W, leave it.
    parameter LW = $clog2(W / 8)
) (
    // Clock and reset (synchronous, active high; forgets the requests under way).
    input  wire            clk,
    input  wire            rst,

    // Requests of the clients, client 0 in the lowest bits.
    input  wire [N-1:0]    s_valid,
    output wire [N-1:0]    s_ready,
    input  wire [N*8-1:0]  s_func,
    input  wire [N*64-1:0] s_addr,
    input  wire [N*16-1:0] s_len,
    input  wire [N*LW-1:0] s_lane,
    input  wire [N*16-1:0] s_wrap_len,
    input  wire [N*64-1:0] s_wrap_addr,

    // Data to the clients: shared beat, a valid and a ready each.
    output wire [N-1:0]    d_valid,
    input  wire [N-1:0]    d_ready,
    output wire [W-1:0]    d_data,
    output wire            d_last,

    // DMA read request.
    output wire            rdreq_valid,
    input  wire            rdreq_ready,
    output wire [7:0]      rdreq_func,
    output wire [63:0]     rdreq_addr,
    output wire [15:0]     rdreq_len,
    output wire [LW-1:0]   rdreq_lane,
    output wire [15:0]     rdreq_wrap_len,
    output wire [63:0]     rdreq_wrap_addr,

    // DMA read data.
    input  wire            rdat_valid,
    output wire            rdat_ready,
    input  wire [W-1:0]    rdat_data,
    input  wire            rdat_last,

    // A request waits or its data are not all delivered.
    output wire            busy
);

    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0 || N < 1 || DEPTH_LOG2 < 1 || DEPTH_LOG2 > 12
            || LW != $clog2(W / 8)) begin
            $display("%m: W = %0d (64 .. 512), N = %0d (1 or more), DEPTH_LOG2 = %0d (1 to 12), LW = %0d (derived)",
                     W, N, DEPTH_LOG2, LW);
            $finish;
        end
    end

    localparam GW = (N > 1) ? $clog2(N) : 1;
    localparam CW = 8 + 64 + 16 + LW + 16 + 64;

    // ---------------------------------------------------------------------------------- requests

    wire          grant_valid;
    wire [GW-1:0] grant;
    wire          req_skid_ready;
    wire          order_s_ready;
    wire          take = grant_valid && req_skid_ready && order_s_ready;

    nk_arb_rr #(.N(N)) u_arb (
        .clk(clk), .rst(rst), .req(s_valid), .advance(take), .grant_valid(grant_valid), .grant(grant)
    );

    // Constant slices and a compare each: cheaper in simulation than a variable slice of wide vectors.
    reg [CW-1:0] sel;
    reg [N-1:0]  sel_ready;
    integer      i;

    always @* begin
        sel       = {CW{1'b0}};
        sel_ready = {N{1'b0}};
        for (i = 0; i < N; i = i + 1)
            if (grant == i[GW-1:0]) begin
                sel = {s_func[8*i +: 8], s_addr[64*i +: 64], s_len[16*i +: 16], s_lane[LW*i +: LW],
                       s_wrap_len[16*i +: 16], s_wrap_addr[64*i +: 64]};
                sel_ready[i] = take;
            end
    end

    assign s_ready = sel_ready;

    nk_skid #(.W(CW)) u_req_skid (
        .clk(clk), .rst(rst),
        .s_data(sel), .s_valid(grant_valid && order_s_ready), .s_ready(req_skid_ready),
        .m_data({rdreq_func, rdreq_addr, rdreq_len, rdreq_lane, rdreq_wrap_len, rdreq_wrap_addr}),
        .m_valid(rdreq_valid), .m_ready(rdreq_ready)
    );

    // -------------------------------------------------------------------------------------- data

    wire [GW-1:0]       owner;
    wire                owner_valid;
    wire                beat_valid;
    wire                beat_ready;
    wire                beat_go = beat_valid && beat_ready;
    wire [DEPTH_LOG2:0] order_level;

    nk_fifo #(.W(GW), .DEPTH_LOG2(DEPTH_LOG2)) u_order (
        .clk(clk), .rst(rst),
        .s_data(grant), .s_valid(take), .s_ready(order_s_ready),
        .m_data(owner), .m_valid(owner_valid), .m_ready(beat_go && d_last),
        .level(order_level)
    );

    nk_skid #(.W(W + 1)) u_dat_skid (
        .clk(clk), .rst(rst),
        .s_data({rdat_last, rdat_data}), .s_valid(rdat_valid), .s_ready(rdat_ready),
        .m_data({d_last, d_data}), .m_valid(beat_valid), .m_ready(beat_ready)
    );

    reg [N-1:0] owner_onehot;
    integer     k;

    always @* begin
        owner_onehot = {N{1'b0}};
        for (k = 0; k < N; k = k + 1)
            owner_onehot[k] = owner_valid && owner == k[GW-1:0];
    end

    assign d_valid    = owner_onehot & {N{beat_valid}};
    assign beat_ready = |(owner_onehot & d_ready);
    assign busy       = (|s_valid) || order_level != {DEPTH_LOG2+1{1'b0}};

endmodule

`default_nettype wire
