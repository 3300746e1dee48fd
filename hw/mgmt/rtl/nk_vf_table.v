// SPDX-License-Identifier: Apache-2.0
// Purpose: the VF table: what the PF gives each VF, what the VF's tenant sets, and who may write what when.
//
// An access takes two clocks: `look` reads the row of the VF, `act` answers from it and writes.

`default_nettype none
`include "nk_abi.vh"

module nk_vf_table #(
    // VFs, 1 to 252.
    parameter NVF = 8,
    // Flows of the flow table, up to 65536.
    parameter FLOWS = 1024,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,

    // One access: `look`, in the next clock `act` with the same inputs; then `rdata` and `err` are valid.
    input  wire              look,
    input  wire              act,
    input  wire              write,
    input  wire              entry,         // 1: the PF's entry of the VF, 0: the VF's own page
    input  wire [VW-1:0]     vf,
    input  wire [6:0]        ofs,
    input  wire [31:0]       wdata,
    output wire [31:0]       rdata,
    output wire              err,           // no such register, or refused

    // Resets: a pulse a VF asks for one; reset_done when it is over.
    output wire [NVF-1:0]    reset_request,
    input  wire [NVF-1:0]    resetting,
    input  wire              reset_done,
    input  wire [VW-1:0]     reset_done_vf,

    // State shown to software.
    input  wire [NVF*16-1:0] vf_sockets,

    // The table, VF 0 in the lowest bits. cfg_en stays 1 until the reset that ends a VF's life is over.
    output wire [NVF-1:0]    cfg_en,
    output wire [NVF*48-1:0] cfg_mac,
    output wire [NVF*32-1:0] cfg_ip,
    output wire [NVF*32-1:0] cfg_mask,
    output wire [NVF*32-1:0] cfg_gw,
    output wire [NVF*16-1:0] cfg_mtu,
    output wire [NVF*3-1:0]  cfg_nsm,
    output wire [NVF*32-1:0] cfg_sock_base,
    output wire [NVF*32-1:0] cfg_sock_count,

    // Shares, rates (Mb/s, NQEs a second; 0: no limit), bursts {rx, tx} in KiB, limits {neighbours, listeners}.
    output wire [NVF*8-1:0]  cfg_weight,
    output wire [NVF-1:0]    cfg_vm_share,
    output wire [NVF*20-1:0] cfg_tx_max,
    output wire [NVF*20-1:0] cfg_tx_min,
    output wire [NVF*20-1:0] cfg_rx_max,
    output wire [NVF*32-1:0] cfg_nqe_rate,
    output wire [NVF*32-1:0] cfg_burst,
    output wire [NVF*32-1:0] cfg_limits,

    // Networks: {enable, 0, priority, VLAN id}, {enable, VNI}, the default peer.
    output wire [NVF*17-1:0] cfg_vlan,
    output wire [NVF*25-1:0] cfg_vni,
    output wire [NVF*32-1:0] cfg_remote,

    // What the tenants set. The region of a VF holds still while it is enabled or resetting.
    output wire [NVF-1:0]    vf_enabled,
    output wire [NVF*64-1:0] region_base,
    output wire [NVF*32-1:0] region_pages
);

    initial begin
        if (NVF < 1 || NVF > 252) begin
            $display("%m: NVF = %0d, must be 1 to 252", NVF);
            $finish;
        end
    end

    localparam [31:0] MTU_RESET    = `NK_VFE_MTU_RESET;
    localparam [31:0] SHARE_RESET  = `NK_VFE_SHARE_RESET;
    localparam [31:0] BURST_RESET  = `NK_VFE_BURST_RESET;
    localparam [31:0] LIMITS_RESET = `NK_VFE_LIMITS_RESET;
    // Largest region: 4 GiB.
    localparam [31:0] MAX_PAGES    = 32'd1 << 20;

    // ---------------------------------------------------------------------------------- the table

    reg [NVF-1:0] pf_en_reg;      // PF entry CTRL.enable
    reg [NVF-1:0] cfg_en_reg;     // the same, falling after the reset
    reg [NVF-1:0] vf_en_reg;      // VF CTRL.enable
    reg [NVF-1:0] request_reg;
    reg [47:0]    mac_reg    [0:NVF-1];
    reg [31:0]    ip_reg     [0:NVF-1];
    reg [31:0]    mask_reg   [0:NVF-1];
    reg [31:0]    gw_reg     [0:NVF-1];
    reg [15:0]    mtu_reg    [0:NVF-1];
    reg [2:0]     nsm_reg    [0:NVF-1];
    reg [31:0]    sbase_reg  [0:NVF-1];
    reg [31:0]    scount_reg [0:NVF-1];
    reg [8:0]     share_reg  [0:NVF-1];
    reg [19:0]    txmax_reg  [0:NVF-1];
    reg [19:0]    txmin_reg  [0:NVF-1];
    reg [19:0]    rxmax_reg  [0:NVF-1];
    reg [31:0]    nqes_reg   [0:NVF-1];
    reg [31:0]    burst_reg  [0:NVF-1];
    reg [31:0]    limits_reg [0:NVF-1];
    reg [16:0]    vlan_reg   [0:NVF-1];
    reg [24:0]    vni_reg    [0:NVF-1];
    reg [31:0]    remote_reg [0:NVF-1];
    reg [63:0]    rbase_reg  [0:NVF-1];
    reg [31:0]    rpages_reg [0:NVF-1];
    wire [15:0]   sockets    [0:NVF-1];

    assign cfg_en        = cfg_en_reg;
    assign vf_enabled    = vf_en_reg;
    assign reset_request = request_reg;

    genvar g;
    generate
        for (g = 0; g < NVF; g = g + 1) begin : g_vf
            assign cfg_mac[48*g +: 48]        = mac_reg[g];
            assign cfg_ip[32*g +: 32]         = ip_reg[g];
            assign cfg_mask[32*g +: 32]       = mask_reg[g];
            assign cfg_gw[32*g +: 32]         = gw_reg[g];
            assign cfg_mtu[16*g +: 16]        = mtu_reg[g];
            assign cfg_nsm[3*g +: 3]          = nsm_reg[g];
            assign cfg_sock_base[32*g +: 32]  = sbase_reg[g];
            assign cfg_sock_count[32*g +: 32] = scount_reg[g];
            assign cfg_weight[8*g +: 8]       = share_reg[g][7:0];
            assign cfg_vm_share[g]            = share_reg[g][8];
            assign cfg_tx_max[20*g +: 20]     = txmax_reg[g];
            assign cfg_tx_min[20*g +: 20]     = txmin_reg[g];
            assign cfg_rx_max[20*g +: 20]     = rxmax_reg[g];
            assign cfg_nqe_rate[32*g +: 32]   = nqes_reg[g];
            assign cfg_burst[32*g +: 32]      = burst_reg[g];
            assign cfg_limits[32*g +: 32]     = limits_reg[g];
            assign cfg_vlan[17*g +: 17]       = vlan_reg[g];
            assign cfg_vni[25*g +: 25]        = vni_reg[g];
            assign cfg_remote[32*g +: 32]     = remote_reg[g];
            assign region_base[64*g +: 64]    = rbase_reg[g];
            assign region_pages[32*g +: 32]   = rpages_reg[g];
            assign sockets[g]                 = vf_sockets[16*g +: 16];
        end
    endgenerate

    // ------------------------------------------------------------------------------------ look

    reg [31:0] rdata_reg;
    reg        none_reg;         // no such register
    reg        pf_on_reg;
    reg        vf_on_reg;
    reg        resetting_reg;
    reg        flows_fit_reg;
    reg        region_fits_reg;

    wire [31:0] at = {25'd0, ofs};
    // Byte address on the VF's page, as the macros have it.
    wire [16:0] va = {10'd0, ofs};

    wire        pf_on     = pf_en_reg[vf];
    wire        vf_on     = vf_en_reg[vf];
    wire        in_reset  = resetting[vf];
    wire [32:0] flow_end  = {1'b0, sbase_reg[vf]} + {1'b0, scount_reg[vf]};
    wire [63:0] this_base  = rbase_reg[vf];
    wire [31:0] this_pages = rpages_reg[vf];
    // The region must not run over the end of the 64-bit address space: its addresses would wrap to 0.
    wire [52:0] region_end = {1'b0, this_base[63:12]} + {21'd0, this_pages};

    reg [31:0] word;
    reg        none;

    always @* begin
        word = 32'd0;
        none = 1'b0;
        if (entry)
            case (at)
                `NK_VFE_CTRL_OFS:         word = {31'd0, pf_on};
                `NK_VFE_MAC_LO_OFS:       word = mac_reg[vf][31:0];
                `NK_VFE_MAC_HI_OFS:       word = {16'd0, mac_reg[vf][47:32]};
                `NK_VFE_IPV4_OFS:         word = ip_reg[vf];
                `NK_VFE_NETMASK_OFS:      word = mask_reg[vf];
                `NK_VFE_GATEWAY_OFS:      word = gw_reg[vf];
                `NK_VFE_SOCKET_BASE_OFS:  word = sbase_reg[vf];
                `NK_VFE_SOCKET_COUNT_OFS: word = scount_reg[vf];
                `NK_VFE_MTU_OFS:          word = {16'd0, mtu_reg[vf]};
                `NK_VFE_STATUS_OFS:       word = {sockets[vf], 14'd0, in_reset, vf_on};
                `NK_VFE_NSM_OFS:          word = {29'd0, nsm_reg[vf]};
                `NK_VFE_SHARE_OFS:        word = {23'd0, share_reg[vf]};
                `NK_VFE_MAX_TX_RATE_OFS:  word = {12'd0, txmax_reg[vf]};
                `NK_VFE_MIN_TX_RATE_OFS:  word = {12'd0, txmin_reg[vf]};
                `NK_VFE_MAX_RX_RATE_OFS:  word = {12'd0, rxmax_reg[vf]};
                `NK_VFE_NQE_RATE_OFS:     word = nqes_reg[vf];
                `NK_VFE_BURST_OFS:        word = burst_reg[vf];
                `NK_VFE_LIMITS_OFS:       word = limits_reg[vf];
                `NK_VFE_VLAN_OFS:         word = {15'd0, vlan_reg[vf]};
                `NK_VFE_VNI_OFS:          word = {vni_reg[vf][24], 7'd0, vni_reg[vf][23:0]};
                `NK_VFE_VXLAN_REMOTE_OFS: word = remote_reg[vf];
                default:                  none = 1'b1;
            endcase
        else
            case (va)
                `NK_VF_MAX_SOCKETS_ADDR:    word = scount_reg[vf];
                `NK_VF_MAC_LO_ADDR:         word = mac_reg[vf][31:0];
                `NK_VF_MAC_HI_ADDR:         word = {16'd0, mac_reg[vf][47:32]};
                `NK_VF_IPV4_ADDR:           word = ip_reg[vf];
                `NK_VF_NETMASK_ADDR:        word = mask_reg[vf];
                `NK_VF_GATEWAY_ADDR:        word = gw_reg[vf];
                `NK_VF_MTU_ADDR:            word = {16'd0, mtu_reg[vf]};
                `NK_VF_CTRL_ADDR:           word = {31'd0, vf_on};
                `NK_VF_STATUS_ADDR:         word = {29'd0, in_reset, vf_on, pf_on};
                `NK_VF_REGION_BASE_LO_ADDR: word = this_base[31:0];
                `NK_VF_REGION_BASE_HI_ADDR: word = this_base[63:32];
                `NK_VF_REGION_PAGES_ADDR:   word = this_pages;
                default:                    none = 1'b1;
            endcase
    end

    // ------------------------------------------------------------------------------------- rules

    // Written only while nothing uses them: a reset under way still reads and writes the region.
    wire entry_locked  = pf_on_reg || resetting_reg;
    wire region_locked = vf_on_reg || resetting_reg;
    wire may_enable    = pf_on_reg && region_fits_reg && !resetting_reg;

    reg  refused;
    always @* begin
        refused = none_reg;
        if (entry)
            case (at)
                `NK_VFE_CTRL_OFS:
                    refused = wdata[0] && !pf_on_reg && !(flows_fit_reg && !resetting_reg);
                `NK_VFE_STATUS_OFS:
                    refused = 1'b1;
                // In use from the next look at them on; connections that stand keep their profile.
                `NK_VFE_NSM_OFS, `NK_VFE_SHARE_OFS, `NK_VFE_MAX_TX_RATE_OFS, `NK_VFE_MIN_TX_RATE_OFS, `NK_VFE_MAX_RX_RATE_OFS,
                `NK_VFE_NQE_RATE_OFS, `NK_VFE_BURST_OFS, `NK_VFE_LIMITS_OFS: ;
                default:
                    refused = none_reg || entry_locked;
            endcase
        else
            case (va)
                // With both bits the VF stays enabled; a reset cannot enable it.
                `NK_VF_CTRL_ADDR:           refused = wdata[0] && !vf_on_reg && (wdata[1] || !may_enable);
                `NK_VF_REGION_BASE_LO_ADDR: refused = region_locked || wdata[11:0] != 12'd0;
                `NK_VF_REGION_BASE_HI_ADDR: refused = region_locked;
                `NK_VF_REGION_PAGES_ADDR:   refused = region_locked || wdata > MAX_PAGES;
                default:                    refused = 1'b1;
            endcase
    end

    assign rdata = rdata_reg;
    assign err   = write ? refused : none_reg;

    wire do_entry = act && write && entry && !refused;
    wire do_vf    = act && write && !entry;

    integer i;

    always @(posedge clk) begin
        request_reg <= {NVF{1'b0}};

        if (look) begin
            rdata_reg       <= word;
            none_reg        <= none;
            pf_on_reg       <= pf_on;
            vf_on_reg       <= vf_on;
            resetting_reg   <= in_reset;
            flows_fit_reg   <= flow_end <= FLOWS;
            region_fits_reg <= this_pages != 32'd0 && region_end <= {1'b1, 52'd0};
        end

        if (do_entry)
            case (at)
                `NK_VFE_CTRL_OFS:
                    if (wdata[0] && !pf_on_reg) begin
                        pf_en_reg[vf]  <= 1'b1;
                        cfg_en_reg[vf] <= 1'b1;
                    end else if (!wdata[0] && pf_on_reg) begin
                        pf_en_reg[vf]   <= 1'b0;
                        vf_en_reg[vf]   <= 1'b0;
                        request_reg[vf] <= 1'b1;
                    end
                `NK_VFE_NSM_OFS:          nsm_reg[vf]        <= wdata[2:0];
                `NK_VFE_SHARE_OFS:        share_reg[vf]      <= wdata[8:0];
                `NK_VFE_MAX_TX_RATE_OFS:  txmax_reg[vf]      <= wdata[19:0];
                `NK_VFE_MIN_TX_RATE_OFS:  txmin_reg[vf]      <= wdata[19:0];
                `NK_VFE_MAX_RX_RATE_OFS:  rxmax_reg[vf]      <= wdata[19:0];
                `NK_VFE_NQE_RATE_OFS:     nqes_reg[vf]       <= wdata;
                `NK_VFE_BURST_OFS:        burst_reg[vf]      <= wdata;
                `NK_VFE_LIMITS_OFS:       limits_reg[vf]     <= wdata;
                `NK_VFE_MAC_LO_OFS:       mac_reg[vf][31:0]  <= wdata;
                `NK_VFE_MAC_HI_OFS:       mac_reg[vf][47:32] <= wdata[15:0];
                `NK_VFE_IPV4_OFS:         ip_reg[vf]         <= wdata;
                `NK_VFE_NETMASK_OFS:      mask_reg[vf]       <= wdata;
                `NK_VFE_GATEWAY_OFS:      gw_reg[vf]         <= wdata;
                `NK_VFE_SOCKET_BASE_OFS:  sbase_reg[vf]      <= wdata;
                `NK_VFE_SOCKET_COUNT_OFS: scount_reg[vf]     <= wdata;
                `NK_VFE_MTU_OFS:          mtu_reg[vf]        <= wdata[15:0];
                `NK_VFE_VLAN_OFS:         vlan_reg[vf]       <= {wdata[16], 1'b0, wdata[14:0]};
                `NK_VFE_VNI_OFS:          vni_reg[vf]        <= {wdata[31], wdata[23:0]};
                default:                  remote_reg[vf]     <= wdata;
            endcase

        if (do_vf) begin
            if (va == `NK_VF_CTRL_ADDR) begin
                if (wdata[1] || (!wdata[0] && vf_on_reg)) begin
                    vf_en_reg[vf]   <= vf_on_reg && wdata[0];
                    request_reg[vf] <= 1'b1;
                end else if (wdata[0] && !vf_on_reg) begin
                    vf_en_reg[vf] <= may_enable;
                end
            end else if (!refused) begin
                case (va)
                    `NK_VF_REGION_BASE_LO_ADDR: rbase_reg[vf][31:0]  <= wdata;
                    `NK_VF_REGION_BASE_HI_ADDR: rbase_reg[vf][63:32] <= wdata;
                    default:                    rpages_reg[vf]       <= wdata;
                endcase
            end
        end

        // The end of a VF's life: the next tenant shall not read where the memory of this one was.
        if (reset_done && !pf_en_reg[reset_done_vf]) begin
            cfg_en_reg[reset_done_vf] <= 1'b0;
            rbase_reg[reset_done_vf]  <= 64'd0;
            rpages_reg[reset_done_vf] <= 32'd0;
        end

        if (rst) begin
            request_reg <= {NVF{1'b0}};
            pf_en_reg   <= {NVF{1'b0}};
            cfg_en_reg  <= {NVF{1'b0}};
            vf_en_reg   <= {NVF{1'b0}};
            for (i = 0; i < NVF; i = i + 1) begin
                mac_reg[i]    <= 48'd0;
                ip_reg[i]     <= 32'd0;
                mask_reg[i]   <= 32'd0;
                gw_reg[i]     <= 32'd0;
                mtu_reg[i]    <= MTU_RESET[15:0];
                nsm_reg[i]    <= 3'd0;
                sbase_reg[i]  <= 32'd0;
                scount_reg[i] <= 32'd0;
                share_reg[i]  <= SHARE_RESET[8:0];
                txmax_reg[i]  <= 20'd0;
                txmin_reg[i]  <= 20'd0;
                rxmax_reg[i]  <= 20'd0;
                nqes_reg[i]   <= 32'd0;
                burst_reg[i]  <= BURST_RESET;
                limits_reg[i] <= LIMITS_RESET;
                vlan_reg[i]   <= 17'd0;
                vni_reg[i]    <= 25'd0;
                remote_reg[i] <= 32'd0;
                rbase_reg[i]  <= 64'd0;
                rpages_reg[i] <= 32'd0;
            end
        end
    end

endmodule

`default_nettype wire
