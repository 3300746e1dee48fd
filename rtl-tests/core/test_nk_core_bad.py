# SPDX-License-Identifier: Apache-2.0
"""nk_core against bad input: a hostile tenant, broken frames, resets in mid-traffic.

Counted, answered where there is somebody to answer, nothing written outside the region (the memory model
faults on that in every test), nothing stuck: each test ends with a working connection.
"""

from __future__ import annotations

import cocotb
from core.core_tb import TB, RawConn, run_core, vf_ip, vf_mac
from model import frames as fr
from netkernel.abi import DB, PF, QS, VF, VFE, Op, Option, Status


async def still_works(tb: TB, vf: int = 0) -> None:
    """A connection opens, carries bytes both ways and closes."""
    sock, conn = await tb.connect(vf, port=99, rx_log2=12, tx_log2=12)
    up, down = tb.rng.randbytes(3000), tb.rng.randbytes(3000)
    sock.send(up)
    conn.send(down)
    tb.collect()
    await tb.until(lambda: conn.received == up and sock.received == down, what="bytes afterwards")
    await tb.close_both(sock, conn)


@cocotb.test()
async def unknown_opcodes(dut):
    """Every opcode that is not a job's, in the job ring; every one not a send's, in the send ring."""
    tb = TB(dut)
    tenant = await tb.start(logs=(9, 9, 9, 9))
    jobs = {0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A}
    bad = [tenant.raw_job(op, 0) for op in range(256) if op not in jobs]
    await tb.until(lambda: tenant.quiet)
    assert {j.status for j in bad} == {Status.BAD_OP}
    others = [op for op in range(256) if op not in (0x10, 0x11)]
    for op in others:
        tenant.raw_send(op, 0, 1)
    await tb.until(lambda: tenant.quiet)
    assert [s for _, s in tenant.rejects] == [Status.BAD_OP] * len(others)
    tb.expected["nqe_errors"] = len(bad) + len(others)
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def sockets_out_of_range(dut):
    tb = TB(dut)
    tenant = await tb.start(vfs=2, sockets=16)
    n = 0
    for socket in (16, 17, 31, 255, 256, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x80000000):
        for op in (Op.SOCKET, Op.LISTEN, Op.CONNECT, Op.ACCEPT, Op.SHUTDOWN, Op.CLOSE, Op.ABORT,
                   Op.INFO):  # fmt: skip
            job = tenant.raw_job(op, socket, 4096, 4096, 0x0C0C)
            assert await tb.status(job) == Status.BAD_SOCKET, (op, socket)
            n += 1
        for op in (Op.SEND, Op.CREDIT):
            tenant.raw_send(op, socket, 1)
            await tb.until(lambda: tenant.quiet)
            assert tenant.rejects[-1][1] == Status.BAD_SOCKET
            n += 1
    tb.expected["nqe_errors"] = n
    await still_works(tb, 0)
    await still_works(tb, 1)
    await tb.finish()


@cocotb.test()
async def accept_credit_out_of_range(dut):
    """The credited socket of an ACCEPT is bounded like the socket itself, and must be IDLE."""
    tb = TB(dut)
    tenant = await tb.start(sockets=16)
    listener = await tb.listen(8080, 0)
    n = 0
    for child in (16, 0xFFFF, 0xFFFFFFFF, 0x10001):
        status = await tb.status(tenant.raw_job(Op.ACCEPT, listener.id, child))
        assert status == Status.BAD_SOCKET, hex(child)
        n += 1
    for child in (listener.id, 9):  # the listener itself; a socket that does not exist
        status = await tb.status(tenant.raw_job(Op.ACCEPT, listener.id, child))
        assert status == Status.BAD_STATE, child
        n += 1
    tb.expected["nqe_errors"] = n
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def bad_rings(dut):
    """SOCKET with rings outside the region, not on pages, of no lawful size."""
    tb = TB(dut)
    tenant = await tb.start(pages=256)
    end = 256 * 4096
    n = 0
    for rx, tx, sizes, want in (
        (end, 4096, 0x0C0C, Status.BAD_PTR),
        (4096, end, 0x0C0C, Status.BAD_PTR),
        (end - 4096, 4096, 0x0C0D, Status.BAD_PTR),
        (4096, end - 4096, 0x0D0C, Status.BAD_PTR),
        (4097, 4096, 0x0C0C, Status.BAD_PTR),
        (4096, 2048, 0x0C0C, Status.BAD_PTR),
        (1 << 32, 4096, 0x0C0C, Status.BAD_PTR),
        (1 << 63, 4096, 0x0C0C, Status.BAD_PTR),
        ((1 << 64) - 4096, 4096, 0x0C0C, Status.BAD_PTR),
        (4096, (1 << 64) - 4096, 0x0C0C, Status.BAD_PTR),
        (4096, 4096, 0x0C0B, Status.BAD_SIZE),
        (4096, 4096, 0x0B0C, Status.BAD_SIZE),
        (4096, 4096, 0x190C, Status.BAD_SIZE),
        (4096, 4096, 0x0C19, Status.BAD_SIZE),
        (4096, 4096, 0xFFFF, Status.BAD_SIZE),
        (4096, 4096, 0x0000, Status.BAD_SIZE),
    ):
        job = tenant.raw_job(Op.SOCKET, 5, tx, rx, sizes)
        assert await tb.status(job) == want, (hex(rx), hex(tx), hex(sizes))
        n += 1
    tb.expected["nqe_errors"] = n
    assert await tb.pf_read(PF.FLOWS_IN_USE) == 0
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def wrong_states(dut):
    """Each operation in states that do not allow it: BAD_STATE and no change."""
    tb = TB(dut)
    tenant = await tb.start()
    n = 0

    async def refuse(job) -> None:
        nonlocal n
        assert await tb.status(job) == Status.BAD_STATE, job
        n += 1

    for op in (Op.LISTEN, Op.CONNECT, Op.SHUTDOWN, Op.CLOSE, Op.ABORT):
        await refuse(tenant.raw_job(op, 7, fr.ip("10.1.0.1") | 80 << 32 | 1 << 48))
    await refuse(tenant.raw_job(Op.ACCEPT, 7, 8))
    idle = tenant.socket()
    await refuse(idle.shutdown())
    idle.shut = False
    await refuse(tenant.raw_job(Op.ACCEPT, idle.id, 3))
    await refuse(tenant.raw_job(Op.SOCKET, idle.id, idle.tx_offset, idle.rx_offset, 0x0E0E))
    sock, conn = await tb.connect()
    await refuse(tenant.job(sock, Op.CONNECT, tb.host.ip | 81 << 32))
    await refuse(tenant.job(sock, Op.LISTEN, 5 << 48))
    await refuse(tenant.raw_job(Op.SOCKET, sock.id, sock.tx_offset, sock.rx_offset, 0x0E0E))
    listener = await tb.listen(8080, 0)
    await refuse(tenant.job(listener, Op.CONNECT, tb.host.ip | 81 << 32))
    await refuse(tenant.raw_job(Op.ACCEPT, listener.id, sock.id))
    tenant.raw_send(Op.SEND, idle.id, 5)
    tenant.raw_send(Op.SEND, listener.id, 5)
    tenant.raw_send(Op.SEND, 40, 5)
    tenant.raw_send(Op.CREDIT, 40, 5)
    await tb.until(lambda: tenant.quiet)
    assert [s for _, s in tenant.rejects] == [Status.BAD_STATE] * 4
    tb.expected["nqe_errors"] = n + 4
    data = tb.rng.randbytes(100)
    sock.send(data)
    await tb.until(lambda: conn.received == data, what="the connection lives on")
    await tb.finish()


@cocotb.test()
async def more_than_the_ring_holds(dut):
    """SEND and CREDIT beyond the ring: BAD_SIZE, and the connection is as it was."""
    tb = TB(dut)
    tenant = await tb.start()
    sock, conn = await tb.connect(rx_log2=12, tx_log2=12, auto_credit=False)
    for op, size in (
        (Op.SEND, 4097), (Op.SEND, 0xFFFFFFFF), (Op.SEND, 1 << 31), (Op.SEND, 0),
        (Op.CREDIT, 1), (Op.CREDIT, 4096), (Op.CREDIT, 0xFFFFFFFF), (Op.CREDIT, 0),
    ):  # fmt: skip
        if size == 0:
            continue  # nothing asked for: either answer is lawful, and neither may change anything
        tenant.raw_send(op, sock.id, size)
        await tb.until(lambda: tenant.quiet)
        assert tenant.rejects[-1][1] == Status.BAD_SIZE, (op, size)
    tb.expected["nqe_errors"] = len(tenant.rejects)
    up, down = tb.rng.randbytes(3000), tb.rng.randbytes(3000)
    sock.send(up)
    conn.send(down)
    tb.collect()
    await tb.until(lambda: conn.received == up and sock.received == down)
    tenant.raw_send(Op.CREDIT, sock.id, 3001)
    await tb.until(lambda: tenant.quiet)
    assert tenant.rejects[-1][1] == Status.BAD_SIZE
    tb.expected["nqe_errors"] += 1
    sock.give_credit()
    await tb.finish()


@cocotb.test()
async def wrong_flags(dut):
    """A wrong queue set, a status towards the card, reserved flags: BAD_FLAGS."""
    tb = TB(dut)
    tenant = await tb.start(queue_sets=2)
    bad = [
        tenant.raw_job(Op.INFO, 0, queue_set=1),
        tenant.raw_job(Op.INFO, 0, queue_set=200),
        tenant.raw_job(Op.INFO, 0, flags=0x80),
        tenant.raw_job(Op.INFO, 0, flags=0x04),
        tenant.raw_job(Op.INFO, 0, status=1),
        tenant.raw_job(Op.INFO, 0, flags=0x01),  # the wrong phase
    ]
    for job in bad:
        assert await tb.status(job) == Status.BAD_FLAGS, job
    tb.expected["nqe_errors"] = len(bad)
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def doorbells_beyond_the_ring(dut):
    """Tails more than a ring ahead, heads beyond the tail: ignored and counted; nothing is fetched."""
    tb = TB(dut)
    tenant = await tb.start()
    q = tenant.qs[0]
    bad = 0
    for reg, index in ((DB.JOB_TAIL, 0), (DB.SEND_TAIL, 2)):
        here = q.rings[index].index
        for ahead in (65, 1000, 1 << 31, 0xFFFFFFFF):
            await tb.vf_write(0, VF.DB_BASE + reg, here + ahead & 0xFFFFFFFF)
            bad += 1
    for reg, index in ((DB.COMPLETION_HEAD, 1), (DB.RECEIVE_HEAD, 3)):
        here = q.rings[index].index
        for ahead in (1, 64, 1 << 31, 0xFFFFFFFF):
            await tb.vf_write(0, VF.DB_BASE + reg, here + ahead & 0xFFFFFFFF)
            bad += 1
    await tb.sleep(1000)
    assert await tb.counter("nqe_fetched") == 0
    assert await tb.counter("doorbell_errors") == bad
    assert await tb.counter("doorbell_errors", 0) == bad
    tb.expected["doorbell_errors"] = bad
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def doorbells_of_a_queue_set_that_is_off(dut):
    """No DMA for a queue set that is off, or of a VF that is off (its region is not even known)."""
    tb = TB(dut)
    await tb.start(queue_sets=1)
    await tb.vf_write(0, VF.DB_BASE + VF.DB_STRIDE + DB.JOB_TAIL, 5)
    await tb.vf_write(2, VF.DB_BASE + DB.JOB_TAIL, 5)
    await tb.sleep(1000)
    assert await tb.counter("nqe_fetched") == 0
    tb.expected["doorbell_errors"] = await tb.counter("doorbell_errors")
    await still_works(tb)
    await tb.finish(counters=False)


@cocotb.test()
async def random_nqes(dut):
    """Hundreds of NQEs of pure noise in both rings while another tenant works undisturbed."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start(vfs=2, sockets=32, logs=(7, 9, 7, 9))
    noisy = tb.tenants[0]
    # Whatever the noise makes of it, the card may only touch the region: all of it is fair game.
    for page in range(noisy.memory.pages):
        noisy.memory.perm[page] |= 3
    q = noisy.qs[0]
    noisy.hold_events = noisy.hold_completions = True
    sock, conn = await tb.connect(1, port=99)
    up = tb.rng.randbytes(20_000)
    sock.send(up)
    r = tb.rng
    base = VF.DB_BASE
    for _ in range(12):
        for ring, reg in ((q.rings[0], DB.JOB_TAIL), (q.rings[2], DB.SEND_TAIL)):
            for _ in range(40):
                op = r.choice([*range(1, 0x12), r.randrange(256)])
                ring.push(
                    op, r.choice((0, 0, 0, r.randrange(256))), r.choice((r.randrange(34), 1 << 31)),
                    r.choice((r.getrandbits(64), r.randrange(64) << 12, tb.host.ip | 80 << 32)),
                    r.choice((r.getrandbits(64), r.randrange(64) << 12)),
                    r.choice((r.getrandbits(32), 0x0C0C, r.randrange(4096))), r.getrandbits(24),
                )  # fmt: skip
            await tb.vf_write(0, base + reg, ring.index & 0xFFFFFFFF)
        await tb.sleep(500)
        # Consume whatever came, unread.
        for index, reg, tail in ((1, DB.COMPLETION_HEAD, QS.COMPLETION_TAIL),
                                 (3, DB.RECEIVE_HEAD, QS.RECEIVE_TAIL)):  # fmt: skip
            at = await tb.vf_read(0, VF.QS_BASE + tail)
            await tb.vf_write(0, base + reg, at)
            q.rings[index].index = at
    await tb.until(lambda: conn.received == up, what="the other tenant's bytes")
    await tb.vf_write(0, VF.CTRL, 2)
    await reset_done(tb, 0)
    tb.tenants.pop(0)
    at = PF.VF_BASE + VFE.STATUS
    assert (await tb.pf_read(at)) >> 16 == 0, "sockets of the reset VF"
    await still_works(tb, 1)
    await tb.until(lambda: True)
    assert await tb.counter("nqe_errors") > 100
    await tb.finish(counters=False)


async def reset_done(tb: TB, vf: int) -> None:
    for _ in range(200):
        if not await tb.vf_read(vf, VF.STATUS) & 4:
            return
        await tb.sleep(20)
    raise AssertionError("the VF's reset does not end")


@cocotb.test()
async def vf_reset_in_mid_traffic(dut):
    """RST to every peer, all sockets free, no DMA after it, the other VF undisturbed, then reusable."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2)
    pairs = [await tb.connect(0, port=100 + i) for i in range(4)]
    listener = await tb.listen(8080, credits=3)
    other, other_conn = await tb.connect(1, port=99)
    data = tb.rng.randbytes(60_000)
    for sock, conn in [*pairs, (other, other_conn)]:
        sock.send(data)
        conn.send(data)
    tb.collect()
    await tb.sleep(300)
    await tb.vf_write(0, VF.CTRL, 2)
    await reset_done(tb, 0)
    tenant = tb.tenants[0]
    memory = tenant.memory
    for page in range(memory.pages):
        memory.perm[page] = 0  # from here on every access is a fault
    at = PF.VF_BASE + VFE.STATUS
    assert (await tb.pf_read(at)) >> 16 == 0
    await tb.until(
        lambda: all(c.state == "CLOSED" for _, c in pairs), 5_000_000, "RST at the peers"
    )
    assert all(c.events[-1] == "reset" for _, c in pairs)
    await tb.until(lambda: other_conn.received == data and other.received == data, 30_000_000)
    assert listener.id in tenant.sockets
    tb.tenants.pop(0)
    await tb.vf_write(0, VF.CTRL, 0)
    await tb.add_tenant(0)
    await still_works(tb, 0)
    await tb.close_both(other, other_conn)
    await tb.finish(counters=False)
    c = await tb.counters("flows_opened", "flows_closed", "hash_inserts", "hash_deletes")
    assert c["flows_opened"] == c["flows_closed"]
    assert c["hash_inserts"] == c["hash_deletes"]


@cocotb.test()
async def vf_disabled_by_the_pf(dut):
    """The PF takes a VF away in mid-traffic: as a reset, then off; given back, it works again."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    sock, conn = await tb.connect()
    sock.send(tb.rng.randbytes(50_000))
    await tb.sleep(200)
    at = PF.VF_BASE + VFE.CTRL
    await tb.pf_write(at, 0)
    for _ in range(200):
        if not await tb.pf_read(PF.VF_BASE + VFE.STATUS) & 2:
            break
        await tb.sleep(20)
    for page in range(tb.tenants[0].memory.pages):
        tb.tenants[0].memory.perm[page] = 0
    assert await tb.vf_read(0, VF.STATUS) == 0
    assert await tb.pf_read(PF.FLOWS_IN_USE) == 0
    await tb.until(lambda: conn.state == "CLOSED", 5_000_000)
    tb.host.ping(vf_ip(0))
    tb.collect()
    await tb.sleep(10_000)
    assert not tb.host.pongs, "a VF that is off answers"
    await tb.pf_write(at, 1)
    tb.tenants.clear()
    await tb.add_tenant(0)
    await still_works(tb)
    await tb.finish(counters=False)


@cocotb.test()
async def card_reset_in_mid_traffic(dut):
    """Reset at any moment, several times; afterwards the card is as new."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    for _ in range(4):
        sock, conn = await tb.connect(port=tb.rng.randrange(1000, 60000))
        sock.send(tb.rng.randbytes(30_000))
        conn.send(tb.rng.randbytes(30_000))
        tb.collect()
        await tb.sleep(tb.rng.randrange(1, 300))
        tb.tenants[0].reset()
        tb.tenants.clear()
        await tb.shim.reset()
        tb.link_in.clear()
        tb.link_out.clear()
        tb.host.conns.clear()
        assert await tb.pf_read(PF.FLOWS_IN_USE) == 0
        assert await tb.pf_read(PF.HASH_IN_USE) == 0
        assert await tb.vf_read(0, VF.STATUS) == 0
        await tb.program(1, 64)
        await tb.add_tenant(0)
    await still_works(tb)
    await tb.finish()


@cocotb.test()
async def tenant_that_does_not_read_its_events(dut):
    """A full receive ring stops that tenant alone; once it reads, everything comes, in order."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2)
    lazy = tb.tenants[0]
    pairs = [await tb.connect(0, port=100 + i) for i in range(8)]
    other, other_conn = await tb.connect(1, port=99)
    lazy.hold_events = True
    data = tb.rng.randbytes(12_000)
    for _ in range(12):
        for _, conn in pairs:
            conn.send(data[:1000])
        tb.collect()
        await tb.sleep(30_000)
    other_conn.send(data)
    tb.collect()
    await tb.until(lambda: other.received == data, 5_000_000, "the other tenant")
    lazy.hold_events = False
    lazy.poll()
    await tb.until(
        lambda: all(s.received == data[:1000] * 12 for s, _ in pairs), 30_000_000, "all data"
    )
    await tb.finish()


@cocotb.test()
async def tenant_that_does_not_read_completions(dut):
    """A full completion ring holds back further jobs; none is lost, none is answered twice."""
    tb = TB(dut)
    tenant = await tb.start(logs=(8, 6, 6, 6))
    tenant.hold_completions = True
    jobs = [tenant.raw_job(Op.INFO, 1) for _ in range(200)]
    await tb.sleep(5000)
    tail = await tb.vf_read(0, VF.QS_BASE + QS.COMPLETION_TAIL)
    assert 32 <= tail <= 64, tail
    tenant.hold_completions = False
    tenant.poll()
    await tb.until(lambda: tenant.quiet)
    tb.expected["nqe_errors"] = sum(j.status != Status.OK for j in jobs)
    await still_works(tb)
    await tb.finish()


# ---- the wire ---------------------------------------------------------------------------------------


@cocotb.test()
async def truncated_frames(dut):
    """A good segment cut off at every length: counted, never taken, the next good one is."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    segment = fr.tcp(raw.ip, vf_ip(0), 5000, 8080, conn.seq, conn.ack, fr.ACK, 65535, b"x" * 80)
    packet = fr.ipv4(raw.ip, vf_ip(0), fr.IP_TCP, segment)
    frame = fr.ethernet(vf_mac(0), raw.mac, fr.ETH_IPV4, packet)
    for n in range(1, len(frame)):
        tb.inject(frame[:n])
    await tb.until(lambda: not tb.shim.rx_queue)
    await tb.sleep(1000)
    assert not sock.received
    conn.put(fr.ACK, b"good")
    await tb.until(lambda: sock.received == b"good")
    await still_works(tb)
    c = await tb.finish()
    assert c["rx_drop_runt"] + c["rx_drop_filter"] + c["rx_drop_proto"] >= len(frame) - 60


@cocotb.test()
async def wrong_headers(dut):
    """Each field of the headers wrong in turn: the right counter, and nothing else happens."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    raw.skip()
    me, you = raw.ip, vf_ip(0)

    def seg(payload: bytes = b"data", **kw) -> bytes:
        return fr.tcp(me, you, 5000, 8080, conn.seq, conn.ack, fr.ACK, 65535, payload, **kw)

    def eth(packet: bytes, ethertype: int = fr.ETH_IPV4) -> bytes:
        return fr.ethernet(vf_mac(0), raw.mac, ethertype, packet)

    def fix(packet: bytes) -> bytes:
        head = packet[:10] + b"\0\0" + packet[12:20]
        return packet[:10] + fr.checksum(head).to_bytes(2, "big") + packet[12:]

    good = fr.ipv4(me, you, fr.IP_TCP, seg())
    bad_csum = bytearray(seg())
    bad_csum[16] ^= 0x40
    doff_small = bytearray(good)
    doff_small[32] = 0x40
    doff_large = bytearray(good)
    doff_large[32] = 0xF0
    cases = {
        "rx_drop_proto": [
            eth(good, 0x86DD), eth(good, 0x8100), eth(good, 0x0801),
            eth(fr.ipv4(me, you, 17, seg())), eth(fr.ipv4(me, you, 132, seg())),
        ],
        "rx_drop_ip_header": [
            eth(b"\x65" + good[1:]), eth(good[:10] + b"\x12\x34" + good[12:]),
            eth(fix(b"\x44" + good[1:])),
        ],
        "rx_drop_runt": [
            eth(fix(good[:2] + (2000).to_bytes(2, "big") + good[4:])),
        ],
        "rx_drop_fragment": [
            eth(fr.ipv4(me, you, fr.IP_TCP, seg(), frag=0x2000)),
            eth(fr.ipv4(me, you, fr.IP_TCP, seg(), frag=0x0010)),
        ],
        "rx_drop_tcp_csum": [eth(fr.ipv4(me, you, fr.IP_TCP, bytes(bad_csum)))],
        "rx_drop_tcp_header": [eth(bytes(doff_small)), eth(bytes(doff_large))],
    }  # fmt: skip
    total = await tb.counter("rx_segments")
    for name, frames in cases.items():
        for i, frame in enumerate(frames):
            before = await tb.counter(name)
            tb.inject(frame)
            await tb.until(lambda: not tb.shim.rx_queue)
            await tb.sleep(200)
            assert await tb.counter(name) == before + 1, f"{name} case {i}"
    assert await tb.counter("rx_segments") == total
    assert not sock.received
    conn.put(fr.ACK, b"good")
    await tb.until(lambda: sock.received == b"good")
    await tb.finish()


@cocotb.test()
async def ip_options_and_odd_tcp_options(dut):
    """IPv4 options, unknown and malformed TCP options: the segment is taken, the options skipped."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw)
    want = b""
    for options, ip_options in (
        (b"\x01" * 4, b""),
        (b"\x08\x0a" + bytes(8) + b"\x01\x01", b""),
        (b"\xfe\x04\x00\x00" * 10, b""),
        (b"\x00" * 40, b""),
        (b"\xfe\x00\x00\x00", b""),
        (b"\xfe\xff\x00\x00", b""),
        (b"", b"\x01" * 4),
        (b"\x01" * 12, b"\x94\x04\x00\x00" * 10),
    ):
        data = tb.rng.randbytes(tb.rng.randrange(1, 200))
        segment = fr.tcp(
            raw.ip, vf_ip(0), 5000, 8080, conn.seq, conn.ack, fr.ACK, 65535, data, options
        )
        conn.seq += len(data)
        packet = fr.ipv4(raw.ip, vf_ip(0), fr.IP_TCP, segment, options=ip_options)
        tb.to_card(fr.ethernet(vf_mac(0), raw.mac, fr.ETH_IPV4, packet))
        want += data
        await tb.until(lambda: sock.received == want, 500_000, f"options {options!r}")  # noqa: B023
    await tb.finish()


@cocotb.test()
async def noise(dut):
    """Random frames, and good frames with random damage, while a connection works."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start()
    sock, conn = await tb.connect(rx_log2=13, tx_log2=13)
    up, down = tb.rng.randbytes(40_000), tb.rng.randbytes(40_000)
    sock.send(up)
    conn.send(down)
    tb.collect()
    r = tb.rng
    for _ in range(400):
        kind = r.randrange(3)
        if kind == 0:
            frame = r.randbytes(r.randrange(1, 200))
        elif kind == 1:
            frame = vf_mac(0).to_bytes(6, "big") + r.randbytes(6)
            frame += r.choice((b"\x08\x00\x45", b"\x08\x06", b"\x08\x00")) + r.randbytes(
                r.randrange(1, 100)
            )
        else:
            way = [x for _, w, x in tb.wire[-20:] if w == "in" and fr.parse(x).kind == "tcp"]
            if not way:
                continue
            frame = bytearray(r.choice(way))
            frame[r.randrange(14, len(frame))] ^= r.randrange(1, 256)
            frame = bytes(frame)
        tb.inject(frame)
        if r.random() < 0.3:
            await tb.sleep(r.randrange(1, 40))
    await tb.until(lambda: conn.received == up and sock.received == down, 60_000_000)
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def socket_options(dut):
    """SETOPT: every option at its limits, one beyond them, in every state that a test can reach easily."""
    tb = TB(dut)
    tenant = await tb.start()
    ranges = {
        Option.NODELAY: (0, 1),
        Option.CORK: (0, 1),
        Option.KEEPALIVE: (0, 1),
        Option.KEEPIDLE: (1, 16383),
        Option.KEEPINTVL: (1, 255),
        Option.KEEPCNT: (1, 15),
        Option.USER_TIMEOUT: (0, 1023),
        Option.QUICKACK: (0, 1),
    }
    assert set(ranges) == set(Option)
    sock = tenant.socket()
    for option, (low, high) in ranges.items():
        for value in (low, high):
            assert await tb.status(sock.setopt(option, value)) == Status.OK, (option, value)
        for value in (low - 1, high + 1, high + 1 << 16, (1 << 32) - 1):
            if value >= 0:
                got = await tb.status(sock.setopt(option, value))
                assert got == Status.BAD_SIZE, (option, value)
    for option in (0, max(Option) + 1, 255):
        assert await tb.status(sock.setopt(option, 1)) == Status.BAD_OP
    assert (
        await tb.status(tenant.raw_job(Op.SETOPT, 63, Option.NODELAY | 1 << 32)) == Status.BAD_STATE
    )
    await tb.ok(sock.setopt(Option.NODELAY, 0), sock.close())

    # What is set on a credit holds for the connection that takes it.
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, 0)
    child = tenant.socket()
    await tb.ok(child.setopt(Option.NODELAY, 1), listener.credit_accept(child))
    await tb.ok(child.setopt(Option.QUICKACK, 0))
    conn = RawConn(raw, 5000, 8080)
    conn.put(fr.SYN)
    f = await conn.expect(fr.SYN | fr.ACK)
    conn.ack = f.seq + 1
    conn.put(fr.ACK, b"x")
    await raw.silence(10_000)
    child.send(b"a")
    assert (await conn.get()).ack == conn.seq
    child.send(b"b")
    await conn.get("no Nagle", 1000)
    await tb.ok(listener.close())
    await still_works(tb)
    tb.expected["nqe_errors"] = tenant.failed_jobs
    await tb.finish()


def test_nk_core_bad():
    run_core(__file__)
