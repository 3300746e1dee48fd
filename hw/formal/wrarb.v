// SPDX-License-Identifier: Apache-2.0
// Proof: nk_dma_wr_arb sends each command as its client gave it, with its function, in the order in which they were taken; the
// data follow in the same order, never before their command, and are those of its client, every beat, in order.

`default_nettype none

module wrarb #(
    parameter N = 3
) (
    input wire           clk,
    input wire           rst,
    input wire [N-1:0]   s_valid,
    input wire [N*8-1:0] s_func,
    input wire [N*2-1:0] s_bits,       // of each of the other fields
    input wire [N-1:0]   sd_valid,
    input wire [N-1:0]   sd_last,
    input wire           wrreq_ready,
    input wire           wdat_ready,
    input wire           choose
);
    reg  [N*64-1:0] s_addr;
    reg  [N*16-1:0] s_len;
    reg  [N*3-1:0]  s_lane;
    reg  [N*16-1:0] s_wrap_len;
    reg  [N*64-1:0] s_wrap_addr;
    reg  [N*64-1:0] sd_data;
    integer         i;
    always @* begin
        for (i = 0; i < N; i = i + 1) begin
            s_addr[64*i +: 64]      = {s_bits[2*i], 62'd0, s_bits[2*i+1]};
            s_len[16*i +: 16]       = {s_bits[2*i], 14'd0, s_bits[2*i+1]};
            s_lane[3*i +: 3]        = {s_bits[2*i], 1'd0, s_bits[2*i+1]};
            s_wrap_len[16*i +: 16]  = {s_bits[2*i], 14'd0, s_bits[2*i+1]};
            s_wrap_addr[64*i +: 64] = {s_bits[2*i], 62'd0, s_bits[2*i+1]};
            // Whether the beat is the watched command's, and which of its beats.
            sd_data[64*i +: 64]     = {60'd0, mine_in && who[i] ? count_in : 2'd0, sd_last[i], mine_in && who[i]};
        end
    end
    wire [N-1:0] s_ready;
    wire [N-1:0] sd_ready;
    wire [63:0]  wdat_data;
    wire         wdat_last, wdat_valid, wrreq_valid, busy;
    wire [7:0]   wrreq_func;
    wire [63:0]  wrreq_addr;
    wire [15:0]  wrreq_len;
    wire [2:0]   wrreq_lane;
    wire [15:0]  wrreq_wrap_len;
    wire [63:0]  wrreq_wrap_addr;
    nk_dma_wr_arb #(.W(64), .N(N)) dut (
        .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_func(s_func), .s_addr(s_addr), .s_len(s_len), .s_lane(s_lane),
        .s_wrap_len(s_wrap_len), .s_wrap_addr(s_wrap_addr), .sd_valid(sd_valid), .sd_ready(sd_ready), .sd_data(sd_data), .sd_last(sd_last),
        .wrreq_valid(wrreq_valid), .wrreq_ready(wrreq_ready), .wrreq_func(wrreq_func), .wrreq_addr(wrreq_addr), .wrreq_len(wrreq_len),
        .wrreq_lane(wrreq_lane), .wrreq_wrap_len(wrreq_wrap_len), .wrreq_wrap_addr(wrreq_wrap_addr),
        .wdat_valid(wdat_valid), .wdat_ready(wdat_ready), .wdat_data(wdat_data), .wdat_last(wdat_last), .busy(busy)
    );

    // What the module keeps: the commands on their way, whose the data are, the beats on their way.
    localparam CW = 2 + 8 + 64 + 16 + 3 + 16 + 64;
    (* hierconn *) wire          \dut.u_cmd_skid.m_valid_reg ;
    (* hierconn *) wire          \dut.u_cmd_skid.skid_valid_reg ;
    (* hierconn *) wire          \dut.u_cmd_skid.s_ready_reg ;
    (* hierconn *) wire [CW-1:0] \dut.u_cmd_skid.m_data_reg ;
    (* hierconn *) wire [CW-1:0] \dut.u_cmd_skid.skid_data_reg ;
    (* hierconn *) wire          \dut.u_order.m_valid_reg ;
    (* hierconn *) wire          \dut.u_order.skid_valid_reg ;
    (* hierconn *) wire          \dut.u_order.s_ready_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.m_data_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.skid_data_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.m_valid_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.skid_valid_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.s_ready_reg ;
    (* hierconn *) wire [64:0]   \dut.u_dat_skid.m_data_reg ;
    (* hierconn *) wire [64:0]   \dut.u_dat_skid.skid_data_reg ;

    wire taken    = |(s_valid & s_ready);
    wire sent     = wrreq_valid && wrreq_ready;
    wire beat_in  = |(sd_valid & sd_ready);
    wire last_in  = |(sd_valid & sd_ready & sd_last);
    wire beat_out = wdat_valid && wdat_ready;

    reg       seen;               // there was a reset
    initial seen = 1'b0;
    reg [2:0] queued;             // commands taken and not sent
    reg [2:0] due;                // sent, and the last beat has not been taken
    reg [2:0] open;               // sent, and the last beat has not left
    // Any one command: whose, what, and how many are before it: of those to be sent, whose data come, whose data leave.
    reg       marked;
    reg [N-1:0] who;
    reg [7:0] func;
    reg [1:0] bits;
    reg [2:0] before_out;
    reg [2:0] before_in;
    reg [2:0] before_to;
    reg       is_out;
    reg       is_in;
    reg       is_to;
    reg [1:0] count_in;           // beats of it, modulo four
    reg [1:0] count_to;
    wire      mark    = choose && taken && !marked;
    wire      mine_in = marked && !is_in && before_in == 0;
    wire      mine_to = marked && !is_to && before_to == 0;

    always @(posedge clk) begin
        seen   <= 1'b1;
        queued <= queued + taken - sent;
        due    <= due + sent - last_in;
        open   <= open + sent - (beat_out && wdat_last);
        if (mark) begin
            marked     <= 1'b1;
            who        <= s_valid & s_ready;
            before_out <= queued - sent;
            before_in  <= queued + due - last_in;
            before_to  <= queued + open - (beat_out && wdat_last);
            for (i = 0; i < N; i = i + 1)
                if (s_ready[i]) begin
                    func <= s_func[8*i +: 8];
                    bits <= s_bits[2*i +: 2];
                end
        end else if (marked) begin
            if (sent && before_out == 0) is_out <= 1'b1;
            if (sent && before_out != 0) before_out <= before_out - 1'b1;
            if (last_in && before_in == 0) is_in <= 1'b1;
            if (last_in && before_in != 0) before_in <= before_in - 1'b1;
            if (beat_out && wdat_last && before_to == 0) is_to <= 1'b1;
            if (beat_out && wdat_last && before_to != 0) before_to <= before_to - 1'b1;
            if (beat_in && mine_in) count_in <= count_in + 1'b1;
            if (beat_out && mine_to) count_to <= count_to + 1'b1;
        end
        if (rst) begin
            {queued, due, open} <= 9'd0;
            {marked, is_out, is_in, is_to, count_in, count_to} <= 8'd0;
        end
    end

    // For the induction: the command among those on their way, its owner in the order queue, its beats among those on their way.
    wire [CW-3:0] word = {func, bits[0], 62'd0, bits[1], bits[0], 14'd0, bits[1], bits[0], 1'd0, bits[1], bits[0], 14'd0, bits[1],
                          bits[0], 62'd0, bits[1]};
    wire [CW-1:0] c    = before_out == 0 ? \dut.u_cmd_skid.m_data_reg : \dut.u_cmd_skid.skid_data_reg ;
    wire [1:0]    own  = before_in == 0 ? \dut.u_order.m_data_reg : \dut.u_order.skid_data_reg ;
    wire          v0   = \dut.u_dat_skid.m_valid_reg ;
    wire          v1   = \dut.u_dat_skid.skid_valid_reg ;
    wire [64:0]   b0   = \dut.u_dat_skid.m_data_reg ;
    wire [64:0]   b1   = \dut.u_dat_skid.skid_data_reg ;
    wire          l0   = v0 && b0[64];
    wire          l1   = v1 && b1[64];
    wire [2:0]    lasts = l0 + l1;
    wire          t0   = v0 && mine_to;
    wire          t1   = v1 && marked && !is_to && before_to == l0;

    always @* begin
        if (seen) begin
            assert (queued == \dut.u_cmd_skid.m_valid_reg + \dut.u_cmd_skid.skid_valid_reg );
            assert (!\dut.u_cmd_skid.skid_valid_reg || (\dut.u_cmd_skid.m_valid_reg && !\dut.u_cmd_skid.s_ready_reg ));
            assert (due == \dut.u_order.m_valid_reg + \dut.u_order.skid_valid_reg );
            assert (!\dut.u_order.skid_valid_reg || (\dut.u_order.m_valid_reg && !\dut.u_order.s_ready_reg ));
            assert (!v1 || (v0 && !\dut.u_dat_skid.s_ready_reg ));
            assert (open == due + lasts);
            if (v1 ? !l1 : v0 && !l0) assert (due != 0);
            if (queued != 0) assert (\dut.u_cmd_skid.m_data_reg [CW-1:CW-2] < N);
            if (queued == 2) assert (\dut.u_cmd_skid.skid_data_reg [CW-1:CW-2] < N);
            if (due != 0) assert (\dut.u_order.m_data_reg < N);
            if (due == 2) assert (\dut.u_order.skid_data_reg < N);
            if (!marked) assert (!is_out && !is_in && !is_to && count_in == 0 && count_to == 0);
            if (marked) assert ((who & (who - 1'b1)) == 0 && who != 0);
            if (marked && !is_out) begin
                assert (before_out < queued && before_in == before_out + due && !is_in);
                assert (c[CW-3:0] == word && who == 1 << c[CW-1:CW-2]);
            end
            if (marked && is_out && !is_in) assert (before_in < due && who == 1 << own);
            if (marked && !is_to) begin
                assert (is_in == (before_to < lasts));
                assert (is_in || before_in == before_to - lasts);
                assert (count_in == count_to + t0 + t1);
            end
            if (is_to) assert (is_in && is_out);
            if (is_in) assert (is_out);
            if (v0) assert (b0[1] == b0[64] && b0[0] == t0 && (!t0 || b0[3:2] == count_to));
            if (v1) assert (b1[1] == b1[64] && b1[0] == t1 && (!t1 || b1[3:2] == count_to + t0));
        end
    end

    always @* begin
        assume (rst == !seen);
        if (seen) begin
            assert (((s_valid & s_ready) & ((s_valid & s_ready) - 1'b1)) == 0);
            assert ((sd_ready & (sd_ready - 1'b1)) == 0);
            if (wrreq_valid) assert (queued != 0);
            if (wrreq_valid && marked && !is_out && before_out == 0)
                assert (wrreq_func == func && wrreq_addr == {bits[0], 62'd0, bits[1]} && wrreq_len == {bits[0], 14'd0, bits[1]}
                        && wrreq_lane == {bits[0], 1'd0, bits[1]} && wrreq_wrap_len == {bits[0], 14'd0, bits[1]}
                        && wrreq_wrap_addr == {bits[0], 62'd0, bits[1]});
            // Data come from the client whose turn it is, and leave behind their command.
            if (mine_in) assert ((sd_ready & ~who) == 0);
            if (wdat_valid) begin
                assert (open != 0);
                assert (wdat_data[0] == mine_to && wdat_data[1] == wdat_last);
                if (mine_to) assert (is_out && wdat_data[3:2] == count_to);
            end
            if (queued != 0 || open != 0) assert (busy);
        end
    end
endmodule

`default_nettype wire
