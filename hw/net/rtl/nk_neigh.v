// SPDX-License-Identifier: Apache-2.0
// Purpose: neighbour table: IPv4 address to MAC address, learned from ARP, asked by the transmit path.
//
// Four ways of ENTRIES/4 sets. A known address is updated in place; a new one takes a free way of its set,
// or, when there is none, the way that a counter points at. Entries do not age: any ARP frame of that
// host renews them.

`default_nettype none

module nk_neigh #(
    // Entries: a power of two, 16 to 256.
    parameter ENTRIES = 64
) (
    input  wire        clk,
    input  wire        rst,

    // Learn: this address has this MAC. `ln_create`: also if it is not known yet. Any clock, never refused.
    input  wire        ln_valid,
    input  wire        ln_create,
    input  wire [31:0] ln_ip,
    input  wire [47:0] ln_mac,

    // A pulse when an address has got an entry that it did not have: look-ups find it from this clock on.
    output wire        nb_new_valid,
    output wire [31:0] nb_new_ip,

    // Look-up: the answer to `nq_ip` of this clock stands in the next one; a new one every clock.
    input  wire [31:0] nq_ip,
    output wire        nq_hit,
    output wire [47:0] nq_mac,

    // Entry by index, for the registers; one clock later too.
    input  wire [7:0]  nb_index,
    output wire [31:0] nb_ip,
    output wire [47:0] nb_mac,
    output wire        nb_valid,

    // A learn is under way, or its pulse.
    output wire        busy
);

    localparam WAYS = 4;
    localparam SETS = ENTRIES / WAYS;
    localparam SW   = $clog2(SETS);

    initial begin
        if (ENTRIES < 16 || ENTRIES > 256 || (1 << (SW + 2)) != ENTRIES) begin
            $display("%m: ENTRIES = %0d, must be a power of two, 16 to 256", ENTRIES);
            $finish;
        end
    end

    // Neighbours of a subnet differ in the low bits: they spread evenly.
    function [SW-1:0] set_of;
        input [31:0] ip;
        reg   [7:0]  fold;
        begin
            fold   = ip[7:0] ^ ip[15:8] ^ ip[23:16] ^ ip[31:24];
            set_of = fold[SW-1:0] ^ fold[7 -: SW];
        end
    endfunction

    // ---- learn: register, then read, compare and write in one clock ----
    reg          learn_reg;
    reg          create_reg;
    reg  [31:0]  ip_reg;
    reg  [47:0]  mac_reg;
    reg  [SW-1:0] set_reg;
    reg  [1:0]   victim_reg;
    reg          new_reg;
    reg  [31:0]  new_ip_reg;

    wire [WAYS-1:0] match;
    wire [WAYS-1:0] used;
    // The first way that is free, else the victim.
    wire [1:0]      free_way = !used[0] ? 2'd0 : !used[1] ? 2'd1 : !used[2] ? 2'd2 : !used[3] ? 2'd3 : victim_reg;
    wire            insert   = learn_reg && create_reg && match == {WAYS{1'b0}};
    wire            replace  = insert && &used;

    always @(posedge clk) begin
        learn_reg  <= ln_valid;
        create_reg <= ln_create;
        if (ln_valid) begin
            ip_reg  <= ln_ip;
            mac_reg <= ln_mac;
            set_reg <= set_of(ln_ip);
        end
        new_reg <= insert;
        if (insert)
            new_ip_reg <= ip_reg;
        if (replace)
            victim_reg <= victim_reg + 2'd1;
        if (rst) begin
            learn_reg  <= 1'b0;
            new_reg    <= 1'b0;
            victim_reg <= 2'd0;
        end
    end

    assign nb_new_valid = new_reg;
    assign nb_new_ip    = new_ip_reg;
    assign busy         = learn_reg || new_reg;

    // ---- the ways ----
    wire [SW-1:0]      nq_set = set_of(nq_ip);
    wire [SW-1:0]      nb_set = nb_index[2 +: SW];
    wire               nb_in  = {24'd0, nb_index} < ENTRIES;
    wire [WAYS-1:0]    hit;
    wire [WAYS*80-1:0] hit_word;
    wire [WAYS*81-1:0] nb_word;

    genvar g;
    generate
        for (g = 0; g < WAYS; g = g + 1) begin : way
            reg  [79:0]     mem [0:SETS-1];
            reg  [SETS-1:0] valid_reg;
            wire [79:0]     asked = mem[nq_set];
            wire [31:0]     known = mem[set_reg][79:48];

            assign used[g]  = valid_reg[set_reg];
            assign match[g] = valid_reg[set_reg] && known == ip_reg;
            assign hit[g]   = valid_reg[nq_set] && asked[79:48] == nq_ip;
            assign hit_word[80*g +: 80] = asked;
            assign nb_word[81*g +: 81]  = {valid_reg[nb_set], mem[nb_set]};

            wire write = learn_reg && (match[g] || (insert && free_way == g));

            always @(posedge clk) begin
                if (write) begin
                    mem[set_reg]       <= {ip_reg, mac_reg};
                    valid_reg[set_reg] <= 1'b1;
                end
                if (rst)
                    valid_reg <= {SETS{1'b0}};
            end
        end
    endgenerate

    // ---- answers ----
    reg        nq_hit_reg;
    reg [47:0] nq_mac_reg;
    reg [47:0] nq_mac_next;
    reg [80:0] nb_reg;
    integer    w;

    always @* begin
        nq_mac_next = 48'd0;
        for (w = 0; w < WAYS; w = w + 1)
            if (hit[w])
                nq_mac_next = nq_mac_next | hit_word[80*w +: 48];
    end

    always @(posedge clk) begin
        nq_hit_reg <= |hit;
        nq_mac_reg <= nq_mac_next;
        case (nb_index[1:0])
            2'd0:    nb_reg <= nb_word[80:0];
            2'd1:    nb_reg <= nb_word[161:81];
            2'd2:    nb_reg <= nb_word[242:162];
            default: nb_reg <= nb_word[323:243];
        endcase
        if (!nb_in)
            nb_reg <= 81'd0;
        if (rst) begin
            nq_hit_reg <= 1'b0;
            nb_reg     <= 81'd0;
        end
    end

    assign nq_hit   = nq_hit_reg;
    assign nq_mac   = nq_mac_reg;
    assign nb_valid = nb_reg[80];
    assign nb_ip    = nb_reg[80] ? nb_reg[79:48] : 32'd0;
    assign nb_mac   = nb_reg[80] ? nb_reg[47:0] : 48'd0;

endmodule

`default_nettype wire
