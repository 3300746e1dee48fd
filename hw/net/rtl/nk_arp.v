// SPDX-License-Identifier: Apache-2.0
// Purpose: ARP for the VFs: answers requests for their addresses, sends requests, says what to learn (RFC 826).
//
//   | dst MAC | src MAC | 0806 | 0001 0800 06 04 | op | sha  | spa  | tha  | tpa  | 18 bytes 0 |
//   0         6         12     14                20   22     28     32     38     42           60

`default_nettype none

module nk_arp #(
    // Bus width in bits.
    parameter W = 512,
    // VFs: 1 to 64.
    parameter NVF = 8,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire              clk,
    input  wire              rst,

    // VFs: in use, addresses.
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,

    // ARP frames from nk_net_rx, for one clock. `arp_room`: a request would be answered.
    input  wire              arp_valid,
    output wire              arp_room,
    input  wire              arp_mine,
    input  wire              arp_request,
    input  wire [7:0]        arp_vf,
    input  wire [47:0]       arp_sha,
    input  wire [31:0]       arp_spa,
    input  wire              arp_forged,

    // To the neighbour table.
    output wire              ln_valid,
    output wire              ln_create,
    output wire [31:0]       ln_ip,
    output wire [47:0]       ln_mac,

    // Requests to send: broadcast from this VF, for this address.
    input  wire              arp_req_valid,
    output wire              arp_req_ready,
    input  wire [7:0]        arp_req_vf,
    input  wire [31:0]       arp_req_ip,

    // Frames, 60 bytes each. `m_local`: a request for the address of a VF of this card.
    output wire              m_valid,
    input  wire              m_ready,
    output wire [W-1:0]      m_data,
    output wire              m_last,
    output wire [LW:0]       m_bytes,
    output wire              m_local,

    // Counter pulses: a frame was sent.
    output wire              stat_tx_arp_requests,
    output wire              stat_tx_arp_replies,

    // A frame is to be sent or on its way.
    output wire              busy
);

    localparam [31:0] BYTES      = W / 8;
    localparam [31:0] BEATS      = (60 + BYTES - 1) / BYTES;
    localparam [31:0] LAST_BEAT  = BEATS - 1;
    localparam [31:0] LAST_BYTES = 60 - (BEATS - 1) * BYTES;

    function [47:0] rev48;
        input [47:0] x;
        rev48 = {x[7:0], x[15:8], x[23:16], x[31:24], x[39:32], x[47:40]};
    endfunction
    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction

    // ---- learn ----
    // A probe (RFC 5227) has no sender address: answered, not learned.
    wire spa_sane = arp_spa != 32'd0 && arp_spa[31:29] != 3'b111 && !arp_forged;
    assign ln_valid  = arp_valid && spa_sane;
    assign ln_create = arp_mine;
    assign ln_ip     = arp_spa;
    assign ln_mac    = arp_sha;

    // ---- answers wait while a frame is being sent ----
    wire        reply_valid;
    wire        reply_take;
    wire [7:0]  reply_vf;
    wire [47:0] reply_mac;
    wire [31:0] reply_ip;
    wire [2:0]  reply_level;

    nk_fifo #(.W(88), .DEPTH_LOG2(2), .FAST(1)) replies (
        .clk(clk), .rst(rst),
        .s_data({arp_vf, arp_sha, arp_spa}), .s_valid(arp_valid && arp_mine && arp_request), .s_ready(arp_room),
        .m_data({reply_vf, reply_mac, reply_ip}), .m_valid(reply_valid), .m_ready(reply_take), .level(reply_level)
    );

    // ---- build and send ----
    reg                sending_reg;
    reg                is_reply_reg;
    reg [3:0]          beat_reg;
    reg [BEATS*W-1:0]  frame_reg;

    assign reply_take    = reply_valid && !sending_reg;
    assign arp_req_ready = !reply_valid && !sending_reg;

    wire        req_take = arp_req_valid && arp_req_ready;
    wire [7:0]  vf       = reply_valid ? reply_vf : arp_req_vf;
    wire [47:0] our_mac  = cfg_mac[{24'd0, vf} * 48 +: 48];
    wire [31:0] our_ip   = cfg_ip[{24'd0, vf} * 32 +: 32];
    wire [47:0] eth_dst  = reply_valid ? reply_mac : {48{1'b1}};
    wire [47:0] tha      = reply_valid ? reply_mac : 48'd0;
    wire [31:0] tpa      = reply_valid ? reply_ip : arp_req_ip;
    wire        last     = beat_reg == LAST_BEAT[3:0];

    reg         here;
    reg         local_reg;
    integer     v;
    always @* begin
        here = 1'b0;
        if (req_take)
            for (v = 0; v < NVF; v = v + 1)
                if (cfg_en[v] && cfg_ip[32*v +: 32] == arp_req_ip) here = 1'b1;
    end
    assign m_local = local_reg;

    always @(posedge clk) begin
        if (reply_take || req_take) begin
            sending_reg  <= 1'b1;
            is_reply_reg <= reply_take;
            local_reg    <= here && !reply_take;
            beat_reg     <= 4'd0;
            // The first byte is in the lowest bits.
            frame_reg    <= {{BEATS*W-42*8{1'b0}}, rev32(tpa), rev48(tha), rev32(our_ip), rev48(our_mac),
                             reply_valid ? 8'd2 : 8'd1, 8'd0, 8'd4, 8'd6, 16'h0008, 16'h0100, 16'h0608,
                             rev48(our_mac), rev48(eth_dst)};
        end else if (m_valid && m_ready) begin
            beat_reg  <= beat_reg + 4'd1;
            frame_reg <= frame_reg >> W;
            if (last)
                sending_reg <= 1'b0;
        end
        if (rst)
            sending_reg <= 1'b0;
    end

    assign m_valid = sending_reg;
    assign m_data  = frame_reg[W-1:0];
    assign m_last  = last;
    assign m_bytes = last ? LAST_BYTES[LW:0] : BYTES[LW:0];

    wire sent = m_valid && m_ready && last;
    assign stat_tx_arp_requests = sent && !is_reply_reg;
    assign stat_tx_arp_replies  = sent && is_reply_reg;

    assign busy = reply_level != 3'd0 || sending_reg;

endmodule

`default_nettype wire
