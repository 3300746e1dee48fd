// SPDX-License-Identifier: Apache-2.0
// Purpose: initial sequence numbers after RFC 6528, ISN = M + F(secret, both addresses), and SYN cookies, made and checked.
//
// M is a clock of 4 us steps. F and the cookies are HalfSipHash-2-4 of 19 bytes under the same secret: {local
// IP, remote IP, remote port, local port, peer's ISS, T}. T (24 bits) is 0 with an ISS of 0 for an ISN, else
// {1, MSS index[2:0], period[19:0]}, so the two never share a hash.
//
//   cookie:  31       30 28      27             0
//            period0  MSS index  hash[27:0]
//
// A period lasts 2**26 us, 67 s. A cookie is good in its own and in the next one; its top bit tells which of
// the two it was. The index is under the hash, so a guess has odds of 2**-28 whatever it claims.

`default_nettype none

module nk_tcp_isn (
    // Clock and reset (synchronous, active high).
    input  wire         clk,
    input  wire         rst,

    // Secret key and time in microseconds.
    input  wire [127:0] key,
    input  wire [47:0]  now_ext,

    // Request: req_cookie 0: ISN, 1: make a cookie, 2: check one. req_irs: the peer's ISS; req_mss: its MSS
    // option (0: none), to make; req_cookie_value: what its ACK acknowledges less one, to check.
    input  wire         req_valid,
    output wire         req_ready,
    input  wire [1:0]   req_cookie,
    input  wire [31:0]  req_lip,
    input  wire [15:0]  req_lport,
    input  wire [31:0]  req_rip,
    input  wire [15:0]  req_rport,
    input  wire [31:0]  req_irs,
    input  wire [15:0]  req_mss,
    input  wire [31:0]  req_cookie_value,

    // Answer, a pulse 15 clocks after the request: ISN or cookie; rsp_ok: it may be used (a cookie cannot
    // stand for an MSS below 536), or the checked one is good; rsp_mss: the MSS that the cookie stands for.
    output wire         rsp_valid,
    output wire [31:0]  rsp_isn,
    output wire         rsp_ok,
    output wire [15:0]  rsp_mss
);

    localparam MAKE  = 2'd1;
    localparam CHECK = 2'd2;

    // What a peer's MSS is rounded down to: no option (RFC 9293), then Ethernet less usual tunnels, PPPoE,
    // timestamps, and Ethernet.
    localparam [15:0] MSS0 = 16'd536;
    localparam [15:0] MSS1 = 16'd1024;
    localparam [15:0] MSS2 = 16'd1220;
    localparam [15:0] MSS3 = 16'd1300;
    localparam [15:0] MSS4 = 16'd1360;
    localparam [15:0] MSS5 = 16'd1400;
    localparam [15:0] MSS6 = 16'd1440;
    localparam [15:0] MSS7 = 16'd1460;

    // The lower half of the key is nk_flow_hash's.
    wire [63:0] key_unused = key[63:0];

    // -------------------------------------------------------------------------------- the request

    wire        cookie = req_cookie == MAKE || req_cookie == CHECK;
    wire [2:0]  best   = req_mss >= MSS7 ? 3'd7 : req_mss >= MSS6 ? 3'd6 : req_mss >= MSS5 ? 3'd5
                       : req_mss >= MSS4 ? 3'd4 : req_mss >= MSS3 ? 3'd3 : req_mss >= MSS2 ? 3'd2
                       : req_mss >= MSS1 ? 3'd1 : 3'd0;
    wire [2:0]  index  = (req_cookie == CHECK) ? req_cookie_value[30:28] : best;
    wire [19:0] now    = now_ext[45:26];
    // The cookie that is checked is of the period before when its parity is not this one's.
    wire        older = req_cookie == CHECK && req_cookie_value[31] != now[0];
    wire [19:0] period = now - {19'd0, older};
    wire [23:0] t      = cookie ? {1'b1, index, period} : 24'd0;

    reg  [1:0]  cookie_reg;
    reg  [2:0]  index_reg;
    reg         parity_reg;
    reg         mss_ok_reg;
    reg  [27:0] claim_reg;

    wire [31:0] hash;

    nk_halfsiphash #(.WORDS(5), .C(2), .D(4)) u_hash (
        .clk(clk), .rst(rst),
        .req_valid(req_valid), .req_ready(req_ready), .key(key[127:64]),
        .msg({8'd19, t, cookie ? req_irs : 32'd0, req_lport, req_rport, req_rip, req_lip}),
        .rsp_valid(rsp_valid), .rsp_hash(hash)
    );

    always @(posedge clk) begin
        if (req_valid && req_ready) begin
            cookie_reg <= req_cookie;
            index_reg  <= index;
            parity_reg <= period[0];
            mss_ok_reg <= req_mss == 16'd0 || req_mss >= MSS0;
            claim_reg  <= req_cookie_value[27:0];
        end
    end

    // --------------------------------------------------------------------------------- the answer

    reg [15:0] mss;

    always @* begin
        case (index_reg)
            3'd0: mss = MSS0;
            3'd1: mss = MSS1;
            3'd2: mss = MSS2;
            3'd3: mss = MSS3;
            3'd4: mss = MSS4;
            3'd5: mss = MSS5;
            3'd6: mss = MSS6;
            default: mss = MSS7;
        endcase
    end

    assign rsp_isn = (cookie_reg == MAKE) ? {parity_reg, index_reg, hash[27:0]} : now_ext[33:2] + hash;
    assign rsp_ok  = (cookie_reg == CHECK) ? hash[27:0] == claim_reg : (cookie_reg != MAKE || mss_ok_reg);
    assign rsp_mss = mss;

    // Time below 4 us and beyond 2**46 us, after which a period's number comes again: 2.2 years.
    wire time_unused = &{1'b0, now_ext};

endmodule

`default_nettype wire
