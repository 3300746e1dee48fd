// SPDX-License-Identifier: Apache-2.0
// Round-trip estimate by RFC 6298, after one sample.
//
// Combinational. srtt8 is SRTT * 8 and rttvar4 RTTVAR * 4, so that the RFC's 1/8 and 1/4 are shifts.

`default_nettype none

module nk_tcp_rtt (
    // State before the sample, and the sample.
    input  wire [31:0] srtt8,      // 0: no sample yet
    input  wire [31:0] rttvar4,
    input  wire [31:0] sample,     // us
    // State after it.
    output wire [31:0] srtt8_out,
    output wire [31:0] rttvar4_out
);
    wire        first = srtt8 == 32'd0;
    // A sample beyond 16 s is no round trip; so SRTT * 8 and RTTVAR * 4 keep within 27 and 26 bits. 0 means 'none'.
    wire [23:0] m     = sample == 32'd0 ? 24'd1 : sample[31:24] != 8'd0 ? 24'hff_ffff : sample[23:0];
    wire [31:0] srtt  = {3'd0, srtt8[31:3]};
    wire [31:0] delta = {8'd0, m} > srtt ? {8'd0, m} - srtt : srtt - {8'd0, m};

    assign srtt8_out   = first ? {5'd0, m, 3'd0} : srtt8 - srtt + {8'd0, m};
    // First sample: RTTVAR = m / 2, so rttvar4 = 2 * m.
    assign rttvar4_out = first ? {7'd0, m, 1'b0} : rttvar4 - {2'd0, rttvar4[31:2]} + delta;
endmodule

`default_nettype wire
