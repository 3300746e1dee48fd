// SPDX-License-Identifier: Apache-2.0
// Purpose: turns frames for a VF of this card round, inside the card: a switch with one port to the wire.
//
// A frame goes round if its destination MAC is an enabled VF's, or if it is an ARP request for the address of one (`s_local`).
// What comes round waits in a memory of whole frames. When that is full, a frame is dropped, as a switch would:
// the transmit side never waits for the receive side, which may be waiting for it.

`default_nettype none

module nk_net_loop #(
    // Bus width in bits.
    parameter W = 512,
    // VFs, 1 to 252.
    parameter NVF = 8,
    // log2 of the bytes that wait, 12 to 17.
    parameter LOOP_LOG2 = 15,
    // Derived, leave them.
    parameter LW = $clog2(W / 8)
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,
    // VFs: in use, MAC.
    input  wire [NVF-1:0]    cfg_en,
    input  wire [NVF*48-1:0] cfg_mac,
    // Frames of the card.
    input  wire              s_valid,
    output wire              s_ready,
    input  wire [W-1:0]      s_data,
    input  wire              s_last,
    input  wire [LW:0]       s_bytes,
    input  wire              s_local,
    // To the wire.
    output wire              tx_valid,
    input  wire              tx_ready,
    output wire [W-1:0]      tx_data,
    output wire              tx_last,
    output wire [LW:0]       tx_bytes,
    // Back. A frame stands whole before its first beat is offered.
    output wire              l_valid,
    input  wire              l_ready,
    output wire [W-1:0]      l_data,
    output wire              l_last,
    output wire [LW:0]       l_bytes,
    // Pulses: a frame of so many bytes went to the wire; one went round; one was dropped.
    output reg               stat_tx_frames,
    output reg  [15:0]       stat_tx_bytes_inc,
    output reg               stat_loop,
    output reg  [15:0]       stat_loop_bytes,
    output reg               stat_loop_drop,
    // Frames wait.
    output wire              busy
);
    localparam AW = LOOP_LOG2 - LW;
    localparam DW = W + LW + 2;

    // ---- where to: by the first beat -----------------------------------------------------------------------
    reg          first_reg;             // the next beat is the first of a frame
    reg          round_reg;
    wire [47:0]  dmac = {s_data[7:0], s_data[15:8], s_data[23:16], s_data[31:24], s_data[39:32], s_data[47:40]};
    reg          ours;
    integer      v;
    always @* begin
        ours = s_local;
        if (first_reg && s_valid)
            for (v = 0; v < NVF; v = v + 1)
                if (cfg_en[v] && cfg_mac[48*v +: 48] == dmac) ours = 1'b1;
    end
    wire         to_round = first_reg ? ours : round_reg;
    wire         fire     = s_valid && s_ready;
    assign s_ready  = to_round || tx_ready;
    assign tx_valid = s_valid && !to_round;
    assign tx_data  = s_data;
    assign tx_last  = s_last;
    assign tx_bytes = s_bytes;

    // ---- memory of frames: written beyond `end_reg`, which moves when a frame is whole -----------------------
    reg  [AW:0]  wr_reg;
    reg  [AW:0]  end_reg;
    reg  [AW:0]  rd_reg;
    reg          lost_reg;              // the frame under way found no room
    reg  [15:0]  length_reg;
    localparam [AW:0] SIZE = {1'b1, {AW{1'b0}}};
    wire [AW:0]  used  = wr_reg - rd_reg;
    wire         full  = used == SIZE;
    wire         put   = fire && to_round;
    wire         lost  = (!first_reg && lost_reg) || full;
    wire [15:0]  length = (first_reg ? 16'd0 : length_reg) + {{(15 - LW){1'b0}}, s_bytes};

    reg          out_valid_reg;
    wire         fetch = rd_reg != end_reg && (!out_valid_reg || l_ready);
    nk_ram_1w1r #(.W(DW), .AW(AW)) memory (
        .clk(clk), .we(put && !lost), .waddr(wr_reg[AW-1:0]), .wdata({s_last, s_bytes, s_data}),
        .re(fetch), .raddr(rd_reg[AW-1:0]), .rdata({l_last, l_bytes, l_data})
    );
    assign l_valid = out_valid_reg;
    assign busy    = rd_reg != wr_reg || out_valid_reg || !first_reg || stat_tx_frames;

    always @(posedge clk) begin
        stat_loop      <= 1'b0;
        stat_loop_drop <= 1'b0;
        if (fire) begin
            first_reg <= s_last;
            round_reg <= to_round;
        end
        stat_tx_frames <= fire && !to_round && s_last;
        if (fire) begin
            length_reg        <= length;
            stat_tx_bytes_inc <= length;
        end
        if (put) begin
            lost_reg   <= lost;
            if (!lost) wr_reg <= wr_reg + {{AW{1'b0}}, 1'b1};
            if (s_last) begin
                if (lost) wr_reg <= end_reg;
                else      end_reg <= wr_reg + {{AW{1'b0}}, 1'b1};
                stat_loop       <= !lost;
                stat_loop_drop  <= lost;
                stat_loop_bytes <= length;
            end
        end
        if (fetch) rd_reg <= rd_reg + {{AW{1'b0}}, 1'b1};
        out_valid_reg <= fetch || (out_valid_reg && !l_ready);
        if (rst) begin
            first_reg     <= 1'b1;
            wr_reg        <= {(AW + 1){1'b0}};
            end_reg       <= {(AW + 1){1'b0}};
            rd_reg        <= {(AW + 1){1'b0}};
            out_valid_reg <= 1'b0;
            stat_loop      <= 1'b0;
            stat_loop_drop <= 1'b0;
            stat_tx_frames <= 1'b0;
        end
    end
endmodule

`default_nettype wire
