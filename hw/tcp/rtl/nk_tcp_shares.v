// SPDX-License-Identifier: Apache-2.0
// Purpose: which VFs may send data now: guaranteed rates first, then shares by weight, nobody beyond its largest rate.
//
// What is charged is the frame with its headers, as the wire carries it but for preamble and FCS, in the clock in which its
// descriptor is made. ACKs, SYNs and RSTs are charged too, and never held back.

`default_nettype none

module nk_tcp_shares #(
    // VFs, 1 to 252.
    parameter NVF = 8,
    // Descriptor word: the txd_* fields of docs/interfaces.md, vf in the lowest bits.
    parameter TXDW = 717,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high); card time, microseconds.
    input  wire              clk,
    input  wire              rst,
    input  wire [31:0]       now_us,
    // Weights; rates in Mb/s, 0: none; {rx, tx} bursts in KiB.
    input  wire [NVF*8-1:0]  cfg_weight,
    input  wire [NVF*20-1:0] cfg_tx_max,
    input  wire [NVF*20-1:0] cfg_tx_min,
    input  wire [NVF*32-1:0] cfg_burst,
    // VFs with flows in their transmit list; little stands before the wire.
    input  wire [NVF-1:0]    waiting,
    input  wire              idle,
    // A descriptor.
    input  wire              txd_valid,
    input  wire [TXDW-1:0]   txd,
    // VFs that may send data.
    output wire [NVF-1:0]    ok,
    // Pulse: this VF waited so long for its largest rate.
    output wire              late_valid,
    output wire [VW-1:0]     late_vf,
    output wire [15:0]       late_us,
    // Somebody waits for tokens: look again at next_us.
    output wire              next_valid,
    output wire [31:0]       next_us,
    output wire              busy
);
    wire [NVF-1:0]    share_ok, max_ok, min_ok, has_min;
    wire [NVF*16-1:0] burst;
    wire              max_busy, min_busy;
    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign has_min[g]        = cfg_tx_min[20*g +: 20] != 20'd0;
            assign burst[16*g +: 16] = cfg_burst[32*g +: 16];
        end
    endgenerate
    wire [NVF-1:0] guaranteed = has_min & min_ok;
    assign ok = max_ok & ((|(waiting & guaranteed & max_ok)) ? guaranteed : share_ok);

    wire [VW-1:0]  vf      = txd[VW-1:0];
    wire [15:0]    payload = txd[245:230];
    wire           has_mss = txd[224:209] != 16'd0;
    wire           has_ts  = txd[392];
    wire [2:0]     blocks  = txd[460:458];
    wire [15:0]    bytes   = 16'd54 + payload + (has_ts ? 16'd12 : 16'd0) + (has_mss ? 16'd4 : 16'd0) + (blocks != 3'd0 ? {10'd0, blocks, 3'd4} : 16'd0);
    wire [15:0]    frame   = bytes < 16'd60 ? 16'd60 : bytes;

    nk_tcp_share #(.NVF(NVF)) share (
        .clk(clk), .rst(rst), .weight(cfg_weight), .waiting(waiting & max_ok), .idle(idle),
        .charge_valid(txd_valid), .charge_vf(vf), .charge_bytes(frame), .ok(share_ok)
    );

    nk_buckets #(.NVF(NVF)) largest (
        .clk(clk), .rst(rst), .now_us(now_us), .rate(cfg_tx_max), .burst(burst), .waiting(waiting),
        .charge_valid(txd_valid), .charge_vf(vf), .charge_bits({frame[14:0], 3'd0}), .ok(max_ok),
        .late_valid(late_valid), .late_vf(late_vf), .late_us(late_us), .next_valid(next_valid), .next_us(next_us), .busy(max_busy)
    );

    // Who waits for tokens of its guaranteed rate goes on by its share.
    wire           none_valid, none_late;
    wire [VW-1:0]  none_vf;
    wire [15:0]    none_us;
    wire [31:0]    none_next;
    nk_buckets #(.NVF(NVF)) guarantee (
        .clk(clk), .rst(rst), .now_us(now_us), .rate(cfg_tx_min), .burst(burst), .waiting({NVF{1'b0}}),
        .charge_valid(txd_valid), .charge_vf(vf), .charge_bits({frame[14:0], 3'd0}), .ok(min_ok),
        .late_valid(none_late), .late_vf(none_vf), .late_us(none_us), .next_valid(none_valid), .next_us(none_next), .busy(min_busy)
    );
    assign busy = max_busy || min_busy;

    wire unused = &{1'b0, none_valid, none_late, none_vf, none_us, none_next, frame[15], txd, cfg_burst};
endmodule

`default_nettype wire
