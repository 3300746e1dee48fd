// SPDX-License-Identifier: Apache-2.0
// Carries out the protocol pipeline's ordered actions: payload into RX rings, events behind it.
//
// One word a pass: what to do with the segment's payload, and behind that what to tell. One FIFO keeps the order
// of the passes. PLACE takes the next payload from the staging FIFO and writes the wanted part by DMA, DROP
// discards it. EVENT goes to the receive-ring writer once every write before it was accepted (so an event never
// overtakes its data), FLUSHED tells that a VF has no write left here.
//
// Action word, lowest bits first:
//
//   payload 2 (0 NONE, 1 PLACE, 2 DROP) | vf 8
//   | PLACE: addr 64, len 16, lane LW, skip 16 (beats), wrap_len 16, wrap_addr 64
//   | event 2 (0 NONE, 1 EVENT, 2 FLUSHED) | EVENT: qs 8, op 8, socket 16, data 64, size 32, status 8
//
// Three queues, so that one-beat writes follow each other in every clock:
//
//   act ─▶ words ─┬─▶ wr_*
//                 └─▶ jobs: payload beats ─▶ wd_*, then ─▶ events ─▶ ev_*
//
// A word leaves the first queue only if the last one has room for its event. So once a write command is given its
// data never wait for the taker of events, who may himself wait for the DMA channel behind that command.

`default_nettype none

module nk_place #(
    parameter W  = 512,             // bus bits, 64 to 512
    parameter DEPTH_LOG2 = 5,       // log2 of the words that wait, 2 to 10
    parameter LW = $clog2(W / 8),   // derived
    parameter AW = 324 + LW         // derived: bits of an action word
) (
    input  wire                clk,
    input  wire                rst,
    // actions, in order
    input  wire                act_valid,
    output wire                act_ready,
    input  wire [AW-1:0]       act,
    output wire [DEPTH_LOG2:0] act_level,     // words held of 2**DEPTH_LOG2
    // payload of received segments
    input  wire                pay_valid,
    output wire                pay_ready,
    input  wire [W-1:0]        pay_data,
    input  wire                pay_last,
    // DMA write
    output wire                wr_valid,
    input  wire                wr_ready,
    output wire [7:0]          wr_func,
    output wire [63:0]         wr_addr,
    output wire [15:0]         wr_len,
    output wire [LW-1:0]       wr_lane,
    output wire [15:0]         wr_wrap_len,
    output wire [63:0]         wr_wrap_addr,
    output wire                wd_valid,
    input  wire                wd_ready,
    output wire [W-1:0]        wd_data,
    output wire                wd_last,
    // events to the receive-ring writer
    output wire                ev_valid,
    input  wire                ev_ready,
    output wire [7:0]          ev_vf,
    output wire [7:0]          ev_qs,
    output wire [7:0]          ev_op,
    output wire [15:0]         ev_socket,
    output wire [63:0]         ev_data,
    output wire [31:0]         ev_size,
    output wire [7:0]          ev_status,
    // a VF's last action is done (`ev_vf` tells which)
    output wire                flushed,
    output wire                busy
);
    initial begin
        if (W < 64 || W > 512 || (W & (W - 1)) != 0 || DEPTH_LOG2 < 2 || DEPTH_LOG2 > 10 || LW != $clog2(W / 8)
            || AW != 324 + LW) begin
            $display("%m: W = %0d (64 .. 512), DEPTH_LOG2 = %0d (2 to 10), LW = %0d, AW = %0d (derived)",
                     W, DEPTH_LOG2, LW, AW);
            $finish;
        end
    end

    localparam [31:0] BYTES = W / 8;
    localparam [16:0] ROUND = BYTES[16:0] - 17'd1;
    localparam [1:0]  NONE = 2'd0, PLACE = 2'd1;
    localparam [1:0]  EVENT = 2'd1, FLUSHED = 2'd2;
    localparam        EW = 146;                  // an event's fields, its kind and its VF
    localparam        JW = 2 + 16 + 16 + EW;     // a job: payload, skip, end; event
    localparam        EVENTS_LOG2 = 3;
    localparam [EVENTS_LOG2:0] EVENTS = 4'd8;
    localparam [EVENTS_LOG2:0] ONE = 4'd1;

    // ---- words: the command, if there is one ----------------------------------------------------------
    wire [AW-1:0] a;
    wire          a_valid;

    // Named fields of the word.
    wire [1:0]    a_pay;
    wire [7:0]    a_vf;
    wire [63:0]   a_addr;
    wire [15:0]   a_len;
    wire [LW-1:0] a_lane;
    wire [15:0]   a_skip;
    wire [15:0]   a_wrap_len;
    wire [63:0]   a_wrap_addr;
    wire [1:0]    a_kind;
    wire [135:0]  a_event;
    assign {a_event, a_kind, a_wrap_addr, a_wrap_len, a_skip, a_lane, a_len, a_addr, a_vf, a_pay} = a;

    wire          jobs_ready;
    reg  [EVENTS_LOG2:0] owed_reg;               // events of the words in the two queues behind this one
    wire          owes   = a_kind != NONE;
    wire          go     = a_valid && jobs_ready && !(owes && owed_reg == EVENTS);
    wire          a_take = go && (a_pay != PLACE || wr_ready);
    wire [16:0]   span   = {1'b0, a_len} + {{(17 - LW){1'b0}}, a_lane};
    wire [16:0]   beats  = (span + ROUND) >> LW;
    wire [15:0]   stop   = a_skip + beats[15:0];

    nk_fifo #(.W(AW), .DEPTH_LOG2(DEPTH_LOG2), .FAST(1)) words (
        .clk(clk), .rst(rst),
        .s_data(act), .s_valid(act_valid), .s_ready(act_ready),
        .m_data(a), .m_valid(a_valid), .m_ready(a_take), .level(act_level)
    );

    // `go` does not fall while a command waits: only this word's leaving takes room behind it.
    assign wr_valid     = go && a_pay == PLACE;
    assign wr_func      = a_vf + 8'd1;
    assign wr_addr      = a_addr;
    assign wr_len       = a_len;
    assign wr_lane      = a_lane;
    assign wr_wrap_len  = a_wrap_len;
    assign wr_wrap_addr = a_wrap_addr;

    // ---- jobs: the beats of the payload ----------------------------------------------------------------
    wire [1:0]    j_pay;
    wire [15:0]   j_skip;
    wire [15:0]   j_stop;
    wire [EW-1:0] j_event;
    wire          j_valid;
    wire          j_take;
    wire [2:0]    j_level;

    // Four words: the command goes through the arbiter for two clocks before its data may follow.
    nk_fifo #(.W(JW), .DEPTH_LOG2(2), .FAST(1)) jobs (
        .clk(clk), .rst(rst),
        .s_data({a_event, a_vf, a_kind, stop, a_skip, a_pay}), .s_valid(a_take), .s_ready(jobs_ready),
        .m_data({j_event, j_stop, j_skip, j_pay}), .m_valid(j_valid), .m_ready(j_take), .level(j_level)
    );

    reg  [15:0]   beat_reg;                      // beats of this payload seen

    wire          placing  = j_valid && j_pay == PLACE;
    wire          in_part  = placing && beat_reg >= j_skip && beat_reg < j_stop;
    wire          last_one = beat_reg + 16'd1 == j_stop;
    wire          pay_end  = pay_valid && pay_ready && pay_last;

    assign wd_valid  = in_part && pay_valid;
    assign wd_data   = pay_data;
    assign wd_last   = last_one;
    assign pay_ready = j_valid && j_pay != NONE && (!in_part || wd_ready);
    assign j_take    = j_valid && (j_pay == NONE || pay_end);

    always @(posedge clk) begin
        if (pay_valid && pay_ready)
            beat_reg <= pay_last ? 16'd0 : beat_reg + 16'd1;
        if (rst)
            beat_reg <= 16'd0;
    end

    // ---- events ----------------------------------------------------------------------------------------
    wire          e_push = j_take && j_event[1:0] != NONE;
    wire          e_room;
    wire [1:0]    e_kind;
    wire          e_valid;
    wire          e_take;
    wire [EVENTS_LOG2:0] e_level;

    nk_fifo #(.W(EW), .DEPTH_LOG2(EVENTS_LOG2), .FAST(1)) events (
        .clk(clk), .rst(rst),
        .s_data(j_event), .s_valid(e_push), .s_ready(e_room),
        .m_data({ev_status, ev_size, ev_data, ev_socket, ev_op, ev_qs, ev_vf, e_kind}),
        .m_valid(e_valid), .m_ready(e_take), .level(e_level)
    );

    assign ev_valid = e_valid && e_kind == EVENT;
    assign flushed  = e_valid && e_kind == FLUSHED;
    assign e_take   = flushed || (ev_valid && ev_ready);

    always @(posedge clk) begin
        if ((a_take && owes) != e_take)
            owed_reg <= e_take ? owed_reg - ONE : owed_reg + ONE;
        if (rst)
            owed_reg <= {EVENTS_LOG2+1{1'b0}};
    end

    assign busy = a_valid || j_valid || e_valid;

    // `owed_reg` keeps the room in the events' queue; their levels matter to nobody.
    wire unused = &{1'b0, e_room, e_level, j_level, beats[16]};
endmodule

`default_nettype wire
