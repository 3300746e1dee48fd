// SPDX-License-Identifier: Apache-2.0
// Carries out the protocol pipeline's ordered actions: payload into RX rings, events behind it.
//
// One FIFO keeps the pipeline's order. PLACE takes the next payload from the staging FIFO and writes the
// wanted part by DMA, DROP discards it, EVENT goes to the receive-ring writer once every write before it
// was accepted (so an event never overtakes its data), FLUSHED tells that a VF has no write left here.
//
// Action word, lowest bits first: kind 2 | vf 8 | PLACE: addr 64, len 16, lane LW, skip 16 (beats),
// wrap_len 16, wrap_addr 64 | EVENT: qs 8, op 8, socket 16, data 64, size 32, status 8.

`default_nettype none

module nk_place #(
    parameter W  = 512,             // bus bits, 64 to 512
    parameter LW = $clog2(W / 8),   // derived
    parameter AW = 186 + LW         // derived: bits of an action word
) (
    input  wire          clk,
    input  wire          rst,
    // actions, in order
    input  wire          act_valid,
    output wire          act_ready,
    input  wire [AW-1:0] act,
    output wire          act_room,      // two more words fit
    // payload of received segments
    input  wire          pay_valid,
    output wire          pay_ready,
    input  wire [W-1:0]  pay_data,
    input  wire          pay_last,
    // DMA write
    output wire          wr_valid,
    input  wire          wr_ready,
    output wire [7:0]    wr_func,
    output wire [63:0]   wr_addr,
    output wire [15:0]   wr_len,
    output wire [LW-1:0] wr_lane,
    output wire [15:0]   wr_wrap_len,
    output wire [63:0]   wr_wrap_addr,
    output wire          wd_valid,
    input  wire          wd_ready,
    output wire [W-1:0]  wd_data,
    output wire          wd_last,
    // events to the receive-ring writer
    output wire          ev_valid,
    input  wire          ev_ready,
    output wire [7:0]    ev_vf,
    output wire [7:0]    ev_qs,
    output wire [7:0]    ev_op,
    output wire [15:0]   ev_socket,
    output wire [63:0]   ev_data,
    output wire [31:0]   ev_size,
    output wire [7:0]    ev_status,
    // a VF's last action is done
    output wire          flushed,
    output wire          busy
);
    localparam DEPTH_LOG2 = 3;
    localparam ROUND_I = W / 8 - 1;
    localparam [16:0] ROUND = ROUND_I[16:0];
    localparam [1:0] PLACE = 2'd0, DROP = 2'd1, EVENT = 2'd2, FLUSHED = 2'd3;

    wire [AW-1:0]       a;
    wire                a_valid;
    wire                a_take;
    wire [DEPTH_LOG2:0] level;

    nk_fifo #(.W(AW), .DEPTH_LOG2(DEPTH_LOG2)) fifo (
        .clk(clk), .rst(rst),
        .s_data(act), .s_valid(act_valid), .s_ready(act_ready),
        .m_data(a), .m_valid(a_valid), .m_ready(a_take), .level(level)
    );
    assign act_room = level <= (1 << DEPTH_LOG2) - 2;

    wire [1:0]    kind   = a[1:0];
    wire [AW-1:0] body   = a >> 10;
    wire [15:0]   len    = body[79:64];
    wire [LW-1:0] lane   = body[80 +: LW];
    wire [15:0]   skip   = body[80 + LW +: 16];
    wire [16:0]   span   = {1'b0, len} + {{(17 - LW){1'b0}}, lane};
    wire [16:0]   beats  = (span + ROUND) >> LW;

    reg         cmd_done_reg;     // the write command of this PLACE was accepted
    reg  [15:0] beat_reg;         // payload beats of this segment seen
    reg         placed_reg;       // all wanted beats are out

    wire is_place = a_valid && kind == PLACE;
    wire is_drop  = a_valid && kind == DROP;
    wire in_part  = beat_reg >= skip && !placed_reg;
    wire last_one = {1'b0, beat_reg} + 17'd1 == {1'b0, skip} + beats;

    assign wr_valid     = is_place && !cmd_done_reg;
    assign wr_func      = a[9:2] + 8'd1;
    assign wr_addr      = body[63:0];
    assign wr_len       = len;
    assign wr_lane      = lane;
    assign wr_wrap_len  = body[96 + LW +: 16];
    assign wr_wrap_addr = body[112 + LW +: 64];

    assign wd_valid  = is_place && cmd_done_reg && in_part && pay_valid;
    assign wd_data   = pay_data;
    assign wd_last   = last_one;
    assign pay_ready = is_drop || (is_place && cmd_done_reg && (in_part ? wd_ready : 1'b1));

    assign ev_valid  = a_valid && kind == EVENT;
    assign ev_vf     = a[9:2];
    assign ev_qs     = body[7:0];
    assign ev_op     = body[15:8];
    assign ev_socket = body[31:16];
    assign ev_data   = body[95:32];
    assign ev_size   = body[127:96];
    assign ev_status = body[135:128];
    assign flushed   = a_valid && kind == FLUSHED;

    wire pay_end = pay_valid && pay_ready && pay_last;
    assign a_take = (ev_valid && ev_ready) || flushed || pay_end;
    assign busy   = a_valid;

    always @(posedge clk) begin
        if (wr_valid && wr_ready) cmd_done_reg <= 1'b1;
        if (pay_valid && pay_ready) begin
            beat_reg <= beat_reg + 16'd1;
            if (in_part && last_one) placed_reg <= 1'b1;
        end
        if (rst || a_take) begin
            cmd_done_reg <= 1'b0;
            beat_reg     <= 16'd0;
            placed_reg   <= 1'b0;
        end
    end

    // Bits above an EVENT's fields, and the body's top after the shift.
    wire unused = &{1'b0, body[AW-1:112 + LW + 64]};
endmodule

`default_nettype wire
