// SPDX-License-Identifier: Apache-2.0
// Purpose: lays out the TCP options of a segment, packed to 32-bit words as Linux does it.
//
//   sack_n = 0:   [ 02 04 maxseg ] [ 04 02 or 01 01 | 08 0a | tsval | tsecr ] [ 01 03 03 shift ]
//                                  [ 01 01 04 02 ] without timestamps
//   sack_n > 0:   [ 01 01 08 0a | tsval | tsecr ] [ 01 01 05 length | left | right | ... ]
//
// Combinational. SACK blocks go on no SYN, so what belongs there is left out beside them; all fits into 40 bytes.

`default_nettype none

module nk_net_tx_opt (
    // Options of the descriptor, see docs/pipeline.md: MSS (0: none), window scale, timestamps, SACK.
    input  wire [15:0]  mss,
    input  wire         wscale_valid,
    input  wire [3:0]   wscale,
    input  wire         ts_valid,
    input  wire [31:0]  tsval,
    input  wire [31:0]  tsecr,
    input  wire         sack_ok,
    input  wire [2:0]   sack_n,
    input  wire [255:0] sack,

    // Their words, 0 to 10, and the bytes on the wire, the first one in the lowest bits; 0 behind the last word.
    output wire [3:0]   words,
    output wire [319:0] options
);

    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction

    // RFC 2018: three blocks beside timestamps.
    wire [2:0]  most    = ts_valid ? 3'd3 : 3'd4;
    wire [2:0]  blocks  = (sack_n > most) ? most : sack_n;
    wire        syn     = blocks == 3'd0;
    wire        has_mss = syn && mss != 16'd0;
    wire        has_sok = syn && sack_ok;
    wire        has_ws  = syn && wscale_valid;

    // The middle: timestamps, three words, or SACK permitted alone, one.
    wire [31:0] mid0    = ts_valid ? {has_sok ? 16'h0402 : 16'h0101, 16'h080a} : 32'h01010402;
    wire [3:0]  n_mid   = ts_valid ? 4'd3 : {3'd0, has_sok};

    // The end: window scale, or SACK blocks.
    wire [31:0] sk_head = {16'h0101, 8'h05, 8'd2 + {2'd0, blocks, 3'd0}};
    wire [31:0] ws_word = {24'h010303, 4'd0, wscale};
    wire [31:0] end0    = syn ? (has_ws ? ws_word : 32'd0) : sk_head;
    wire [3:0]  n_end   = syn ? {3'd0, has_ws} : {blocks, 1'b1};

    wire [255:0] list;
    assign list[63:0]    = {rev32(sack[63:32]),   rev32(sack[31:0])}    & {64{blocks > 3'd0}};
    assign list[127:64]  = {rev32(sack[127:96]),  rev32(sack[95:64])}   & {64{blocks > 3'd1}};
    assign list[191:128] = {rev32(sack[191:160]), rev32(sack[159:128])} & {64{blocks > 3'd2}};
    assign list[255:192] = {rev32(sack[255:224]), rev32(sack[223:192])} & {64{blocks > 3'd3}};
    wire [287:0] tail   = {list, rev32(end0)};
    wire [319:0] behind = ts_valid ? {tail[223:0], rev32(tsecr), rev32(tsval), rev32(mid0)}
                        : has_sok  ? {tail, rev32(mid0)} : {32'd0, tail};

    assign options = has_mss ? {behind[287:0], rev32({16'h0204, mss})} : behind;
    assign words   = {3'd0, has_mss} + n_mid + n_end;

endmodule

`default_nettype wire
