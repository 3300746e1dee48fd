// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_choose starts no pass of a flow that one of the three stages behind still holds, and lets no clock go by that
// somebody wants. A source loses 3N - 4 starts at most at which it could have started, whenever these come; segments lose N in a row.

`default_nettype none

module choose #(
    parameter N  = 8,
    parameter FW = 3
) (
    input wire            clk,
    input wire            rst,
    input wire [N-1:0]    req,
    input wire [N-1:0]    has_flow,
    input wire [N*FW-1:0] flow,
    input wire [2:0]      busy_valid,
    input wire [3*FW-1:0] busy_flow,
    input wire            spare_valid,
    input wire [FW-1:0]   spare_flow,
    input wire            room
);
    wire          start, spare, start_has;
    wire [2:0]    pick;
    wire [FW-1:0] start_flow;
    nk_tcp_choose #(.N(N), .FW(FW)) dut (
        .clk(clk), .rst(rst), .req(req), .has_flow(has_flow), .flow(flow), .busy_valid(busy_valid), .busy_flow(busy_flow),
        .spare_valid(spare_valid), .spare_flow(spare_flow), .room(room), .start(start), .spare(spare), .pick(pick),
        .pick_flow(start_flow), .pick_has_flow(start_has)
    );
    // What the module keeps: who goes before whom, and past whom segments went.
    (* hierconn *) wire [N*N-1:0] \dut.ahead_reg ;
    (* hierconn *) wire [N-1:0]   \dut.once_reg ;
    (* hierconn *) wire [N-1:0]   \dut.twice_reg ;
    (* hierconn *) wire           \dut.rx_last_reg ;

    // Who could start: its flow is not in the stages behind.
    reg [N-1:0] able;
    integer     i;
    always @* begin
        for (i = 0; i < N; i = i + 1)
            able[i] = req[i] && !(has_flow[i] && (busy_valid[0] && busy_flow[0 +: FW] == flow[i*FW +: FW]
                                               || busy_valid[1] && busy_flow[FW +: FW] == flow[i*FW +: FW]
                                               || busy_valid[2] && busy_flow[2*FW +: FW] == flow[i*FW +: FW]));
    end

    // Any one source but the segments: the turns and the segments that went before it when it could have started.
    (* anyconst *) wire [2:0] me;
    reg        seen;                // there was a reset
    initial seen = 1'b0;
    reg  [4:0] turns;
    reg  [4:0] segments;
    reg  [3:0] rx_lost;             // starts in a row at which a segment could have started
    wire       rx = start && !spare && pick == 3'd0;

    always @(posedge clk) begin
        seen <= 1'b1;
        if (!req[me] || (start && !spare && pick == me)) begin
            turns    <= 5'd0;
            segments <= 5'd0;
        end else if (start && able[me]) begin
            if (rx) segments <= segments + 5'd1;
            else    turns    <= turns + 5'd1;
        end
        if (rx) rx_lost <= 4'd0;
        else if (start && able[0]) rx_lost <= rx_lost + 4'd1;
        if (rst) begin
            turns    <= 5'd0;
            segments <= 5'd0;
            rx_lost  <= 4'd0;
        end
    end

    // For the induction: the order is one; those before me, and those past whom segments went twice.
    wire [N*N-1:0] ahead = \dut.ahead_reg ;
    reg  [N*N*N-1:0] wrong;
    wire           order = wrong == 0;
    reg  [3:0]     before_me;
    reg  [3:0]     passed;
    integer        a;
    integer        b;
    integer        c;
    always @* begin
        before_me = 4'd0;
        passed    = 4'd0;
        for (a = 0; a < N; a = a + 1) begin
            if (a != 0) before_me = before_me + ahead[me*N + a];
            if (a != 0) passed    = passed + \dut.twice_reg [a];
            for (b = 0; b < N; b = b + 1) begin
                for (c = 0; c < N; c = c + 1)
                    wrong[(a*N + b)*N + c] = (a == b ? ahead[a*N + b] : ahead[a*N + b] == ahead[b*N + a])
                                           || (ahead[a*N + b] && ahead[b*N + c] && !ahead[a*N + c]);
            end
        end
    end

    always @* begin
        assume (seen || rst);
        assume (me != 3'd0);
        if (seen) begin
            assert (start == (room && (able != 0 || spare_valid)));
            if (start && !spare) assert (able[pick] && start_has == has_flow[pick]
                                         && (!start_has || start_flow == flow[pick*FW +: FW]));
            if (start && spare) assert (spare_valid && start_has && start_flow == spare_flow && able == 0);
            assert (turns + segments <= 3 * N - 4);
            assert (rx_lost <= N);
            assert (order);
            assert (turns + before_me <= N - 2);
            assert ((\dut.twice_reg & ~\dut.once_reg ) == 0 && !\dut.once_reg [0]);
            assert (segments <= 2 * turns + \dut.once_reg [me] + \dut.twice_reg [me]);
            assert (rx_lost + passed <= N - \dut.rx_last_reg );
        end
    end
endmodule

`default_nettype wire
