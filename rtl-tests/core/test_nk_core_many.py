# SPDX-License-Identifier: Apache-2.0
"""nk_core with many connections, several VFs and queue sets, and with sockets used again and again."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, run_core, vf_ip
from model.frames import SYN
from model.tcp_peer import Host
from netkernel.abi import PF, VFE


async def crowd(tb: TB, per_vf: int, size: int, host: Host, vfs: int = 1, qs: int = 1) -> None:
    """So many connections on each VF at the same time, half of each kind, all bytes both ways."""
    r = tb.rng
    host.listeners.pop(80, None)
    host.listen(80)
    pairs = []
    listeners = [await tb.listen(8080, 0, vf) for vf in range(vfs)]
    socks = []
    for i in range(per_vf):
        for vf in range(vfs):
            sock = tb.tenants[vf].socket(12, 12, i % qs)
            socks.append((i, vf, sock))
    by_peer = {}
    # Jobs keep their order within a queue set, and the credit's may be another one than the socket's.
    await tb.until(lambda: all(t.quiet for t in tb.tenants.values()))
    await tb.ok(
        *[
            listeners[vf].credit_accept(sock) if i % 2 else sock.connect(host.ip, 80)
            for i, vf, sock in socks
        ]
    )
    outgoing = [host.connect(vf_ip(vf), 8080) for i, vf, _ in socks if i % 2]
    tb.collect()
    await tb.until(lambda: all(s.connected for _, _, s in socks), 30_000_000, "all connected")
    for conn in [*outgoing, *host.listeners[80].conns]:
        by_peer[(conn.rip, conn.rport, conn.lport)] = conn
    for _, vf, sock in socks:
        rip, rport = sock.peer
        assert rip == host.ip
        matches = [c for (ip, _, lport), c in by_peer.items() if ip == vf_ip(vf) and lport == rport]
        if rport == 80:  # the host's port does not tell; the card's does, which only the host knows
            matches = [c for c in matches if c.user is None][:1]
        conn = matches[0]
        conn.user = sock
        sock.user = conn
    # Which connection of port 80 belongs to which socket shows in the first bytes.
    want: dict[int, tuple[bytes, bytes]] = {}
    for n, (_, _, sock) in enumerate(socks):
        up = n.to_bytes(4, "big") + r.randbytes(r.randrange(size))
        down = r.randbytes(r.randrange(size))
        want[n] = (up, down)
        sock.send(up)

    def got_first() -> bool:
        return all(len(c.received) >= 4 for c in by_peer.values())

    await tb.until(got_first, 60_000_000, "first bytes")
    for conn in by_peer.values():
        n = int.from_bytes(conn.received[:4], "big")
        pairs.append((n, socks[n][2], conn))
        conn.send(want[n][1])
    tb.collect()
    assert sorted(n for n, _, _ in pairs) == list(range(len(socks)))
    await tb.until(
        lambda: all(len(c.received) == len(want[n][0]) and len(s.received) == len(want[n][1])
                    for n, s, c in pairs),
        120_000_000, "all bytes",
    )  # fmt: skip
    for n, sock, conn in pairs:
        assert conn.received == want[n][0]
        assert sock.received == want[n][1]
    await tb.until(lambda: all(s.all_acked for _, s, _ in pairs), what="all SENT")
    for n, sock, conn in pairs:
        if n % 3:
            conn.shutdown()
        sock.close()
    tb.collect()
    await tb.until(
        lambda: all(c.fin_received for _, _, c in pairs), 60_000_000, "the card's FINs"
    )  # fmt: skip
    for _, _, conn in pairs:
        conn.shutdown()
    tb.collect()
    for listener in listeners:
        listener.close()
    await tb.until(lambda: all(s.closed for _, s, _ in pairs), 60_000_000, "all CLOSED")


@cocotb.test()
async def sixty_four_connections(dut):
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(sockets=80, logs=(8, 8, 8, 8))
    await crowd(tb, 64, 3000, tb.host)
    await tb.finish()


@cocotb.test()
async def small_queues(dut):
    """Forty connections over queues of 64 entries: the receive ring fills, nothing is lost."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(sockets=64, logs=(6, 6, 6, 6))
    await crowd(tb, 40, 2500, tb.host)
    await tb.finish()


@cocotb.test()
async def two_vfs_two_queue_sets(dut):
    """Two tenants with the same ports and socket ids; each gets its own bytes in the right queue set."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2, sockets=48, queue_sets=2, logs=(7, 7, 7, 7))
    await crowd(tb, 24, 2500, tb.host, vfs=2, qs=2)
    await tb.finish()


async def inside(tb: TB, a: int, b: int, up: bytes, down: bytes, same_port: bool = False) -> None:
    """A connection from VF a to VF b of the card, bytes both ways, closed by both."""
    listener = await tb.listen(8080, 0, vf=b)
    server = tb.tenants[b].socket()
    await tb.ok(listener.credit_accept(server))
    client = tb.tenants[a].socket()
    await tb.ok(client.connect(vf_ip(b), 8080))
    await tb.until(lambda: client.connected and server.connected)
    client.send(up)
    server.send(down)
    await tb.until(lambda: server.received == up and client.received == down, 60_000_000)
    await tb.until(lambda: client.all_acked and server.all_acked)
    client.close()
    server.close()
    listener.close()
    await tb.until(lambda: client.closed and server.closed and listener.closed, 60_000_000)


@cocotb.test()
async def vf_to_vf(dut):
    """One tenant connects to another one on the same card: not a frame of it is seen on the wire."""
    tb = TB(dut)
    await tb.start(vfs=2)
    await inside(tb, 0, 1, tb.rng.randbytes(30_000), tb.rng.randbytes(20_000))
    assert not tb.wire, tb.log_wire()
    c = await tb.finish()
    assert c["tx_frames"] == 0


@cocotb.test()
async def to_itself(dut):
    """A tenant connects to its own address."""
    tb = TB(dut)
    await tb.start()
    await inside(tb, 0, 0, tb.rng.randbytes(20_000), tb.rng.randbytes(30_000))
    assert not tb.wire, tb.log_wire()
    await tb.finish()


@cocotb.test()
async def inside_and_outside(dut):
    """Connections between tenants and with a host at the same time; a host that speaks as a VF is not heard."""
    tb = TB(dut, link={"delay_us": 20})
    await tb.start(vfs=2)
    sock, conn = await tb.connect(vf=0)
    up, down = tb.rng.randbytes(40_000), tb.rng.randbytes(40_000)
    sock.send(up)
    conn.send(down)
    tb.collect()
    await inside(tb, 1, 0, tb.rng.randbytes(20_000), tb.rng.randbytes(20_000))
    await tb.until(lambda: conn.received == up and sock.received == down, 60_000_000)
    before = await tb.counters("rx_drop_filter")
    raw = tb.raw()
    raw.ip = vf_ip(0)
    raw.tcp(5000, 8080, 4000, 0, SYN)
    await tb.sleep(1000)
    assert (await tb.counters("rx_drop_filter"))["rx_drop_filter"] > before["rx_drop_filter"]
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def again_and_again(dut):
    """150 connections one after the other through 4 sockets; flows are counted free at the end."""
    tb = TB(dut)
    tenant = await tb.start(sockets=4, regs={PF.TIME_WAIT_US: 1000})
    tb.host.opts.time_wait = 1000
    tb.host.listen(80)
    listener = await tb.listen(8080, 0)
    r = tb.rng
    for i in range(150):
        sock = tenant.socket(12, 12)
        if r.random() < 0.5:
            sock.connect(tb.host.ip, 80)
            await tb.until(lambda s=sock: s.connected, what=f"connection {i}")
            conn = tb.host.listeners[80].conns[-1]
        else:
            listener.credit_accept(sock)
            await tb.until(lambda: tenant.quiet)
            conn = tb.host.connect(vf_ip(0), 8080)
            tb.collect()
            await tb.until(lambda s=sock: s.connected, what=f"connection {i}")
        data = r.randbytes(r.randrange(1, 200))
        sock.send(data)
        await tb.until(lambda c=conn, d=data: c.received == d)
        how = r.randrange(3)
        if how == 0:
            sock.abort()
        elif how == 1:
            conn.abort()
            tb.collect()
            await tb.until(lambda s=sock: s.ended is not None, what="RESET")
            sock.close()
        else:
            await tb.until(lambda s=sock: s.all_acked)
            sock.close()
            await tb.until(lambda c=conn: c.fin_received or c.state == "CLOSED")
            if conn.state != "CLOSED":
                conn.shutdown()
                tb.collect()
        await tb.until(lambda s=sock: s.closed, 5_000_000, f"CLOSED {i}")
    await tb.ok(listener.close())
    c = await tb.finish()
    assert c["flows_opened"] == 151


@cocotb.test()
async def socket_quota(dut):
    """Every socket of a VF in use at once; the PF sees how many."""
    tb = TB(dut)
    tenant = await tb.start(sockets=32)
    socks = [tenant.socket(12, 12) for _ in range(32)]
    await tb.until(lambda: tenant.quiet)
    assert await tb.pf_read(PF.FLOWS_IN_USE) == 32
    assert (await tb.pf_read(PF.VF_BASE + VFE.STATUS)) >> 16 == 32
    for sock in socks:
        sock.close()
    await tb.until(lambda: not tenant.sockets)
    await tb.finish()


@cocotb.test()
async def hash_bucket_full(dut):
    """More listeners and connections than a bucket holds: NO_RESOURCE or success, never a leak."""
    tb = TB(dut)
    tenant = await tb.start(sockets=128, logs=(8, 8, 8, 8))
    socks = [tenant.socket(12, 12) for _ in range(128)]
    jobs = [s.listen(1000 + i) for i, s in enumerate(socks)]
    await tb.until(lambda: tenant.quiet)
    full = sum(1 for j in jobs if j.status.name == "NO_RESOURCE")
    assert all(j.status.name in ("OK", "NO_RESOURCE") for j in jobs)
    assert full < 20, f"{full} of 128 found no place in a table of {tb.params['FLOWS']}"
    tb.expected["nqe_errors"] = full
    for sock in socks:
        sock.close()
    await tb.until(lambda: not tenant.sockets)
    await tb.finish()


def test_nk_core_many():
    run_core(__file__)
