# SPDX-License-Identifier: Apache-2.0
"""nk_neigh: whatever it answers was learned last; it never forgets without need."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from common.stream import WordSink, cycles, params, reset, rng, start_clock


class TB:
    """The model is a dictionary of all that was learned; the table may hold a part of it."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = rng("neigh")
        self.entries = params()["ENTRIES"]
        self.known: dict[int, int] = {}
        start_clock(dut)
        dut.ln_valid.value = 0
        dut.nq_ip.value = 0
        dut.nb_index.value = 0
        self.new = WordSink(dut, "nb_new", ("ip",))

    async def reset(self):
        await reset(self.dut)
        self.new.clear()
        self.known.clear()

    async def learn(self, ip, mac, create=True, wait=True):
        d = self.dut
        d.ln_valid.value = 1
        d.ln_create.value = int(create)
        d.ln_ip.value = ip
        d.ln_mac.value = mac
        await cycles(d)
        d.ln_valid.value = 0
        if create or ip in self.known:
            self.known[ip] = mac
        if wait:
            await cycles(d, 2)

    async def ask(self, ip):
        """Sets nq_ip, reads the answer one clock later; None: a miss."""
        self.dut.nq_ip.value = ip
        await cycles(self.dut, 2)
        return int(self.dut.nq_mac.value) if int(self.dut.nq_hit.value) else None

    async def dump(self):
        """All entries by index."""
        table = {}
        for i in range(256):
            self.dut.nb_index.value = i
            await cycles(self.dut, 2)
            if int(self.dut.nb_valid.value):
                assert i < self.entries
                ip = int(self.dut.nb_ip.value)
                assert ip not in table, "an address twice in the table"
                table[ip] = int(self.dut.nb_mac.value)
            else:
                assert int(self.dut.nb_ip.value) == 0
                assert int(self.dut.nb_mac.value) == 0
        return table


@cocotb.test()
async def empty_after_reset(dut):
    """Nothing is known, not even after much was."""
    tb = TB(dut)
    await tb.reset()
    for i in range(50):
        await tb.learn(0x0A000000 + i, tb.rng.getrandbits(48))
    await tb.reset()
    assert await tb.dump() == {}
    for i in range(50):
        assert await tb.ask(0x0A000000 + i) is None


@cocotb.test()
async def a_subnet_fits(dut):
    """As many neighbours of one subnet as there are entries are all known at once."""
    tb = TB(dut)
    await tb.reset()
    for i in range(tb.entries):
        await tb.learn(0x0A010200 + i, tb.rng.getrandbits(48))
    assert await tb.dump() == tb.known
    for ip, mac in tb.known.items():
        assert await tb.ask(ip) == mac
    assert await tb.ask(0x0A010300) is None


@cocotb.test()
async def update_in_place(dut):
    """A new MAC replaces the old one and costs no entry; without `create` only known hosts are renewed."""
    tb = TB(dut)
    await tb.reset()
    for i in range(4):
        await tb.learn(0x0A010200 + 0x1100 * i, i + 1)
    for _ in range(20):
        ip = 0x0A010200 + 0x1100 * tb.rng.randrange(4)
        mac = tb.rng.getrandbits(48)
        await tb.learn(ip, mac, create=tb.rng.random() < 0.5)
        assert await tb.ask(ip) == mac
    await tb.learn(0x0A090909, 5, create=False)
    assert await tb.ask(0x0A090909) is None
    assert await tb.dump() == tb.known
    assert len(tb.known) == 4


@cocotb.test()
async def round_robin(dut):
    """With a set full, each newcomer puts out another one: the last four of a set are known."""
    tb = TB(dut)
    await tb.reset()
    # Addresses that differ in two bytes by the same amount fall into one set.
    ips = [0x0A000000 + 0x0101 * i for i in range(12)]
    for ip in ips:
        await tb.learn(ip, ip * 3)
    assert set(await tb.dump()) == set(ips[-4:])
    assert list(tb.new.queue) == ips


@cocotb.test()
async def newcomers_are_told(dut):
    """One pulse for each address that gets an entry, none for a renewal or a stranger; look-ups find it then."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    told = []
    for i in range(200):
        ip = 0x0A010200 + r.randrange(tb.entries)
        create = r.random() < 0.7
        if create and ip not in tb.known:
            told.append(ip)
        await tb.learn(ip, r.getrandbits(48), create, wait=i % 3 == 0)
    await cycles(dut, 4)
    assert list(tb.new.queue) == told
    assert len(told) > 10
    for i in range(20):
        ip = 0x0A020000 + 0x11 * i
        dut.nq_ip.value = ip
        await tb.learn(ip, i, wait=False)
        for _ in range(10):
            await cycles(dut)
            assert int(dut.busy.value)
            if int(dut.nb_new_valid.value):
                break
        assert int(dut.nb_new_ip.value) == ip
        await cycles(dut)
        assert int(dut.nq_hit.value)
        assert int(dut.nq_mac.value) == i


@cocotb.test()
async def random_traffic(dut):
    """Learn and ask at random, in the same clocks too: a hit is the last MAC learned."""
    tb = TB(dut)
    await tb.reset()
    r = tb.rng
    hosts = [r.getrandbits(32) for _ in range(3 * tb.entries)]
    hits = 0
    for _ in range(1500):
        for _ in range(r.randrange(3)):
            await tb.learn(r.choice(hosts), r.getrandbits(48), r.random() < 0.7, wait=False)
        await cycles(dut, 2)
        ip = r.choice(hosts)
        got = await tb.ask(ip)
        if got is not None:
            hits += 1
            assert got == tb.known[ip]
        # One that is not known here may be dropped from the model: it cannot be renewed.
        else:
            tb.known.pop(ip, None)
    assert hits > 100
    table = await tb.dump()
    assert len(table) <= tb.entries
    assert all(tb.known.get(ip) == mac for ip, mac in table.items())


@cocotb.test()
async def answer_in_the_next_clock(dut):
    """A new question every clock, the answers one clock behind."""
    tb = TB(dut)
    await tb.reset()
    ips = [0x0A010200 + i for i in range(16)]
    for ip in ips[::2]:
        await tb.learn(ip, ip + 7)
    previous = None
    for ip in [*ips, *reversed(ips)]:
        dut.nq_ip.value = ip
        await cycles(dut)
        if previous is not None:
            assert int(dut.nq_hit.value) == (previous in tb.known)
            if previous in tb.known:
                assert int(dut.nq_mac.value) == tb.known[previous]
        previous = ip


@pytest.mark.parametrize("entries", [16, 64, 256])
def test_nk_neigh(entries):
    run_module("nk_neigh", __file__, {"ENTRIES": entries})
