// SPDX-License-Identifier: Apache-2.0
// Purpose: flow look-up: a keyed hash table from {VF, remote IP, remote port, local port} to a flow number.
//
// Two banks of buckets, each key may stand in one bucket of each bank (d-left hashing, Broder and
// Mitzenmacher 2001): both are read at once, an insert goes to the emptier one. The two bucket numbers are
// two halves of a HalfSipHash-1-3 under a secret key, so nobody outside can aim at a bucket.

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

    // Request, one at a time: 0 look up, 1 insert, 2 delete.
    input  wire          req_valid,
    output wire          req_ready,
    input  wire [1:0]    req_op,
    input  wire [7:0]    req_vf,
    input  wire [31:0]   req_rip,
    input  wire [15:0]   req_rport,
    input  wire [15:0]   req_lport,
    input  wire [FW-1:0] req_flow,

    // Answer, a pulse 9 clocks after the request.
    output wire          rsp_valid,
    output wire          rsp_hit,
    output wire [FW-1:0] rsp_flow,
    output wire          rsp_ok,

    // Entries in the table.
    output wire [31:0]   in_use,
    // The table is cleared.
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

    localparam OP_LOOKUP = 2'd0;
    localparam OP_INSERT = 2'd1;
    localparam OP_DELETE = 2'd2;

    localparam AW = BUCKETS_LOG2 - 1;
    localparam KW = 8 + 32 + 16 + 16;
    localparam EW = 1 + KW + FW;
    // Entries of both candidate buckets; bank 0 has the lower numbers.
    localparam E  = 2 * WAYS;

    reg          idle_reg;
    reg          cmp_reg;
    reg          init_done_reg;
    reg [AW-1:0] walk_reg;
    reg [1:0]    op_reg;
    reg [KW-1:0] key_reg;
    reg [FW-1:0] flow_reg;
    reg [AW-1:0] row0_reg;
    reg [AW-1:0] row1_reg;
    reg          rsp_valid_reg;
    reg          rsp_hit_reg;
    reg          rsp_ok_reg;
    reg [FW-1:0] rsp_flow_reg;
    reg [31:0]   in_use_reg;

    assign req_ready = idle_reg && init_done_reg;
    assign rsp_valid = rsp_valid_reg;
    assign rsp_hit   = rsp_hit_reg;
    assign rsp_flow  = rsp_flow_reg;
    assign rsp_ok    = rsp_ok_reg;
    assign in_use    = in_use_reg;
    assign init_done = init_done_reg;

    wire take = req_valid && req_ready;

    // -------------------------------------------------------------------------------------- hash

    wire        hash_valid;
    wire [31:0] hash;
    wire        hash_idle_unused;

    // Nine bytes: remote IP, both ports, VF; then HalfSipHash's length byte.
    nk_halfsiphash #(.WORDS(3), .C(1), .D(3)) u_hash (
        .clk(clk), .rst(rst),
        .req_valid(take), .req_ready(hash_idle_unused), .key(key[63:0]),
        .msg({8'd9, 16'd0, req_vf, req_rport, req_lport, req_rip}),
        .rsp_valid(hash_valid), .rsp_hash(hash)
    );

    // The other half of the key is nk_tcp_isn's: its results are public, these are not.
    wire [63:0] key_unused = key[127:64];
    // Bits of the hash that a small table does not need.
    wire [31:0] hash_unused = hash;

    // ------------------------------------------------------------------------------------- table

    wire [E-1:0]    used;
    wire [E-1:0]    hit;
    wire [E*FW-1:0] flows;
    wire [E-1:0]    we;
    wire [EW-1:0]   wdata = {init_done_reg && op_reg == OP_INSERT, key_reg, flow_reg};

    genvar g;
    generate
        for (g = 0; g < E; g = g + 1) begin : g_entry
            wire [EW-1:0] entry;
            wire [AW-1:0] row = (g < WAYS) ? row0_reg : row1_reg;
            nk_ram_1w1r #(.W(EW), .AW(AW)) u_ram (
                .clk(clk),
                .we(we[g] || !init_done_reg),
                .waddr(init_done_reg ? row : walk_reg),
                .wdata(wdata),
                .re(hash_valid),
                .raddr((g < WAYS) ? hash[AW-1:0] : hash[16+AW-1:16]),
                .rdata(entry)
            );
            assign used[g] = entry[EW-1];
            assign hit[g]  = entry[EW-1] && entry[FW +: KW] == key_reg;
            assign flows[FW*g +: FW] = entry[FW-1:0];
        end
    endgenerate

    // The entry to insert at: the first free one of the bucket with more free ones, bank 0 on a tie.
    reg [3:0]    count0;
    reg [3:0]    count1;
    reg [E-1:0]  free0;
    reg [E-1:0]  free1;
    reg [FW-1:0] hit_flow;
    integer      i;

    always @* begin
        count0   = 4'd0;
        count1   = 4'd0;
        free0    = {E{1'b0}};
        free1    = {E{1'b0}};
        hit_flow = {FW{1'b0}};
        for (i = WAYS - 1; i >= 0; i = i - 1) begin
            if (used[i])
                count0 = count0 + 4'd1;
            else begin
                free0    = {E{1'b0}};
                free0[i] = 1'b1;
            end
            if (used[WAYS+i])
                count1 = count1 + 4'd1;
            else begin
                free1         = {E{1'b0}};
                free1[WAYS+i] = 1'b1;
            end
        end
        for (i = 0; i < E; i = i + 1)
            hit_flow = hit_flow | (flows[FW*i +: FW] & {FW{hit[i]}});
    end

    wire [E-1:0] place   = (count1 < count0) ? free1 : free0;
    wire         any_hit = |hit;
    wire         insert  = cmp_reg && op_reg == OP_INSERT && !any_hit && (|place);
    wire         delete  = cmp_reg && op_reg == OP_DELETE && any_hit;

    assign we = (place & {E{insert}}) | (hit & {E{delete}});

    always @(posedge clk) begin
        if (!init_done_reg) begin
            walk_reg      <= walk_reg + {{AW-1{1'b0}}, 1'b1};
            init_done_reg <= &walk_reg;
        end

        if (take) begin
            idle_reg <= 1'b0;
            op_reg   <= req_op;
            key_reg  <= {req_vf, req_rip, req_rport, req_lport};
            flow_reg <= req_flow;
        end
        if (hash_valid) begin
            row0_reg <= hash[AW-1:0];
            row1_reg <= hash[16+AW-1:16];
        end
        cmp_reg <= hash_valid;

        rsp_valid_reg <= cmp_reg;
        if (cmp_reg) begin
            idle_reg     <= 1'b1;
            rsp_hit_reg  <= any_hit;
            rsp_flow_reg <= any_hit ? hit_flow : flow_reg;
            rsp_ok_reg   <= (op_reg == OP_LOOKUP) ? any_hit : insert || delete;
            if (insert)
                in_use_reg <= in_use_reg + 32'd1;
            if (delete)
                in_use_reg <= in_use_reg - 32'd1;
        end

        if (rst) begin
            init_done_reg <= 1'b0;
            walk_reg      <= {AW{1'b0}};
            idle_reg      <= 1'b1;
            cmp_reg       <= 1'b0;
            rsp_valid_reg <= 1'b0;
            in_use_reg    <= 32'd0;
        end
    end

endmodule

`default_nettype wire
