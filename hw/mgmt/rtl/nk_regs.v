// SPDX-License-Identifier: Apache-2.0
// Purpose: the MMIO slave: BAR0 of the PF and of every VF, and the VF table.
//
// One access at a time: taken, decoded, done. Registers of queue sets and doorbells live in nk_nqe and are
// reached over `qreg_*`. Which registers an access can reach follows from the function number alone, which
// the host interface supplies: a VF has no address that leads to another VF.
//
//   mmio_* --> [take] -> [decode] -> [act] ----------------------> read data, mmio_errors
//                                      |-> nk_pf_params ----------^
//                                      |-> nk_nsm_regs -----------^
//                                      |-> VF_STATS: nk_stat_ram -^
//                                      '-> QS, DB: qreg_* --------^

`default_nettype none
`include "nk_abi.vh"

module nk_regs #(
    // Data bus in bits (shown in CAPS), 64 to 512.
    parameter W = 512,
    // VFs, 1 to 64.
    parameter NVF = 8,
    // Queue sets a VF, 1, 2, 4 or 8.
    parameter NQS = 1,
    // Flows of the flow table, a power of two, up to 65536.
    parameter FLOWS = 1024,
    // Shown in BUILD_ID.
    parameter [31:0] BUILD_ID = 32'd0,
    // Width of a VF index; follows from NVF, leave it.
    parameter VW = (NVF > 1) ? $clog2(NVF) : 1
) (
    // Clock and reset (synchronous, active high).
    input  wire              clk,
    input  wire              rst,

    // MMIO from the host interface. func 0: PF, n+1: VF n.
    input  wire              mmio_valid,
    output wire              mmio_ready,
    input  wire [7:0]        mmio_func,
    input  wire              mmio_write,
    input  wire [16:0]       mmio_addr,
    input  wire [31:0]       mmio_wdata,
    output wire              mmio_rvalid,
    output wire [31:0]       mmio_rdata,

    // Global parameters.
    output wire [31:0]       p_rto_min,
    output wire [31:0]       p_rto_init,
    output wire [31:0]       p_rto_max,
    output wire [31:0]       p_time_wait,
    output wire [31:0]       p_delayed_ack,
    output wire [31:0]       p_neigh_retry,
    output wire [7:0]        p_retries_data,
    output wire [7:0]        p_retries_syn,
    output wire [7:0]        p_retries_neigh,
    output wire [31:0]       p_fin_wait2,
    output wire [7:0]        p_initial_cwnd,
    output wire [127:0]      hash_key,

    // VF table, VF 0 in the lowest bits. cfg_en stays 1 until the reset that ends a VF's life is over.
    output wire [NVF-1:0]    cfg_en,
    output wire [NVF*48-1:0] cfg_mac,
    output wire [NVF*32-1:0] cfg_ip,
    output wire [NVF*32-1:0] cfg_mask,
    output wire [NVF*32-1:0] cfg_gw,
    output wire [NVF*16-1:0] cfg_mtu,
    output wire [NVF*3-1:0]  cfg_nsm,
    output wire [NVF*32-1:0] cfg_sock_base,
    output wire [NVF*32-1:0] cfg_sock_count,

    // NSM profiles, profile 0 in the lowest bits (nk_nsm_regs).
    output wire [8*32-1:0]   nsm_ctrl,
    output wire [8*64-1:0]   nsm_prm,

    // What the tenants set. The region of a VF holds still while it is enabled or resetting.
    output wire [NVF-1:0]    vf_enabled,
    output wire [NVF-1:0]    vf_resetting,
    output wire [NVF*64-1:0] region_base,
    output wire [NVF*32-1:0] region_pages,

    // State shown to software.
    input  wire [31:0]       flows_in_use,
    input  wire [31:0]       hash_in_use,
    input  wire [31:0]       now_us,
    input  wire [NVF*16-1:0] vf_sockets,

    // Neighbour table, read port: the answer to nb_index, at most 2 clocks later.
    output wire [7:0]        nb_index,
    input  wire [31:0]       nb_ip,
    input  wire [47:0]       nb_mac,
    input  wire              nb_valid,

    // Global counters and counters by opcode (nk_stat_counters): value in the next clock.
    output wire [5:0]        gs_raddr,
    input  wire [47:0]       gs_rdata,
    output wire [5:0]        os_raddr,
    input  wire [47:0]       os_rdata,

    // Counters of the VFs (nk_stat_ram), address {vf, index[3:0]}.
    output wire              vs_req,
    output wire [VW+3:0]     vs_addr,
    input  wire              vs_valid,
    input  wire [47:0]       vs_data,

    // Queue-set registers (qreg_db = 0) and doorbells (1), in nk_nqe. Each access is answered by one
    // pulse of qreg_rvalid, writes too; qreg_err with it: no such register, or refused.
    output wire              qreg_valid,
    input  wire              qreg_ready,
    output wire [7:0]        qreg_vf,
    output wire [7:0]        qreg_qs,
    output wire              qreg_db,
    output wire [5:0]        qreg_ofs,
    output wire              qreg_write,
    output wire [31:0]       qreg_wdata,
    input  wire              qreg_rvalid,
    input  wire [31:0]       qreg_rdata,
    input  wire              qreg_err,

    // VF reset: first the queue manager, then the protocol engine.
    output wire              stop_vf_valid,
    output wire [7:0]        stop_vf,
    input  wire              stop_vf_done,
    output wire              flush_valid,
    input  wire              flush_ready,
    output wire [7:0]        flush_vf,
    input  wire              flush_done,

    // Pulse: access to no register, or refused write.
    output wire              stat_mmio_errors,
    // An access or a reset is under way.
    output wire              busy
);

    localparam FLOWS_LOG2 = $clog2(FLOWS);
    localparam BUS_BYTES  = W / 8;
    localparam [31:0] MAGIC = `NK_MAGIC;
    localparam [31:0] CAPS  = {FLOWS_LOG2[7:0], BUS_BYTES[7:0], NVF[7:0], NQS[7:0]};
    localparam [31:0] MTU_RESET = `NK_VFE_MTU_RESET;
    // Largest region: 4 GiB.
    localparam [31:0] MAX_PAGES = 32'd1 << 20;

    initial begin
        if (W < 64 || W > 512 || NVF < 1 || NVF > 64 || FLOWS < 2 || FLOWS > 65536
            || (FLOWS & (FLOWS - 1)) != 0 || !(NQS == 1 || NQS == 2 || NQS == 4 || NQS == 8)) begin
            $display("%m: W = %0d, NVF = %0d, NQS = %0d, FLOWS = %0d: illegal", W, NVF, NQS, FLOWS);
            $finish;
        end
    end

    // ------------------------------------------------------------------------------ the registers

    reg [NVF-1:0] pf_en_reg;      // PF entry CTRL.enable
    reg [NVF-1:0] cfg_en_reg;     // the same, falling after the reset
    reg [NVF-1:0] vf_en_reg;      // VF CTRL.enable
    reg [47:0]    mac_reg    [0:NVF-1];
    reg [31:0]    ip_reg     [0:NVF-1];
    reg [31:0]    mask_reg   [0:NVF-1];
    reg [31:0]    gw_reg     [0:NVF-1];
    reg [15:0]    mtu_reg    [0:NVF-1];
    reg [2:0]     nsm_reg    [0:NVF-1];
    reg [31:0]    sbase_reg  [0:NVF-1];
    reg [31:0]    scount_reg [0:NVF-1];
    reg [63:0]    rbase_reg  [0:NVF-1];
    reg [31:0]    rpages_reg [0:NVF-1];
    wire [15:0]   sockets    [0:NVF-1];

    assign cfg_en          = cfg_en_reg;
    assign vf_enabled      = vf_en_reg;

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
            assign region_base[64*g +: 64]    = rbase_reg[g];
            assign region_pages[32*g +: 32]   = rpages_reg[g];
            assign sockets[g]                 = vf_sockets[16*g +: 16];
        end
    endgenerate

    // ---------------------------------------------------------------------------- take and decode

    localparam [2:0] M_IDLE = 3'd0, M_DECODE = 3'd1, M_ACT = 3'd2, M_QREQ = 3'd3, M_QWAIT = 3'd4,
                     M_STAT = 3'd5, M_STATWAIT = 3'd6;
    // Where an access goes.
    localparam [3:0] T_NONE = 4'd0, T_PF = 4'd1, T_PF_STATS = 4'd2, T_PF_NQE = 4'd3, T_PF_VFSTATS = 4'd4,
                     T_PF_ENTRY = 4'd5, T_VF = 4'd6, T_QUEUE = 4'd7, T_PF_NSM = 4'd8;

    reg [2:0]    state_reg;
    reg [7:0]    func_reg;
    reg          write_reg;
    reg [16:0]   addr_reg;
    reg [31:0]   wdata_reg;
    reg [3:0]    target_reg;
    reg [VW-1:0] vf_reg;
    reg          err_reg;
    reg          rvalid_reg;
    reg [31:0]   rdata_reg;
    // High word of the counter whose low word was read last.
    reg [15:0]   high_reg;
    reg [NVF-1:0] reset_request_reg;

    // Bases as vectors, to compare their upper bits: each block is aligned to its own size.
    localparam [16:0] PF_VF    = `NK_PF_VF_BASE;         // 64 entries of 64 bytes
    localparam [16:0] PF_NSM   = `NK_PF_NSM_BASE;        // 8 entries of 16 bytes
    localparam [16:0] PF_VFS   = `NK_PF_VF_STATS_ADDR;   // 64 VFs, 16 counters of 8 bytes
    localparam [16:0] PF_STATS = `NK_PF_STATS_ADDR;      // 64 counters of 8 bytes
    localparam [16:0] PF_NQE   = `NK_PF_NQE_STATS_ADDR;  // 64 counters of 8 bytes
    localparam [16:0] VF_QS    = `NK_VF_QS_BASE;         // 8 blocks of 64 bytes
    localparam [16:0] VF_DB    = `NK_VF_DB_BASE;         // 8 pages

    wire       is_pf   = func_reg == 8'd0;
    wire [7:0] func_vf = func_reg - 8'd1;
    wire       is_qs   = addr_reg[16:9] == VF_QS[16:9];
    wire       is_db   = addr_reg[16:15] == VF_DB[16:15];
    wire [7:0] q_qs    = is_db ? {5'd0, addr_reg[14:12]} : {5'd0, addr_reg[8:6]};

    reg [3:0]  target;
    reg [7:0]  target_vf;

    always @* begin
        target    = T_NONE;
        target_vf = func_vf;
        if (is_pf) begin
            if (addr_reg[16:12] == 5'd0)
                target = T_PF;
            else if (addr_reg[16:9] == PF_STATS[16:9])
                target = T_PF_STATS;
            else if (addr_reg[16:9] == PF_NQE[16:9])
                target = T_PF_NQE;
            else if (addr_reg[16:7] == PF_NSM[16:7])
                target = T_PF_NSM;
            else if (addr_reg[16:12] == PF_VF[16:12]) begin
                target    = T_PF_ENTRY;
                target_vf = {2'd0, addr_reg[11:6]};
            end else if (addr_reg[16:13] == PF_VFS[16:13]) begin
                target    = T_PF_VFSTATS;
                target_vf = {2'd0, addr_reg[12:7]};
            end
        end else if (addr_reg[16:12] == 5'd0) begin
            target = T_VF;
        end else if (is_db ? addr_reg[11:6] == 6'd0 : is_qs) begin
            target = (q_qs < NQS[7:0]) ? T_QUEUE : T_NONE;
        end
        // func_vf of a PF access is 255 where no VF is meant, and not looked at.
        if (addr_reg[1:0] != 2'd0 || ((!is_pf || target == T_PF_ENTRY || target == T_PF_VFSTATS)
                                      && target_vf >= NVF[7:0]))
            target = T_NONE;
    end

    // -------------------------------------------------------------------------------- to the side

    assign mmio_ready  = state_reg == M_IDLE;
    assign mmio_rvalid = rvalid_reg;
    assign mmio_rdata  = rdata_reg;
    assign gs_raddr    = addr_reg[8:3];
    assign os_raddr    = addr_reg[8:3];
    assign vs_req      = state_reg == M_STAT;
    assign vs_addr     = {vf_reg, addr_reg[6:3]};
    assign qreg_valid  = state_reg == M_QREQ;
    assign qreg_vf     = {{8-VW{1'b0}}, vf_reg};
    assign qreg_qs     = q_qs;
    assign qreg_db     = is_db;
    assign qreg_ofs    = addr_reg[5:0];
    assign qreg_write  = write_reg;
    assign qreg_wdata  = wdata_reg;

    assign stat_mmio_errors = err_reg;

    wire [NVF-1:0] resetting;
    wire           reset_done;
    wire [VW-1:0]  reset_done_vf;

    assign vf_resetting = resetting | reset_request_reg;
    assign busy         = state_reg != M_IDLE || (|vf_resetting) || reset_done;

    nk_vf_reset #(.NVF(NVF)) u_reset (
        .clk(clk), .rst(rst),
        .request(reset_request_reg), .resetting(resetting), .done(reset_done), .done_vf(reset_done_vf),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf),
        .flush_done(flush_done)
    );

    wire [31:0] par_rdata;
    wire        par_err;
    nk_pf_params u_params (
        .clk(clk), .rst(rst), .write(state_reg == M_ACT && write_reg && target_reg == T_PF), .addr(addr_reg),
        .wdata(wdata_reg), .rdata(par_rdata), .err(par_err),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait),
        .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry), .p_retries_data(p_retries_data),
        .p_retries_syn(p_retries_syn), .p_retries_neigh(p_retries_neigh), .p_fin_wait2(p_fin_wait2),
        .p_initial_cwnd(p_initial_cwnd), .hash_key(hash_key), .nb_index(nb_index)
    );

    wire [31:0] nsm_rdata;
    wire        nsm_err;
    nk_nsm_regs u_nsm (
        .clk(clk), .rst(rst), .write(state_reg == M_ACT && write_reg && target_reg == T_PF_NSM), .profile(addr_reg[6:4]),
        .ofs(addr_reg[3:0]), .wdata(wdata_reg), .rdata(nsm_rdata), .err(nsm_err), .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm)
    );

    // ------------------------------------------------------------------------------------- rules

    wire         this_resetting = vf_resetting[vf_reg];
    wire         this_pf_en     = pf_en_reg[vf_reg];
    wire         this_vf_en     = vf_en_reg[vf_reg];
    // Written only while nothing uses them: a reset under way still reads and writes the region.
    wire         entry_locked   = this_pf_en || this_resetting;
    wire         region_locked  = this_vf_en || this_resetting;
    wire [32:0]  flow_end       = {1'b0, sbase_reg[vf_reg]} + {1'b0, scount_reg[vf_reg]};
    wire         flows_fit      = flow_end <= FLOWS;
    // The region must not run over the end of the 64-bit address space: its addresses would wrap to 0.
    wire [63:0]  this_base      = rbase_reg[vf_reg];
    wire [31:0]  this_pages     = rpages_reg[vf_reg];
    wire [52:0]  region_end     = {1'b0, this_base[63:12]} + {21'd0, this_pages};
    wire         region_fits    = this_pages != 32'd0 && region_end <= {1'b1, 52'd0};
    wire         may_enable     = this_pf_en && region_fits && !this_resetting;
    wire [47:0]  counter        = (target_reg == T_PF_STATS) ? gs_rdata : os_rdata;

    integer i;

    always @(posedge clk) begin
        err_reg           <= 1'b0;
        rvalid_reg        <= 1'b0;
        reset_request_reg <= {NVF{1'b0}};

        case (state_reg)
            M_IDLE:
                if (mmio_valid) begin
                    func_reg  <= mmio_func;
                    write_reg <= mmio_write;
                    addr_reg  <= mmio_addr;
                    wdata_reg <= mmio_wdata;
                    state_reg <= M_DECODE;
                end

            M_DECODE: begin
                target_reg <= target;
                vf_reg     <= target_vf[VW-1:0];
                state_reg  <= (target == T_QUEUE) ? M_QREQ
                            : (target == T_PF_VFSTATS && !write_reg) ? M_STAT : M_ACT;
            end

            M_QREQ:
                if (qreg_ready)
                    state_reg <= M_QWAIT;

            M_QWAIT:
                if (qreg_rvalid) begin
                    rvalid_reg <= !write_reg;
                    rdata_reg  <= qreg_rdata;
                    err_reg    <= qreg_err;
                    state_reg  <= M_IDLE;
                end

            M_STAT:
                state_reg <= M_STATWAIT;

            M_STATWAIT:
                if (vs_valid) begin
                    rvalid_reg <= 1'b1;
                    rdata_reg  <= addr_reg[2] ? {16'd0, high_reg} : vs_data[31:0];
                    if (!addr_reg[2])
                        high_reg <= vs_data[47:32];
                    state_reg  <= M_IDLE;
                end

            default: begin // M_ACT
                state_reg <= M_IDLE;

                if (!write_reg) begin
                    rvalid_reg <= 1'b1;
                    rdata_reg  <= 32'd0;
                    case (target_reg)
                        T_PF:
                            case (addr_reg)
                                `NK_PF_MAGIC_ADDR:          rdata_reg <= MAGIC;
                                `NK_PF_ABI_VERSION_ADDR:    rdata_reg <= `NK_ABI_VERSION;
                                `NK_PF_BUILD_ID_ADDR:       rdata_reg <= BUILD_ID;
                                `NK_PF_CAPS_ADDR:           rdata_reg <= CAPS;
                                `NK_PF_FUNCTION_ADDR:       rdata_reg <= 32'h00000100;
                                `NK_PF_FLOWS_IN_USE_ADDR:   rdata_reg <= flows_in_use;
                                `NK_PF_HASH_IN_USE_ADDR:    rdata_reg <= hash_in_use;
                                `NK_PF_NOW_US_ADDR:         rdata_reg <= now_us;
                                `NK_PF_NEIGH_IP_ADDR:       rdata_reg <= nb_ip;
                                `NK_PF_NEIGH_MAC_LO_ADDR:   rdata_reg <= nb_mac[31:0];
                                `NK_PF_NEIGH_MAC_HI_ADDR:   rdata_reg <= {nb_valid, 15'd0, nb_mac[47:32]};
                                default: begin
                                    rdata_reg <= par_rdata;
                                    err_reg   <= par_err;
                                end
                            endcase
                        T_PF_STATS, T_PF_NQE: begin
                            rdata_reg <= addr_reg[2] ? {16'd0, high_reg} : counter[31:0];
                            if (!addr_reg[2])
                                high_reg <= counter[47:32];
                        end
                        T_PF_NSM: begin
                            rdata_reg <= nsm_rdata;
                            err_reg   <= nsm_err;
                        end
                        T_PF_ENTRY:
                            case ({26'd0, addr_reg[5:0]})
                                `NK_VFE_CTRL_OFS:         rdata_reg <= {31'd0, this_pf_en};
                                `NK_VFE_MAC_LO_OFS:       rdata_reg <= mac_reg[vf_reg][31:0];
                                `NK_VFE_MAC_HI_OFS:       rdata_reg <= {16'd0, mac_reg[vf_reg][47:32]};
                                `NK_VFE_IPV4_OFS:         rdata_reg <= ip_reg[vf_reg];
                                `NK_VFE_NETMASK_OFS:      rdata_reg <= mask_reg[vf_reg];
                                `NK_VFE_GATEWAY_OFS:      rdata_reg <= gw_reg[vf_reg];
                                `NK_VFE_SOCKET_BASE_OFS:  rdata_reg <= sbase_reg[vf_reg];
                                `NK_VFE_SOCKET_COUNT_OFS: rdata_reg <= scount_reg[vf_reg];
                                `NK_VFE_MTU_OFS:          rdata_reg <= {16'd0, mtu_reg[vf_reg]};
                                `NK_VFE_NSM_OFS:          rdata_reg <= {29'd0, nsm_reg[vf_reg]};
                                `NK_VFE_STATUS_OFS:       rdata_reg <= {sockets[vf_reg], 14'd0,
                                                                        this_resetting, this_vf_en};
                                default:                  err_reg   <= 1'b1;
                            endcase
                        T_VF:
                            case (addr_reg)
                                `NK_VF_MAGIC_ADDR:          rdata_reg <= MAGIC;
                                `NK_VF_ABI_VERSION_ADDR:    rdata_reg <= `NK_ABI_VERSION;
                                `NK_VF_BUILD_ID_ADDR:       rdata_reg <= BUILD_ID;
                                `NK_VF_CAPS_ADDR:           rdata_reg <= CAPS;
                                `NK_VF_FUNCTION_ADDR:       rdata_reg <= {24'd0, func_vf};
                                `NK_VF_MAX_SOCKETS_ADDR:    rdata_reg <= scount_reg[vf_reg];
                                `NK_VF_MAC_LO_ADDR:         rdata_reg <= mac_reg[vf_reg][31:0];
                                `NK_VF_MAC_HI_ADDR:         rdata_reg <= {16'd0, mac_reg[vf_reg][47:32]};
                                `NK_VF_IPV4_ADDR:           rdata_reg <= ip_reg[vf_reg];
                                `NK_VF_NETMASK_ADDR:        rdata_reg <= mask_reg[vf_reg];
                                `NK_VF_GATEWAY_ADDR:        rdata_reg <= gw_reg[vf_reg];
                                `NK_VF_MTU_ADDR:            rdata_reg <= {16'd0, mtu_reg[vf_reg]};
                                `NK_VF_CTRL_ADDR:           rdata_reg <= {31'd0, this_vf_en};
                                `NK_VF_STATUS_ADDR:         rdata_reg <= {29'd0, this_resetting,
                                                                          this_vf_en, this_pf_en};
                                `NK_VF_REGION_BASE_LO_ADDR: rdata_reg <= this_base[31:0];
                                `NK_VF_REGION_BASE_HI_ADDR: rdata_reg <= this_base[63:32];
                                `NK_VF_REGION_PAGES_ADDR:   rdata_reg <= this_pages;
                                default:                    err_reg   <= 1'b1;
                            endcase
                        default:
                            err_reg <= 1'b1;
                    endcase
                end else begin
                    case (target_reg)
                        T_PF:
                            err_reg <= par_err;
                        T_PF_NSM:
                            err_reg <= nsm_err;
                        T_PF_ENTRY:
                            if ({26'd0, addr_reg[5:0]} == `NK_VFE_CTRL_OFS) begin
                                if (wdata_reg[0] && !this_pf_en) begin
                                    if (flows_fit && !this_resetting) begin
                                        pf_en_reg[vf_reg]  <= 1'b1;
                                        cfg_en_reg[vf_reg] <= 1'b1;
                                    end else begin
                                        err_reg <= 1'b1;
                                    end
                                end else if (!wdata_reg[0] && this_pf_en) begin
                                    pf_en_reg[vf_reg]         <= 1'b0;
                                    vf_en_reg[vf_reg]         <= 1'b0;
                                    reset_request_reg[vf_reg] <= 1'b1;
                                end
                            end else if ({26'd0, addr_reg[5:0]} == `NK_VFE_NSM_OFS) begin
                                // New connections take it at once.
                                nsm_reg[vf_reg] <= wdata_reg[2:0];
                            end else if (entry_locked) begin
                                err_reg <= 1'b1;
                            end else begin
                                case ({26'd0, addr_reg[5:0]})
                                    `NK_VFE_MAC_LO_OFS:       mac_reg[vf_reg][31:0]  <= wdata_reg;
                                    `NK_VFE_MAC_HI_OFS:       mac_reg[vf_reg][47:32] <= wdata_reg[15:0];
                                    `NK_VFE_IPV4_OFS:         ip_reg[vf_reg]         <= wdata_reg;
                                    `NK_VFE_NETMASK_OFS:      mask_reg[vf_reg]       <= wdata_reg;
                                    `NK_VFE_GATEWAY_OFS:      gw_reg[vf_reg]         <= wdata_reg;
                                    `NK_VFE_SOCKET_BASE_OFS:  sbase_reg[vf_reg]      <= wdata_reg;
                                    `NK_VFE_SOCKET_COUNT_OFS: scount_reg[vf_reg]     <= wdata_reg;
                                    `NK_VFE_MTU_OFS:          mtu_reg[vf_reg]        <= wdata_reg[15:0];
                                    default:                  err_reg                <= 1'b1;
                                endcase
                            end
                        T_VF:
                            if (addr_reg == `NK_VF_CTRL_ADDR) begin
                                if (wdata_reg[1] || (!wdata_reg[0] && this_vf_en)) begin
                                    // With both bits the VF stays enabled; a reset cannot enable it.
                                    vf_en_reg[vf_reg]         <= this_vf_en && wdata_reg[0];
                                    reset_request_reg[vf_reg] <= 1'b1;
                                    err_reg                   <= wdata_reg[0] && !this_vf_en;
                                end else if (wdata_reg[0] && !this_vf_en) begin
                                    vf_en_reg[vf_reg] <= may_enable;
                                    err_reg           <= !may_enable;
                                end
                            end else if (region_locked) begin
                                err_reg <= 1'b1;
                            end else begin
                                case (addr_reg)
                                    `NK_VF_REGION_BASE_LO_ADDR:
                                        if (wdata_reg[11:0] == 12'd0)
                                            rbase_reg[vf_reg][31:0] <= wdata_reg;
                                        else
                                            err_reg <= 1'b1;
                                    `NK_VF_REGION_BASE_HI_ADDR:
                                        rbase_reg[vf_reg][63:32] <= wdata_reg;
                                    `NK_VF_REGION_PAGES_ADDR:
                                        if (wdata_reg <= MAX_PAGES)
                                            rpages_reg[vf_reg] <= wdata_reg;
                                        else
                                            err_reg <= 1'b1;
                                    default:
                                        err_reg <= 1'b1;
                                endcase
                            end
                        default:
                            err_reg <= 1'b1;
                    endcase
                end
            end
        endcase

        // The end of a VF's life: the next tenant shall not read where the memory of this one was.
        if (reset_done && !pf_en_reg[reset_done_vf]) begin
            cfg_en_reg[reset_done_vf] <= 1'b0;
            rbase_reg[reset_done_vf]  <= 64'd0;
            rpages_reg[reset_done_vf] <= 32'd0;
        end

        if (rst) begin
            state_reg         <= M_IDLE;
            err_reg           <= 1'b0;
            rvalid_reg        <= 1'b0;
            reset_request_reg <= {NVF{1'b0}};
            high_reg          <= 16'd0;
            pf_en_reg         <= {NVF{1'b0}};
            cfg_en_reg        <= {NVF{1'b0}};
            vf_en_reg         <= {NVF{1'b0}};
            for (i = 0; i < NVF; i = i + 1) begin
                mac_reg[i]    <= 48'd0;
                ip_reg[i]     <= 32'd0;
                mask_reg[i]   <= 32'd0;
                gw_reg[i]     <= 32'd0;
                mtu_reg[i]    <= MTU_RESET[15:0];
                nsm_reg[i]    <= 3'd0;
                sbase_reg[i]  <= 32'd0;
                scount_reg[i] <= 32'd0;
                rbase_reg[i]  <= 64'd0;
                rpages_reg[i] <= 32'd0;
            end
        end
    end

endmodule

`default_nettype wire
