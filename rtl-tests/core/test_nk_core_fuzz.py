# SPDX-License-Identifier: Apache-2.0
"""nk_core under tenants that write noise: into rings, doorbells and registers, from several VFs at a time.

The memory model sees every DMA: an access outside of the region of its function fails the run. Every entry that the
card writes into a completion or receive ring is looked at as it is written: VM id, queue set, phase, and
the mark of its tenant in the cookie. A tenant that behaves works beside them all the time and gets its bytes. At the
end every VF can be reset, and nothing is left.

NK_FUZZ_NQES: how many NQEs (50,000 in `make test`, a million at night). A failure repeats with its seed and that number.
"""

from __future__ import annotations

import os
from collections import Counter

import cocotb
import numpy as np
from common.hostmem import PAGE, READ, WRITE, Memory
from core.core_tb import TB, run_core, vf_ip
from model.tcp_peer import Host
from netkernel import abi
from netkernel.abi import DB, PF, QS, VF, VFE, Op

NQES = int(os.environ.get("NK_FUZZ_NQES", "50000"))
HOSTILE, HONEST = 3, 3  # VFs 0 to 2 are hostile, VF 3 is not
SOCKETS = 24
U32 = 0xFFFFFFFF
JOBS = [op for op in Op if op < 0x10]
SENDS = [Op.SEND, Op.CREDIT]
NQE = abi.NQE_DTYPE
# Rings: job, completion, send, receive; where the card reads and where it writes.
TAILS = (QS.JOB_HEAD, QS.COMPLETION_TAIL, QS.SEND_HEAD, QS.RECEIVE_TAIL)


class Vandal:
    """The software of one hostile VF. The first pages hold its rings; payload rings that it names lie behind them."""

    def __init__(self, tb: TB, vf: int, queue_sets: int) -> None:
        self.tb, self.vf, self.r = tb, vf, tb.rng
        self.nr = np.random.default_rng(tb.rng.getrandbits(32))
        self.nqs = queue_sets
        self.memory = Memory((tb.rng.getrandbits(28) << 16) + (vf << 48), 512, fill=0xEE)
        for page in range(self.memory.pages):
            self.memory.perm[page] = READ | WRITE
        tb.shim.memory[vf + 1] = self.memory
        self.written: Counter[str] = Counter()
        self.alive = False

    # ---- registers ---------------------------------------------------------------------------------

    async def reg(self, addr: int) -> int:
        return await self.tb.vf_read(self.vf, addr)

    async def put(self, addr: int, value: int) -> None:
        await self.tb.vf_write(self.vf, addr, value & U32)

    async def bring_up(self) -> None:
        base = self.memory.base
        for addr, value in ((VF.REGION_BASE_LO, base & U32), (VF.REGION_BASE_HI, base >> 32),
                            (VF.REGION_PAGES, self.memory.pages), (VF.CTRL, 1)):  # fmt: skip
            await self.put(addr, value)
        self.logs = [[self.r.choice((6, 7, 9)) for _ in range(4)] for _ in range(self.nqs)]
        self.at: list[list[int]] = []
        page = 1
        for q in range(self.nqs):
            regs = VF.QS_BASE + VF.QS_STRIDE * q
            pages = []
            for ring, reg in enumerate(
                (QS.JOB_BASE, QS.COMPLETION_BASE, QS.SEND_BASE, QS.RECEIVE_BASE)
            ):
                await self.put(regs + reg, page)
                pages.append(page)
                page += max(1, (32 << self.logs[q][ring]) // PAGE)
            await self.put(regs + QS.STATUS_BASE, page)
            page += 1
            await self.put(regs + QS.SIZES, sum(n << 8 * i for i, n in enumerate(self.logs[q])))
            # Old phases would be taken for new entries by whoever looks, which is nobody; the card looks at its own.
            await self.put(regs + QS.IRQ_MODERATION, self.r.getrandbits(24))
            self.at.append(pages)
        self.data_page = page
        self.tails = [[0, 0, 0, 0] for _ in range(self.nqs)]
        self.count = [[0, 0, 0, 0] for _ in range(self.nqs)]
        for q in range(self.nqs):
            await self.put(VF.QS_BASE + VF.QS_STRIDE * q + QS.CTRL, 1)
        self.alive = True

    async def reset(self) -> None:
        """VF reset; not a byte of DMA after it is over."""
        await self.put(VF.CTRL, 2)
        for _ in range(400):
            if not await self.reg(VF.STATUS) & 4:
                break
            await self.tb.sleep(20)
        else:
            raise AssertionError(f"the reset of VF {self.vf} does not end")
        self.alive = False
        for page in range(self.memory.pages):
            self.memory.perm[page] = 0
        await self.tb.sleep(self.r.randrange(200))
        for page in range(self.memory.pages):
            self.memory.perm[page] = READ | WRITE

    # ---- noise -------------------------------------------------------------------------------------

    def noise(self, q: int, ring: int, n: int) -> np.ndarray:
        """n NQEs: well-formed ones with one or two wrong fields mostly, pure noise seldom."""
        r, nr = self.r, self.nr
        e = np.zeros(n, dtype=NQE)
        own = SENDS if ring == 2 else JOBS
        e["op"] = nr.choice(own, n)
        e["queue_set"] = q
        index = (self.tails[q][ring] + np.arange(n)) & U32
        e["flags"] = (~(index >> self.logs[q][ring]) & 1).astype(np.uint8)
        # Few sockets, so that states come together.
        e["socket"] = nr.integers(0, min(SOCKETS, r.choice((3, 8, SOCKETS))), n)
        last = self.memory.pages - self.data_page
        pages = self.data_page + nr.integers(0, last, (2, n))
        target = self.tb.target.ip | 80 << 32 | 8080 << 48
        e["op_data"] = np.where(e["op"] == Op.SOCKET, pages[0].astype(np.uint64) * PAGE, 0)
        e["op_data"] = np.where(
            e["op"] == Op.CONNECT, np.uint64(target & ~(0xFFFF << 48)), e["op_data"]
        )
        e["op_data"] = np.where(e["op"] == Op.LISTEN, np.uint64(8080 + self.vf << 48), e["op_data"])
        e["op_data"] = np.where(
            e["op"] == Op.ACCEPT, nr.integers(0, SOCKETS, n).astype(np.uint64), e["op_data"]
        )
        options = nr.integers(0, 10, n).astype(np.uint64) | nr.integers(0, 3, n).astype(
            np.uint64
        ) << np.uint64(32)
        e["op_data"] = np.where(e["op"] == Op.SETOPT, options, e["op_data"])
        e["data_ptr"] = pages[1].astype(np.uint64) * PAGE
        e["size"] = np.where(e["op"] == Op.SOCKET, 0x0C0C, nr.integers(0, 2000, n))
        wrong = nr.random(n)
        for name, below in (("op", 0.03), ("queue_set", 0.05), ("flags", 0.07), ("socket", 0.10),
                            ("op_data", 0.15), ("data_ptr", 0.2), ("size", 0.25)):  # fmt: skip
            pick = (wrong < below) & (nr.random(n) < 0.7)
            bits = 8 * NQE[name].itemsize
            e[name][pick] = nr.integers(0, 1 << bits, int(pick.sum()), dtype=np.uint64, endpoint=False) if bits == 64 \
                else nr.integers(0, 1 << bits, int(pick.sum()))  # fmt: skip
        # A payload ring over our own queues would only blind the test: those pages are not named.
        for name in ("op_data", "data_ptr"):
            low = (e["op"] == Op.SOCKET) & (e[name] < self.data_page * PAGE)
            e[name][low] += np.uint64(self.data_page * PAGE)
        e["cookie"] = nr.integers(0, 1 << 20, n) | self.vf << 20
        return e

    async def burst(self, q: int) -> None:
        ring = self.r.choice((0, 2))
        regs = VF.QS_BASE + VF.QS_STRIDE * q
        head = await self.reg(regs + TAILS[ring])
        size = 1 << self.logs[q][ring]
        free = size - ((self.tails[q][ring] - head) & U32)
        n = min(free, self.r.choice((1, 8, 32, 200)))
        if n <= 0:
            return
        entries = self.noise(q, ring, n)
        at = self.at[q][ring] * PAGE
        view = self.memory.bytes[at : at + 32 * size].view(NQE)
        view[(self.tails[q][ring] + np.arange(n)) % size] = entries
        self.tails[q][ring] = (self.tails[q][ring] + n) & U32
        await self.put(
            VF.DB_BASE + VF.DB_STRIDE * q + (DB.JOB_TAIL, 0, DB.SEND_TAIL)[ring],
            self.tails[q][ring],
        )

    async def drain(self, q: int) -> None:
        for ring, reg in ((1, DB.COMPLETION_HEAD), (3, DB.RECEIVE_HEAD)):
            tail = await self.reg(VF.QS_BASE + VF.QS_STRIDE * q + TAILS[ring])
            await self.put(VF.DB_BASE + VF.DB_STRIDE * q + reg, tail)

    async def vandalise(self, q: int) -> None:
        """Doorbells and registers with nonsense in them."""
        r = self.r
        if r.random() < 0.6:
            reg = r.choice(
                (DB.JOB_TAIL, DB.SEND_TAIL, DB.COMPLETION_HEAD, DB.RECEIVE_HEAD, DB.IRQ_ARM)
            )
            ring = {DB.JOB_TAIL: 0, DB.SEND_TAIL: 2}.get(reg)
            value = r.getrandbits(32)
            if ring is not None:  # one that is refused: far beyond the ring, or backwards
                value = self.tails[q][ring] + r.choice((-1, 1 << 17, 1 << 31)) & U32
            await self.put(VF.DB_BASE + VF.DB_STRIDE * q + reg, value)
        elif r.random() < 0.7:
            await self.put(r.choice((VF.QS_BASE + VF.QS_STRIDE * q + 4 * r.randrange(12), 4 * r.randrange(32),
                                     VF.REGION_BASE_LO, VF.REGION_PAGES, 4 * r.randrange(1 << 15))), r.getrandbits(32) & ~3)  # fmt: skip
            # Whatever that did, begin anew from time to time.
            if r.random() < 0.3:
                await self.reset()
                await self.bring_up()
        else:
            await self.reg(4 * r.randrange(1 << 15))

    # ---- what the card writes --------------------------------------------------------------------------

    def saw(self, offset: int, n: int) -> None:
        """A DMA write: an entry of one of the rings, or something else."""
        if not self.alive:
            return
        for q in range(self.nqs):
            for ring in (1, 3):
                at = self.at[q][ring] * PAGE
                size = 1 << self.logs[q][ring]
                if not at <= offset < at + 32 * size:
                    continue
                assert (offset - at) % 32 == 0 and n % 32 == 0, (
                    f"{n} bytes at {offset:#x} of a ring"
                )
                for slot in range((offset - at) // 32, (offset - at + n) // 32):
                    e = self.memory.bytes[at : at + 32 * size].view(NQE)[slot % size]
                    count = self.count[q][ring]
                    what = f"VF {self.vf} set {q} ring {ring} entry {count}: {e}"
                    assert slot % size == count % size, what
                    assert int(e["vm_id"]) == self.vf and int(e["queue_set"]) == q, what
                    assert int(e["flags"]) & 1 == ~(count >> self.logs[q][ring]) & 1, what
                    if ring == 1:
                        assert int(e["cookie"]) >> 20 & 0xF == self.vf, what
                    else:
                        assert 0x20 <= int(e["op"]) <= 0x27 and int(e["socket"]) < SOCKETS, what
                    self.count[q][ring] += 1
                    self.written["completions" if ring == 1 else "events"] += 1


@cocotb.test()
async def noise(dut):
    tb = TB(dut, link={"delay_us": 5, "loss": 0.01})
    queue_sets = tb.params["NQS"]
    tb.shim.start()
    await tb.shim.reset()
    await tb.program(HOSTILE + 1, SOCKETS)
    await tb.add_tenant(HONEST, sockets=SOCKETS, logs=(6, 6, 6, 6))
    # A host that talks to everybody, so that flows of hostile tenants come into all states.
    tb.target = Host("10.1.0.77", seed=tb.seed + 1)
    tb.hosts.append(tb.target)
    chat = tb.target.listen(80)
    vandals = [Vandal(tb, vf, queue_sets) for vf in range(HOSTILE)]
    dirty = tb.shim.on_write

    def on_write(func: int, offset: int, n: int) -> None:
        if func - 1 < HOSTILE:
            vandals[func - 1].saw(offset, n)
        else:
            dirty(func, offset, n)

    tb.shim.on_write = on_write
    for v in vandals:
        await v.bring_up()

    stop = False
    rounds = 0

    async def exchange() -> None:
        sock, conn = await tb.connect(HONEST, port=99)
        up, down = tb.rng.randbytes(6000), tb.rng.randbytes(6000)
        sock.send(up)
        conn.send(down)
        tb.collect()
        await tb.until(
            lambda: conn.received == up and sock.received == down,
            60_000_000,
            "the honest tenant's bytes",
        )
        await tb.close_both(sock, conn)

    async def honest() -> None:
        nonlocal rounds
        while not stop:
            await exchange()
            rounds += 1

    worker = cocotb.start_soon(honest())
    fetched = 0
    talked = 0
    while fetched < NQES:
        for v in vandals:
            q = tb.rng.randrange(queue_sets)
            for _ in range(4):
                await v.burst(q)
            if tb.rng.random() < 0.8:
                await v.drain(q)
            if tb.rng.random() < 0.15:
                await v.vandalise(q)
        for conn in chat.conns[talked:]:
            conn.send(tb.rng.randbytes(tb.rng.randrange(3000)))
            if tb.rng.random() < 0.3:
                conn.shutdown()
        talked = len(chat.conns)
        if tb.rng.random() < 0.2:
            tb.target.connect(vf_ip(tb.rng.randrange(HOSTILE)), 8080 + tb.rng.randrange(HOSTILE))
        tb.collect()
        tb.wire.clear()
        fetched = await tb.counter("nqe_fetched")
    stop = True
    await worker
    for v in vandals:
        await v.reset()
        status = await tb.pf_read(PF.VF_BASE + PF.VF_STRIDE * v.vf + VFE.STATUS)
        assert status >> 16 == 0, f"VF {v.vf}: {status >> 16} sockets after its reset"
    dut._log.info("%d NQEs, %d rounds of the honest tenant; written %s", fetched, rounds, [dict(v.written) for v in vandals])  # fmt: skip
    assert rounds >= 1
    assert all(v.written["completions"] > NQES // 100 for v in vandals)
    assert await tb.counter("events_lost") == 0
    tb.hosts.remove(tb.target)
    c = await tb.finish(counters=False)
    assert not c
    opened = await tb.counters("flows_opened", "flows_closed", "hash_inserts", "hash_deletes")
    assert opened["flows_opened"] == opened["flows_closed"]
    assert opened["hash_inserts"] == opened["hash_deletes"]


def test_fuzz() -> None:
    run_core(__file__, NVF=4, NQS=2)
