// SPDX-License-Identifier: Apache-2.0
// Purpose: transmit edge: turns a segment descriptor into an Ethernet frame, its payload read by DMA.
//
//   take ──▶ DMA read ──▶ receive: mask, sum, staging slot ──▶ build header ──▶ emit
//   (take_reg)            (read_reg)          (sum_reg)        (build_reg)      (emit_reg)
//
// Each stage works on a descriptor of its own; a slot of the staging memory belongs to a descriptor from `take` to
// the end of `emit`. The payload is asked for on the byte lane where it stands in the frame, so nothing is shifted:
//
//   | dst MAC | src MAC | 0800 | IPv4, DF, TTL 64 | TCP  20 | MSS | NOP, scale | payload | 0 up to 60 bytes |
//   0         6         12     14                 34        54    +4           +4

`default_nettype none

module nk_net_tx #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // VFs: 1 to 64.
    parameter NVF = 8,
    // log2 of the descriptors under way, and of the reads outstanding: 1 to 4.
    parameter SLOTS_LOG2 = 2,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    input  wire              clk,
    input  wire              rst,

    // Addresses of the VFs.
    input  wire [NVF*48-1:0] cfg_mac,
    input  wire [NVF*32-1:0] cfg_ip,

    // Descriptors, see docs/interfaces.md.
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
        if ((W != 64 && W != 128 && W != 256 && W != 512) || NVF < 1 || NVF > 64 || SLOTS_LOG2 < 1
            || SLOTS_LOG2 > 4 || LW != $clog2(W/8)) begin
            $display("%m: W = %0d (64, 128, 256, 512), NVF = %0d (1 to 64), SLOTS_LOG2 = %0d (1 to 4), LW = %0d (derived)",
                     W, NVF, SLOTS_LOG2, LW);
            $finish;
        end
    end

    localparam [31:0] BYTES = W / 8;
    localparam SLOTS  = 1 << SLOTS_LOG2;
    localparam BW     = 11 - LW;                      // a slot is 2048 bytes
    localparam HBEATS = (62 + BYTES - 1) / BYTES;
    localparam PW     = SLOTS_LOG2 + 1;               // pointers over the slots, one bit more to tell full from empty
    localparam VW     = (NVF > 1) ? $clog2(NVF) : 1;
    localparam DW     = 16 + 48 + 48 + 32 + 32 + 16 + 16 + 32 + 32 + 9 + 16 + 16 + 4 + 1 + 16;
    localparam [LW:0]   FULL = BYTES[LW:0];
    localparam [PW-1:0] ONE  = {{PW-1{1'b0}}, 1'b1};

    function [47:0] rev48;
        input [47:0] x;
        rev48 = {x[7:0], x[15:8], x[23:16], x[31:24], x[39:32], x[47:40]};
    endfunction
    function [31:0] rev32;
        input [31:0] x;
        rev32 = {x[7:0], x[15:8], x[23:16], x[31:24]};
    endfunction
    function [15:0] rev16;
        input [15:0] x;
        rev16 = {x[7:0], x[15:8]};
    endfunction
    // Ones'-complement sum of up to 16 words, to 16 bits.
    function [15:0] fold;
        input [19:0] x;
        reg   [16:0] y;
        begin
            y    = {1'b0, x[15:0]} + {13'd0, x[19:16]};
            fold = y[15:0] + {15'd0, y[16]};
        end
    endfunction
    // The payload stands behind 54 bytes, or 58 or 62 with one or two options: its first beat, its lane there.
    localparam [31:0] BEAT0 = 54 / BYTES, BEAT1 = 58 / BYTES, BEAT2 = 62 / BYTES;
    localparam [31:0] LANE0 = 54 % BYTES, LANE1 = 58 % BYTES, LANE2 = 62 % BYTES;
    function [BW-1:0] first_of;
        input [1:0] options;
        first_of = (&options) ? BEAT2[BW-1:0] : (|options) ? BEAT1[BW-1:0] : BEAT0[BW-1:0];
    endfunction
    function [LW-1:0] lane_of;
        input [1:0] options;
        lane_of = (&options) ? LANE2[LW-1:0] : (|options) ? LANE1[LW-1:0] : LANE0[LW-1:0];
    endfunction

    // ---- take: descriptor, addresses of its VF and IPv4 id into the slot; ask for the payload ----
    reg  [PW-1:0] take_reg;
    reg  [PW-1:0] read_reg;
    reg  [PW-1:0] sum_reg;
    reg  [PW-1:0] build_reg;
    reg  [PW-1:0] emit_reg;
    reg  [DW-1:0] desc_mem [0:SLOTS-1];
    reg  [17:0]   want_mem [0:SLOTS-1];               // for `receive`: options, length
    reg  [17:0]   sum_mem  [0:SLOTS-1];

    reg           req_valid_reg;
    reg  [7:0]    req_func_reg;
    reg  [63:0]   req_addr_reg;
    reg  [15:0]   req_len_reg;
    reg  [LW-1:0] req_lane_reg;
    reg  [15:0]   req_wrap_len_reg;
    reg  [63:0]   req_wrap_addr_reg;
    // An id counter for each VF: a common one would tell a tenant how much the others send.
    reg  [15:0]   id_mem [0:NVF-1];

    wire [PW-1:0] used     = take_reg - emit_reg;
    wire          take     = txd_valid && txd_ready;
    wire          has_mss  = txd_mss != 16'd0;
    wire [VW-1:0] vf       = txd_vf[VW-1:0];
    wire [15:0]   take_id  = id_mem[vf];
    integer       i;

    assign txd_ready = used != {1'b1, {SLOTS_LOG2{1'b0}}} && !req_valid_reg;

    always @(posedge clk) begin
        if (take) begin
            take_reg <= take_reg + ONE;
            id_mem[vf] <= take_id + 16'd1;
            desc_mem[take_reg[SLOTS_LOG2-1:0]] <=
                {take_id, txd_dmac, cfg_mac[{24'd0, txd_vf} * 48 +: 48], cfg_ip[{24'd0, txd_vf} * 32 +: 32], txd_rip,
                 txd_lport, txd_rport, txd_seq, txd_ack, txd_flags, txd_wnd, txd_mss, txd_wscale, txd_wscale_valid,
                 txd_len};
            want_mem[take_reg[SLOTS_LOG2-1:0]] <= {has_mss, txd_wscale_valid, txd_len};
            req_valid_reg     <= txd_len != 16'd0;
            req_func_reg      <= txd_vf + 8'd1;
            req_addr_reg      <= txd_addr;
            req_len_reg       <= txd_len;
            req_lane_reg      <= lane_of({has_mss, txd_wscale_valid});
            req_wrap_len_reg  <= txd_wrap_len;
            req_wrap_addr_reg <= txd_wrap_addr;
        end else if (rdreq_ready) begin
            req_valid_reg <= 1'b0;
        end
        if (rst) begin
            take_reg      <= {PW{1'b0}};
            req_valid_reg <= 1'b0;
            for (i = 0; i < NVF; i = i + 1)
                id_mem[i] <= 16'd0;
        end
    end

    assign rdreq_valid     = req_valid_reg;
    assign rdreq_func      = req_func_reg;
    assign rdreq_addr      = req_addr_reg;
    assign rdreq_len       = req_len_reg;
    assign rdreq_lane      = req_lane_reg;
    assign rdreq_wrap_len  = req_wrap_len_reg;
    assign rdreq_wrap_addr = req_wrap_addr_reg;

    // ---- receive: beats of the oldest descriptor that still lacks some; without payload one empty beat ----
    reg           more_reg;                           // not its first beat
    reg  [15:0]   left_reg;                           // bytes from this beat on, lanes before the payload included
    reg  [BW-1:0] beat_reg;
    reg           done_reg;
    reg           we_reg;
    reg  [SLOTS_LOG2+BW-1:0] waddr_reg;

    wire [17:0]   want      = want_mem[read_reg[SLOTS_LOG2-1:0]];
    wire [LW-1:0] lane      = lane_of(want[17:16]);
    wire          pending   = read_reg != take_reg;
    wire          empty     = want[15:0] == 16'd0;
    wire          beat      = rdat_valid && rdat_ready;
    wire          read_end  = (pending && empty) || (beat && rdat_last);
    wire [15:0]   left_now  = more_reg ? left_reg : want[15:0] + {{16-LW{1'b0}}, lane};
    wire [BW-1:0] beat_now  = more_reg ? beat_reg : first_of(want[17:16]);
    wire [LW:0]   from      = more_reg ? {LW+1{1'b0}} : {1'b0, lane};
    wire [LW:0]   to        = empty ? {LW+1{1'b0}} : (left_now >= BYTES[15:0]) ? FULL : left_now[LW:0];

    // Data of a read can only be here while its descriptor is the oldest: reads are answered in order.
    assign rdat_ready = pending && !empty;
    assign txd_done   = done_reg;

    always @(posedge clk) begin
        done_reg <= read_end;
        we_reg   <= beat;
        if (beat) begin
            waddr_reg <= {read_reg[SLOTS_LOG2-1:0], beat_now};
            beat_reg  <= beat_now + {{BW-1{1'b0}}, 1'b1};
            left_reg  <= left_now - BYTES[15:0];
            more_reg  <= !rdat_last;
        end
        if (read_end)
            read_reg <= read_reg + ONE;
        if (rst) begin
            read_reg <= {PW{1'b0}};
            more_reg <= 1'b0;
            we_reg   <= 1'b0;
            done_reg <= 1'b0;
        end
    end

    wire [W-1:0] masked;
    wire         sum_valid;
    wire [17:0]  sum;
    nk_net_sum #(.W(W)) summer (
        .clk(clk), .rst(rst),
        .s_valid(beat || (pending && empty)), .s_last(read_end), .s_data(rdat_data), .s_from(from), .s_to(to),
        .masked_data(masked), .sum_valid(sum_valid), .sum(sum)
    );

    always @(posedge clk) begin
        if (sum_valid) begin
            sum_mem[sum_reg[SLOTS_LOG2-1:0]] <= sum;
            sum_reg <= sum_reg + ONE;
        end
        if (rst)
            sum_reg <= {PW{1'b0}};
    end

    // ---- build: the header of the oldest descriptor whose sum is known ----
    localparam [1:0] B_IDLE = 2'd0, B_SUM = 2'd1, B_FOLD = 2'd2, B_READY = 2'd3;
    reg  [1:0]    build_state_reg;
    reg  [DW-1:0] desc_reg;
    reg  [17:0]   desc_sum_reg;
    reg  [19:0]   ip_total_reg;
    reg  [19:0]   tcp_total1_reg;
    reg  [19:0]   tcp_total2_reg;
    reg  [15:0]   ip_csum_reg;
    reg  [15:0]   tcp_csum_reg;
    wire          emit_take;

    wire [15:0] d_id;
    wire [47:0] d_dmac;
    wire [47:0] d_smac;
    wire [31:0] d_sip;
    wire [31:0] d_dip;
    wire [15:0] d_sport;
    wire [15:0] d_dport;
    wire [31:0] d_seq;
    wire [31:0] d_ack;
    wire [8:0]  d_flags;
    wire [15:0] d_wnd;
    wire [15:0] d_mss;
    wire [3:0]  d_wscale;
    wire        d_wscale_valid;
    wire [15:0] d_len;
    assign {d_id, d_dmac, d_smac, d_sip, d_dip, d_sport, d_dport, d_seq, d_ack, d_flags, d_wnd, d_mss, d_wscale,
            d_wscale_valid, d_len} = desc_reg;

    wire        d_mss_valid = d_mss != 16'd0;
    wire [3:0]  d_words     = 4'd5 + {3'd0, d_mss_valid} + {3'd0, d_wscale_valid};
    wire [15:0] d_tcp_len   = d_len + {10'd0, d_words, 2'b00};
    wire [15:0] d_ip_len    = d_tcp_len + 16'd20;
    wire [15:0] d_offset    = {d_words, 3'd0, d_flags};
    wire [31:0] mss_option  = {16'h0204, d_mss};
    wire [31:0] wsc_option  = {24'h010303, 4'd0, d_wscale};
    // Options in the order of the wire: the second place is used only by the second of two.
    wire [31:0] option1     = d_mss_valid ? mss_option : d_wscale_valid ? wsc_option : 32'd0;
    wire [31:0] option2     = (d_mss_valid && d_wscale_valid) ? wsc_option : 32'd0;
    wire [15:0] data_sum    = rev16(fold({2'd0, desc_sum_reg}));
    wire [19:0] tcp_total   = {4'd0, fold(tcp_total1_reg)} + {4'd0, fold(tcp_total2_reg)};

    always @(posedge clk) begin
        case (build_state_reg)
            B_IDLE: if (build_reg != sum_reg) begin
                desc_reg        <= desc_mem[build_reg[SLOTS_LOG2-1:0]];
                desc_sum_reg    <= sum_mem[build_reg[SLOTS_LOG2-1:0]];
                build_reg       <= build_reg + ONE;
                build_state_reg <= B_SUM;
            end
            B_SUM: begin
                ip_total_reg    <= 20'h04500 + {4'd0, d_ip_len} + {4'd0, d_id} + 20'h04000 + 20'h04006
                                 + {4'd0, d_sip[31:16]} + {4'd0, d_sip[15:0]}
                                 + {4'd0, d_dip[31:16]} + {4'd0, d_dip[15:0]};
                tcp_total1_reg  <= {4'd0, d_sip[31:16]} + {4'd0, d_sip[15:0]} + {4'd0, d_dip[31:16]}
                                 + {4'd0, d_dip[15:0]} + 20'd6 + {4'd0, d_tcp_len} + {4'd0, d_sport}
                                 + {4'd0, d_dport} + {4'd0, data_sum};
                tcp_total2_reg  <= {4'd0, d_seq[31:16]} + {4'd0, d_seq[15:0]} + {4'd0, d_ack[31:16]}
                                 + {4'd0, d_ack[15:0]} + {4'd0, d_offset} + {4'd0, d_wnd}
                                 + {4'd0, option1[31:16]} + {4'd0, option1[15:0]}
                                 + {4'd0, option2[31:16]} + {4'd0, option2[15:0]};
                build_state_reg <= B_FOLD;
            end
            B_FOLD: begin
                ip_csum_reg     <= ~fold(ip_total_reg);
                tcp_csum_reg    <= ~fold(tcp_total);
                build_state_reg <= B_READY;
            end
            default: if (emit_take) build_state_reg <= B_IDLE;
        endcase
        if (rst) begin
            build_state_reg <= B_IDLE;
            build_reg       <= {PW{1'b0}};
        end
    end

    // ---- emit: header beats from the register, payload beats from the slot, added where they meet ----
    reg                active_reg;
    reg [HBEATS*W-1:0] hdr_reg;
    reg [10:0]         rest_reg;                      // bytes to send, padding included
    reg [BW-1:0]       at_reg;
    reg [BW-1:0]       data_first_reg;
    reg [BW-1:0]       data_last_reg;
    reg                data_any_reg;

    reg                out_valid_reg;
    reg                out_last_reg;
    reg [LW:0]         out_bytes_reg;
    reg [W-1:0]        out_hdr_reg;
    reg                out_ram_reg;
    wire [W-1:0]       out_ram;

    wire        step    = active_reg && (!out_valid_reg || m_ready);
    wire        ending   = rest_reg <= BYTES[10:0];
    wire [10:0] bytes   = d_ip_len[10:0] + 11'd14;
    wire [10:0] data_at = bytes - 11'd1;
    wire        unused_ok = &{1'b0, data_at[LW-1:0]};

    assign emit_take = build_state_reg == B_READY && (!active_reg || (step && ending));

    nk_ram_1w1r #(.W(W), .AW(SLOTS_LOG2 + BW)) slots (
        .clk(clk),
        .we(we_reg), .waddr(waddr_reg), .wdata(masked),
        .re(step), .raddr({emit_reg[SLOTS_LOG2-1:0], at_reg}), .rdata(out_ram)
    );

    always @(posedge clk) begin
        if (step) begin
            hdr_reg       <= hdr_reg >> W;
            at_reg        <= at_reg + {{BW-1{1'b0}}, 1'b1};
            rest_reg      <= rest_reg - BYTES[10:0];
            out_hdr_reg   <= hdr_reg[W-1:0];
            out_ram_reg   <= data_any_reg && at_reg >= data_first_reg && at_reg <= data_last_reg;
            out_last_reg  <= ending;
            out_bytes_reg <= ending ? rest_reg[LW:0] : FULL;
            if (ending) begin
                active_reg <= 1'b0;
                emit_reg   <= emit_reg + ONE;
            end
        end
        out_valid_reg <= step || (out_valid_reg && !m_ready);
        if (emit_take) begin
            active_reg     <= 1'b1;
            at_reg         <= {BW{1'b0}};
            rest_reg       <= (bytes < 11'd60) ? 11'd60 : bytes;
            data_any_reg   <= d_len != 16'd0;
            data_first_reg <= first_of({d_mss_valid, d_wscale_valid});
            data_last_reg  <= data_at[10:LW];
            // The first byte is in the lowest bits.
            hdr_reg        <= {{HBEATS*W-62*8{1'b0}}, rev32(option2), rev32(option1),
                               16'd0, rev16(tcp_csum_reg), rev16(d_wnd), rev16(d_offset), rev32(d_ack), rev32(d_seq),
                               rev16(d_dport), rev16(d_sport),
                               rev32(d_dip), rev32(d_sip), rev16(ip_csum_reg), 16'h0640, 16'h0040, rev16(d_id),
                               rev16(d_ip_len), 16'h0045, 16'h0008, rev48(d_smac), rev48(d_dmac)};
        end
        if (rst) begin
            active_reg    <= 1'b0;
            out_valid_reg <= 1'b0;
            emit_reg      <= {PW{1'b0}};
        end
    end

    assign m_valid = out_valid_reg;
    assign m_last  = out_last_reg;
    assign m_bytes = out_bytes_reg;
    assign m_data  = (out_ram_reg ? out_ram : {W{1'b0}}) | out_hdr_reg;

    assign stat_tx_segments = m_valid && m_ready && m_last;
    assign busy = take_reg != emit_reg || out_valid_reg;

endmodule

`default_nettype wire
