// SPDX-License-Identifier: Apache-2.0
// Purpose: the MMIO slave: BAR0 of the PF and of every VF.
//
// Doorbells are posted: one in two clocks leaves on `db_*`, and nothing comes back. Any other access is taken when
// the doorbell before it has left, and done before the next one is taken: an access never overtakes another.
// Registers of queue sets live in nk_nqe and are reached over `qreg_*`. Which registers an access can reach follows
// from the function number alone, which the host interface supplies: a VF has no address that leads to another VF.
//
//   mmio_* -+-> [doorbell] -> db_*
//           '-> [take] -> [decode] -> [act] --------------------------> read data, mmio_errors
//                                       |-> nk_vf_table (a clock more) -^
//                                       |-> nk_pf_params, nk_nsm_regs --^
//                                       |-> VF_STATS: nk_stat_ram ------^
//                                       |-> QSTAT: nk_qs_stats ---------^
//                                       '-> QS, reads of DB: qreg_* ----^

`default_nettype none
`include "nk_abi.vh"

module nk_regs #(
    // Data bus in bits (shown in CAPS), 64 to 512.
    parameter W = 512,
    // VFs, 1 to 252.
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

    // Own station of the network below VXLAN, and the UDP port.
    output wire [31:0]       p_vtep_ip,
    output wire [31:0]       p_vtep_mask,
    output wire [31:0]       p_vtep_gw,
    output wire [47:0]       p_vtep_mac,
    output wire [15:0]       p_vxlan_port,

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
    input  wire [63:0]       gs_rdata,
    output wire [5:0]        os_raddr,
    input  wire [63:0]       os_rdata,

    // Counters of the VFs (nk_stat_ram), address {vf, index[4:0]}.
    output wire              vs_req,
    output wire [VW+4:0]     vs_addr,
    input  wire              vs_valid,
    input  wire [63:0]       vs_data,

    // Counters of the queue sets (nk_qs_stats): one pulse asks, one answers.
    output wire              qc_req,
    output wire [7:0]        qc_vf,
    output wire [3:0]        qc_qs,
    output wire [3:0]        qc_index,
    input  wire              qc_valid,
    input  wire [63:0]       qc_data,

    // Doorbells: of queue sets and offsets that there are, in the order of their coming.
    output wire              db_valid,
    input  wire              db_ready,
    output wire [7:0]        db_vf,
    output wire [7:0]        db_qs,
    output wire [5:0]        db_ofs,
    output wire [31:0]       db_wdata,

    // Queue-set registers (qreg_db = 0) and reads of doorbells (1), in nk_nqe. Each access is answered by one
    // pulse of qreg_rvalid, writes too; qreg_err with it: no such register, or refused. It comes after every
    // doorbell that was taken before it.
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
    // What the rest of the card does with the settings of VFs: shares and rates of transmission.
    localparam [31:0] FEATURES = 32'd1 << `NK_PF_FEATURES_TX_RATES_LSB;
    localparam [31:0] CAPS  = {FLOWS_LOG2[7:0], BUS_BYTES[7:0], NVF[7:0], NQS[7:0]};

    initial begin
        if (W < 64 || W > 512 || NVF < 1 || NVF > 252 || FLOWS < 2 || FLOWS > 65536
            || (FLOWS & (FLOWS - 1)) != 0 || !(NQS == 1 || NQS == 2 || NQS == 4 || NQS == 8)) begin
            $display("%m: W = %0d, NVF = %0d, NQS = %0d, FLOWS = %0d: illegal", W, NVF, NQS, FLOWS);
            $finish;
        end
    end

    // ---------------------------------------------------------------------------- take and decode

    localparam [3:0] M_IDLE = 4'd0, M_DECODE = 4'd1, M_LOOK = 4'd2, M_ACT = 4'd3, M_QREQ = 4'd4, M_QWAIT = 4'd5,
                     M_STAT = 4'd6, M_STATWAIT = 4'd7, M_SELECT = 4'd8, M_SELWAIT = 4'd9;
    // Where an access goes.
    localparam [3:0] T_NONE = 4'd0, T_PF = 4'd1, T_PF_STATS = 4'd2, T_PF_NQE = 4'd3, T_PF_VFSTATS = 4'd4,
                     T_PF_ENTRY = 4'd5, T_VF = 4'd6, T_QUEUE = 4'd7, T_PF_NSM = 4'd8, T_IDENT = 4'd9;

    reg [3:0]    state_reg;
    reg [7:0]    func_reg;
    reg          write_reg;
    reg [16:0]   addr_reg;
    reg [31:0]   wdata_reg;
    reg [3:0]    target_reg;
    reg [VW-1:0] vf_reg;
    reg          err_reg;
    reg          rvalid_reg;
    reg [31:0]   rdata_reg;
    // A write to a doorbell page, which may be none.
    reg          bell_reg;
    // High word of the counter whose low word was read last.
    reg [31:0]   high_reg;
    // QSTAT_SELECT, and the counter that it took.
    reg [19:0]   select_reg;
    reg [63:0]   qstat_reg;

    // Bases as vectors, to compare their upper bits: each block is aligned to its own size, but for VF.
    localparam [16:0] PF_NSM   = `NK_PF_NSM_BASE;        // 8 entries of 16 bytes
    localparam [16:0] PF_VFS   = `NK_PF_VF_STATS_BASE;   // 252 VFs, 32 counters of 8 bytes
    localparam [16:0] PF_STATS = `NK_PF_STATS_ADDR;      // 64 counters of 8 bytes
    localparam [16:0] PF_NQE   = `NK_PF_NQE_STATS_ADDR;  // 64 counters of 8 bytes
    localparam [16:0] VF_QS    = `NK_VF_QS_BASE;         // 8 blocks of 64 bytes
    localparam [16:0] VF_DB    = `NK_VF_DB_BASE;         // 8 pages
    localparam [16:0] PF_VF    = `NK_PF_VF_BASE;         // 252 entries of 128 bytes

    wire        is_pf    = func_reg == 8'd0;
    wire [7:0]  func_vf  = func_reg - 8'd1;
    wire        is_qs    = addr_reg[16:9] == VF_QS[16:9];
    wire        is_db    = addr_reg[16:15] == VF_DB[16:15];
    wire [7:0]  q_qs     = is_db ? {5'd0, addr_reg[14:12]} : {5'd0, addr_reg[8:6]};
    wire [9:0]  in_table = addr_reg[16:7] - PF_VF[16:7];

    reg [3:0]  target;
    reg [7:0]  target_vf;

    always @* begin
        target    = T_NONE;
        target_vf = func_vf;
        if (is_pf) begin
            if (addr_reg[16:12] == 5'd0)
                target = (addr_reg < `NK_PF_FUNCTION_ADDR + 17'd4) ? T_IDENT : T_PF;
            else if (addr_reg[16:9] == PF_STATS[16:9])
                target = T_PF_STATS;
            else if (addr_reg[16:9] == PF_NQE[16:9])
                target = T_PF_NQE;
            else if (addr_reg[16:7] == PF_NSM[16:7])
                target = T_PF_NSM;
            else if (in_table[9:8] == 2'd0) begin
                target    = T_PF_ENTRY;
                target_vf = in_table[7:0];
            end else if (addr_reg[16] == PF_VFS[16]) begin
                target    = T_PF_VFSTATS;
                target_vf = addr_reg[15:8];
            end
        end else if (addr_reg[16:7] == 10'd0) begin
            target = (addr_reg < `NK_VF_FUNCTION_ADDR + 17'd4) ? T_IDENT : T_VF;
        end else if (is_db ? addr_reg[11:6] == 6'd0 : is_qs) begin
            target = (q_qs < NQS[7:0]) ? T_QUEUE : T_NONE;
        end
        // func_vf of a PF access is 255 where no VF is meant, and not looked at.
        if (addr_reg[1:0] != 2'd0 || ((!is_pf || target == T_PF_ENTRY || target == T_PF_VFSTATS)
                                      && target_vf >= NVF[7:0]))
            target = T_NONE;
    end

    // Doorbells: taken as they come, looked at in the next clock.
    wire bell_in = mmio_write && mmio_func != 8'd0 && mmio_addr[16:15] == VF_DB[16:15];
    wire bell_ok = target == T_QUEUE && {26'd0, addr_reg[5:0]} <= `NK_DB_IRQ_ARM_OFS;

    assign mmio_ready = state_reg == M_IDLE && !bell_reg;
    assign db_valid   = bell_reg && bell_ok;
    assign db_vf      = func_vf;
    assign db_qs      = q_qs;
    assign db_ofs     = addr_reg[5:0];
    assign db_wdata   = wdata_reg;

    // -------------------------------------------------------------------------------- to the side

    assign mmio_rvalid = rvalid_reg;
    assign mmio_rdata  = rdata_reg;
    assign gs_raddr    = addr_reg[8:3];
    assign os_raddr    = addr_reg[8:3];
    assign vs_req      = state_reg == M_STAT;
    assign vs_addr     = {vf_reg, addr_reg[7:3]};
    assign qc_req      = state_reg == M_SELECT;
    assign qc_vf       = select_reg[7:0];
    assign qc_qs       = select_reg[11:8];
    assign qc_index    = select_reg[19:16];
    assign qreg_valid  = state_reg == M_QREQ;
    assign qreg_vf     = func_vf;
    assign qreg_qs     = q_qs;
    assign qreg_db     = is_db;
    assign qreg_ofs    = addr_reg[5:0];
    assign qreg_write  = write_reg;
    assign qreg_wdata  = wdata_reg;

    assign stat_mmio_errors = err_reg;

    wire [NVF-1:0] reset_request;
    wire [NVF-1:0] resetting;
    wire           reset_done;
    wire [VW-1:0]  reset_done_vf;

    assign vf_resetting = resetting | reset_request;
    assign busy         = state_reg != M_IDLE || bell_reg || (|vf_resetting) || reset_done;

    nk_vf_reset #(.NVF(NVF)) u_reset (
        .clk(clk), .rst(rst),
        .request(reset_request), .resetting(resetting), .done(reset_done), .done_vf(reset_done_vf),
        .stop_vf_valid(stop_vf_valid), .stop_vf(stop_vf), .stop_vf_done(stop_vf_done),
        .flush_valid(flush_valid), .flush_ready(flush_ready), .flush_vf(flush_vf),
        .flush_done(flush_done)
    );

    wire        act = state_reg == M_ACT;
    wire [31:0] tab_rdata;
    wire        tab_err;
    nk_vf_table #(.NVF(NVF), .FLOWS(FLOWS)) u_table (
        .clk(clk), .rst(rst),
        .look(state_reg == M_LOOK), .act(act && (target_reg == T_PF_ENTRY || target_reg == T_VF)), .write(write_reg),
        .entry(is_pf), .vf(vf_reg), .ofs(addr_reg[6:0]), .wdata(wdata_reg), .rdata(tab_rdata), .err(tab_err),
        .reset_request(reset_request), .resetting(vf_resetting), .reset_done(reset_done), .reset_done_vf(reset_done_vf),
        .vf_sockets(vf_sockets),
        .cfg_en(cfg_en), .cfg_mac(cfg_mac), .cfg_ip(cfg_ip), .cfg_mask(cfg_mask), .cfg_gw(cfg_gw), .cfg_mtu(cfg_mtu),
        .cfg_nsm(cfg_nsm), .cfg_sock_base(cfg_sock_base), .cfg_sock_count(cfg_sock_count),
        .cfg_weight(cfg_weight), .cfg_vm_share(cfg_vm_share), .cfg_tx_max(cfg_tx_max), .cfg_tx_min(cfg_tx_min),
        .cfg_rx_max(cfg_rx_max), .cfg_nqe_rate(cfg_nqe_rate), .cfg_burst(cfg_burst), .cfg_limits(cfg_limits),
        .cfg_vlan(cfg_vlan), .cfg_vni(cfg_vni), .cfg_remote(cfg_remote),
        .vf_enabled(vf_enabled), .region_base(region_base), .region_pages(region_pages)
    );

    wire [31:0] par_rdata;
    wire        par_err;
    nk_pf_params u_params (
        .clk(clk), .rst(rst), .write(act && write_reg && target_reg == T_PF), .addr(addr_reg),
        .wdata(wdata_reg), .rdata(par_rdata), .err(par_err),
        .p_rto_min(p_rto_min), .p_rto_init(p_rto_init), .p_rto_max(p_rto_max), .p_time_wait(p_time_wait),
        .p_delayed_ack(p_delayed_ack), .p_neigh_retry(p_neigh_retry), .p_retries_data(p_retries_data),
        .p_retries_syn(p_retries_syn), .p_retries_neigh(p_retries_neigh), .p_fin_wait2(p_fin_wait2),
        .p_initial_cwnd(p_initial_cwnd), .hash_key(hash_key), .nb_index(nb_index),
        .p_vtep_ip(p_vtep_ip), .p_vtep_mask(p_vtep_mask), .p_vtep_gw(p_vtep_gw), .p_vtep_mac(p_vtep_mac),
        .p_vxlan_port(p_vxlan_port)
    );

    wire [31:0] nsm_rdata;
    wire        nsm_err;
    nk_nsm_regs u_nsm (
        .clk(clk), .rst(rst), .write(act && write_reg && target_reg == T_PF_NSM), .profile(addr_reg[6:4]),
        .ofs(addr_reg[3:0]), .wdata(wdata_reg), .rdata(nsm_rdata), .err(nsm_err), .nsm_ctrl(nsm_ctrl), .nsm_prm(nsm_prm)
    );

    // ---------------------------------------------------------------------------- the PF's own page

    reg [31:0] pf_rdata;
    reg        pf_err;          // of a read

    always @* begin
        pf_rdata = 32'd0;
        pf_err   = 1'b0;
        case (addr_reg)
            `NK_PF_FLOWS_IN_USE_ADDR: pf_rdata = flows_in_use;
            `NK_PF_HASH_IN_USE_ADDR:  pf_rdata = hash_in_use;
            `NK_PF_NOW_US_ADDR:       pf_rdata = now_us;
            `NK_PF_FEATURES_ADDR:     pf_rdata = FEATURES;
            `NK_PF_NEIGH_IP_ADDR:     pf_rdata = nb_ip;
            `NK_PF_NEIGH_MAC_LO_ADDR: pf_rdata = nb_mac[31:0];
            `NK_PF_NEIGH_MAC_HI_ADDR: pf_rdata = {nb_valid, 15'd0, nb_mac[47:32]};
            `NK_PF_QSTAT_SELECT_ADDR: pf_rdata = {12'd0, select_reg};
            `NK_PF_QSTAT_LO_ADDR:     pf_rdata = qstat_reg[31:0];
            `NK_PF_QSTAT_HI_ADDR:     pf_rdata = qstat_reg[63:32];
            default: begin
                pf_rdata = par_rdata;
                pf_err   = par_err;
            end
        endcase
    end

    wire is_select = target == T_PF && addr_reg == `NK_PF_QSTAT_SELECT_ADDR;
    wire select_ok = wdata_reg[7:0] < NVF[7:0] && {4'd0, wdata_reg[11:8]} < NQS[7:0]
                  && {28'd0, wdata_reg[19:16]} < `NK_QSCNT_COUNT;

    // -------------------------------------------------------------------------------- the sequence

    wire [63:0] counter = (target_reg == T_PF_STATS) ? gs_rdata : os_rdata;

    always @(posedge clk) begin
        err_reg    <= 1'b0;
        rvalid_reg <= 1'b0;

        if (bell_reg && (db_ready || !bell_ok)) begin
            bell_reg <= 1'b0;
            err_reg  <= !bell_ok;
        end

        case (state_reg)
            M_IDLE:
                if (mmio_valid && !bell_reg) begin
                    func_reg  <= mmio_func;
                    write_reg <= mmio_write;
                    addr_reg  <= mmio_addr;
                    wdata_reg <= mmio_wdata;
                    bell_reg  <= bell_in;
                    state_reg <= bell_in ? M_IDLE : M_DECODE;
                end

            M_DECODE: begin
                target_reg <= target;
                vf_reg     <= target_vf[VW-1:0];
                case (target)
                    T_QUEUE:            state_reg <= M_QREQ;
                    T_PF_VFSTATS:       state_reg <= write_reg ? M_ACT : M_STAT;
                    T_PF_ENTRY, T_VF:   state_reg <= M_LOOK;
                    default:            state_reg <= (is_select && write_reg && select_ok) ? M_SELECT : M_ACT;
                endcase
                if (is_select && write_reg && select_ok)
                    select_reg <= wdata_reg[19:0] & 20'hf0fff;
            end

            M_LOOK:
                state_reg <= M_ACT;

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
                    rdata_reg  <= addr_reg[2] ? high_reg : vs_data[31:0];
                    if (!addr_reg[2])
                        high_reg <= vs_data[63:32];
                    state_reg  <= M_IDLE;
                end

            M_SELECT:
                state_reg <= M_SELWAIT;

            M_SELWAIT:
                if (qc_valid) begin
                    qstat_reg <= qc_data;
                    state_reg <= M_IDLE;
                end

            default: begin // M_ACT
                state_reg  <= M_IDLE;
                rvalid_reg <= !write_reg;
                rdata_reg  <= 32'd0;
                err_reg    <= 1'b1;
                case (target_reg)
                    T_IDENT: begin
                        err_reg <= write_reg;
                        // The first page is alike in PF and VFs.
                        case (addr_reg)
                            `NK_PF_MAGIC_ADDR:       rdata_reg <= MAGIC;
                            `NK_PF_ABI_VERSION_ADDR: rdata_reg <= `NK_ABI_VERSION;
                            `NK_PF_BUILD_ID_ADDR:    rdata_reg <= BUILD_ID;
                            `NK_PF_CAPS_ADDR:        rdata_reg <= CAPS;
                            default:                 rdata_reg <= is_pf ? 32'h00000100 : {24'd0, func_vf};
                        endcase
                    end
                    T_PF: begin
                        rdata_reg <= pf_rdata;
                        // Of a write: a register of nk_pf_params, or a selection that was not done above.
                        err_reg   <= write_reg ? par_err : pf_err;
                    end
                    T_PF_STATS, T_PF_NQE: begin
                        err_reg   <= write_reg;
                        rdata_reg <= addr_reg[2] ? high_reg : counter[31:0];
                        if (!addr_reg[2] && !write_reg)
                            high_reg <= counter[63:32];
                    end
                    T_PF_NSM: begin
                        rdata_reg <= nsm_rdata;
                        err_reg   <= nsm_err;
                    end
                    T_PF_ENTRY, T_VF: begin
                        rdata_reg <= tab_rdata;
                        err_reg   <= tab_err;
                    end
                    default: ;
                endcase
            end
        endcase

        if (rst) begin
            state_reg  <= M_IDLE;
            bell_reg   <= 1'b0;
            err_reg    <= 1'b0;
            rvalid_reg <= 1'b0;
            high_reg   <= 32'd0;
            select_reg <= 20'd0;
            qstat_reg  <= 64'd0;
        end
    end

endmodule

`default_nettype wire
