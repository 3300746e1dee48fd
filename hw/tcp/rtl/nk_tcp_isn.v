// SPDX-License-Identifier: Apache-2.0
// Purpose: initial sequence numbers after RFC 6528: ISN = M + F(secret, local and remote address and port).
//
// M is a clock of 4 us steps, F is HalfSipHash-2-4 of the 12 bytes {local IP, remote IP, remote port,
// local port}. now_us has 32 bits, 71 minutes; two bits more are counted here so that M runs through all
// 32 bits, as RFC 9293, 3.4.1 wants.

`default_nettype none

module nk_tcp_isn (
    // Clock and reset (synchronous, active high).
    input  wire         clk,
    input  wire         rst,

    // Secret key and time in microseconds.
    input  wire [127:0] key,
    input  wire [31:0]  now_us,

    // Request.
    input  wire         req_valid,
    output wire         req_ready,
    input  wire [31:0]  req_lip,
    input  wire [15:0]  req_lport,
    input  wire [31:0]  req_rip,
    input  wire [15:0]  req_rport,

    // Answer, a pulse 13 clocks after the request.
    output wire         rsp_valid,
    output wire [31:0]  rsp_isn
);

    // The lower half of the key is nk_flow_hash's.
    wire [63:0] key_unused = key[63:0];

    wire [31:0] hash;

    nk_halfsiphash #(.WORDS(4), .C(2), .D(4)) u_hash (
        .clk(clk), .rst(rst),
        .req_valid(req_valid), .req_ready(req_ready), .key(key[127:64]),
        .msg({8'd12, 24'd0, req_lport, req_rport, req_rip, req_lip}),
        .rsp_valid(rsp_valid), .rsp_hash(hash)
    );

    // Wraps of now_us: its top bit falls.
    reg         top_reg;
    reg [1:0]   wraps_reg;
    wire        wrap  = top_reg && !now_us[31];
    wire [1:0]  wraps = wraps_reg + {1'b0, wrap};
    wire [31:0] clock_4us = {wraps, now_us[31:2]};
    // Fractions of a 4 us step.
    wire [1:0]  fraction_unused = now_us[1:0];

    assign rsp_isn = clock_4us + hash;

    always @(posedge clk) begin
        top_reg   <= now_us[31];
        wraps_reg <= wraps;
        if (rst) begin
            top_reg   <= 1'b0;
            wraps_reg <= 2'd0;
        end
    end

endmodule

`default_nettype wire
