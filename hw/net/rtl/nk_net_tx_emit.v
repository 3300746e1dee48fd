// SPDX-License-Identifier: Apache-2.0
// Purpose: sends frames: header beats from a register, payload beats from the memory, put together where they meet.
//
//   clock  0       1             2
//          s_*     header, read  m_*: the frame's first beat
//
// The next frame is loaded in the clock in which the last beat of this one is prepared: no gap between frames.

`default_nettype none

module nk_net_tx_emit #(
    // Bus width in bits: 64, 128, 256 or 512.
    parameter W = 512,
    // Address bits of the payload memory, a beat a word: more than 11 - LW.
    parameter AW = 9,
    // log2 of the bytes of a beat; follows from W, leave it.
    parameter LW = $clog2(W/8)
) (
    // Clock and reset (synchronous, active high).
    input  wire          clk,
    input  wire          rst,

    // A frame: header with both checksums 0, bytes without padding, words of options, whether there is payload; its
    // IPv4 checksum as it stands in the frame; little-endian sums for the TCP checksum.
    input  wire          s_valid,
    output wire          s_ready,
    input  wire [751:0]  s_hdr,
    input  wire [10:0]   s_bytes,
    input  wire [3:0]    s_words,
    input  wire          s_payload,
    input  wire [15:0]   s_ip_csum,
    input  wire [17:0]   s_hdr_sum,
    input  wire [17:0]   s_data_sum,

    // Payload memory: the beats of the frames one behind the other, 0 where there is no payload. The data of a read are there
    // from the next clock on and stay. `beat_sent`: this word is not needed any more.
    output wire          re,
    output wire          beat_sent,
    output wire [AW-1:0] raddr,
    input  wire [W-1:0]  rdata,

    // Frames, padded with zeros to 60 bytes.
    output wire          m_valid,
    input  wire          m_ready,
    output wire [W-1:0]  m_data,
    output wire          m_last,
    output wire [LW:0]   m_bytes,

    // The last beat of a frame has been prepared.
    output wire          frame_end
);

    initial begin
        if ((W != 64 && W != 128 && W != 256 && W != 512) || AW <= 11 - LW || LW != $clog2(W/8)) begin
            $display("%m: W = %0d (64, 128, 256, 512), AW = %0d (more than 11 - LW), LW = %0d (derived)", W, AW, LW);
            $finish;
        end
    end

    localparam [31:0] BYTES  = W / 8;
    localparam        BW     = 11 - LW;                 // a frame has at most 2048 bytes
    localparam        HBEATS = (94 + W/8 - 1) / (W/8);
    localparam [LW:0] FULL   = BYTES[LW:0];

    // ---- the TCP checksum ----------------------------------------------------------------------
    wire [18:0] total = {1'b0, s_hdr_sum} + {1'b0, s_data_sum};
    wire [16:0] once  = {1'b0, total[15:0]} + {14'd0, total[18:16]};
    wire [15:0] csum  = ~(once[15:0] + {15'd0, once[16]});

    // ---- the frame under way -------------------------------------------------------------------
    reg                active_reg;
    reg [HBEATS*W-1:0] hdr_reg;
    reg [10:0]         rest_reg;                        // bytes to send, padding included
    reg [BW-1:0]       at_reg;
    reg [BW-1:0]       first_reg;                       // beats with payload
    reg [BW-1:0]       last_reg;
    reg                payload_reg;
    reg [AW-1:0]       raddr_reg;

    reg                out_valid_reg;
    reg                out_last_reg;
    reg [LW:0]         out_bytes_reg;
    reg [W-1:0]        out_hdr_reg;
    reg                out_ram_reg;

    wire        step    = active_reg && (!out_valid_reg || m_ready);
    wire        ending  = rest_reg <= BYTES[10:0];
    wire        here    = payload_reg && at_reg >= first_reg && at_reg <= last_reg;
    wire        load    = s_valid && s_ready;
    wire [6:0]  hbytes  = 7'd54 + {1'b0, s_words, 2'b00};
    wire [10:0] data_at = s_bytes - 11'd1;

    assign s_ready   = !active_reg || (step && ending);
    assign frame_end = step && ending;
    assign re        = step && here;
    assign beat_sent = re;
    assign raddr     = raddr_reg;

    always @(posedge clk) begin
        if (step) begin
            hdr_reg       <= hdr_reg >> W;
            at_reg        <= at_reg + {{BW-1{1'b0}}, 1'b1};
            rest_reg      <= rest_reg - BYTES[10:0];
            out_hdr_reg   <= hdr_reg[W-1:0];
            out_ram_reg   <= here;
            out_last_reg  <= ending;
            out_bytes_reg <= ending ? rest_reg[LW:0] : FULL;
            if (ending)
                active_reg <= 1'b0;
        end
        if (re)
            raddr_reg <= raddr_reg + {{AW-1{1'b0}}, 1'b1};
        out_valid_reg <= step || (out_valid_reg && !m_ready);
        if (load) begin
            active_reg  <= 1'b1;
            at_reg      <= {BW{1'b0}};
            rest_reg    <= (s_bytes < 11'd60) ? 11'd60 : s_bytes;
            payload_reg <= s_payload;
            first_reg   <= {{BW+LW-7{1'b0}}, hbytes[6:LW]};
            last_reg    <= data_at[10:LW];
            // The IPv4 checksum stands at byte 24, that of TCP at byte 50.
            hdr_reg     <= {{HBEATS*W-752{1'b0}}, s_hdr[751:416], csum, s_hdr[399:208], s_ip_csum, s_hdr[191:0]};
        end
        if (rst) begin
            active_reg    <= 1'b0;
            out_valid_reg <= 1'b0;
            raddr_reg     <= {AW{1'b0}};
        end
    end

    assign m_valid = out_valid_reg;
    assign m_last  = out_last_reg;
    assign m_bytes = out_bytes_reg;
    assign m_data  = (out_ram_reg ? rdata : {W{1'b0}}) | out_hdr_reg;

    // Lanes are the reader's affair; the checksum fields come as zeros.
    wire unused = &{1'b0, data_at[LW-1:0], hbytes[LW-1:0], s_hdr[415:400], s_hdr[207:192]};

endmodule

`default_nettype wire
