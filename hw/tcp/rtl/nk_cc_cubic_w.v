// SPDX-License-Identifier: Apache-2.0
// CUBIC's curve at this moment: W(t) = C * (t - K)^3 + W_max (RFC 9438, 4.2), in bytes.
//
// Three multiplications in a row, of the flow's stored state and the time alone.

`default_nettype none

module nk_cc_cubic_w (
    // time, in 1024 us; t0 is when the curve reaches w_max
    input  wire [21:0] now,
    input  wire [21:0] t0,
    // the curve: where it is flat, and C * MSS * 100
    input  wire [24:0] w_max,
    input  wire [23:0] c_mss,
    // bytes; between 0 and 2^25 - 1
    output wire [24:0] w_cubic,
    // t0 lies further ahead than any curve begins: the time has wrapped since
    output wire        stale
);
    wire [21:0] dt     = now - t0;
    wire        early  = dt[21];
    wire [21:0] abs_dt = early ? -dt : dt;
    wire        far    = abs_dt[21:17] != 5'd0;
    wire [16:0] d      = far ? 17'h1FFFF : abs_dt[16:0];   // 134 s: the curve has left all bounds by then

    wire [33:0] square = d * d;
    wire [41:0] cube   = square[33:9] * d;                 // d^3 / 2^9
    wire [24:0] cube_h = cube[41:17];                      // d^3 / 2^26

    // Bytes for a unit of cube_h, in 1/256: c_mss / 100 * (1.024 ms)^3 * 2^26 * 256 = c_mss * 0.18447.
    wire [31:0] scaled = c_mss * 8'd189 + 32'd512;
    wire [17:0] factor = scaled[31:28] != 4'd0 ? 18'h3FFFF : scaled[27:10];
    wire [42:0] bytes  = cube_h * factor;
    wire [24:0] delta  = bytes[42:33] != 10'd0 ? 25'h1FFFFFF : bytes[32:8];

    wire [25:0] above  = {1'b0, w_max} + {1'b0, delta};
    assign w_cubic = early ? (w_max > delta ? w_max - delta : 25'd0)
                           : (above[25] ? 25'h1FFFFFF : above[24:0]);
    assign stale   = early && far;

    wire unused = &{1'b0, square[8:0], cube[16:0], scaled[9:0], bytes[7:0]};
endmodule

`default_nettype wire
