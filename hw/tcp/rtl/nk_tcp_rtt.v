// SPDX-License-Identifier: Apache-2.0
// Round-trip estimate and retransmission timeout by RFC 6298, after one sample.
//
// Combinational. srtt8 is SRTT * 8 and rttvar4 RTTVAR * 4, so that the RFC's 1/8 and 1/4 are shifts.

`default_nettype none

module nk_tcp_rtt (
    // State before the sample, and the sample.
    input  wire [31:0] srtt8,      // 0: no sample yet
    input  wire [31:0] rttvar4,
    input  wire [31:0] sample,     // us
    // Bounds of the timeout, microseconds.
    input  wire [31:0] p_rto_min,
    input  wire [31:0] p_rto_max,
    // State after it, and the timeout in microseconds.
    output wire [31:0] srtt8_out,
    output wire [31:0] rttvar4_out,
    output wire [31:0] rto
);
    wire        first = srtt8 == 32'd0;
    // 0 means 'none', and a sample beyond a minute is no round trip.
    wire [31:0] m     = sample == 32'd0 ? 32'd1 : sample > 32'd60_000_000 ? 32'd60_000_000 : sample;
    wire [31:0] srtt  = {3'd0, srtt8[31:3]};
    wire [31:0] delta = m > srtt ? m - srtt : srtt - m;

    assign srtt8_out   = first ? {m[28:0], 3'd0} : srtt8 - srtt + m;
    // First sample: RTTVAR = m / 2, so rttvar4 = 2 * m.
    assign rttvar4_out = first ? {m[30:0], 1'b0} : rttvar4 - {2'd0, rttvar4[31:2]} + delta;

    // RTO = SRTT + max(G, 4 * RTTVAR), G = 1 us.
    wire [31:0] raw = {3'd0, srtt8_out[31:3]} + (rttvar4_out == 32'd0 ? 32'd1 : rttvar4_out);
    assign rto = raw < p_rto_min ? p_rto_min : raw > p_rto_max ? p_rto_max : raw;
endmodule

`default_nettype wire
