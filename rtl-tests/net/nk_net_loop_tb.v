// SPDX-License-Identifier: Apache-2.0
// nk_net_loop with nk_net_rx_mux behind it, as nk_net has them.

`default_nettype none

module nk_net_loop_tb #(
    parameter W = 512,
    parameter NVF = 4,
    parameter LOOP_LOG2 = 13,
    parameter LW = $clog2(W / 8)
) (
    input  wire              clk,
    input  wire              rst,
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire              s_valid,
    output wire              s_ready,
    input  wire [W-1:0]      s_data,
    input  wire              s_last,
    input  wire [LW:0]       s_bytes,
    input  wire              s_local,
    output wire              tx_valid,
    input  wire              tx_ready,
    output wire [W-1:0]      tx_data,
    output wire              tx_last,
    output wire [LW:0]       tx_bytes,
    input  wire              w_valid,
    output wire              w_ready,
    input  wire [W-1:0]      w_data,
    input  wire              w_last,
    input  wire [LW:0]       w_bytes,
    output wire              m_valid,
    input  wire              m_ready,
    output wire [W-1:0]      m_data,
    output wire              m_last,
    output wire [LW:0]       m_bytes,
    output wire              m_local,
    output wire              stat_tx_frames,
    output wire [15:0]       stat_tx_bytes_inc,
    output wire              stat_loop,
    output wire [15:0]       stat_loop_bytes,
    output wire              stat_loop_drop,
    output wire              busy
);
    wire         l_valid;
    wire         l_ready;
    wire [W-1:0] l_data;
    wire         l_last;
    wire [LW:0]  l_bytes;

    nk_net_loop #(.W(W), .NVF(NVF), .LOOP_LOG2(LOOP_LOG2)) loop (
        .clk(clk), .rst(rst), .cfg_en(cfg_en), .cfg_mac(cfg_mac),
        .s_valid(s_valid), .s_ready(s_ready), .s_data(s_data), .s_last(s_last), .s_bytes(s_bytes), .s_local(s_local),
        .tx_valid(tx_valid), .tx_ready(tx_ready), .tx_data(tx_data), .tx_last(tx_last), .tx_bytes(tx_bytes),
        .l_valid(l_valid), .l_ready(l_ready), .l_data(l_data), .l_last(l_last), .l_bytes(l_bytes),
        .stat_tx_frames(stat_tx_frames), .stat_tx_bytes_inc(stat_tx_bytes_inc), .stat_loop(stat_loop),
        .stat_loop_bytes(stat_loop_bytes), .stat_loop_drop(stat_loop_drop), .busy(busy)
    );

    nk_net_rx_mux #(.W(W)) mux (
        .clk(clk), .rst(rst),
        .w_valid(w_valid), .w_ready(w_ready), .w_data(w_data), .w_last(w_last), .w_bytes(w_bytes),
        .l_valid(l_valid), .l_ready(l_ready), .l_data(l_data), .l_last(l_last), .l_bytes(l_bytes),
        .m_valid(m_valid), .m_ready(m_ready), .m_data(m_data), .m_last(m_last), .m_bytes(m_bytes), .m_local(m_local)
    );
endmodule

`default_nettype wire
