// SPDX-License-Identifier: Apache-2.0
// Proof: nk_tcp_choose and nk_tcp_pipe are the machine that takes one event after the other, for any flow and any schedule.
//
// The stages' logic is cut away (pipe.sby): what a stage gives is free in every clock, so it stands for any function of what it
// got. Then the pipeline is that machine if each pass of a flow finds the state that the pass before it left, and takes its own
// event and what its own stages gave from stage to stage.

`default_nettype none
`include "nk_abi.vh"
`include "nk_tcb.vh"
`include "nk_tcp_defs.vh"
`include "nk_tcp_seg.vh"

module pipe #(
    parameter FW = 2,
    parameter N  = 8,
    parameter SW = `SEG_W + 6
) (
    input wire                clk,
    input wire                rst,
    // Any schedule: what wants to start, with which flow, whether there is room.
    input wire [N-1:0]        req,
    input wire [N-1:0]        has_flow,
    input wire [N*FW-1:0]     flow,
    input wire                room,
    input wire                tx_room,
    // Any event, by some bits of each of its parts.
    input wire [2:0]          cls,
    input wire [3:0]          seg_bits,
    input wire [1:0]          op_bits,
    input wire [1:0]          isn_bits,
    input wire [1:0]          time_bits,
    input wire [1:0]          listener_bits,
    input wire                opens,
    input wire                cookie,
    input wire                wake,
    input wire                hold,
    input wire                listed
);
    wire [SW-1:0]     seg      = {seg_bits[3:2], {(SW - 4){1'b0}}, seg_bits[1:0]};
    wire [`OPW_W-1:0] op       = {op_bits[1], {(`OPW_W - 2){1'b0}}, op_bits[0]};
    wire [31:0]       isn      = {isn_bits[1], 30'd0, isn_bits[0]};
    wire [47:0]       now_ext  = {time_bits[1], 46'd0, time_bits[0]};
    wire [15:0]       listener = {listener_bits[1], 14'd0, listener_bits[0]};

    wire            init_done, start, start_has, spare_valid;
    wire [FW-1:0]   start_flow;
    wire [FW-1:0]   spare_flow;
    wire [2:0]      busy_valid;
    wire [3*FW-1:0] busy_flow;

    nk_tcp_choose #(.N(N), .FW(FW)) choose (
        .clk(clk), .rst(rst), .req(req), .has_flow(has_flow), .flow(flow), .busy_valid(busy_valid), .busy_flow(busy_flow),
        .spare_valid(spare_valid && tx_room), .spare_flow(spare_flow), .room(room && init_done), .start(start), .spare(),
        .pick(), .pick_flow(start_flow), .pick_has_flow(start_has)
    );
    nk_tcp_pipe #(.FLOWS(1 << FW)) dut (
        .clk(clk), .rst(rst), .now_ext(now_ext), .init_done(init_done), .i_valid(start), .i_has_flow(start_has), .i_cls(cls),
        .i_flow(start_flow), .i_seg(seg), .i_op(op), .i_isn(isn), .i_listener(listener), .i_open(opens), .i_cookie(cookie),
        .i_wake(wake), .i_listed(listed), .i_hold(hold),
        .busy_valid(busy_valid), .busy_flow(busy_flow), .spare_valid(spare_valid), .spare_flow(spare_flow)
    );

    // What goes into the stages and comes out of them, and the flow memory's ports and words (pipe.sby connects those).
    (* hierconn *) wire [`TCB_MEM_W-1:0] \dut.unpack.mem ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.unpack.tcb ;
    (* hierconn *) wire                  \dut.x1_i.valid ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x1_i.tcb ;
    (* hierconn *) wire [2:0]            \dut.x1_i.cls ;
    (* hierconn *) wire [SW-1:0]         \dut.x1_i.seg ;
    (* hierconn *) wire [`OPW_W-1:0]     \dut.x1_i.op ;
    (* hierconn *) wire [31:0]           \dut.x1_i.isn ;
    (* hierconn *) wire [15:0]           \dut.x1_i.listener ;
    (* hierconn *) wire                  \dut.x1_i.is_open ;
    (* hierconn *) wire                  \dut.x1_i.is_cookie ;
    (* hierconn *) wire                  \dut.x1_i.wake ;
    (* hierconn *) wire [47:0]           \dut.x1_i.now_ext ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x1_i.tcb_out ;
    (* hierconn *) wire                  \dut.x1_i.data_ok ;
    (* hierconn *) wire                  \dut.x1_i.ev_ack ;
    (* hierconn *) wire                  \dut.x1_i.ev_new ;
    (* hierconn *) wire                  \dut.x1_i.ev_dup ;
    (* hierconn *) wire                  \dut.x1_i.ev_syn ;
    (* hierconn *) wire                  \dut.x1_i.ev_rto ;
    (* hierconn *) wire                  \dut.x1_i.ev_reo ;
    (* hierconn *) wire                  \dut.x1_i.ev_tlp ;
    (* hierconn *) wire [1:0]            \dut.x1_i.rst_kind ;
    (* hierconn *) wire                  \dut.x2_i.valid ;
    (* hierconn *) wire                  \dut.x2_i.op ;
    (* hierconn *) wire [7:0]            \dut.x2_i.ev ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x2_i.tcb ;
    (* hierconn *) wire [SW-1:0]         \dut.x2_i.seg ;
    (* hierconn *) wire [47:0]           \dut.x2_i.now_ext ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x2_i.tcb_out ;
    (* hierconn *) wire                  \dut.x2_i.refuse ;
    (* hierconn *) wire                  \dut.x3_i.valid ;
    (* hierconn *) wire                  \dut.x3_i.has_flow ;
    (* hierconn *) wire [2:0]            \dut.x3_i.cls ;
    (* hierconn *) wire                  \dut.x3_i.hold ;
    (* hierconn *) wire [1:0]            \dut.x3_i.rst_kind ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x3_i.tcb ;
    (* hierconn *) wire [SW-1:0]         \dut.x3_i.seg ;
    (* hierconn *) wire [47:0]           \dut.x3_i.now_ext ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x3_i.tcb_out ;
    (* hierconn *) wire                  \dut.x4_i.on ;
    (* hierconn *) wire [2:0]            \dut.x4_i.cls ;
    (* hierconn *) wire                  \dut.x4_i.listed ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x4_i.tcb ;
    (* hierconn *) wire [SW-1:0]         \dut.x4_i.seg ;
    (* hierconn *) wire [47:0]           \dut.x4_i.now_ext ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.x4_i.tcb_out ;
    (* hierconn *) wire [`TCB_W-1:0]     \dut.pack.tcb ;
    (* hierconn *) wire [`TCB_MEM_W-1:0] \dut.pack.mem ;
    (* hierconn *) wire                  \dut.flow_ram.we ;
    (* hierconn *) wire [FW-1:0]         \dut.flow_ram.waddr ;
    (* hierconn *) wire [`TCB_MEM_W-1:0] \dut.flow_ram.wdata ;
    // Whose turn is before whose in nk_tcp_choose.
    (* hierconn *) wire [N*N-1:0] \choose.ahead_reg ;
    wire [`TCB_MEM_W-1:0] m0, m1, m2, m3;

    // Any one flow, and in which stages its passes are: 1 is S1, 2 to 5 are X1 to X4, 6 is WB.
    (* anyconst *) wire [FW-1:0] f;
    wire                  begins = start && start_has && start_flow == f;
    reg  [6:1]            at;
    wire [`TCB_MEM_W-1:0] mem_f = f == 2'd0 ? m0 : f == 2'd1 ? m1 : f == 2'd2 ? m2 : m3;

    // Beside the pipeline: what each stage gave in the clock before, the state after the flow's last pass but for one that
    // is in WB, and the events.
    reg                   seen;          // there was a reset
    initial seen = 1'b0;
    reg  [`TCB_W-1:0]     left_x1;
    reg  [`TCB_W-1:0]     left_x2;
    reg  [`TCB_W-1:0]     left_x3;
    reg  [`TCB_MEM_W-1:0] left_x4;
    reg  [7:0]            left_ev;
    reg  [1:0]            left_rst;
    reg                   left_refuse;
    reg  [`TCB_MEM_W-1:0] kept;
    wire [`TCB_MEM_W-1:0] state = at[6] ? left_x4 : kept;

    localparam EW = 5 + 16 + 32 + `OPW_W + 48 + SW + 3, HW = 2 + 48 + SW + 3;
    reg  [EW-1:0]         event_1;       // hold | listed | open | cookie | wake | listener | isn | op | time | segment | class
    reg  [EW-1:0]         event_2;
    reg  [HW-1:0]         event_3;       // hold | listed | time | segment | class
    reg  [HW-1:0]         event_4;
    reg  [HW-1:0]         event_5;

    always @(posedge clk) begin
        seen        <= 1'b1;
        at          <= {at[5:1], begins};
        left_x1     <= \dut.x1_i.tcb_out ;
        left_x2     <= \dut.x2_i.tcb_out ;
        left_x3     <= \dut.x3_i.tcb_out ;
        left_x4     <= \dut.pack.mem ;
        left_ev     <= {\dut.x1_i.data_ok , \dut.x1_i.ev_ack , \dut.x1_i.ev_new , \dut.x1_i.ev_dup , \dut.x1_i.ev_syn , \dut.x1_i.ev_rto ,
                        \dut.x1_i.ev_reo , \dut.x1_i.ev_tlp };
        left_rst    <= \dut.x1_i.rst_kind ;
        left_refuse <= \dut.x2_i.refuse ;
        event_1     <= {hold, listed, opens, cookie, wake, listener, isn, op, now_ext, seg, cls};
        event_2     <= event_1;
        event_3     <= {event_2[EW-1:EW-2], event_2[50+SW:0]};
        event_4     <= event_3;
        event_5     <= event_4;
        if (at[6]) kept <= left_x4;
        if (rst) begin
            at   <= 6'd0;
            kept <= {`TCB_MEM_W{1'b0}};
        end
    end

    // For the induction: that is one order, so somebody who could start is first.
    wire [N*N-1:0]   ahead = \choose.ahead_reg ;
    reg  [N*N*N-1:0] wrong;
    integer               a;
    integer               b;
    integer               c;
    always @*
        for (a = 0; a < N; a = a + 1)
            for (b = 0; b < N; b = b + 1)
                for (c = 0; c < N; c = c + 1)
                    wrong[(a*N + b)*N + c] = (a == b ? ahead[a*N + b] : ahead[a*N + b] == ahead[b*N + a])
                                         || (ahead[a*N + b] && ahead[b*N + c] && !ahead[a*N + c]);

    always @* begin
        assume (seen || rst);
        if (seen) begin
            assert (wrong == 0);
            // The pass before has left X4 when the next one of the flow comes to X1; that finds what it left.
            if (begins) assert (at[3:1] == 3'd0);
            if (at[2]) begin
                assert (at[5:3] == 3'd0);
                assert (\dut.unpack.mem == state);
                assert (\dut.x1_i.valid && \dut.x1_i.tcb [`TCB_STATE] == \dut.unpack.tcb [`TCB_STATE]);
                assert ({\dut.x1_i.is_open , \dut.x1_i.is_cookie , \dut.x1_i.wake , \dut.x1_i.listener , \dut.x1_i.isn , \dut.x1_i.op ,
                         \dut.x1_i.now_ext , \dut.x1_i.seg , \dut.x1_i.cls } == event_2[EW-3:0]);
            end
            // From stage to stage.
            if (at[3]) begin
                assert (\dut.x2_i.valid && \dut.x2_i.tcb == left_x1 && \dut.x2_i.ev == left_ev);
                assert (\dut.x2_i.op == (event_3[2:0] == `NK_EV_OP));
                assert ({\dut.x2_i.now_ext , \dut.x2_i.seg } == event_3[HW-3:3]);
            end
            if (at[4]) begin
                assert (\dut.x3_i.valid && \dut.x3_i.has_flow && \dut.x3_i.tcb == left_x2);
                assert (left_refuse || \dut.x3_i.rst_kind == rst_kind);
                assert ({\dut.x3_i.hold , \dut.x3_i.now_ext , \dut.x3_i.seg , \dut.x3_i.cls } == {event_4[HW-1], event_4[HW-3:0]});
            end
            if (at[5]) begin
                assert (\dut.x4_i.on && \dut.x4_i.tcb == left_x3);
                assert ({\dut.x4_i.listed , \dut.x4_i.now_ext , \dut.x4_i.seg , \dut.x4_i.cls } == event_5[HW-2:0]);
                assert (\dut.pack.tcb == \dut.x4_i.tcb_out );
            end
            // That alone is written, and the memory holds it; before the first pass, nothing.
            if (init_done) begin
                assert (at[6] == (\dut.flow_ram.we && \dut.flow_ram.waddr == f));
                if (at[6]) assert (\dut.flow_ram.wdata == left_x4);
            end else assert (at == 6'd0 && kept == {`TCB_MEM_W{1'b0}});
            if (init_done || \dut.flow_ram.waddr > f) assert (mem_f == kept);
        end
    end

    // What X1 asked for, a clock later.
    reg [1:0] rst_kind;
    always @(posedge clk) rst_kind <= left_rst;
endmodule

`default_nettype wire
