// SPDX-License-Identifier: Apache-2.0
// Retransmission timeout by RFC 6298 from the round-trip estimate and the number of doublings.
//
// Combinational.

`default_nettype none

module nk_tcp_rto (
    // Estimate, us * 8 and us * 4; srtt8 = 0: no sample yet.
    input  wire [31:0] srtt8,
    input  wire [31:0] rttvar4,
    // Bounds, and the timeout without a sample, microseconds. p_rto_max is below 2^31.
    input  wire [31:0] p_rto_min,
    input  wire [31:0] p_rto_init,
    input  wire [31:0] p_rto_max,
    input  wire [3:0]  backoff,
    // Microseconds.
    output wire [31:0] rto
);
    // RTO = SRTT + max(G, 4 * RTTVAR), G = 1 us.
    wire [31:0] raw  = {3'd0, srtt8[31:3]} + (rttvar4 == 32'd0 ? 32'd1 : rttvar4);
    wire [31:0] base = srtt8 == 32'd0 ? p_rto_init : raw < p_rto_min ? p_rto_min : raw;
    // Doubled at most 15 times: 47 bits.
    wire [46:0] long = {15'd0, base} << backoff;

    assign rto = long > {15'd0, p_rto_max} ? p_rto_max : long[31:0];
endmodule

`default_nettype wire
