# SPDX-License-Identifier: Apache-2.0
"""nk_core: interrupts: armed once, fired once, never lost."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, run_core
from netkernel.abi import QS, VF, Op


def moderation(usecs: int, count: int) -> int:
    return usecs | count << 16


@cocotb.test()
async def not_armed_no_interrupt(dut):
    tb = TB(dut)
    await tb.start()
    sock, conn = await tb.connect()
    conn.send(b"hello")
    tb.collect()
    await tb.until(lambda: sock.received == b"hello")
    await tb.sleep(10_000)
    assert not tb.shim.irqs
    await tb.finish()


@cocotb.test()
async def armed_before_the_event(dut):
    """One interrupt on the queue set's vector for the next entry, and no second one without arming."""
    tb = TB(dut)
    tenant = await tb.start(queue_sets=2)
    sock, conn = await tb.connect(qs=1)
    await tb.idle()
    tenant.arm(1)
    await tb.sleep(1000)
    assert not tb.shim.irqs
    conn.send(b"one")
    tb.collect()
    await tb.until(lambda: sock.received == b"one")
    await tb.sleep(100)
    assert tb.shim.irqs == {(1, 1): 1}
    conn.send(b"two")
    tb.collect()
    await tb.until(lambda: sock.received == b"onetwo")
    await tb.sleep(10_000)
    assert tb.shim.irqs == {(1, 1): 1}
    c = await tb.finish()
    assert c["irq_sent"] == 1


@cocotb.test()
async def armed_after_the_event(dut):
    """An entry that stands already when the tenant arms: the interrupt comes at once."""
    tb = TB(dut)
    tenant = await tb.start()
    sock, conn = await tb.connect()
    await tb.idle()
    tenant.hold_events = True
    conn.send(b"early")
    tb.collect()
    await tb.sleep(50_000)
    assert not tb.shim.irqs
    tenant.arm()
    await tb.until(lambda: bool(tb.shim.irqs), 1000, "interrupt at once")
    tenant.hold_events = False
    tenant.poll()
    assert sock.received == b"early"
    await tb.finish()


@cocotb.test()
async def no_wakeup_is_lost(dut):
    """A tenant that sleeps after each arm and wakes only by interrupt misses nothing, at any timing."""
    tb = TB(dut, link={"delay_us": 3, "jitter_us": 30})
    tenant = await tb.start()
    sock, conn = await tb.connect()
    await tb.idle()
    tenant.hold_events = tenant.hold_completions = True
    want = b""
    r = tb.rng
    wakes = 0

    def wake(func: int, vector: int) -> None:
        nonlocal wakes
        wakes += 1
        tenant.hold_events = tenant.hold_completions = False
        tenant.poll()
        tenant.hold_events = tenant.hold_completions = True
        tenant.arm()

    tb.shim.on_irq = wake
    tenant.arm()
    for _ in range(120):
        data = r.randbytes(r.randrange(1, 50))
        want += data
        conn.send(data)
        tb.collect()
        await tb.sleep(r.randrange(1, 120))
    await tb.until(lambda: sock.received == want, 1_000_000, "the last event's interrupt")
    assert wakes > 10
    tb.shim.on_irq = None
    await tb.finish()


@cocotb.test()
async def moderated_by_time(dut):
    """The interrupt waits for the microseconds set after the first entry."""
    tb = TB(dut)
    tenant = await tb.start()
    sock, conn = await tb.connect()
    await tb.vf_write(0, VF.QS_BASE + QS.IRQ_MODERATION, moderation(5000, 0))
    await tb.idle()
    tenant.arm()
    await tb.sleep(100)
    conn.send(b"x")
    tb.collect()
    await tb.until(lambda: sock.received == b"x")
    tenant.hold_events = True
    start = tb.now
    conn.send(b"y")
    tb.collect()
    await tb.until(lambda: bool(tb.shim.irqs), 20_000, "moderated interrupt")
    assert 4000 <= tb.now - start <= 6500, tb.now - start
    tenant.hold_events = False
    tenant.poll()
    await tb.finish()


@cocotb.test()
async def moderated_while_all_else_sleeps(dut):
    """No flow has a timer: the waiting interrupt alone must make the card ask to be woken."""
    tb = TB(dut)
    tenant = await tb.start()
    await tb.vf_write(0, VF.QS_BASE + QS.IRQ_MODERATION, moderation(5000, 0))
    await tb.idle()
    tenant.hold_completions = True
    tenant.arm()
    await tb.sleep(100)
    start = tb.now
    tenant.raw_job(Op.INFO, 1)
    await tb.until(lambda: bool(tb.shim.irqs), 20_000_000, "moderated interrupt")
    assert 4000 <= tb.now - start <= 6500, tb.now - start
    tenant.hold_completions = False
    tenant.poll()
    tb.expected["nqe_errors"] = 1
    await tb.finish()


@cocotb.test()
async def moderated_by_count(dut):
    """The interrupt waits for so many entries, or the time limit, whichever comes first."""
    tb = TB(dut)
    tenant = await tb.start()
    sock, conn = await tb.connect()
    await tb.vf_write(0, VF.QS_BASE + QS.IRQ_MODERATION, moderation(0xFFFF, 4))
    await tb.idle()
    tenant.hold_events = True
    tenant.arm()
    for i in range(4):
        assert not tb.shim.irqs, f"after {i} entries"
        conn.send(b"z")
        tb.collect()
        await tb.sleep(12_000)
    assert tb.shim.irqs == {(1, 0): 1}
    tenant.hold_events = False
    tenant.poll()
    assert sock.received == b"zzzz"
    await tb.finish()


@cocotb.test()
async def completions_interrupt_too(dut):
    tb = TB(dut)
    tenant = await tb.start()
    await tb.idle()
    tenant.arm()
    sock = tenant.socket()
    await tb.until(lambda: bool(tb.shim.irqs), 10_000)
    assert tb.shim.irqs == {(1, 0): 1}
    await tb.ok(sock.close())
    await tb.finish()


def test_nk_core_irq():
    run_core(__file__)
