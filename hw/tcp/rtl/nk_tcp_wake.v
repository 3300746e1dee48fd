// SPDX-License-Identifier: Apache-2.0
// Flows that wait for a next hop's MAC address: a few of them go on as soon as it is known.
//
// When all places are taken the oldest is given up: that flow's own timer asks again after NEIGH_RETRY_US.

`default_nettype none

module nk_tcp_wake #(
    parameter FW = 10,    // bits of a flow number
    parameter N  = 16     // flows that can wait here
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,
    // A flow waits for a next hop.
    input  wire          ask_valid,
    input  wire [FW-1:0] ask_flow,
    input  wire [31:0]   ask_ip,
    // A next hop is known (nk_neigh).
    input  wire          known_valid,
    input  wire [31:0]   known_ip,
    // A flow that may go on.
    output wire          wake_valid,
    input  wire          wake_ready,
    output wire [FW-1:0] wake_flow,
    output wire          busy
);
    reg  [N-1:0]    wait_reg;
    reg  [N-1:0]    go_reg;
    reg  [FW-1:0]   flow_reg [0:N-1];
    reg  [31:0]     ip_reg [0:N-1];
    reg  [N-1:0]    held;       // this flow waits already
    reg  [N-1:0]    free_one;   // lowest free place
    reg  [N-1:0]    go_one;
    reg  [FW-1:0]   go_flow;
    integer         i;

    always @* begin
        free_one = {N{1'b0}};
        go_one   = {N{1'b0}};
        go_flow  = {FW{1'b0}};
        for (i = N - 1; i >= 0; i = i - 1) begin
            held[i] = wait_reg[i] && flow_reg[i] == ask_flow;
            if (!wait_reg[i] && !go_reg[i]) begin
                free_one    = {N{1'b0}};
                free_one[i] = 1'b1;
            end
            if (go_reg[i]) begin
                go_one    = {N{1'b0}};
                go_one[i] = 1'b1;
                go_flow   = flow_reg[i];
            end
        end
    end
    reg  [N-1:0] oldest_reg;     // taken in turn
    wire [N-1:0] take = held != {N{1'b0}} ? held : free_one != {N{1'b0}} ? free_one : oldest_reg;

    assign wake_valid = go_reg != {N{1'b0}};
    assign wake_flow  = go_flow;
    assign busy       = wake_valid;

    integer k;
    always @(posedge clk) begin
        if (wake_valid && wake_ready) go_reg <= go_reg & ~go_one;
        if (ask_valid) oldest_reg <= {oldest_reg[N-2:0], oldest_reg[N-1]};
        for (k = 0; k < N; k = k + 1) begin
            if (known_valid && wait_reg[k] && ip_reg[k] == known_ip) begin
                wait_reg[k] <= 1'b0;
                go_reg[k]   <= 1'b1;
            end else if (ask_valid && take[k]) begin
                wait_reg[k] <= 1'b1;
                flow_reg[k] <= ask_flow;
                ip_reg[k]   <= ask_ip;
            end
        end
        if (rst) begin
            wait_reg <= {N{1'b0}};
            go_reg   <= {N{1'b0}};
            oldest_reg <= {{(N - 1){1'b0}}, 1'b1};
        end
    end
endmodule

`default_nettype wire
