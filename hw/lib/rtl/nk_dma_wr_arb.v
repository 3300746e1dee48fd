// SPDX-License-Identifier: Apache-2.0
// Purpose: shares one DMA write channel between N clients; the order of the grants is the posted order.
//
// Commands are granted round robin. The number of the client follows its command into a short order
// queue when the command has left, so data are never offered before their command, and the beats of one
// client, up to `last`, come before those of the next.

`default_nettype none

module nk_dma_wr_arb #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 64,
    // Number of clients, 1 or more.
    parameter N = 2,
    // Width of a byte lane number; follows from W, leave it.
    parameter LW = $clog2(W / 8)
) (
    // Clock and reset (synchronous, active high; forgets what is under way).
    input  wire            clk,
    input  wire            rst,

    // Commands of the clients, client 0 in the lowest bits.
    input  wire [N-1:0]    s_valid,
    output wire [N-1:0]    s_ready,
    input  wire [N*8-1:0]  s_func,
    input  wire [N*64-1:0] s_addr,
    input  wire [N*16-1:0] s_len,
    input  wire [N*LW-1:0] s_lane,
    input  wire [N*16-1:0] s_wrap_len,
    input  wire [N*64-1:0] s_wrap_addr,

    // Data of the clients: the beats of a command, the final one with `last`.
    input  wire [N-1:0]    sd_valid,
    output wire [N-1:0]    sd_ready,
    input  wire [N*W-1:0]  sd_data,
    input  wire [N-1:0]    sd_last,

    // DMA write command.
    output wire            wrreq_valid,
    input  wire            wrreq_ready,
    output wire [7:0]      wrreq_func,
    output wire [63:0]     wrreq_addr,
    output wire [15:0]     wrreq_len,
    output wire [LW-1:0]   wrreq_lane,
    output wire [15:0]     wrreq_wrap_len,
    output wire [63:0]     wrreq_wrap_addr,

    // DMA write data.
    output wire            wdat_valid,
    input  wire            wdat_ready,
    output wire [W-1:0]    wdat_data,
    output wire            wdat_last,

    // A command waits, or a command or its data are not all accepted downstream.
    output wire            busy
);

    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0 || N < 1 || LW != $clog2(W / 8)) begin
            $display("%m: W = %0d (64 .. 512), N = %0d (1 or more), LW = %0d (derived)", W, N, LW);
            $finish;
        end
    end

    localparam GW = (N > 1) ? $clog2(N) : 1;
    localparam CW = GW + 8 + 64 + 16 + LW + 16 + 64;

    // ---------------------------------------------------------------------------------- commands

    wire          grant_valid;
    wire [GW-1:0] grant;
    wire          cmd_s_ready;
    wire          take = grant_valid && cmd_s_ready;

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
                sel = {i[GW-1:0], s_func[8*i +: 8], s_addr[64*i +: 64], s_len[16*i +: 16],
                       s_lane[LW*i +: LW], s_wrap_len[16*i +: 16], s_wrap_addr[64*i +: 64]};
                sel_ready[i] = take;
            end
    end

    assign s_ready = sel_ready;

    wire          cmd_valid;
    wire [GW-1:0] cmd_owner;
    wire          order_s_ready;
    wire          cmd_go = cmd_valid && wrreq_ready && order_s_ready;

    nk_skid #(.W(CW)) u_cmd_skid (
        .clk(clk), .rst(rst),
        .s_data(sel), .s_valid(grant_valid), .s_ready(cmd_s_ready),
        .m_data({cmd_owner, wrreq_func, wrreq_addr, wrreq_len, wrreq_lane, wrreq_wrap_len,
                 wrreq_wrap_addr}),
        .m_valid(cmd_valid), .m_ready(wrreq_ready && order_s_ready)
    );

    // order_s_ready only falls when a command goes, so wrreq_valid stays until it is taken.
    assign wrreq_valid = cmd_valid && order_s_ready;

    // -------------------------------------------------------------------------------------- data

    wire [GW-1:0] owner;
    wire          owner_valid;
    wire          dat_s_ready;

    reg           beat_valid;
    reg           beat_last;
    reg [W-1:0]   beat_data;
    reg [N-1:0]   beat_ready;
    integer       k;

    always @* begin
        beat_valid = 1'b0;
        beat_last  = 1'b0;
        beat_data  = sd_data[W-1:0];
        beat_ready = {N{1'b0}};
        for (k = 0; k < N; k = k + 1)
            if (owner_valid && owner == k[GW-1:0]) begin
                beat_valid    = sd_valid[k];
                beat_last     = sd_last[k];
                beat_data     = sd_data[W*k +: W];
                beat_ready[k] = dat_s_ready;
            end
    end

    assign sd_ready = beat_ready;

    nk_skid #(.W(GW)) u_order (
        .clk(clk), .rst(rst),
        .s_data(cmd_owner), .s_valid(cmd_go), .s_ready(order_s_ready),
        .m_data(owner), .m_valid(owner_valid), .m_ready(beat_valid && beat_last && dat_s_ready)
    );

    nk_skid #(.W(W + 1)) u_dat_skid (
        .clk(clk), .rst(rst),
        .s_data({beat_last, beat_data}), .s_valid(beat_valid), .s_ready(dat_s_ready),
        .m_data({wdat_last, wdat_data}), .m_valid(wdat_valid), .m_ready(wdat_ready)
    );

    assign busy = (|s_valid) || cmd_valid || owner_valid || wdat_valid;

endmodule

`default_nettype wire
