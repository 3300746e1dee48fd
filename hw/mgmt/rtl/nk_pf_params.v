// SPDX-License-Identifier: Apache-2.0
// Parameters that all flows share: timers, retries, the key, and the index of the neighbour table's window.
//
// Written through the PF at any time; what runs uses the new value from the next event on.

`default_nettype none
`include "nk_abi.vh"

module nk_pf_params (
    // Clock and reset (synchronous, active high).
    input  wire         clk,
    input  wire         rst,
    // One access: byte address in the PF's BAR0; read data and error at once.
    input  wire         write,
    input  wire [16:0]  addr,
    input  wire [31:0]  wdata,
    output reg  [31:0]  rdata,
    output reg          err,             // no register of this module
    // The parameters.
    output wire [31:0]  p_rto_min,
    output wire [31:0]  p_rto_init,
    output wire [31:0]  p_rto_max,
    output wire [31:0]  p_time_wait,
    output wire [31:0]  p_delayed_ack,
    output wire [31:0]  p_neigh_retry,
    output wire [7:0]   p_retries_data,
    output wire [7:0]   p_retries_syn,
    output wire [7:0]   p_retries_neigh,
    output wire [31:0]  p_fin_wait2,
    output wire [7:0]   p_initial_cwnd,
    output wire [127:0] hash_key,
    output wire [7:0]   nb_index,
    output wire [31:0]  p_vtep_ip,
    output wire [31:0]  p_vtep_mask,
    output wire [31:0]  p_vtep_gw,
    output wire [47:0]  p_vtep_mac,
    output wire [15:0]  p_vxlan_port
);
    // Reset values of fields narrower than 32 bits.
    localparam [31:0] RETRIES_RESET      = `NK_PF_RETRIES_RESET;
    localparam [31:0] INITIAL_CWND_RESET = `NK_PF_INITIAL_CWND_RESET;
    localparam [31:0] VXLAN_PORT_RESET   = `NK_PF_VXLAN_PORT_RESET;

    reg [31:0]  rto_min_reg;
    reg [31:0]  rto_init_reg;
    reg [31:0]  rto_max_reg;
    reg [31:0]  time_wait_reg;
    reg [31:0]  delayed_ack_reg;
    reg [31:0]  neigh_retry_reg;
    reg [23:0]  retries_reg;
    reg [31:0]  fin_wait2_reg;
    reg [7:0]   initial_cwnd_reg;
    reg [127:0] hash_key_reg;
    reg [7:0]   neigh_index_reg;
    reg [31:0]  vtep_ip_reg;
    reg [31:0]  vtep_mask_reg;
    reg [31:0]  vtep_gw_reg;
    reg [47:0]  vtep_mac_reg;
    reg [15:0]  vxlan_port_reg;

    assign p_rto_min       = rto_min_reg;
    assign p_rto_init      = rto_init_reg;
    assign p_rto_max       = rto_max_reg;
    assign p_time_wait     = time_wait_reg;
    assign p_delayed_ack   = delayed_ack_reg;
    assign p_neigh_retry   = neigh_retry_reg;
    assign p_retries_data  = retries_reg[7:0];
    assign p_retries_syn   = retries_reg[15:8];
    assign p_retries_neigh = retries_reg[23:16];
    assign p_fin_wait2     = fin_wait2_reg;
    assign p_initial_cwnd  = initial_cwnd_reg;
    assign hash_key        = hash_key_reg;
    assign nb_index        = neigh_index_reg;
    assign p_vtep_ip       = vtep_ip_reg;
    assign p_vtep_mask     = vtep_mask_reg;
    assign p_vtep_gw       = vtep_gw_reg;
    assign p_vtep_mac      = vtep_mac_reg;
    assign p_vxlan_port    = vxlan_port_reg;

    always @* begin
        rdata = 32'd0;
        err   = 1'b0;
        case (addr)
            `NK_PF_RTO_MIN_US_ADDR:     rdata = rto_min_reg;
            `NK_PF_RTO_INIT_US_ADDR:    rdata = rto_init_reg;
            `NK_PF_RTO_MAX_US_ADDR:     rdata = rto_max_reg;
            `NK_PF_TIME_WAIT_US_ADDR:   rdata = time_wait_reg;
            `NK_PF_DELAYED_ACK_US_ADDR: rdata = delayed_ack_reg;
            `NK_PF_NEIGH_RETRY_US_ADDR: rdata = neigh_retry_reg;
            `NK_PF_RETRIES_ADDR:        rdata = {8'd0, retries_reg};
            `NK_PF_FIN_WAIT2_US_ADDR:   rdata = fin_wait2_reg;
            `NK_PF_INITIAL_CWND_ADDR:   rdata = {24'd0, initial_cwnd_reg};
            // The key is write-only: it reads as 0.
            `NK_PF_HASH_KEY_ADDR, `NK_PF_HASH_KEY_ADDR + 17'd4,
            `NK_PF_HASH_KEY_ADDR + 17'd8, `NK_PF_HASH_KEY_ADDR + 17'd12: ;
            `NK_PF_NEIGH_INDEX_ADDR:    rdata = {24'd0, neigh_index_reg};
            `NK_PF_VTEP_IP_ADDR:        rdata = vtep_ip_reg;
            `NK_PF_VTEP_NETMASK_ADDR:   rdata = vtep_mask_reg;
            `NK_PF_VTEP_GATEWAY_ADDR:   rdata = vtep_gw_reg;
            `NK_PF_VTEP_MAC_LO_ADDR:    rdata = vtep_mac_reg[31:0];
            `NK_PF_VTEP_MAC_HI_ADDR:    rdata = {16'd0, vtep_mac_reg[47:32]};
            `NK_PF_VXLAN_PORT_ADDR:     rdata = {16'd0, vxlan_port_reg};
            default:                    err   = 1'b1;
        endcase
    end

    always @(posedge clk) begin
        if (write)
            case (addr)
                `NK_PF_RTO_MIN_US_ADDR:        rto_min_reg          <= wdata;
                `NK_PF_RTO_INIT_US_ADDR:       rto_init_reg         <= wdata;
                `NK_PF_RTO_MAX_US_ADDR:        rto_max_reg          <= wdata;
                `NK_PF_TIME_WAIT_US_ADDR:      time_wait_reg        <= wdata;
                `NK_PF_DELAYED_ACK_US_ADDR:    delayed_ack_reg      <= wdata;
                `NK_PF_NEIGH_RETRY_US_ADDR:    neigh_retry_reg      <= wdata;
                `NK_PF_RETRIES_ADDR:           retries_reg          <= wdata[23:0];
                `NK_PF_FIN_WAIT2_US_ADDR:      fin_wait2_reg        <= wdata;
                `NK_PF_INITIAL_CWND_ADDR:      initial_cwnd_reg     <= wdata[7:0];
                `NK_PF_HASH_KEY_ADDR:          hash_key_reg[31:0]   <= wdata;
                `NK_PF_HASH_KEY_ADDR + 17'd4:  hash_key_reg[63:32]  <= wdata;
                `NK_PF_HASH_KEY_ADDR + 17'd8:  hash_key_reg[95:64]  <= wdata;
                `NK_PF_HASH_KEY_ADDR + 17'd12: hash_key_reg[127:96] <= wdata;
                `NK_PF_NEIGH_INDEX_ADDR:       neigh_index_reg      <= wdata[7:0];
                `NK_PF_VTEP_IP_ADDR:           vtep_ip_reg          <= wdata;
                `NK_PF_VTEP_NETMASK_ADDR:      vtep_mask_reg        <= wdata;
                `NK_PF_VTEP_GATEWAY_ADDR:      vtep_gw_reg          <= wdata;
                `NK_PF_VTEP_MAC_LO_ADDR:       vtep_mac_reg[31:0]   <= wdata;
                `NK_PF_VTEP_MAC_HI_ADDR:       vtep_mac_reg[47:32]  <= wdata[15:0];
                `NK_PF_VXLAN_PORT_ADDR:        vxlan_port_reg       <= wdata[15:0];
                default: ;
            endcase
        if (rst) begin
            rto_min_reg      <= `NK_PF_RTO_MIN_US_RESET;
            rto_init_reg     <= `NK_PF_RTO_INIT_US_RESET;
            rto_max_reg      <= `NK_PF_RTO_MAX_US_RESET;
            time_wait_reg    <= `NK_PF_TIME_WAIT_US_RESET;
            delayed_ack_reg  <= `NK_PF_DELAYED_ACK_US_RESET;
            neigh_retry_reg  <= `NK_PF_NEIGH_RETRY_US_RESET;
            retries_reg      <= RETRIES_RESET[23:0];
            fin_wait2_reg    <= `NK_PF_FIN_WAIT2_US_RESET;
            initial_cwnd_reg <= INITIAL_CWND_RESET[7:0];
            hash_key_reg     <= 128'd0;
            neigh_index_reg  <= 8'd0;
            vtep_ip_reg      <= 32'd0;
            vtep_mask_reg    <= 32'd0;
            vtep_gw_reg      <= 32'd0;
            vtep_mac_reg     <= 48'd0;
            vxlan_port_reg   <= VXLAN_PORT_RESET[15:0];
        end
    end
endmodule

`default_nettype wire
