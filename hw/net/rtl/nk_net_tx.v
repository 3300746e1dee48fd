// SPDX-License-Identifier: Apache-2.0
// Purpose: transmit edge: turns a segment descriptor into an Ethernet frame, its payload read by DMA.
//
//   txd ─┬─▶ rdreq                                       ┌─▶ nk_net_tx_emit ─▶ m
//        ├─▶ nk_net_tx_hdr ─▶ headers, header sums ──────┤
//        └─▶ wanted ─┬─▶ mask, sum ─▶ payload sums ──────┤
//              rdat ─┘       └─▶ payload memory (beats) ─┘
//
// Every stage takes a segment a clock, or a beat a clock where there are more. Room for all beats of a read is set
// aside before it is asked for, so its data never wait here. The payload is asked for on the byte lane where it
// stands in the frame: nothing is shifted. The order is that of the descriptors everywhere.

`default_nettype none

module nk_net_tx #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs: 1 to 64.
    parameter NVF = 8,
    // log2 of the segments under way, and so of the reads outstanding: 2 to 10.
    parameter SLOTS_LOG2 = 8,
    // log2 of the bytes of the payload memory, 13 to 18: bounds the bytes asked for and not yet sent, counted in
    // whole beats. A segment is taken while 2048 of them are free.
    parameter BUF_LOG2 = 15,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire              clk,
    input  wire              rst,

    // Addresses of the VFs.
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,

    // Descriptors, see docs/interfaces.md and docs/pipeline.md.
    input  wire              txd_valid,
    output wire              txd_ready,
    input  wire [7:0]        txd_vf,
    input  wire [47:0]       txd_dmac,
    input  wire [31:0]       txd_rip,
    input  wire [15:0]       txd_rport,
    input  wire [15:0]       txd_lport,
    input  wire [31:0]       txd_seq,
    input  wire [31:0]       txd_ack,
    input  wire [8:0]        txd_flags,
    input  wire [15:0]       txd_wnd,
    input  wire [15:0]       txd_mss,
    input  wire [3:0]        txd_wscale,
    input  wire              txd_wscale_valid,
    input  wire [1:0]        txd_ecn,
    input  wire              txd_ts_valid,
    input  wire [31:0]       txd_tsval,
    input  wire [31:0]       txd_tsecr,
    input  wire              txd_sack_ok,
    input  wire [2:0]        txd_sack_n,
    input  wire [255:0]      txd_sack,
    input  wire [15:0]       txd_len,
    input  wire [63:0]       txd_addr,
    input  wire [15:0]       txd_wrap_len,
    input  wire [63:0]       txd_wrap_addr,
    // One pulse a descriptor, in their order: its payload has been read.
    output wire              txd_done,

    // DMA reads.
    output wire              rdreq_valid,
    input  wire              rdreq_ready,
    output wire [7:0]        rdreq_func,
    output wire [63:0]       rdreq_addr,
    output wire [15:0]       rdreq_len,
    output wire [LW-1:0]     rdreq_lane,
    output wire [15:0]       rdreq_wrap_len,
    output wire [63:0]       rdreq_wrap_addr,
    input  wire              rdat_valid,
    output wire              rdat_ready,
    input  wire [W-1:0]      rdat_data,
    input  wire              rdat_last,

    // Frames.
    output wire              m_valid,
    input  wire              m_ready,
    output wire [W-1:0]      m_data,
    output wire              m_last,
    output wire [LW:0]       m_bytes,

    // Counter pulse: a segment was sent.
    output wire              stat_tx_segments,

    // A descriptor is under way.
    output wire              busy
);

    initial begin
        if ((W != 64 && W != 128 && W != 256 && W != 512) || NVF < 1 || NVF > 64 || SLOTS_LOG2 < 2
            || SLOTS_LOG2 > 10 || BUF_LOG2 < 13 || BUF_LOG2 > 18 || LW != $clog2(W/8)) begin
            $display("%m: W = %0d (64, 128, 256, 512), NVF = %0d (1 to 64), SLOTS_LOG2 = %0d (2 to 10), BUF_LOG2 = %0d (13 to 18), LW = %0d (derived)",
                     W, NVF, SLOTS_LOG2, BUF_LOG2, LW);
            $finish;
        end
    end

    localparam [31:0] BYTES = W / 8;
    localparam AW = BUF_LOG2 - LW;                      // an address in the payload memory
    localparam VW = (NVF > 1) ? $clog2(NVF) : 1;
    localparam [LW:0]         FULL  = BYTES[LW:0];
    localparam [AW:0]         BEATS = 1 << AW;
    localparam [AW:0]         MOST  = 1 << (11 - LW);   // beats of the longest frame
    localparam [SLOTS_LOG2:0] SLOTS = 1 << SLOTS_LOG2;
    localparam [SLOTS_LOG2:0] ONE   = {{SLOTS_LOG2{1'b0}}, 1'b1};

    // `used_reg` keeps the room in all four queues.
    wire                w_room;
    wire                h_room;
    wire                hs_room;
    wire                ds_room;
    wire [SLOTS_LOG2:0] w_level;
    wire [SLOTS_LOG2:0] h_level;
    wire [SLOTS_LOG2:0] hs_level;
    wire [SLOTS_LOG2:0] ds_level;

    // ---- take a descriptor: set room aside, ask for the payload -----------------------------------------
    reg  [SLOTS_LOG2:0] used_reg;                       // segments between `take` and the end of their frame
    reg  [AW:0]         free_reg;                       // beats that nobody has set aside
    // An id counter for each VF: a common one would tell a tenant how much the others send.
    reg  [15:0]         id_mem [0:NVF-1];
    integer             i;

    wire                req_ready;
    wire                frame_end;
    wire                beat_sent;
    wire [3:0]          words;
    wire [319:0]        options;

    wire                take    = txd_valid && txd_ready;
    wire                payload = txd_len != 16'd0;
    wire [VW-1:0]       vf      = txd_vf[VW-1:0];
    wire [6:0]          hbytes  = 7'd54 + {1'b0, words, 2'b00};
    wire [LW-1:0]       lane    = hbytes[LW-1:0];
    wire [16:0]         span    = {1'b0, txd_len} + {{17-LW{1'b0}}, lane} + BYTES[16:0] - 17'd1;
    wire [AW:0]         need    = (take && payload) ? {{AW+LW-11{1'b0}}, span[11:LW]} : {AW+1{1'b0}};

    assign txd_ready = used_reg != SLOTS && free_reg >= MOST && req_ready;

    always @(posedge clk) begin
        if (take)
            id_mem[vf] <= id_mem[vf] + 16'd1;
        if (take != frame_end)
            used_reg <= take ? used_reg + ONE : used_reg - ONE;
        free_reg <= free_reg - need + {{AW{1'b0}}, beat_sent};
        if (rst) begin
            used_reg <= {SLOTS_LOG2+1{1'b0}};
            free_reg <= BEATS;
            for (i = 0; i < NVF; i = i + 1)
                id_mem[i] <= 16'd0;
        end
    end

    // Constant slices and a compare each: cheaper than a variable slice of wide vectors.
    reg [47:0] smac;
    reg [31:0] sip;
    integer    k;
    always @* begin
        smac = cfg_mac[47:0];
        sip  = cfg_ip[31:0];
        if (take)
            for (k = 1; k < NVF; k = k + 1)
                if (vf == k[VW-1:0]) begin
                    smac = cfg_mac[48*k +: 48];
                    sip  = cfg_ip[32*k +: 32];
                end
    end

    nk_skid #(.W(8 + 64 + 16 + LW + 16 + 64)) requests (
        .clk(clk), .rst(rst),
        .s_data({txd_vf + 8'd1, txd_addr, txd_len, lane, txd_wrap_len, txd_wrap_addr}),
        .s_valid(take && payload), .s_ready(req_ready),
        .m_data({rdreq_func, rdreq_addr, rdreq_len, rdreq_lane, rdreq_wrap_len, rdreq_wrap_addr}),
        .m_valid(rdreq_valid), .m_ready(rdreq_ready)
    );

    // ---- headers -----------------------------------------------------------------------------------------
    wire         hdr_valid;
    wire [751:0] hdr;
    wire [10:0]  hdr_bytes;
    wire [3:0]   hdr_words;
    wire         hdr_payload;
    wire         hsum_valid;
    wire [15:0]  hsum_ip;
    wire [17:0]  hsum_tcp;

    nk_net_tx_opt layout (
        .mss(txd_mss), .wscale_valid(txd_wscale_valid), .wscale(txd_wscale),
        .ts_valid(txd_ts_valid), .tsval(txd_tsval), .tsecr(txd_tsecr),
        .sack_ok(txd_sack_ok), .sack_n(txd_sack_n), .sack(txd_sack),
        .words(words), .options(options)
    );

    nk_net_tx_hdr header (
        .clk(clk), .rst(rst),
        .s_valid(take), .s_dmac(txd_dmac), .s_smac(smac), .s_sip(sip), .s_dip(txd_rip), .s_id(id_mem[vf]),
        .s_ecn(txd_ecn), .s_sport(txd_lport), .s_dport(txd_rport), .s_seq(txd_seq), .s_ack(txd_ack),
        .s_flags(txd_flags), .s_wnd(txd_wnd), .s_len(txd_len), .s_words(words), .s_options(options),
        .m_valid(hdr_valid), .m_hdr(hdr), .m_bytes(hdr_bytes), .m_words(hdr_words), .m_payload(hdr_payload),
        .sum_valid(hsum_valid), .sum_ip(hsum_ip), .sum_tcp(hsum_tcp)
    );

    // ---- payload: beats of the oldest read; a segment without payload takes one empty beat -----------------
    wire          w_valid;
    wire [LW-1:0] w_lane;
    wire [15:0]   w_len;
    wire          w_payload;
    reg           more_reg;                             // not its first beat
    reg  [15:0]   left_reg;                             // bytes from this beat on
    reg           done_reg;
    reg           we_reg;
    reg  [AW-1:0] waddr_reg;

    wire          beat     = rdat_valid && rdat_ready;
    wire          passed   = w_valid && !w_payload;
    wire          read_end = passed || (beat && rdat_last);
    wire [15:0]   left     = more_reg ? left_reg : w_len + {{16-LW{1'b0}}, w_lane};
    wire [LW:0]   from     = more_reg ? {LW+1{1'b0}} : {1'b0, w_lane};
    wire [LW:0]   to       = !w_payload ? {LW+1{1'b0}} : (left >= BYTES[15:0]) ? FULL : left[LW:0];

    nk_fifo #(.W(1 + 16 + LW), .DEPTH_LOG2(SLOTS_LOG2), .FAST(1)) wanted (
        .clk(clk), .rst(rst),
        .s_data({payload, txd_len, lane}), .s_valid(take), .s_ready(w_room),
        .m_data({w_payload, w_len, w_lane}), .m_valid(w_valid), .m_ready(read_end), .level(w_level)
    );

    // Data of a read can only be here while its segment is the oldest: reads are answered in order.
    assign rdat_ready = w_valid && w_payload;
    assign txd_done   = done_reg;

    always @(posedge clk) begin
        done_reg <= read_end;
        we_reg   <= beat;
        if (beat) begin
            left_reg <= left - BYTES[15:0];
            more_reg <= !rdat_last;
        end
        if (we_reg)
            waddr_reg <= waddr_reg + {{AW-1{1'b0}}, 1'b1};
        if (rst) begin
            more_reg  <= 1'b0;
            we_reg    <= 1'b0;
            done_reg  <= 1'b0;
            waddr_reg <= {AW{1'b0}};
        end
    end

    wire [W-1:0]  masked;
    wire          sum_valid;
    wire [17:0]   sum;

    nk_net_sum #(.W(W)) summer (
        .clk(clk), .rst(rst),
        .s_valid(beat || passed), .s_last(read_end), .s_data(rdat_data), .s_from(from), .s_to(to),
        .masked_data(masked), .sum_valid(sum_valid), .sum(sum)
    );

    wire          beat_read;
    wire [AW-1:0] raddr;
    wire [W-1:0]  rdata;

    nk_ram_1w1r #(.W(W), .AW(AW)) beats (
        .clk(clk),
        .we(we_reg), .waddr(waddr_reg), .wdata(masked),
        .re(beat_read), .raddr(raddr), .rdata(rdata)
    );

    // ---- what is known of each segment, brought together ---------------------------------------------------
    wire         h_valid;
    wire [751:0] h_hdr;
    wire [10:0]  h_bytes;
    wire [3:0]   h_words;
    wire         h_payload;
    wire         hs_valid;
    wire [15:0]  hs_ip;
    wire [17:0]  hs_tcp;
    wire         ds_valid;
    wire [17:0]  ds;
    wire         known = h_valid && hs_valid && ds_valid;
    wire         emit_ready;
    wire         load  = known && emit_ready;

    nk_fifo #(.W(752 + 11 + 4 + 1), .DEPTH_LOG2(SLOTS_LOG2)) headers (
        .clk(clk), .rst(rst),
        .s_data({hdr_payload, hdr_words, hdr_bytes, hdr}), .s_valid(hdr_valid), .s_ready(h_room),
        .m_data({h_payload, h_words, h_bytes, h_hdr}), .m_valid(h_valid), .m_ready(load), .level(h_level)
    );

    nk_fifo #(.W(16 + 18), .DEPTH_LOG2(SLOTS_LOG2), .FAST(1)) header_sums (
        .clk(clk), .rst(rst),
        .s_data({hsum_ip, hsum_tcp}), .s_valid(hsum_valid), .s_ready(hs_room),
        .m_data({hs_ip, hs_tcp}), .m_valid(hs_valid), .m_ready(load), .level(hs_level)
    );

    nk_fifo #(.W(18), .DEPTH_LOG2(SLOTS_LOG2), .FAST(1)) payload_sums (
        .clk(clk), .rst(rst),
        .s_data(sum), .s_valid(sum_valid), .s_ready(ds_room),
        .m_data(ds), .m_valid(ds_valid), .m_ready(load), .level(ds_level)
    );

    nk_net_tx_emit #(.W(W), .AW(AW)) emit (
        .clk(clk), .rst(rst),
        .s_valid(known), .s_ready(emit_ready), .s_hdr(h_hdr), .s_bytes(h_bytes),
        .s_words(h_words), .s_payload(h_payload), .s_ip_csum(hs_ip), .s_hdr_sum(hs_tcp), .s_data_sum(ds),
        .re(beat_read), .beat_sent(beat_sent), .raddr(raddr), .rdata(rdata),
        .m_valid(m_valid), .m_ready(m_ready), .m_data(m_data), .m_last(m_last), .m_bytes(m_bytes),
        .frame_end(frame_end)
    );

    assign stat_tx_segments = m_valid && m_ready && m_last;
    wire unused = &{1'b0, w_room, h_room, hs_room, ds_room, w_level, h_level, hs_level, ds_level, span[16:12], span[LW-1:0],
                       hbytes[6:LW]};
    assign busy = used_reg != {SLOTS_LOG2+1{1'b0}} || m_valid;

endmodule

`default_nettype wire
