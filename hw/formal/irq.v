// SPDX-License-Identifier: Apache-2.0
// Proof: nk_irq loses no wake-up. An armed queue set with an entry that software has not taken gets its interrupt, whatever
// index software last saw, within MOST clocks after it is due, not counted those in which the host makes it wait.
//
// Around it, for one set of four: the tail of the rings (it moves when an entry is announced, or before), the heads that software writes,
// and the look-up of docs/interfaces: the answer is one clock old and is held. A set that is switched on is cleared in that clock, and
// is not armed in the three clocks after.

`default_nettype none

module irq #(
    parameter NR    = 4,
    parameter DRAIN = 2,
    parameter MOST  = 7 + 8 * (NR - 1) + 3 + 1
) (
    input wire        clk,
    input wire        rst,
    input wire [1:0]  step_us,
    input wire        arm_valid,
    input wire        arm_is_arm,
    input wire        arm_is_clear,
    input wire [1:0]  arm_set,
    input wire        entry_valid,
    input wire [1:0]  entry_set,
    input wire        mon_offer,
    input wire        mon_take,
    input wire        irq_ready,
    input wire        vfc_ready,
    // The watched set: entries that come, and whether the announcement speaks of all; what software takes; its settings.
    input wire        comp_more,
    input wire        recv_more,
    input wire        all_told,
    input wire [3:0]  comp_next,
    input wire [3:0]  recv_next,
    input wire        on_next,
    input wire [3:0]  usecs_next,
    input wire [2:0]  count_next,
    // What the other sets' look-ups say.
    input wire        any_on,
    input wire [3:0]  any_comp,
    input wire [3:0]  any_recv,
    input wire [3:0]  any_usecs,
    input wire [2:0]  any_count
);
    (* anyconst *) wire [1:0] me;
    wire        ir_read, irq_valid;
    wire [1:0]  ir_set;
    wire [7:0]  irq_func;
    wire [7:0]  irq_vector;
    reg  [6:0]  time_us;                  // from 64 us before the wrap to 63 us after it
    wire [31:0] now_us = {{25{time_us[6]}}, time_us};
    reg         ans_on;
    reg  [3:0]  ans_comp;
    reg  [3:0]  ans_recv;
    reg  [3:0]  ans_usecs;
    reg  [2:0]  ans_count;

    nk_irq #(.NQS(2), .NR(NR), .DRAIN(DRAIN)) dut (
        .clk(clk), .rst(rst), .now_us(now_us), .arm_valid(arm_valid), .arm_is_arm(arm_is_arm), .arm_is_clear(arm_is_clear), .arm_set(arm_set),
        .entry_valid(entry_valid), .entry_set(entry_set), .ir_read(ir_read), .ir_set(ir_set), .ir_on(ans_on), .ir_comp_pend({28'd0, ans_comp}),
        .ir_recv_pend({28'd0, ans_recv}), .ir_usecs({12'd0, ans_usecs}), .ir_count({5'd0, ans_count}), .ir_active(), .mon_offer(mon_offer), .mon_take(mon_take),
        .irq_valid(irq_valid), .irq_ready(irq_ready), .irq_func(irq_func), .irq_vector(irq_vector), .next_valid(), .next_us(),
        .stat_irq_sent(), .vfc_valid(), .vfc_ready(vfc_ready), .vfc_vf(), .busy()
    );
    localparam [2:0] I_IDLE = 3'd0, I_COUNT = 3'd1, I_JUDGE = 3'd2, I_DRAIN = 3'd3, I_SEND = 3'd4, I_NOTE = 3'd5;
    (* hierconn *) wire [2:0]    \dut.state_reg ;
    (* hierconn *) wire [1:0]    \dut.set_reg ;
    (* hierconn *) wire [NR-1:0] \dut.check_reg ;
    (* hierconn *) wire [NR-1:0] \dut.armed_reg ;
    (* hierconn *) wire [NR-1:0] \dut.timing_reg ;
    (* hierconn *) wire          \dut.next_valid_reg ;
    (* hierconn *) wire [31:0]   \dut.next_us_reg ;
    (* hierconn *) wire [31:0]   \dut.pend_reg ;
    (* hierconn *) wire [31:0]   \dut.this_deadline_reg ;
    (* hierconn *) wire [3:0]    \dut.drain_reg ;
    (* hierconn *) wire          \dut.fire ;
    (* hierconn *) wire [NR-1:0] \dut.u_arb.g_flat.above_reg ;
    wire [31:0] d0, d1, d2, d3;           // the deadlines: irq.sby connects them
    wire [31:0] deadline = me[1] ? (me[0] ? d3 : d2) : (me[0] ? d1 : d0);

    wire [2:0]  state  = \dut.state_reg ;
    wire        check  = \dut.check_reg [me];
    wire        armed  = \dut.armed_reg [me];
    wire        timing = \dut.timing_reg [me];
    wire        exam   = (state == I_COUNT || state == I_JUDGE) && \dut.set_reg == me;
    wire        fires  = \dut.fire && \dut.set_reg == me;
    wire        arms   = arm_valid && arm_set == me;
    wire        tells  = entry_valid && entry_set == me;

    // ---- the rings of the set, and software --------------------------------------------------------------
    reg         seen;                     // there was a reset
    initial seen = 1'b0;
    reg  [3:0]  comp;                     // entries beyond the head that software wrote
    reg  [3:0]  recv;
    reg         untold;                   // one of them is still to be announced
    reg         on;
    reg  [3:0]  usecs;
    reg  [2:0]  count;
    reg  [1:0]  young;                    // clocks until a set that was switched on may be armed
    reg         sends;                    // it has fired, and the interrupt is still to go
    reg         was_armed;
    reg  [7:0]  waits;
    reg  [1:0]  last;                     // the set examined last
    wire [31:0] pend     = {28'd0, comp} + {28'd0, recv};
    wire        more     = comp_more || recv_more;

    // ---- when an interrupt is due ------------------------------------------------------------------------
    wire        late     = timing && $signed(now_us - deadline) >= 0;
    wire        owed     = armed && on && pend != 0 && !untold;
    wire        at_once  = owed && ((usecs == 0 && count == 0) || (count != 0 && pend >= count));
    wire        due      = at_once || (owed && late && usecs != 0);
    wire [31:0] ans_pend = {28'd0, ans_comp} + {28'd0, ans_recv};
    wire        sure     = exam && armed && ans_on && ans_pend != 0
                        && ((ans_usecs == 0 && ans_count == 0) || (ans_count != 0 && ans_pend >= ans_count) || late);
    wire        stall    = (state == I_SEND && !irq_ready) || (state == I_NOTE && !vfc_ready)
                        || (state == I_DRAIN && mon_offer && \dut.drain_reg != 0 && !mon_take);
    // Clocks until the examination that runs is over, and until that of this set has judged.
    wire [7:0]  rest     = state == I_COUNT ? 7 : state == I_JUDGE ? 6 : state == I_DRAIN ? \dut.drain_reg + 3 : state == I_SEND ? 2
                         : state == I_NOTE ? 1 : 0;
    wire [1:0]  between  = me - last - 2'd1;
    wire [7:0]  to_go    = sure ? (state == I_COUNT ? 2 : 1) : rest + 8 * between + 3;

    always @(posedge clk) begin
        seen   <= 1'b1;
        time_us <= time_us + step_us;
        if (ir_read) begin
            ans_on    <= ir_set == me ? on : any_on;
            ans_comp  <= ir_set == me ? comp : any_comp;
            ans_recv  <= ir_set == me ? recv : any_recv;
            ans_usecs <= ir_set == me ? usecs : any_usecs;
            ans_count <= ir_set == me ? count : any_count;
            last      <= ir_set;
        end
        comp   <= comp_next + comp_more;
        recv   <= recv_next + recv_more;
        untold <= (untold || more) && !(tells && all_told);
        on     <= on_next;
        usecs  <= usecs_next;
        count  <= count_next;
        young  <= on_next && !on ? 2'd3 : young - (young != 0);
        sends  <= fires || (sends && !(irq_valid && irq_ready));
        was_armed <= armed && on && on_next && !fires && !(arms && arm_is_clear);
        waits  <= !due || fires ? 8'd0 : waits + !stall;
        if (rst) begin
            on        <= 1'b0;
            untold    <= 1'b0;
            comp      <= 4'd0;
            recv      <= 4'd0;
            sends     <= 1'b0;
            was_armed <= 1'b0;
            waits     <= 8'd0;
            last      <= 2'd3;
        end
    end

    always @* begin
        assume (seen || rst);
        // Software takes some of what stands; settings change with a word to nk_irq.
        assume (comp_next <= comp && recv_next <= recv && comp != 4'd15 && recv != 4'd15);
        assume (arms || (usecs_next == usecs && count_next == count));
        assume (!on_next || on || (arms && arm_is_clear));
        assume (young == 0 || !(arms && arm_is_arm));
        assume ($signed(time_us) < 60);
        if (seen) begin
            // No wake-up is lost: what is owed is being looked at, or will be, at once or when its time is over.
            if (at_once) assert (check || exam);
            if (owed && usecs != 0) assert (check || exam || timing);
            if (timing) assert (check || exam || (\dut.next_valid_reg && $signed(\dut.next_us_reg - deadline) <= 0));
            // It leads to an interrupt.
            assert (waits <= MOST);
            if (was_armed) assert (armed);
            assert (sends == ((state == I_DRAIN || state == I_SEND) && \dut.set_reg == me));
            assert (irq_valid == (state == I_SEND));
            if (irq_valid && sends) assert (irq_func == me[1] + 8'd1 && irq_vector == me[0]);

            // For the induction: what an examination works on is what stands, or there will be another.
            assert (state <= I_NOTE && last <= 3);
            if (exam && !check) begin
                assert (usecs == ans_usecs && count == ans_count);
                assert (!on || ans_on);
                assert (untold || ans_pend >= pend);
            end
            if (exam && on && !ans_on) assert (!armed && young > (state == I_JUDGE));
            if (state == I_JUDGE) assert (\dut.pend_reg == ans_pend);
            if (state == I_JUDGE && \dut.set_reg == me) assert (!timing || \dut.this_deadline_reg == deadline);
            if (state == I_JUDGE && \dut.timing_reg [\dut.set_reg ])
                assert (\dut.this_deadline_reg [31:7] == {25{\dut.this_deadline_reg [7]}} && $signed(\dut.this_deadline_reg [7:0]) >= -64
                        && $signed(\dut.this_deadline_reg [7:0]) - $signed(time_us) <= 15);
            if (\dut.timing_reg [0]) assert (d0[31:7] == {25{d0[7]}} && $signed(d0[7:0]) >= -64 && $signed(d0[7:0]) - $signed(time_us) <= 15);
            if (\dut.timing_reg [1]) assert (d1[31:7] == {25{d1[7]}} && $signed(d1[7:0]) >= -64 && $signed(d1[7:0]) - $signed(time_us) <= 15);
            if (\dut.timing_reg [2]) assert (d2[31:7] == {25{d2[7]}} && $signed(d2[7:0]) >= -64 && $signed(d2[7:0]) - $signed(time_us) <= 15);
            if (\dut.timing_reg [3]) assert (d3[31:7] == {25{d3[7]}} && $signed(d3[7:0]) >= -64 && $signed(d3[7:0]) - $signed(time_us) <= 15);
            if (\dut.next_valid_reg )
                assert (\dut.next_us_reg [31:7] == {25{\dut.next_us_reg [7]}} && \dut.next_us_reg - now_us + 32'd3 <= 18);
            if (state == I_DRAIN) assert (\dut.drain_reg <= DRAIN);
            if (state == I_COUNT || state == I_JUDGE) assert (last == \dut.set_reg );
            assert (\dut.u_arb.g_flat.above_reg == 4'he << last || (last == 3 && &\dut.u_arb.g_flat.above_reg ));
            if (due && exam && waits != 0 && !check) assert (sure);
            if (waits != 0 && due) assert (waits + to_go <= MOST + 1);
        end
    end
endmodule

`default_nettype wire
