// SPDX-License-Identifier: Apache-2.0
// Proof: nk_dma_rd_arb sends each request as its client gave it, with its function, in the order in which they were taken, and
// the data of any one request go to its client, every beat, in order, to nobody else.

`default_nettype none

module rdarb #(
    parameter N = 3
) (
    input wire           clk,
    input wire           rst,
    input wire [N-1:0]   s_valid,
    input wire [N*8-1:0] s_func,
    input wire [N*2-1:0] s_bits,       // of each of the other fields
    input wire           rdreq_ready,
    input wire [N-1:0]   d_ready,
    input wire           rdat_valid,
    input wire           rdat_last,
    input wire           choose
);
    reg  [N*64-1:0] s_addr;
    reg  [N*16-1:0] s_len;
    reg  [N*3-1:0]  s_lane;
    reg  [N*16-1:0] s_wrap_len;
    reg  [N*64-1:0] s_wrap_addr;
    integer         i;
    always @* begin
        for (i = 0; i < N; i = i + 1) begin
            s_addr[64*i +: 64]      = {s_bits[2*i], 62'd0, s_bits[2*i+1]};
            s_len[16*i +: 16]       = {s_bits[2*i], 14'd0, s_bits[2*i+1]};
            s_lane[3*i +: 3]        = {s_bits[2*i], 1'd0, s_bits[2*i+1]};
            s_wrap_len[16*i +: 16]  = {s_bits[2*i], 14'd0, s_bits[2*i+1]};
            s_wrap_addr[64*i +: 64] = {s_bits[2*i], 62'd0, s_bits[2*i+1]};
        end
    end
    wire [N-1:0] s_ready;
    wire [N-1:0] d_valid;
    wire [63:0]  d_data;
    wire         d_last, rdreq_valid, rdat_ready, busy;
    wire [7:0]   rdreq_func;
    wire [63:0]  rdreq_addr;
    wire [15:0]  rdreq_len;
    wire [2:0]   rdreq_lane;
    wire [15:0]  rdreq_wrap_len;
    wire [63:0]  rdreq_wrap_addr;
    wire [63:0]  rdat_data;
    nk_dma_rd_arb #(.W(64), .N(N), .DEPTH_LOG2(1)) dut (
        .clk(clk), .rst(rst), .s_valid(s_valid), .s_ready(s_ready), .s_func(s_func), .s_addr(s_addr), .s_len(s_len), .s_lane(s_lane),
        .s_wrap_len(s_wrap_len), .s_wrap_addr(s_wrap_addr), .d_valid(d_valid), .d_ready(d_ready), .d_data(d_data), .d_last(d_last),
        .rdreq_valid(rdreq_valid), .rdreq_ready(rdreq_ready), .rdreq_func(rdreq_func), .rdreq_addr(rdreq_addr), .rdreq_len(rdreq_len),
        .rdreq_lane(rdreq_lane), .rdreq_wrap_len(rdreq_wrap_len), .rdreq_wrap_addr(rdreq_wrap_addr),
        .rdat_valid(rdat_valid), .rdat_ready(rdat_ready), .rdat_data(rdat_data), .rdat_last(rdat_last), .busy(busy)
    );

    // What the module keeps: the requests on their way, whose the answers are, the beats on their way.
    localparam CW = 8 + 64 + 16 + 3 + 16 + 64;
    (* hierconn *) wire          \dut.u_req_skid.m_valid_reg ;
    (* hierconn *) wire          \dut.u_req_skid.skid_valid_reg ;
    (* hierconn *) wire          \dut.u_req_skid.s_ready_reg ;
    (* hierconn *) wire [CW-1:0] \dut.u_req_skid.m_data_reg ;
    (* hierconn *) wire [CW-1:0] \dut.u_req_skid.skid_data_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.wr_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.rd_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.level_reg ;
    (* hierconn *) wire          \dut.u_order.s_ready_reg ;
    (* hierconn *) wire [1:0]    \dut.u_order.m_data_reg ;
    (* hierconn *) wire          \dut.u_order.m_valid_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.m_valid_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.skid_valid_reg ;
    (* hierconn *) wire          \dut.u_dat_skid.s_ready_reg ;
    (* hierconn *) wire [64:0]   \dut.u_dat_skid.m_data_reg ;
    (* hierconn *) wire [64:0]   \dut.u_dat_skid.skid_data_reg ;
    wire [1:0] w0, w1;           // the order FIFO's words: rdarb.sby connects them

    wire taken    = |(s_valid & s_ready);
    wire sent     = rdreq_valid && rdreq_ready;
    wire beat_in  = rdat_valid && rdat_ready;
    wire beat_out = |(d_valid & d_ready);

    reg       seen;               // there was a reset
    initial seen = 1'b0;
    reg [2:0] queued;             // requests taken and not sent
    reg [2:0] asked;              // sent, and the last beat of the answer has not come
    reg [2:0] open;               // taken, and the last beat has not been handed on
    reg [2:0] beats;              // beats come and not handed on
    // Any one request: whose, what, and how many are before it, on the way out, on the way in, and to the clients.
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
    assign rdat_data = {60'd0, mine_in ? count_in : 2'd0, rdat_last, mine_in};

    always @(posedge clk) begin
        seen   <= 1'b1;
        queued <= queued + taken - sent;
        asked  <= asked + sent - (beat_in && rdat_last);
        open   <= open + taken - (beat_out && d_last);
        beats  <= beats + beat_in - beat_out;
        if (mark) begin
            marked     <= 1'b1;
            who        <= s_valid & s_ready;
            before_out <= queued - sent;
            before_in  <= queued + asked - (beat_in && rdat_last);
            before_to  <= open - (beat_out && d_last);
            for (i = 0; i < N; i = i + 1)
                if (s_ready[i]) begin
                    func <= s_func[8*i +: 8];
                    bits <= s_bits[2*i +: 2];
                end
        end else if (marked) begin
            if (sent && before_out == 0) is_out <= 1'b1;
            if (sent && before_out != 0) before_out <= before_out - 1'b1;
            if (beat_in && rdat_last && before_in == 0) is_in <= 1'b1;
            if (beat_in && rdat_last && before_in != 0) before_in <= before_in - 1'b1;
            if (beat_out && d_last && before_to == 0) is_to <= 1'b1;
            if (beat_out && d_last && before_to != 0) before_to <= before_to - 1'b1;
            if (beat_in && mine_in) count_in <= count_in + 1'b1;
            if (beat_out && mine_to) count_to <= count_to + 1'b1;
        end
        if (rst) begin
            {queued, asked, open, beats} <= 12'd0;
            {marked, is_out, is_in, is_to, count_in, count_to} <= 8'd0;
        end
    end

    // For the induction: the request among those on their way, its owner in the order FIFO, its beats among those on their way.
    wire [CW-1:0] word    = {func, bits[0], 62'd0, bits[1], bits[0], 14'd0, bits[1], bits[0], 1'd0, bits[1], bits[0], 14'd0, bits[1],
                             bits[0], 62'd0, bits[1]};
    wire [1:0]    stored  = \dut.u_order.wr_reg - \dut.u_order.rd_reg ;
    wire          at      = \dut.u_order.rd_reg [0] ^ before_to[0] ^ \dut.u_order.m_valid_reg ;
    wire [1:0]    owner   = \dut.u_order.m_valid_reg && before_to == 0 ? \dut.u_order.m_data_reg : at ? w1 : w0;
    wire          v0      = \dut.u_dat_skid.m_valid_reg ;
    wire          v1      = \dut.u_dat_skid.skid_valid_reg ;
    wire [64:0]   b0      = \dut.u_dat_skid.m_data_reg ;
    wire [64:0]   b1      = \dut.u_dat_skid.skid_data_reg ;
    wire          l0      = v0 && b0[64];
    wire          l1      = v1 && b1[64];
    wire [2:0]    lasts   = l0 + l1;
    wire          t0      = v0 && mine_to;
    wire          t1      = v1 && marked && !is_to && before_to == l0;

    always @* begin
        if (seen) begin
            assert (queued == \dut.u_req_skid.m_valid_reg + \dut.u_req_skid.skid_valid_reg );
            assert (!\dut.u_req_skid.skid_valid_reg || (\dut.u_req_skid.m_valid_reg && !\dut.u_req_skid.s_ready_reg ));
            assert (open == \dut.u_order.level_reg && open <= 2 && open == \dut.u_order.m_valid_reg + stored && stored <= 2);
            assert (!(\dut.u_order.s_ready_reg && open == 2));
            assert (open == queued + asked + lasts && asked <= 2);
            if (\dut.u_order.m_valid_reg ) assert (\dut.u_order.m_data_reg < N);
            if (stored == 2 || (stored == 1 && !\dut.u_order.rd_reg [0])) assert (w0 < N);
            if (stored == 2 || (stored == 1 && \dut.u_order.rd_reg [0])) assert (w1 < N);
            if (!\dut.u_order.m_valid_reg ) assert (open == 0 || (open == 1 && queued == 1));
            if (v1 ? !l1 : v0 && !l0) assert (asked != 0);
            assert (beats == v0 + v1 && (!v1 || (v0 && !\dut.u_dat_skid.s_ready_reg )));
            if (!marked) assert (!is_out && !is_in && !is_to && count_in == 0 && count_to == 0);
            if (marked) assert ((who & (who - 1'b1)) == 0 && who != 0);
            if (marked && !is_out) begin
                assert (before_out < queued && before_in == before_out + asked && !is_in);
                assert ((before_out == 0 ? \dut.u_req_skid.m_data_reg : \dut.u_req_skid.skid_data_reg ) == word);
            end
            if (marked && is_out && !is_in) assert (before_in < asked);
            if (marked && !is_to) begin
                assert (before_to < open && who == 1 << owner);
                assert (is_in == (before_to < lasts));
                assert (is_in || before_in == before_to - lasts);
                assert (count_in == count_to + t0 + t1);
            end
            if (is_to) assert (is_in && is_out);
            if (v0) assert (b0[1] == b0[64] && b0[0] == t0 && (!t0 || b0[3:2] == count_to));
            if (v1) assert (b1[1] == b1[64] && b1[0] == t1 && (!t1 || b1[3:2] == count_to + t0));
        end
    end

    always @* begin
        assume (rst == !seen);
        assume (!rdat_valid || asked != 0);
        if (seen) begin
            assert ((s_valid & s_ready) == 0 || ((s_valid & s_ready) & ((s_valid & s_ready) - 1'b1)) == 0);
            assert (rdreq_valid == (queued != 0));
            if (rdreq_valid && marked && !is_out && before_out == 0)
                assert (rdreq_func == func && rdreq_addr == {bits[0], 62'd0, bits[1]} && rdreq_len == {bits[0], 14'd0, bits[1]}
                        && rdreq_lane == {bits[0], 1'd0, bits[1]} && rdreq_wrap_len == {bits[0], 14'd0, bits[1]}
                        && rdreq_wrap_addr == {bits[0], 62'd0, bits[1]});
            // Beats go to one client, and a beat that has come is offered.
            assert ((|d_valid) == (beats != 0));
            assert ((d_valid & (d_valid - 1'b1)) == 0);
            if (d_valid != 0) begin
                assert (d_data[0] == mine_to && d_data[1] == d_last);
                if (mine_to) assert (d_valid == who && d_data[3:2] == count_to);
            end
            if (open != 0) assert (busy);
        end
    end
endmodule

`default_nettype wire
