// SPDX-License-Identifier: Apache-2.0
// Purpose: stands in for nk_core in the twin's tests: small, and every port does something that a test can see.
//
// - Frames from the wire go back to the wire as they are.
// - Identity registers as in the ABI; VF CTRL.reset holds STATUS.resetting for 200 clocks.
// - A log keeps every MMIO write: (func, addr, data), 1024 deep.
// - A DMA engine copies between host memory and a buffer in lanes, as told by registers (see below).
// - A write to IRQ_ARM in a doorbell page writes 64 bytes of a pattern to DMA_ADDR of that function, then raises
//   the interrupt of that queue set. A write to JOB_TAIL gives an NQE trace pulse.
// - TIMER sets next_us; when it is reached, function 0's vector 0 is raised.
//
// Registers of function 0 (byte address): 0x2000 CMD (1 read, 2 write, 3 interrupt,
// 4 write with an interrupt between command and data, the data only when SPIN has run out), 0x2004 FUNC, 0x2008 ADDR_LO,
// 0x200c ADDR_HI, 0x2010 LEN, 0x2014 LANE, 0x2018 WRAP_LEN, 0x201c WRAP_LO, 0x2020 WRAP_HI, 0x2024 DONE (count),
// 0x2028 LOG_COUNT, 0x202c LOG_INDEX, 0x2030..0x2038 log entry, 0x203c TIMER, 0x2040 SPIN (busy for so many
// clocks), 0x2044 VECTOR, 0x2048 MUTE (reads are not answered any more).

`default_nettype none
`include "nk_abi.vh"

module nk_core #(
    parameter W        = 512,
    parameter NVF      = 8,
    parameter NQS      = 1,
    parameter FLOWS    = 1024,
    parameter BUILD_ID = 32'h0,
    parameter LW       = $clog2(W / 8)
) (
    input  wire           clk,
    input  wire           rst,
    input  wire [31:0]    now_us,

    input  wire           mmio_valid,
    output wire           mmio_ready,
    input  wire [7:0]     mmio_func,
    input  wire           mmio_write,
    input  wire [16:0]    mmio_addr,
    input  wire [31:0]    mmio_wdata,
    output reg            mmio_rvalid,
    output reg  [31:0]    mmio_rdata,

    output wire           rdreq_valid,
    input  wire           rdreq_ready,
    output wire [7:0]     rdreq_func,
    output wire [63:0]    rdreq_addr,
    output wire [15:0]    rdreq_len,
    output wire [LW-1:0]  rdreq_lane,
    output wire [15:0]    rdreq_wrap_len,
    output wire [63:0]    rdreq_wrap_addr,
    input  wire           rdat_valid,
    output wire           rdat_ready,
    input  wire [W-1:0]   rdat_data,
    input  wire           rdat_last,

    output wire           wrreq_valid,
    input  wire           wrreq_ready,
    output wire [7:0]     wrreq_func,
    output wire [63:0]    wrreq_addr,
    output wire [15:0]    wrreq_len,
    output wire [LW-1:0]  wrreq_lane,
    output wire [15:0]    wrreq_wrap_len,
    output wire [63:0]    wrreq_wrap_addr,
    output wire           wdat_valid,
    input  wire           wdat_ready,
    output wire [W-1:0]   wdat_data,
    output wire           wdat_last,

    output wire           irq_valid,
    input  wire           irq_ready,
    output wire [7:0]     irq_func,
    output wire [7:0]     irq_vector,

    output wire           busy,
    output wire           next_us_valid,
    output wire [31:0]    next_us,

    input  wire           rx_valid,
    output wire           rx_ready,
    input  wire [W-1:0]   rx_data,
    input  wire           rx_last,
    input  wire [LW:0]    rx_bytes,
    output wire           tx_valid,
    input  wire           tx_ready,
    output wire [W-1:0]   tx_data,
    output wire           tx_last,
    output wire [LW:0]    tx_bytes,

    output reg            tr_valid,
    output reg  [7:0]     tr_vf,
    output reg  [7:0]     tr_qs,
    output reg  [1:0]     tr_queue,
    output reg  [255:0]   tr_nqe
);

    localparam [7:0] CAP_SETS = NQS, CAP_VFS = NVF, CAP_BYTES = W / 8, CAP_FLOWS = $clog2(FLOWS);
    localparam [31:0] CAPS = {CAP_FLOWS, CAP_BYTES, CAP_VFS, CAP_SETS};

    localparam IDLE = 3'd0, READ = 3'd1, READ_DATA = 3'd2, WRITE = 3'd3, WRITE_DATA = 3'd4, IRQ = 3'd5;

    // ---- wire: one register stage back to the sender
    reg           echo_valid_reg, echo_last_reg;
    reg [W-1:0]   echo_data_reg;
    reg [LW:0]    echo_bytes_reg;
    assign rx_ready = !echo_valid_reg || tx_ready;
    assign tx_valid = echo_valid_reg;
    assign tx_data  = echo_data_reg;
    assign tx_last  = echo_last_reg;
    assign tx_bytes = echo_bytes_reg;
    always @(posedge clk) begin
        if (rx_ready) begin
            echo_valid_reg <= rx_valid;
            echo_data_reg  <= rx_data;
            echo_last_reg  <= rx_last;
            echo_bytes_reg <= rx_bytes;
        end
        if (rst)
            echo_valid_reg <= 1'b0;
    end

    // ---- registers
    reg [7:0]   dma_func;
    reg [63:0]  dma_addr, wrap_addr;
    reg [15:0]  dma_len, wrap_len;
    reg [LW-1:0] dma_lane;
    reg [31:0]  done_count, log_count, log_index, spin, timer, base_lo;
    reg [7:0]   vector;
    reg         timer_on, mute;
    reg [7:0]   resetting [0:255];
    reg [7:0]   log_func [0:1023];
    reg [16:0]  log_addr [0:1023];
    reg [31:0]  log_data [0:1023];

    reg [2:0]   state;
    reg         early_irq;        // interrupt before the data
    reg         pattern;          // the write in hand is the pattern, an interrupt follows
    reg [7:0]   irq_func_reg, irq_vector_reg;
    reg [W-1:0] buffer [0:(4096 * 8 / W) + 1];
    reg [15:0]  beat;
    wire [16:0] total = {1'b0, dma_len} + {{(17-LW){1'b0}}, dma_lane} + (W / 8 - 1);
    wire [15:0] last_beat = (total[16:0] >> LW) - 16'd1;

    assign mmio_ready = state == IDLE;
    wire take = mmio_valid && mmio_ready;
    wire doorbell = mmio_func != 8'd0 && mmio_addr >= `NK_VF_DB_BASE;

    assign rdreq_valid     = state == READ;
    assign rdreq_func      = dma_func;
    assign rdreq_addr      = dma_addr;
    assign rdreq_len       = dma_len;
    assign rdreq_lane      = dma_lane;
    assign rdreq_wrap_len  = wrap_len;
    assign rdreq_wrap_addr = wrap_addr;
    assign rdat_ready      = state == READ_DATA;
    assign wrreq_valid     = state == WRITE;
    assign wrreq_func      = dma_func;
    assign wrreq_addr      = dma_addr;
    assign wrreq_len       = pattern ? 16'd64 : dma_len;
    assign wrreq_lane      = pattern ? {LW{1'b0}} : dma_lane;
    assign wrreq_wrap_len  = wrap_len;
    assign wrreq_wrap_addr = wrap_addr;
    assign wdat_valid      = state == WRITE_DATA && !(early_irq && spin != 0);
    assign wdat_data       = pattern ? {W / 32{done_count}} : buffer[beat];
    assign wdat_last       = beat == (pattern ? 64 * 8 / W - 1 : last_beat);
    assign irq_valid       = state == IRQ;
    assign irq_func        = irq_func_reg;
    assign irq_vector      = irq_vector_reg;
    assign next_us_valid   = timer_on;
    assign next_us         = timer;
    wire expired = timer_on && $signed(now_us - timer) >= 0;
    wire any_reset = resetting[1] != 0 || resetting[2] != 0;
    assign busy = state != IDLE || echo_valid_reg || spin != 0 || any_reset || mmio_rvalid;

    integer i;
    always @(posedge clk) begin
        mmio_rvalid <= 1'b0;
        tr_valid    <= 1'b0;
        if (spin != 0)
            spin <= spin - 1;
        for (i = 1; i < 3; i = i + 1)
            if (resetting[i] != 0)
                resetting[i] <= resetting[i] - 8'd1;

        case (state)
            IDLE:
                if (expired && !take) begin
                    timer_on       <= 1'b0;
                    irq_func_reg   <= 8'd0;
                    irq_vector_reg <= 8'd0;
                    state          <= IRQ;
                end
            READ: if (rdreq_ready) state <= READ_DATA;
            READ_DATA:
                if (rdat_valid) begin
                    buffer[beat] <= rdat_data;
                    beat         <= beat + 16'd1;
                    if (rdat_last) begin
                        done_count <= done_count + 1;
                        state      <= IDLE;
                    end
                end
            WRITE: if (wrreq_ready) state <= early_irq ? IRQ : WRITE_DATA;
            WRITE_DATA:
                if (wdat_valid && wdat_ready) begin
                    beat <= beat + 16'd1;
                    if (wdat_last) begin
                        early_irq  <= 1'b0;
                        done_count <= done_count + 1;
                        state      <= pattern ? IRQ : IDLE;
                    end
                end
            IRQ:
                if (irq_ready) begin
                    pattern <= 1'b0;
                    state   <= early_irq ? WRITE_DATA : IDLE;
                end
            default: state <= IDLE;
        endcase

        if (take && mmio_write) begin
            log_func[log_count[9:0]] <= mmio_func;
            log_addr[log_count[9:0]] <= mmio_addr;
            log_data[log_count[9:0]] <= mmio_wdata;
            log_count                <= log_count + 1;
            if (mmio_func != 8'd0 && mmio_addr == `NK_VF_CTRL_ADDR && mmio_wdata[1])
                resetting[mmio_func] <= 8'd200;
            if (doorbell && mmio_addr[11:0] == `NK_DB_IRQ_ARM_OFS) begin
                dma_func       <= mmio_func;
                irq_func_reg   <= mmio_func;
                irq_vector_reg <= {4'd0, mmio_addr[15:12]};
                pattern        <= 1'b1;
                wrap_len       <= 16'hffff;
                beat           <= 16'd0;
                state          <= WRITE;
            end
            if (doorbell && mmio_addr[11:0] == `NK_DB_JOB_TAIL_OFS) begin
                tr_valid <= 1'b1;
                tr_vf    <= mmio_func - 8'd1;
                tr_qs    <= {4'd0, mmio_addr[15:12]};
                tr_queue <= 2'd0;
                tr_nqe   <= {8{mmio_wdata}};
            end
            if (mmio_func == 8'd0) begin
                case (mmio_addr)
                    17'h2000: begin
                        beat <= 16'd0;
                        if (mmio_wdata == 1) state <= READ;
                        if (mmio_wdata == 2 || mmio_wdata == 4) state <= WRITE;
                        early_irq <= mmio_wdata == 4;
                        if (mmio_wdata == 3 || mmio_wdata == 4) begin
                            irq_func_reg   <= dma_func;
                            irq_vector_reg <= vector;
                            if (mmio_wdata == 3) state <= IRQ;
                        end
                    end
                    17'h2004: dma_func <= mmio_wdata[7:0];
                    17'h2008: dma_addr[31:0] <= mmio_wdata;
                    17'h200c: dma_addr[63:32] <= mmio_wdata;
                    17'h2010: dma_len <= mmio_wdata[15:0];
                    17'h2014: dma_lane <= mmio_wdata[LW-1:0];
                    17'h2018: wrap_len <= mmio_wdata[15:0];
                    17'h201c: wrap_addr[31:0] <= mmio_wdata;
                    17'h2020: wrap_addr[63:32] <= mmio_wdata;
                    17'h202c: log_index <= mmio_wdata;
                    17'h203c: begin
                        timer    <= mmio_wdata;
                        timer_on <= 1'b1;
                    end
                    17'h2040: spin <= mmio_wdata;
                    17'h2044: vector <= mmio_wdata[7:0];
                    17'h2048: mute <= mmio_wdata[0];
                    default: ;
                endcase
            end
        end

        if (take && !mmio_write) begin
            mmio_rvalid <= !mute;
            mmio_rdata  <= 32'd0;
            case (mmio_addr)
                `NK_VF_MAGIC_ADDR: mmio_rdata <= `NK_MAGIC;
                `NK_VF_ABI_VERSION_ADDR: mmio_rdata <= `NK_ABI_VERSION;
                `NK_VF_BUILD_ID_ADDR: mmio_rdata <= BUILD_ID;
                `NK_VF_CAPS_ADDR: mmio_rdata <= CAPS;
                `NK_VF_FUNCTION_ADDR:
                    mmio_rdata <= mmio_func == 8'd0 ? 32'h100 : {24'd0, mmio_func - 8'd1};
                `NK_VF_STATUS_ADDR: mmio_rdata <= {29'd0, resetting[mmio_func] != 0, 2'b00};
                `NK_PF_NOW_US_ADDR: mmio_rdata <= now_us;
                17'h2024: mmio_rdata <= done_count;
                17'h2028: mmio_rdata <= log_count;
                17'h2030: mmio_rdata <= {24'd0, log_func[log_index[9:0]]};
                17'h2034: mmio_rdata <= {15'd0, log_addr[log_index[9:0]]};
                17'h2038: mmio_rdata <= log_data[log_index[9:0]];
                default: mmio_rdata <= {15'd0, mmio_addr};
            endcase
        end

        if (rst) begin
            state       <= IDLE;
            pattern     <= 1'b0;
            early_irq   <= 1'b0;
            beat        <= 16'd0;
            done_count  <= 32'd0;
            log_count   <= 32'd0;
            spin        <= 32'd0;
            timer_on    <= 1'b0;
            mute        <= 1'b0;
            wrap_len    <= 16'hffff;
            mmio_rvalid <= 1'b0;
        end
    end

endmodule

`default_nettype wire
