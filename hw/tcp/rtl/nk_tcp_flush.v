// SPDX-License-Identifier: Apache-2.0
// VF flush: names every flow of a VF in turn, then waits until no segment of them can read memory any more.

`default_nettype none

module nk_tcp_flush #(
    parameter NVF = 8,      // VFs
    parameter FW  = 10,     // bits of a flow number
    parameter VW  = (NVF > 1) ? $clog2(NVF) : 1  // derived
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,
    // The VFs' ranges in the flow table; they hold still during a flush.
    input  wire [NVF*32-1:0] cfg_sock_base,
    input  wire [NVF*32-1:0] cfg_sock_count,
    // Request.
    input  wire              flush_valid,
    output wire              flush_ready,
    input  wire [7:0]        flush_vf,
    // Descriptors handed to nk_net_tx and done there, free-running.
    input  wire [15:0]       tx_issued,
    input  wire [15:0]       tx_done,
    // A flow to end; `flow_done` pulses when it is.
    output wire              flow_valid,
    output wire [FW-1:0]     flow,
    input  wire              flow_done,
    // All are ended; the last action may go.
    output wire              end_valid,
    input  wire              end_taken,
    output wire [7:0]        vf,
    output wire              busy
);
    reg          on_reg;
    reg          tail_reg;
    reg [7:0]    vf_reg;
    reg [FW:0]   left_reg;
    reg [FW-1:0] flow_reg;
    reg [15:0]   mark_reg;

    wire [VW-1:0] ix    = flush_vf[VW-1:0];
    wire [FW:0]   count = cfg_sock_count[ix * 32 +: FW + 1];

    assign flush_ready = !on_reg && !tail_reg;
    assign flow_valid  = on_reg;
    assign flow        = flow_reg;
    assign vf          = vf_reg;
    assign busy        = on_reg || tail_reg;
    // Done has reached the mark on the circle of 16-bit counts.
    assign end_valid   = tail_reg && (tx_done - mark_reg) >> 15 == 16'd0;

    always @(posedge clk) begin
        if (flush_valid && flush_ready) begin
            on_reg   <= count != {(FW + 1){1'b0}};
            tail_reg <= count == {(FW + 1){1'b0}};
            vf_reg   <= flush_vf;
            left_reg <= count;
            flow_reg <= cfg_sock_base[ix * 32 +: FW];
            mark_reg <= tx_issued;
        end
        if (flow_done) begin
            flow_reg <= flow_reg + 1'b1;
            left_reg <= left_reg - 1'b1;
            mark_reg <= tx_issued;
            if (left_reg == {{FW{1'b0}}, 1'b1}) begin
                on_reg   <= 1'b0;
                tail_reg <= 1'b1;
            end
        end
        if (end_taken) tail_reg <= 1'b0;
        if (rst) begin
            on_reg   <= 1'b0;
            tail_reg <= 1'b0;
        end
    end
endmodule

`default_nettype wire
