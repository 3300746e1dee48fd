# SPDX-License-Identifier: Apache-2.0
"""nk_nqe (with nk_regs and the DMA arbiters around it) against tenants with rings in host memory."""

from __future__ import annotations

import random

import cocotb
import pytest
from common.runner import run_module
from common.stream import params, rng
from netkernel.abi import DB, PF, QS, VF, VFE, Op, Queue
from nqe.nqe_model import PAGE, Bench, Nqe, QueueSet, Stalls, Tenant

SYSTEM = "rtl-tests/nqe/nqe_system.v"
ROUGH = Stalls(ready=0.4, data=0.4, latency=(1, 60), engine=(0, 30))


async def traffic(t: Tenant, s: QueueSet, r: random.Random, n: int, hostile: float = 0.0) -> None:
    """Post n NQEs of both kinds in batches, consume what comes back, until all is answered."""
    posted = 0
    while posted < n or not s.settled() or s.done != [s.index[0], s.index[2]]:
        for queue in r.sample((Queue.JOB, Queue.SEND), 2):
            batch = min(r.choice((0, 1, 1, 3, 8, 20)), s.room(queue), n - posted)
            for _ in range(batch):
                bad = r.random() < hostile
                entry = t.hostile(r, queue, s.qs) if bad else t.with_qs(t.good(r, queue), s.qs)
                s.post(queue, entry)
            posted += batch
            if batch:
                await s.ring(queue)
        if r.random() < 0.5:
            await t.bench.clk(r.randint(1, 60))
        if r.random() < 0.7:
            await s.consume()
    await s.consume()
    assert s.index[Queue.COMPLETION] == s.written[Queue.COMPLETION]


def random_event(t: Tenant, r: random.Random) -> Nqe:
    return Nqe(r.randint(0x20, 0x27), socket=r.randrange(t.quota), op_data=r.getrandbits(64),
               size=r.getrandbits(32), word=r.choice((0, 0, 10, 11)) << 24)  # fmt: skip


async def start(dut, stalls: Stalls | None = None, **kw) -> tuple[Bench, list[Tenant]]:
    b = Bench(dut, stalls)
    await b.reset()
    tenants = [b.tenant(vf, **kw) for vf in range(b.nvf)]
    for t in tenants:
        await t.setup()
    return b, tenants


def check_trace(b: Bench) -> None:
    assert b.traced == b.truth, "the trace port does not show what the memory saw"


async def run_all(b: Bench, tasks) -> None:
    for task in [cocotb.start_soon(x) for x in tasks]:
        await task


@cocotb.test()
@cocotb.parametrize(stalls=["none", "rough"])
async def jobs_and_sends(dut, stalls):
    """Good NQEs of all tenants and sets at once: each answered once, in order, with the right fields."""
    b, tenants = await start(dut, ROUGH if stalls == "rough" else None)
    sets = [(t, s) for t in tenants for s in t.sets]
    n = 220
    await run_all(b, (traffic(t, s, rng(f"{t.vf}.{s.qs}"), n) for t, s in sets))
    await b.idle()
    check_trace(b)
    assert await b.counter("nqe_fetched") == n * len(sets)
    assert await b.counter("doorbell_errors") == 0
    by_op = {op: 0 for op in Op}
    for (_, _, queue), seen in b.truth.items():
        if queue != Queue.COMPLETION:
            for e in seen:
                by_op[Op(e.op)] += 1
    for op, count in by_op.items():
        assert await b.mmio(0, PF.NQE_STATS + 8 * op) == count
    for t in tenants:
        assert await t.stat("job_nqes") == sum(s.fetched[Queue.JOB] for s in t.sets)
        assert await t.stat("send_nqes") == sum(s.fetched[Queue.SEND] for s in t.sets)
        assert await t.stat("completions") == sum(s.written[Queue.COMPLETION] for s in t.sets)
        assert await t.stat("nqe_errors") == t.errors
    assert await b.counter("nqe_errors") == sum(t.errors for t in tenants)
    for t, s in sets:
        at = VF.QS_BASE + VF.QS_STRIDE * s.qs
        assert await t.read(at + QS.JOB_HEAD) == s.index[Queue.JOB]
        assert await t.read(at + QS.SEND_HEAD) == s.index[Queue.SEND]
        assert await t.read(at + QS.COMPLETION_TAIL) == s.written[Queue.COMPLETION]


@cocotb.test()
async def hostile_entries(dut):
    """Every field wrong in turn, at its edges, mixed with good NQEs: the right status, the engine unharmed."""
    b, tenants = await start(dut, ROUGH)
    sets = [(t, s) for t in tenants for s in t.sets]
    await run_all(b, (traffic(t, s, rng(f"h{t.vf}.{s.qs}"), 300, 0.6) for t, s in sets))
    await b.idle()
    check_trace(b)
    assert await b.counter("nqe_errors") == sum(t.errors for t in tenants) > 100


@cocotb.test()
async def entry_changes_while_read(dut):
    """A tenant that rewrites entries while the card reads them: what was read is what is checked and used."""
    b, tenants = await start(dut, Stalls(data=0.5, latency=(1, 30)))
    r = rng("torn")

    def torn() -> None:
        assert b.reading is not None
        q, nqes = b.reading
        if r.random() < 0.7:
            queue, i = r.choice(nqes)
            at = q.slot(queue, i)
            n = q.tenant.hostile(r, queue, q.qs).pack()
            k = 8 * r.randrange(4)
            q.tenant.mem[at + k : at + k + 8] = n[k : k + 8]

    b.torn = torn
    t = tenants[0]
    # The cookie's mark must survive, or the model cannot tell jobs from sends: use one queue at a time.
    s = t.sets[0]
    for queue in (Queue.JOB, Queue.SEND):
        for _ in range(12):
            for _ in range(r.randint(1, 12)):
                s.post(queue, t.good(r, queue))
            await s.ring(queue)
            await b.idle()
            mine = s.expect[0] if queue == Queue.JOB else s.expect[1]
            # A torn cookie may carry either mark.
            found = []
            real = s._check

            def check(q, got, found=found):
                found.append(Nqe(**{**got.__dict__, "flags": 0}))

            s._check = check
            await s.consume()
            s._check = real
            assert found == list(mine)
            mine.clear()


@cocotb.test()
async def doorbells_out_of_range(dut):
    """Tails more than a ring ahead, tails and heads that go back, heads beyond tails: ignored and counted."""
    b, tenants = await start(dut)
    t, s = tenants[0], tenants[0].sets[0]
    r = rng("db")
    wrong = 0

    async def refuse(reg: int, value: int) -> None:
        nonlocal wrong
        await s.db(reg, value)
        await t.read(VF.QS_BASE)  # comes after the doorbell, which is posted
        wrong += 1
        assert await b.counter("doorbell_errors") == wrong

    for round_ in range(8):
        job, send = s.index[Queue.JOB], s.index[Queue.SEND]
        await refuse(DB.JOB_TAIL, job + 65)
        await refuse(DB.SEND_TAIL, send + r.choice((65, 1 << 16, (1 << 31), (1 << 32) - 1)))
        await refuse(DB.JOB_TAIL, job - 1)
        await refuse(DB.COMPLETION_HEAD, s.index[Queue.COMPLETION] + 1)
        await refuse(DB.RECEIVE_HEAD, s.index[Queue.RECEIVE] + r.choice((1, 64, 1 << 31)))
        if round_:
            await refuse(DB.COMPLETION_HEAD, s.rung[Queue.COMPLETION] - 1)
            await refuse(DB.RECEIVE_HEAD, s.rung[Queue.RECEIVE] - 1)
        b.event(t, 0, random_event(t, r))
        assert s.fetched[Queue.JOB] == job
        # Exactly a ring ahead is allowed.
        for _ in range(64):
            s.post(Queue.JOB, t.good(r, Queue.JOB))
        await s.ring(Queue.JOB)
        await refuse(DB.JOB_TAIL, s.index[Queue.JOB] + 64)
        await b.idle()
        await s.consume()
        assert s.settled()
    assert await t.stat("doorbell_errors") == wrong
    assert await tenants[1].stat("doorbell_errors") == 0
    # A set that is off takes no doorbell.
    await t.write(VF.QS_BASE + QS.CTRL, 0)
    await refuse(DB.JOB_TAIL, s.index[Queue.JOB] + 1)
    await refuse(DB.IRQ_ARM, 77)


@cocotb.test()
async def enable_is_checked(dut):
    """A queue set goes on only when every ring and the status block lie in the region, with legal sizes."""
    b = Bench(dut)
    await b.reset()
    t = b.tenant(0, pages=40)
    at = VF.QS_BASE
    errors = 0

    async def try_on(want: int, regs: dict[int, int]) -> None:
        nonlocal errors
        await t.write(at + QS.CTRL, 0)
        await b.idle()
        for reg, value in regs.items():
            await t.write(at + reg, value)
        await t.write(at + QS.CTRL, 1)
        assert await t.read(at + QS.CTRL) == want, regs
        errors += 1 - want
        assert await b.counter("mmio_errors") == errors
        if want:
            await t.write(at + QS.JOB_BASE, 3)  # refused while on
            errors += 1
            assert await t.read(at + QS.JOB_BASE) == regs[QS.JOB_BASE]

    good = {QS.JOB_BASE: 1, QS.COMPLETION_BASE: 2, QS.SEND_BASE: 3, QS.RECEIVE_BASE: 4,
            QS.STATUS_BASE: 5, QS.SIZES: 0x06060606}  # fmt: skip
    await try_on(0, good)  # no VF
    await t.setup_pf()
    await try_on(0, good)  # VF not enabled
    await t.setup_vf()
    await try_on(1, good)
    for reg in (QS.JOB_BASE, QS.COMPLETION_BASE, QS.SEND_BASE, QS.RECEIVE_BASE, QS.STATUS_BASE):
        for value in (40, 41, (1 << 32) - 1, 1 << 20, 1 << 31):
            await try_on(0, {**good, reg: value})
        await try_on(1, {**good, reg: 39})
    for k in range(4):
        for log2 in (0, 5, 17, 255, 38, 70):
            await try_on(0, {**good, QS.SIZES: 0x06060606 & ~(255 << 8 * k) | log2 << 8 * k})
        reg = (QS.JOB_BASE, QS.COMPLETION_BASE, QS.SEND_BASE, QS.RECEIVE_BASE)[k]
        sizes = 0x06060606 & ~(255 << 8 * k) | 10 << 8 * k  # 8 pages
        await try_on(1, {**good, reg: 32, QS.SIZES: sizes})
        await try_on(0, {**good, reg: 33, QS.SIZES: sizes})


@cocotb.test()
@cocotb.parametrize(full=["completion", "receive", "engine"])
async def full_ring_stalls_nobody_else(dut, full):
    """A tenant that consumes nothing: its own queue set waits, the other VF runs on as if alone."""
    b, tenants = await start(dut, log2s=[(7, 6, 6, 6)] * params().get("NQS", 1))
    lazy, other = tenants[0].sets[0], tenants[1].sets[0]
    r = rng("lazy")
    if full == "completion":
        # 64 jobs fill the completion ring; the others and all sends stay where they are.
        for _ in range(100):
            lazy.post(Queue.JOB, tenants[0].good(r, Queue.JOB))
        await lazy.ring(Queue.JOB)
        await b.idle()
        lazy.poll()
        for _ in range(20):
            lazy.post(Queue.SEND, tenants[0].good(r, Queue.SEND))
        await lazy.ring(Queue.SEND)
        await b.idle()
        assert lazy.written[Queue.COMPLETION] == 64 and lazy.fetched == [64, 0, 0, 0]
    elif full == "receive":
        sent = 0
        while b.event_bit(tenants[0], 0):
            b.event(tenants[0], 0, random_event(tenants[0], r))
            await b.idle()
            sent += 1
        assert 24 <= sent <= 56, "recv_room falls while 8 to 40 entries are free"
        # Those on their way find room yet.
        for _ in range(64 - sent):
            b.event(tenants[0], 0, random_event(tenants[0], r))
        await b.idle()
        assert lazy.written[Queue.RECEIVE] == 64 and not b.ev_lost
        # One too many is lost, not written over another.
        b.event(tenants[0], 0, random_event(tenants[0], r))
        await b.idle()
        lazy.events.pop()
        assert b.ev_lost == 1
    else:
        b.stalls.engine = (300, 300)
        lazy.post(Queue.JOB, tenants[0].good(r, Queue.JOB))
        await lazy.ring(Queue.JOB)
    for _ in range(10):
        b.event(tenants[1], 0, random_event(tenants[1], r))
    start_clock = b.clocks
    await traffic(tenants[1], other, r, 20 if full == "engine" else 150)
    if full != "engine":
        assert b.clocks - start_clock < 150 * 60
    assert other.seen_events == 10
    # And the lazy one goes on as soon as it consumes.
    await lazy.consume()
    await traffic(tenants[0], lazy, r, 10)
    assert b.event_bit(tenants[0], 0)
    assert await b.counter("doorbell_errors") == 0


@cocotb.test()
@cocotb.parametrize(stalls=["none", "rough"])
async def events_behind_payload(dut, stalls):
    """Events in order, each visible only when its payload is; recv_room keeps the ring from overflowing."""
    b, tenants = await start(dut, ROUGH if stalls == "rough" else None)
    r = rng("events")
    waiting: dict[int, list[tuple[int, bytes]]] = {t.vf: [] for t in tenants}
    left = {t.vf: 150 for t in tenants}

    def consume_checks(t: Tenant, s: QueueSet):
        real = s._check

        def check(queue, got):
            real(queue, got)
            if queue == Queue.RECEIVE:
                at, payload = waiting[t.vf].pop(0)
                assert t.mem[at : at + len(payload)] == payload, "event before its payload"

        s._check = check

    async def producer() -> None:
        while any(left.values()):
            t = r.choice([t for t in tenants if left[t.vf]])
            qs = r.randrange(b.nqs) if b.nqs == 1 else 0
            if b.event_bit(t, qs) and len(b.ev_queue) < 8:
                left[t.vf] -= 1
                payload = r.randbytes(64 * r.randint(1, 8))
                at = (60 - r.randint(0, 8)) * PAGE
                waiting[t.vf].append((at, payload))
                b.event(t, qs, random_event(t, r), payload, at)
                # The next payload may overwrite this one: wait for the tenant to look.
                await b.until(lambda t=t: not waiting[t.vf], 20000, "event seen")
            await b.clk(r.choice((1, 1, 5, 40)))

    async def consumer(t: Tenant) -> None:
        s = t.sets[0]
        consume_checks(t, s)
        while left[t.vf] or s.events or waiting[t.vf]:
            await s.consume()
            await b.clk(r.choice((1, 20, 50)))

    await run_all(b, [producer(), *(consumer(t) for t in tenants)])
    await b.idle()
    check_trace(b)
    assert b.ev_lost == 0
    for t in tenants:
        assert await t.stat("events") == t.sets[0].seen_events == 150


@cocotb.test()
async def flood_of_events(dut):
    """Events as fast as they are taken, to all receive rings, with completions in between."""
    b, tenants = await start(dut)
    r = rng("flood")
    sets = [(t, s) for t in tenants for s in t.sets]
    left = 400

    async def producer() -> None:
        nonlocal left
        while left:
            t, s = r.choice(sets)
            if b.event_bit(t, s.qs) and len(b.ev_queue) < 10:
                b.event(t, s.qs, random_event(t, r))
                left -= 1
            else:
                await b.clk()

    async def tenant(t: Tenant, s: QueueSet) -> None:
        await traffic(t, s, rng(f"f{t.vf}"), 60)
        while left or b.ev_queue or b.ev_now or s.events:
            await s.consume()
            await b.clk(r.randint(1, 100))

    await run_all(b, [producer(), *(tenant(t, s) for t, s in sets)])
    await b.idle()
    check_trace(b)
    assert b.ev_lost == 0
    assert sum(s.seen_events for _, s in sets) == 400


# -------------------------------------------------------------------------------------- interrupts


@cocotb.test()
@cocotb.parametrize(moderation=[0, 20, 3 << 16 | 15, 1 << 16])
async def no_lost_wakeup(dut, moderation):
    """A tenant that sleeps after writing heads and arm, and wakes by interrupt alone, gets everything; and
    when it wakes, what woke it is there already."""
    b, tenants = await start(dut, ROUGH)
    r = rng("irq")
    b.clocks_per_us = 7
    for t in tenants:
        for s in t.sets:
            await t.write(VF.QS_BASE + VF.QS_STRIDE * s.qs + QS.IRQ_MODERATION, moderation)
    sets = [(t, s) for t in tenants for s in t.sets]
    left = 250
    fired: dict[tuple[int, int], int] = {}
    asleep: dict[tuple[int, int], QueueSet] = {}

    def on_irq(vf: int, qs: int) -> None:
        s = asleep.get((vf, qs))
        if s is not None:
            before = s.index[Queue.COMPLETION] + s.index[Queue.RECEIVE]
            s.poll()
            found = s.index[Queue.COMPLETION] + s.index[Queue.RECEIVE] - before
            assert found, "interrupt before the write that it announces"
            del asleep[(vf, qs)]
        fired[(vf, qs)] = fired.get((vf, qs), 0) + 1

    b.on_irq = on_irq

    async def producer() -> None:
        nonlocal left
        while left:
            t, s = r.choice(sets)
            if r.random() < 0.5:
                if b.event_bit(t, s.qs) and len(b.ev_queue) < 4:
                    b.event(t, s.qs, random_event(t, r))
                    left -= 1
            elif s.room(Queue.JOB):
                s.post(Queue.JOB, t.with_qs(t.good(r, Queue.JOB), s.qs))
                await s.ring(Queue.JOB)
                left -= 1
            await b.clk(r.choice((0, 0, 1, 3, 10, 30, 100)))

    def more(s: QueueSet) -> bool:
        return bool(left or b.ev_queue or b.ev_now or not s.settled()
                    or s.got[Queue.JOB] < s.index[Queue.JOB])  # fmt: skip

    async def sleeper(t: Tenant, s: QueueSet) -> None:
        key = (t.vf, s.qs)
        while more(s):
            await s.consume()
            seen = fired.get(key, 0)
            asleep[key] = s
            await s.arm_irq()
            for _ in range(6000):
                if fired.get(key, 0) > seen or not more(s):
                    break
                await b.clk()
            else:
                # Asleep, armed, silence: then nothing may stand in the rings.
                assert not s.poll(), "lost wake-up"
            asleep.pop(key, None)
            if r.random() < 0.3:
                await b.clk(r.randint(1, 80))

    await run_all(b, [producer(), *(sleeper(t, s) for t, s in sets)])
    assert sum(s.seen_events + s.completed for _, s in sets) == 250
    await b.idle()
    assert await b.counter("irq_sent") == sum(b.irqs.values()) == sum(fired.values())
    for t in tenants:
        assert await t.stat("irqs") == sum(n for (vf, _), n in b.irqs.items() if vf == t.vf)


@cocotb.test()
async def moderation(dut):
    """Count and time: when exactly an armed interrupt fires, and next_us says when to wake."""
    b, tenants = await start(dut)
    t, s = tenants[0], tenants[0].sets[0]
    key = (0, 0)
    b.clocks_per_us = 40

    async def push(n: int) -> None:
        for _ in range(n):
            b.event(t, 0, random_event(t, b.r))
        await b.idle()

    def irqs() -> int:
        return b.irqs.get(key, 0)

    async def set_moderation(count: int, usecs: int) -> None:
        await t.write(VF.QS_BASE + QS.IRQ_MODERATION, count << 16 | usecs)

    # Not armed: nothing. Armed: once. Not armed again: nothing more.
    await push(2)
    assert irqs() == 0
    await s.arm_irq()
    await b.idle()
    assert irqs() == 1
    await push(2)
    assert irqs() == 1
    # The same value again is no arm.
    await s.consume()
    await s.db(DB.IRQ_ARM, s.arm)
    await push(1)
    assert irqs() == 1
    # Nothing beyond the heads: with the next.
    await s.consume()
    await s.arm_irq()
    await b.idle()
    assert irqs() == 1
    await push(1)
    assert irqs() == 2
    await s.consume()
    # Count alone.
    await set_moderation(3, 0)
    await s.arm_irq()
    await push(2)
    await b.clk(4000)
    assert irqs() == 2 and not b.s["next_valid"].get()
    await push(1)
    assert irqs() == 3
    await s.consume()
    # Time alone: it runs from the first entry.
    await set_moderation(0, 30)
    await s.arm_irq()
    await b.clk(2000)
    before = b.now
    await push(1)
    assert b.s["next_valid"].get() and not b.s["busy"].get()
    due = b.s["next_us"].get() - before & 0xFFFFFFFF
    assert 30 <= due <= 32
    await push(1)
    assert irqs() == 3
    await b.until(lambda: (b.now - before & 0xFFFFFFFF) >= 29, 4000)
    assert irqs() == 3
    await b.clk(4 * 40)
    assert irqs() == 4
    await b.idle()
    assert not b.s["next_valid"].get()
    await s.consume()
    # Both: count is first, and the time that ran does not fire later.
    await set_moderation(2, 1000)
    await s.arm_irq()
    await push(2)
    assert irqs() == 5
    await s.consume()
    # A time that ran out while the tenant consumed everything: stays armed, fires with the next.
    await set_moderation(0, 10)
    await s.arm_irq()
    await push(1)
    await s.consume()
    await b.clk(40 * 30)
    assert irqs() == 5
    await push(1)
    await b.clk(40 * 14)
    assert irqs() == 6
    # Moderation taken away while it waits: at once.
    await s.consume()
    await set_moderation(0, 60000)
    await s.arm_irq()
    await push(1)
    assert irqs() == 6
    await set_moderation(0, 0)
    await b.idle()
    assert irqs() == 7


@cocotb.test()
async def moderation_times_of_many_sets(dut):
    """Different deadlines at once, time jumping as the shim makes it jump: each fires at its own time."""
    b, tenants = await start(dut)
    b.clocks_per_us = 1 << 60
    r = rng("deadlines")
    sets = [(t, s) for t in tenants for s in t.sets]
    for _ in range(12):
        due = {}
        for t, s in sets:
            usecs = r.randint(5, 3000)
            await t.write(VF.QS_BASE + VF.QS_STRIDE * s.qs + QS.IRQ_MODERATION, usecs)
            await s.consume()
            await s.arm_irq()
            b.event(t, s.qs, random_event(t, r))
            await b.idle()
            due[(t.vf, s.qs)] = b.now + usecs
        fired: dict[tuple[int, int], int] = {}
        b.on_irq = lambda vf, qs, fired=fired: fired.setdefault((vf, qs), b.now)
        while len(fired) < len(sets):
            assert b.s["next_valid"].get(), "a deadline is forgotten"
            step = b.s["next_us"].get() - b.now & 0xFFFFFFFF
            assert step == min(d for k, d in due.items() if k not in fired) - b.now
            b.now += step + r.choice((0, 0, 1, 7))
            for k in [k for k, d in due.items() if d < b.now]:
                due[k] = min(due[k], b.now)
            b.s["now_us"].set(b.now & 0xFFFFFFFF)
            await b.idle()
            assert set(fired) == {k for k, d in due.items() if d <= b.now}
        await b.idle()
        assert not b.s["next_valid"].get()


# ----------------------------------------------------------------------------------------- resets


async def vf_reset_done(t: Tenant, what: str) -> None:
    for _ in range(400):
        if not await t.read(VF.STATUS) & 4:
            return
        await t.bench.clk(10)
    raise AssertionError(f"reset of VF {t.vf} does not end ({what})")


@cocotb.test()
@cocotb.parametrize(how=["reset", "disable", "pf"])
async def vf_reset_in_traffic(dut, how):
    """A VF reset at any moment: no DMA of it after the stop, the other VF unharmed, a fresh start after."""
    b, tenants = await start(dut, ROUGH)
    t, other = tenants[0], tenants[1]
    r = rng("reset")
    stop_other = False
    hold = False

    def flush(vf: int) -> int:
        for s in t.sets:
            b.event(t, s.qs, random_event(t, r))
        return 3000 if hold else r.randint(0, 60)

    b.flush_hook = flush

    async def other_traffic() -> None:
        while not stop_other:
            await traffic(other, other.sets[0], r, 20)

    task = cocotb.start_soon(other_traffic())
    for round_ in range(8):
        for s in t.sets:
            for queue in (Queue.JOB, Queue.SEND):
                for _ in range(r.randint(1, 40)):
                    s.post(queue, t.with_qs(t.good(r, queue), s.qs))
                await s.ring(queue)
            await s.arm_irq()
        for _ in range(r.randint(0, 10)):
            b.event(t, 0, random_event(t, r))
        await b.clk(r.randint(0, 300))
        for s in t.sets:
            s.poll()
            s.on = False
        hold = r.random() < 0.5
        entry = PF.VF_BASE + VFE.CTRL
        if how == "pf":
            await b.mmio(0, entry, 0)
        else:
            await t.write(VF.CTRL, 3 if how == "reset" else 0)
        if hold:
            # While resetting, nothing can be switched on or moved.
            await b.until(lambda: t.dead, 5000, "flush")
            before = await b.counter("mmio_errors")
            for func, addr, value in ((1, VF.REGION_PAGES, 1), (1, VF.REGION_BASE_LO, 0),
                                      (1, VF.QS_BASE + QS.CTRL, 1), (0, entry + VFE.SOCKET_BASE, 1)):  # fmt: skip
                await b.mmio(func, addr, value)
            if how != "reset":
                await t.write(VF.CTRL, 1)
            if how == "pf":
                await b.mmio(0, entry, 1)
            assert await t.read(VF.STATUS) & 4
            assert (
                await b.counter("mmio_errors") == before + {"reset": 4, "disable": 5, "pf": 6}[how]
            )
        await vf_reset_done(t, how)
        assert t.dead and b.flushes.count(0) == round_ + 1
        for s in t.sets:
            assert await t.read(VF.QS_BASE + VF.QS_STRIDE * s.qs + QS.CTRL) == 0
            b.event(t, s.qs, random_event(t, r))  # late events of the engine go nowhere
        await b.clk(50)
        status = await t.read(VF.STATUS)
        assert status == {"reset": 3, "disable": 1, "pf": 0}[how]
        assert b.s["cfg_en"].get() >> 0 & 1 == (how != "pf")
        if how == "pf":
            assert await t.read(VF.REGION_BASE_LO) == 0 and await t.read(VF.REGION_PAGES) == 0
            await t.setup_pf()
        b.ev_queue = type(b.ev_queue)(e for e in b.ev_queue if e[0] is not t)
        if how != "reset":
            await t.setup_vf()
        t.errors = 0
        for s in t.sets:
            await t.setup_set(s)
        await traffic(t, t.sets[0], r, 15, 0.2)
    stop_other = True
    await task
    await b.idle()


@cocotb.test()
async def resets_of_all_vfs_at_once(dut):
    """All VFs ask for a reset at the same time, some twice: served one after the other, none lost."""
    b, tenants = await start(dut)
    r = rng("many")
    b.flush_hook = lambda vf: r.randint(20, 200)
    for _ in range(5):
        b.flushes.clear()
        for t in r.sample(tenants, len(tenants)):
            for s in t.sets:
                s.on = False
            await t.write(VF.CTRL, 3)
        for t in tenants:
            assert await t.read(VF.STATUS) & 4
        twice = r.choice(tenants)
        await twice.write(VF.CTRL, 3)
        for t in tenants:
            await vf_reset_done(t, "many")
        assert {t.vf for t in tenants} == set(b.flushes)
        assert 1 <= b.flushes.count(twice.vf) <= 2
        for t in tenants:
            for s in t.sets:
                await t.enable_set(s)
    await traffic(tenants[-1], tenants[-1].sets[0], r, 20)


@cocotb.test()
async def queue_set_off_and_on(dut):
    """A tenant switches one of its sets off in traffic: CTRL reads 1 until it is drained, then a fresh start."""
    b, tenants = await start(dut, ROUGH)
    t, s = tenants[0], tenants[0].sets[0]
    r = rng("off")
    at = VF.QS_BASE
    refused = 0
    for _ in range(10):
        for queue in (Queue.JOB, Queue.SEND):
            for _ in range(r.randint(1, 30)):
                s.post(queue, t.good(r, queue))
            await s.ring(queue)
        await b.clk(r.randint(0, 200))
        s.poll()
        s.on = False
        await t.write(at + QS.CTRL, 0)
        for _ in range(300):
            if not await t.read(at + QS.CTRL):
                break
            await t.write(at + QS.CTRL, 1)
            refused += 1
            if await t.read(at + QS.CTRL) and r.random() < 0.3:
                await t.write(at + QS.CTRL, 0)
        else:
            raise AssertionError("set does not drain")
        await b.idle()
        await t.enable_set(s)
        await traffic(t, s, r, 12)
    await b.idle()


@cocotb.test()
async def reset_mid_traffic(dut):
    """Hardware reset at any moment: everything off and zero, then all works anew."""
    b = Bench(dut, ROUGH)
    await b.reset()
    r = rng("hw reset")
    for _ in range(6):
        b.tenants.clear()
        tenants = [b.tenant(vf) for vf in range(b.nvf)]
        for t in tenants:
            await t.setup()
            for s in t.sets:
                for queue in (Queue.JOB, Queue.SEND):
                    for _ in range(r.randint(1, 60)):
                        s.post(queue, t.with_qs(t.good(r, queue), s.qs))
                    await s.ring(queue)
                b.event(t, s.qs, random_event(t, r))
        await b.clk(r.randint(0, 250))
        b.flushes.clear()
        await b.reset()
        for t in tenants:
            for s in t.sets:
                s.on = False
            t.dead = True
            assert await t.read(VF.STATUS) == 0 and await t.read(VF.QS_BASE + QS.CTRL) == 0
        assert await b.counter("nqe_fetched") == 0
        assert b.s["recv_room"].get() == (1 << b.nvf * b.nqs) - 1
    b.tenants.clear()
    t = b.tenant(0)
    await t.setup()
    await traffic(t, t.sets[0], r, 60)
    await b.idle()
    check_trace(b)


# ------------------------------------------------------------------------------------------ others


@cocotb.test()
async def large_rings_and_index_wrap(dut):
    """Rings of different sizes, many turns: slots and phase bits follow the free-running indices."""
    b = Bench(dut)
    await b.reset()
    t = b.tenant(0, log2s=[(7, 6, 6, 8)] * b.nqs)
    await t.setup()
    s = t.sets[0]
    await traffic(t, s, rng("wrap"), 1200)
    assert s.index[Queue.JOB] >> 7 >= 2 and s.index[Queue.COMPLETION] >> 6 >= 4
    await b.idle()
    check_trace(b)


@cocotb.test()
async def sends_before_jobs(dut):
    """Sends whose doorbell came before a job's doorbell run first, however the queues are served."""
    b, tenants = await start(dut)
    t, s = tenants[0], tenants[0].sets[0]
    r = rng("order")
    for _ in range(25):
        for _ in range(r.randint(1, 30)):
            s.post(Queue.SEND, t.good(r, Queue.SEND))
        for _ in range(r.randint(1, 3)):
            s.post(Queue.JOB, t.good(r, Queue.JOB))
        await s.ring(Queue.SEND)
        await s.ring(Queue.JOB)
        await b.idle()
        await s.consume()
        assert s.settled()


@cocotb.test()
async def rate(dut):
    """Clocks an NQE with an engine that answers at once: the figures of the block's page."""
    b, tenants = await start(
        dut, Stalls(latency=(10, 10), engine=(0, 0)), log2s=[(8, 8, 8, 8)] * params().get("NQS", 1)
    )
    t, s = tenants[0], tenants[0].sets[0]
    r = rng("rate")
    measured = {}
    for queue in (Queue.SEND, Queue.JOB):
        n = 0
        while n < 200:
            e = t.good(r, queue)
            if queue == Queue.SEND or e.op != Op.SOCKET:
                s.post(queue, e)
                n += 1
        begin = b.clocks
        await s.ring(queue)
        await b.until(lambda q=queue: s.poll() >= 0 and s.done[q // 2] == 200, 20000)
        per = (b.clocks - begin) / 200
        measured[Queue(queue).name] = per
        assert per < (13 if queue == Queue.JOB else 7)
    begin = b.clocks
    for _ in range(30):
        b.event(t, 0, random_event(t, r))
    await b.until(lambda: not b.ev_queue and not b.ev_now)
    measured["event"] = (b.clocks - begin) / 30
    for name, func, addr, value in (
        ("register write", 0, PF.RTO_MIN_US, 5),
        ("register read", 0, PF.RTO_MIN_US, None),
        ("VF counter read", 0, PF.VF_STATS_BASE, None),
        ("doorbell", 1, VF.DB_BASE + DB.RECEIVE_HEAD, 0),
        ("queue set read", 1, VF.QS_BASE + QS.JOB_HEAD, None),
    ):
        begin = b.clocks
        for _ in range(20):
            b.mmio_queue.append([func, addr, value, None])
        await b.until(lambda: not b.mmio_queue and b.mmio_now is None)
        measured[name] = (b.clocks - begin) / 20
    for name, clocks in measured.items():
        dut._log.info("%s: %.1f clocks", name, clocks)
        assert clocks < 13, name


@pytest.mark.parametrize(("w", "nvf", "nqs"), [(64, 2, 1), (512, 3, 2)])
def test_nk_nqe(w, nvf, nqs):
    run_module("nqe_system", __file__, {"W": w, "NVF": nvf, "NQS": nqs, "FLOWS": 64}, [SYSTEM])


@pytest.mark.parametrize("w", [128, 256])
def test_nk_nqe_widths(w):
    """The widths in between: data path only."""
    run_module("nqe_system", __file__, {"W": w, "NVF": 2, "NQS": 1, "FLOWS": 64}, [SYSTEM],
               testcase="jobs_and_sends|events_behind|large_rings")  # fmt: skip


def test_nk_nqe_icarus():
    """Four states: nothing undefined reaches an output, from reset on and across VF resets."""
    run_module(
        "nqe_system",
        __file__,
        {"W": 64, "NVF": 2, "NQS": 1, "FLOWS": 64},
        [SYSTEM],
        simulator="icarus",
        testcase="jobs_and_sends|vf_reset_in_traffic|reset_mid_traffic",
    )
