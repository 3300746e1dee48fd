// SPDX-License-Identifier: Apache-2.0
// Purpose: FIFO lists of flows, linked through one memory: a push every clock, a pop every clock from alternating lists.
//
// A flow stands in one list at most, whoever pushes sees to that. To pop is to look first: a list is selected,
// its first flow is read (b, m) and offered (c), and only when the offer is taken the list moves on (k).
// An offer that is withdrawn has changed nothing. Selections run ahead of that and may be of a list whose
// last flow goes meanwhile: they are dropped then (kill).
//
// head[] has two writers, so it is two memories: head_a by a push to an empty list, head_n by a pop; fresh[]
// says which of them counts.

`default_nettype none

module nk_flow_lists #(
    // Number of flows, up to 2**FW.
    parameter FLOWS = 1024,
    // Width of a flow number, 1 to 20.
    parameter FW = 10,
    // Number of lists, up to 2**LLW.
    parameter LISTS = 4,
    // Width of a list number, 1 to 20.
    parameter LLW = 2
) (
    // Clock and reset (synchronous, active high; then all lists are empty).
    input  wire             clk,
    input  wire             rst,

    // Append a flow, that stands in no list, to a list.
    input  wire             push_valid,
    input  wire [LLW-1:0]   push_list,
    input  wire [FW-1:0]    push_flow,

    // Lists that hold a flow and may be selected.
    output wire [LISTS-1:0] nonempty,
    // Select one of them in this very clock: its first flow is to be offered.
    input  wire             sel_valid,
    output wire             sel_ready,
    input  wire [LLW-1:0]   sel_list,

    // Lists whose flows may be offered; an offer is withdrawn one clock after this falls.
    input  wire [LISTS-1:0] allow,
    // The offer; it leaves its list when it is taken.
    output wire             out_valid,
    input  wire             out_ready,
    output wire [LLW-1:0]   out_list,
    output wire [FW-1:0]    out_flow,

    // A push or an offer is under way.
    output wire             busy
);

    initial begin
        if (FW < 1 || FW > 20 || FLOWS < 1 || FLOWS > (1 << FW)
            || LLW < 1 || LLW > 20 || LISTS < 1 || LISTS > (1 << LLW)) begin
            $display("%m: FLOWS = %0d (1 .. 2**FW), FW = %0d, LISTS = %0d (1 .. 2**LLW), LLW = %0d",
                     FLOWS, FW, LISTS, LLW);
            $finish;
        end
    end

    // A push counts in some_reg at once, in the memories a clock later (q).
    reg [LISTS-1:0] some_reg;
    reg [LISTS-1:0] fresh_reg;
    reg             q_valid_reg;
    reg [LLW-1:0]   q_list_reg;
    reg [FW-1:0]    q_flow_reg;
    reg             q_empty_reg;
    reg             q_fwd_reg;
    reg [FW-1:0]    q_fwd_flow_reg;

    // Selected.
    reg             b_valid_reg;
    reg [LLW-1:0]   b_list_reg;
    // Its head and tail are read; what came too late for the memories stands in the fwd registers.
    reg             m_valid_reg;
    reg [LLW-1:0]   m_list_reg;
    reg             m_fresh_reg;
    reg             m_head_fwd_reg;
    reg [FW-1:0]    m_head_reg;
    reg             m_tail_fwd_reg;
    reg [FW-1:0]    m_tail_reg;
    // Offered; it is the last one of its list.
    reg             c_valid_reg;
    reg [LLW-1:0]   c_list_reg;
    reg [FW-1:0]    c_flow_reg;
    reg             c_last_reg;
    // Taken: the list moves on to next[flow].
    reg             k_valid_reg;
    reg [LLW-1:0]   k_list_reg;
    reg             k_last_reg;
    reg             k_fwd_reg;
    reg [FW-1:0]    k_fwd_flow_reg;

    wire take = c_valid_reg && out_ready;

    // Same list in two places.
    wire q_is_push = q_valid_reg && q_list_reg == push_list;
    wire q_is_b    = q_valid_reg && q_list_reg == b_list_reg;
    wire q_is_m    = q_valid_reg && q_list_reg == m_list_reg;
    wire q_is_c    = q_valid_reg && q_list_reg == c_list_reg;
    wire q_is_k    = q_valid_reg && q_list_reg == k_list_reg;
    wire k_is_push = k_valid_reg && k_list_reg == push_list;
    wire k_is_sel  = k_valid_reg && k_list_reg == sel_list;
    wire k_is_b    = k_valid_reg && k_list_reg == b_list_reg;
    wire k_is_m    = k_valid_reg && k_list_reg == m_list_reg;
    wire c_is_m    = c_valid_reg && c_list_reg == m_list_reg;

    // Both in one clock: first the pop, then the push.
    wire k_empties  = k_valid_reg && k_last_reg;
    wire q_to_empty = q_empty_reg || (k_last_reg && q_is_k && k_valid_reg);

    // ----------------------------------------------------------------------------------- memories

    wire [FW-1:0] next_rdata;
    wire [FW-1:0] tail_q;
    wire [FW-1:0] tail_m;
    wire [FW-1:0] head_a;
    wire [FW-1:0] head_n;
    wire [FW-1:0] k_next = k_fwd_reg ? k_fwd_flow_reg : next_rdata;
    wire [FW-1:0] q_tail = q_fwd_reg ? q_fwd_flow_reg : tail_q;

    // m waits for an offer of its own list: what follows that is not known before.
    wire m_go = m_valid_reg && !c_is_m && (!c_valid_reg || take);
    wire b_go = b_valid_reg && (!m_valid_reg || m_go);

    nk_ram_1w1r #(.W(FW), .AW(FW)) u_next (
        .clk(clk),
        .we(q_valid_reg && !q_to_empty), .waddr(q_tail), .wdata(q_flow_reg),
        .re(take), .raddr(c_flow_reg), .rdata(next_rdata)
    );

    nk_ram_1w1r #(.W(FW), .AW(LLW)) u_tail_q (
        .clk(clk),
        .we(q_valid_reg), .waddr(q_list_reg), .wdata(q_flow_reg),
        .re(push_valid), .raddr(push_list), .rdata(tail_q)
    );

    nk_ram_1w1r #(.W(FW), .AW(LLW)) u_tail_m (
        .clk(clk),
        .we(q_valid_reg), .waddr(q_list_reg), .wdata(q_flow_reg),
        .re(b_go), .raddr(b_list_reg), .rdata(tail_m)
    );

    nk_ram_1w1r #(.W(FW), .AW(LLW)) u_head_a (
        .clk(clk),
        .we(q_valid_reg && q_to_empty), .waddr(q_list_reg), .wdata(q_flow_reg),
        .re(b_go), .raddr(b_list_reg), .rdata(head_a)
    );

    nk_ram_1w1r #(.W(FW), .AW(LLW)) u_head_n (
        .clk(clk),
        .we(k_valid_reg), .waddr(k_list_reg), .wdata(k_next),
        .re(b_go), .raddr(b_list_reg), .rdata(head_n)
    );

    wire [FW-1:0] m_head = k_is_m ? k_next : m_head_fwd_reg ? m_head_reg : m_fresh_reg ? head_a : head_n;
    wire [FW-1:0] m_tail = q_is_m ? q_flow_reg : m_tail_fwd_reg ? m_tail_reg : tail_m;

    // -------------------------------------------------------------------------------------- ports

    // A list that waits in b, or in m behind its own offer, is not selected again: others go first.
    reg [LISTS-1:0] ahead;

    always @* begin
        ahead = {LISTS{1'b0}};
        if (b_valid_reg)
            ahead[b_list_reg] = 1'b1;
        if (m_valid_reg && c_is_m)
            ahead[m_list_reg] = 1'b1;
    end

    assign nonempty  = some_reg & ~ahead;
    assign sel_ready = !b_valid_reg || b_go;
    assign out_valid = c_valid_reg;
    assign out_list  = c_list_reg;
    assign out_flow  = c_flow_reg;
    assign busy      = push_valid || q_valid_reg || b_valid_reg || m_valid_reg || c_valid_reg || k_valid_reg;

    always @(posedge clk) begin
        // Push.
        q_valid_reg <= push_valid;
        if (push_valid) begin
            q_list_reg     <= push_list;
            q_flow_reg     <= push_flow;
            q_empty_reg    <= !some_reg[push_list] || (k_empties && k_is_push && !q_is_push);
            q_fwd_reg      <= q_is_push;
            q_fwd_flow_reg <= q_flow_reg;
        end

        // The list moves on; a push that is under way keeps it from being empty.
        if (k_empties && !q_is_k)
            some_reg[k_list_reg] <= 1'b0;
        if (push_valid)
            some_reg[push_list] <= 1'b1;
        if (k_valid_reg)
            fresh_reg[k_list_reg] <= 1'b0;
        if (q_valid_reg && q_to_empty)
            fresh_reg[q_list_reg] <= 1'b1;

        // Select.
        if (sel_ready) begin
            b_valid_reg <= sel_valid && !(k_empties && k_is_sel);
            b_list_reg  <= sel_list;
        end else if (k_empties && k_is_b) begin
            b_valid_reg <= 1'b0;
        end

        // Read.
        if (b_go) begin
            m_valid_reg    <= !(k_empties && k_is_b);
            m_list_reg     <= b_list_reg;
            m_fresh_reg    <= fresh_reg[b_list_reg];
            m_head_fwd_reg <= k_is_b;
            m_head_reg     <= k_next;
            m_tail_fwd_reg <= q_is_b;
            m_tail_reg     <= q_flow_reg;
        end else begin
            if (m_go || (k_empties && k_is_m))
                m_valid_reg <= 1'b0;
            if (k_is_m) begin
                m_head_fwd_reg <= 1'b1;
                m_head_reg     <= k_next;
            end
            if (q_is_m) begin
                m_tail_fwd_reg <= 1'b1;
                m_tail_reg     <= q_flow_reg;
            end
        end

        // Offer.
        if (m_go) begin
            c_valid_reg <= !(k_empties && k_is_m) && allow[m_list_reg];
            c_list_reg  <= m_list_reg;
            c_flow_reg  <= m_head;
            c_last_reg  <= m_head == m_tail;
        end else begin
            if (take || !allow[c_list_reg])
                c_valid_reg <= 1'b0;
            if (q_is_c)
                c_last_reg <= 1'b0;
        end

        // Take. What is pushed behind the last one in this clock is not in next[] yet when it is read.
        k_valid_reg <= take;
        if (take) begin
            k_list_reg     <= c_list_reg;
            k_last_reg     <= c_last_reg && !q_is_c;
            k_fwd_reg      <= c_last_reg && q_is_c;
            k_fwd_flow_reg <= q_flow_reg;
        end

        if (rst) begin
            some_reg    <= {LISTS{1'b0}};
            q_valid_reg <= 1'b0;
            b_valid_reg <= 1'b0;
            m_valid_reg <= 1'b0;
            c_valid_reg <= 1'b0;
            k_valid_reg <= 1'b0;
        end
    end

endmodule

`default_nettype wire
