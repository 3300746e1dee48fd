// SPDX-License-Identifier: Apache-2.0
// Purpose: merges the frame streams of TCP, ARP and ICMP into one, frame by frame, in turn.

`default_nettype none

module nk_net_tx_arb #(
    // Bus width in bits.
    parameter W = 512,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire         clk,
    input  wire         rst,

    // Segments.
    input  wire         tcp_valid,
    output wire         tcp_ready,
    input  wire [W-1:0] tcp_data,
    input  wire         tcp_last,
    input  wire [LW:0]  tcp_bytes,

    // ARP.
    input  wire         arp_valid,
    output wire         arp_ready,
    input  wire [W-1:0] arp_data,
    input  wire         arp_last,
    input  wire [LW:0]  arp_bytes,
    input  wire         arp_local,

    // Echo replies.
    input  wire         icmp_valid,
    output wire         icmp_ready,
    input  wire [W-1:0] icmp_data,
    input  wire         icmp_last,
    input  wire [LW:0]  icmp_bytes,

    // To nk_net_loop, and `arp_local` of the frame.
    output wire         tx_valid,
    input  wire         tx_ready,
    output wire [W-1:0] tx_data,
    output wire         tx_last,
    output wire [LW:0]  tx_bytes,
    output wire         tx_local,

    // A frame is on its way.
    output wire         busy
);

    wire [2:0] req = {icmp_valid, arp_valid, tcp_valid};
    wire [1:0] pick;
    wire       any;
    reg        locked_reg;     // in the middle of a frame
    reg  [1:0] source_reg;
    wire [1:0] source = locked_reg ? source_reg : pick;
    wire       out_ready;

    nk_arb_rr #(.N(3)) turn (
        .clk(clk), .rst(rst),
        .req(req), .advance(!locked_reg && out_ready), .grant_valid(any), .grant(pick)
    );

    reg          valid;
    reg  [W-1:0] data;
    reg          last;
    reg  [LW:0]  bytes;

    always @* begin
        case (source)
            2'd0:    begin valid = tcp_valid;  data = tcp_data;  last = tcp_last;  bytes = tcp_bytes;  end
            2'd1:    begin valid = arp_valid;  data = arp_data;  last = arp_last;  bytes = arp_bytes;  end
            default: begin valid = icmp_valid; data = icmp_data; last = icmp_last; bytes = icmp_bytes; end
        endcase
    end

    wire chosen = locked_reg || any;
    assign tcp_ready  = chosen && source == 2'd0 && out_ready;
    assign arp_ready  = chosen && source == 2'd1 && out_ready;
    assign icmp_ready = chosen && source == 2'd2 && out_ready;

    wire fire = chosen && valid && out_ready;
    always @(posedge clk) begin
        if (fire) begin
            locked_reg <= !last;
            source_reg <= source;
        end
        if (rst)
            locked_reg <= 1'b0;
    end

    nk_skid #(.W(W + LW + 3)) skid (
        .clk(clk), .rst(rst),
        .s_data({data, last, bytes, source == 2'd1 && arp_local}), .s_valid(chosen && valid), .s_ready(out_ready),
        .m_data({tx_data, tx_last, tx_bytes, tx_local}), .m_valid(tx_valid), .m_ready(tx_ready)
    );

    assign busy = tx_valid || locked_reg;

endmodule

`default_nettype wire
