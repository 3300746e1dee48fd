// SPDX-License-Identifier: Apache-2.0
// Purpose: flow look-up, one every clock: a keyed hash table from {VF, remote IP, remote port, local port} to a flow number.
//
// Two banks of buckets, each key may stand in one bucket of each bank (d-left hashing, Broder and
// Mitzenmacher 2001): both are read at once, an insert goes to the emptier one. The two bucket numbers are
// two halves of a HalfSipHash-1-3 under a secret key, so nobody outside can aim at a bucket.
// Look-ups have one port of the memory, updates the other: neither waits for the other.

`default_nettype none

module nk_flow_hash #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number, 3 to 17.
    parameter FW = 10,
    // Entries a bucket, 1 to 8.
    parameter WAYS = 4,
    // log2 of the number of buckets of both banks together, 2 to 17.
    parameter BUCKETS_LOG2 = FW - 1
) (
    // Clock and reset (synchronous, active high; then the table is cleared, 2**(BUCKETS_LOG2-1) clocks).
    input  wire          clk,
    input  wire          rst,

    // Secret key; may change only while the table is empty.
    input  wire [127:0]  key,

    // Look-up, every clock if wanted.
    input  wire          lk_valid,
    input  wire [7:0]    lk_vf,
    input  wire [31:0]   lk_rip,
    input  wire [15:0]   lk_rport,
    input  wire [15:0]   lk_lport,

    // Answer, 8 clocks later.
    output wire          lk_done,
    output wire          lk_hit,
    output wire [FW-1:0] lk_flow,

    // Update, one at a time: 1 insert, 2 delete (only the entry of this very flow).
    input  wire          up_valid,
    output wire          up_ready,
    input  wire [1:0]    up_op,
    input  wire [7:0]    up_vf,
    input  wire [31:0]   up_rip,
    input  wire [15:0]   up_rport,
    input  wire [15:0]   up_lport,
    input  wire [FW-1:0] up_flow,

    // Answer, a pulse 9 clocks later: done as asked; the key was in the table already.
    output wire          up_done,
    output wire          up_ok,
    output wire          up_hit,

    // Entries in the table.
    output wire [31:0]   in_use,
    // The table is cleared. Before that look-ups find nothing and updates wait.
    output wire          init_done
);

    initial begin
        if (FW < 3 || FW > 17 || FLOWS < 1 || FLOWS > (1 << FW) || WAYS < 1 || WAYS > 8
            || BUCKETS_LOG2 < 2 || BUCKETS_LOG2 > 17) begin
            $display("%m: FLOWS = %0d (1 .. 2**FW), FW = %0d (3 to 17), WAYS = %0d (1 to 8), BUCKETS_LOG2 = %0d (2 to 17)",
                     FLOWS, FW, WAYS, BUCKETS_LOG2);
            $finish;
        end
    end

    localparam OP_INSERT = 2'd1;
    localparam OP_DELETE = 2'd2;

    localparam AW = BUCKETS_LOG2 - 1;
    localparam KW = 8 + 32 + 16 + 16;
    localparam EW = 1 + KW + FW;
    // Entries of both candidate buckets; bank 0 has the lower numbers.
    localparam E  = 2 * WAYS;

    reg          init_done_reg;
    reg [AW-1:0] walk_reg;
    reg [31:0]   in_use_reg;

    assign in_use    = in_use_reg;
    assign init_done = init_done_reg;

    // The other half of the key is nk_tcp_isn's: its results are public, these are not.
    wire [63:0] key_unused = key[127:64];

    // ---------------------------------------------------------------------------------- look-up

    // Nine bytes: remote IP, both ports, VF; then HalfSipHash's length byte. 6 clocks.
    wire          l_valid;
    wire [31:0]   l_hash;
    wire [95:0]   l_msg;

    nk_halfsiphash_pipe #(.WORDS(3), .C(1), .D(3)) u_lookup_hash (
        .clk(clk), .rst(rst), .s_valid(lk_valid), .s_key(key[63:0]),
        .s_msg({8'd9, 16'd0, lk_vf, lk_rport, lk_lport, lk_rip}),
        .m_valid(l_valid), .m_hash(l_hash), .m_msg(l_msg)
    );

    // Clock 6 reads both buckets, clock 7 compares, clock 8 answers.
    reg             l_cmp_reg;
    reg             l_clear_reg;
    reg [KW-1:0]    l_key_reg;
    reg             l_done_reg;
    reg [E-1:0]     l_hit_reg;
    reg [E*FW-1:0]  l_flows_reg;
    wire [E-1:0]    l_hit;
    wire [E*FW-1:0] l_flows;
    reg [FW-1:0]    l_flow;
    integer         j;

    always @* begin
        l_flow = {FW{1'b0}};
        for (j = 0; j < E; j = j + 1)
            l_flow = l_flow | (l_flows_reg[FW*j +: FW] & {FW{l_hit_reg[j]}});
    end

    assign lk_done = l_done_reg;
    assign lk_hit  = |l_hit_reg;
    assign lk_flow = l_flow;

    // Bits of the hashes that a small table does not need, and what the message holds besides the key.
    wire hash_unused = &{1'b0, l_hash, l_msg[95:72]};

    always @(posedge clk) begin
        l_cmp_reg  <= l_valid && !rst;
        l_done_reg <= l_cmp_reg && !rst;
        if (l_valid) begin
            l_key_reg   <= {l_msg[71:64], l_msg[31:0], l_msg[63:48], l_msg[47:32]};
            l_clear_reg <= init_done_reg;
        end
        if (l_cmp_reg) begin
            l_hit_reg   <= l_hit & {E{l_clear_reg}};
            l_flows_reg <= l_flows;
        end
    end

    // ----------------------------------------------------------------------------------- update

    reg          u_idle_reg;
    reg          u_cmp_reg;
    reg          u_write_reg;
    reg [1:0]    u_op_reg;
    reg [KW-1:0] u_key_reg;
    reg [FW-1:0] u_flow_reg;
    reg [AW-1:0] u_row0_reg;
    reg [AW-1:0] u_row1_reg;
    reg [E-1:0]  u_we_reg;
    reg          u_hit_reg;

    assign up_ready = u_idle_reg && init_done_reg;
    assign up_done  = u_write_reg;
    assign up_ok    = |u_we_reg;
    assign up_hit   = u_hit_reg;

    wire        u_take = up_valid && up_ready;
    wire        u_valid;
    wire [31:0] u_hash;
    wire        u_hash_idle_unused;

    nk_halfsiphash #(.WORDS(3), .C(1), .D(3)) u_update_hash (
        .clk(clk), .rst(rst),
        .req_valid(u_take), .req_ready(u_hash_idle_unused), .key(key[63:0]),
        .msg({8'd9, 16'd0, up_vf, up_rport, up_lport, up_rip}),
        .rsp_valid(u_valid), .rsp_hash(u_hash)
    );

    wire u_hash_unused = &{1'b0, u_hash};

    wire [E-1:0] u_used;
    wire [E-1:0] u_same;
    wire [E-1:0] u_own;

    // The entry to insert at: the first free one of the bucket with more free ones, bank 0 on a tie.
    reg [3:0]   count0;
    reg [3:0]   count1;
    reg [E-1:0] free0;
    reg [E-1:0] free1;
    integer     i;

    always @* begin
        count0 = 4'd0;
        count1 = 4'd0;
        free0  = {E{1'b0}};
        free1  = {E{1'b0}};
        for (i = WAYS - 1; i >= 0; i = i - 1) begin
            if (u_used[i])
                count0 = count0 + 4'd1;
            else begin
                free0    = {E{1'b0}};
                free0[i] = 1'b1;
            end
            if (u_used[WAYS+i])
                count1 = count1 + 4'd1;
            else begin
                free1         = {E{1'b0}};
                free1[WAYS+i] = 1'b1;
            end
        end
    end

    wire [E-1:0] place = (count1 < count0) ? free1 : free0;
    wire         found = |u_same;

    // ------------------------------------------------------------------------------------ memory

    wire [EW-1:0] b_wdata = {init_done_reg && u_op_reg == OP_INSERT, u_key_reg, u_flow_reg};

    genvar g;
    generate
        for (g = 0; g < E; g = g + 1) begin : g_entry
            wire [EW-1:0] l_entry;
            wire [EW-1:0] u_entry;
            wire [AW-1:0] u_row = (g < WAYS) ? u_row0_reg : u_row1_reg;
            wire          write = (u_write_reg && u_we_reg[g]) || !init_done_reg;
            nk_ram_1rw1r #(.W(EW), .AW(AW)) u_ram (
                .clk(clk),
                .a_re(l_valid),
                .a_addr((g < WAYS) ? l_hash[AW-1:0] : l_hash[16+AW-1:16]),
                .a_rdata(l_entry),
                .b_en(u_valid || write),
                .b_we(write),
                .b_addr(!init_done_reg ? walk_reg : u_write_reg ? u_row
                        : (g < WAYS) ? u_hash[AW-1:0] : u_hash[16+AW-1:16]),
                .b_wdata(b_wdata),
                .b_rdata(u_entry)
            );
            assign l_hit[g]            = l_entry[EW-1] && l_entry[FW +: KW] == l_key_reg;
            assign l_flows[FW*g +: FW] = l_entry[FW-1:0];
            assign u_used[g]           = u_entry[EW-1];
            assign u_same[g]           = u_entry[EW-1] && u_entry[FW +: KW] == u_key_reg;
            assign u_own[g]            = u_same[g] && u_entry[FW-1:0] == u_flow_reg;
        end
    endgenerate

    // Clock 7 reads both buckets, clock 8 compares, clock 9 writes and answers.
    always @(posedge clk) begin
        if (!init_done_reg) begin
            walk_reg      <= walk_reg + {{AW-1{1'b0}}, 1'b1};
            init_done_reg <= &walk_reg;
        end

        if (u_take) begin
            u_idle_reg <= 1'b0;
            u_op_reg   <= up_op;
            u_key_reg  <= {up_vf, up_rip, up_rport, up_lport};
            u_flow_reg <= up_flow;
        end
        if (u_valid) begin
            u_row0_reg <= u_hash[AW-1:0];
            u_row1_reg <= u_hash[16+AW-1:16];
        end
        u_cmp_reg   <= u_valid;
        u_write_reg <= u_cmp_reg;
        if (u_cmp_reg) begin
            u_hit_reg <= found;
            u_we_reg  <= (u_op_reg == OP_INSERT && !found) ? place : (u_op_reg == OP_DELETE) ? u_own : {E{1'b0}};
        end
        if (u_write_reg) begin
            u_idle_reg <= 1'b1;
            if (|u_we_reg)
                in_use_reg <= (u_op_reg == OP_INSERT) ? in_use_reg + 32'd1 : in_use_reg - 32'd1;
        end

        if (rst) begin
            init_done_reg <= 1'b0;
            walk_reg      <= {AW{1'b0}};
            u_idle_reg    <= 1'b1;
            u_cmp_reg     <= 1'b0;
            u_write_reg   <= 1'b0;
            in_use_reg    <= 32'd0;
        end
    end

endmodule

`default_nettype wire
