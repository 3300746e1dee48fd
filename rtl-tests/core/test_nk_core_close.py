# SPDX-License-Identifier: Apache-2.0
"""nk_core: how connections end: FIN in every order, RST both ways, TIME_WAIT, zero receive window."""

from __future__ import annotations

import cocotb
from common.hostmem import Stalls
from core.core_tb import TB, run_core
from model.frames import ACK, FIN, RST
from model.tcp_peer import Options
from netkernel.abi import PF, Status


async def opened(dut, regs=None, **socket):
    tb = TB(dut)
    await tb.start(regs=regs)
    raw = tb.raw()
    sock, conn = await tb.raw_accept(raw, **socket)
    raw.skip()
    return tb, raw, sock, conn


@cocotb.test()
async def peer_closes_first(dut):
    """CLOSE_WAIT: the tenant may still send; its CLOSE gives FIN and LAST_ACK."""
    tb, _, sock, conn = await opened(dut)
    conn.put(ACK | FIN)
    await conn.expect(ACK, "ACK of FIN", ack=conn.seq)
    await tb.until(lambda: sock.peer_closed)
    sock.send(b"still here")
    f = await conn.get("data in CLOSE_WAIT")
    assert f.payload == b"still here"
    conn.ack = f.seq + 10
    conn.put(ACK)
    await tb.until(lambda: sock.all_acked)
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN, seq=conn.ack)
    await tb.sleep(1000)
    assert not sock.closed
    conn.ack = fin.seq + 1
    conn.put(ACK)
    await tb.until(lambda: sock.closed, 100_000)
    await tb.finish()


@cocotb.test()
async def half_close(dut):
    """SHUTDOWN: FIN after all data; the other direction goes on until the peer ends it."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    sock, conn = await tb.connect()
    data = tb.rng.randbytes(20_000)
    sock.send(data)
    await tb.until(lambda: not sock.to_send)
    await tb.ok(sock.shutdown())
    await tb.until(lambda: conn.fin_received)
    assert conn.received == data
    late = tb.rng.randbytes(30_000)
    conn.send(late)
    tb.collect()
    await tb.until(lambda: sock.received == late)
    conn.shutdown()
    tb.collect()
    await tb.until(lambda: sock.peer_closed)
    await tb.ok(sock.close())
    await tb.until(lambda: sock.closed, 10_000_000)
    assert conn.state == "CLOSED"
    await tb.finish()


@cocotb.test()
async def send_after_shutdown_is_refused(dut):
    tb, raw, sock, conn = await opened(dut)
    await tb.ok(sock.shutdown())
    await conn.expect(ACK | FIN)
    tb.tenants[0].raw_send(0x10, sock.id, 10)
    await tb.until(lambda: tb.tenants[0].quiet)
    assert tb.tenants[0].rejects[-1][1] == Status.BAD_STATE
    tb.expected["nqe_errors"] = 1
    raw.skip()
    await tb.finish()


@cocotb.test()
async def simultaneous_close(dut):
    """FINs cross: CLOSING, then TIME_WAIT."""
    tb, _, sock, conn = await opened(dut)
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN)
    conn.put(ACK | FIN, ack=fin.seq)  # sent before their FIN arrived
    await conn.expect(ACK, ack=conn.seq, seq=fin.seq + 1)
    job = sock.info()
    await tb.until(lambda: job.done)
    conn.ack = fin.seq + 1
    conn.put(ACK)
    start = tb.now
    await tb.until(lambda: sock.closed, 20_000_000)
    assert tb.now - start >= 1_900_000, "no TIME_WAIT"
    tb.expected["nqe_errors"] = int(job.status != Status.OK)
    await tb.finish()


@cocotb.test()
async def time_wait(dut):
    """The side that closes first waits 2 MSL, answers a repeated FIN, and restarts the wait."""
    tb, _, sock, conn = await opened(dut, regs={PF.TIME_WAIT_US: 1_000_000})
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN)
    conn.ack = fin.seq + 1
    conn.put(ACK)
    await tb.sleep(1000)
    conn.put(ACK | FIN)
    await conn.expect(ACK, ack=conn.seq)
    await tb.sleep(600_000)
    assert not sock.closed
    conn.put(ACK | FIN, seq=conn.seq - 1)
    await conn.expect(ACK, "ACK of a repeated FIN", ack=conn.seq)
    await tb.sleep(600_000)
    assert not sock.closed, "the wait was not restarted"
    await tb.until(lambda: sock.closed, 600_000)
    await tb.finish()


@cocotb.test()
async def abort_ends_time_wait(dut):
    tb, raw, sock, conn = await opened(dut)
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN)
    conn.ack = fin.seq + 1
    conn.put(ACK | FIN)
    await conn.expect(ACK, ack=conn.seq)
    await tb.ok(sock.abort())
    await tb.until(lambda: sock.closed, 10_000)
    raw.skip()
    await tb.finish()


@cocotb.test()
async def data_before_fin_reaches_the_peer(dut):
    """CLOSE right after SEND: every byte arrives, then the FIN."""
    tb = TB(dut, link={"delay_us": 50})
    await tb.start()
    sock, conn = await tb.connect(tx_log2=16)
    data = tb.rng.randbytes(60_000)
    sock.send(data)
    assert not sock.to_send
    await tb.ok(sock.close())
    await tb.until(lambda: conn.fin_received)
    assert conn.received == data
    conn.shutdown()
    tb.collect()
    await tb.until(lambda: sock.closed, 10_000_000)
    await tb.finish()


@cocotb.test()
async def fin_with_data_from_the_peer(dut):
    tb, _, sock, conn = await opened(dut)
    conn.put(ACK | FIN, b"last words")
    await conn.expect(ACK, ack=conn.seq)
    await tb.until(lambda: sock.peer_closed)
    assert sock.received == b"last words"
    assert sock.events == ["ACCEPTED", "PEER_CLOSED"]
    await tb.finish()


@cocotb.test()
async def reset_from_the_peer(dut):
    """An exact RST ends it at once; one elsewhere in the window is challenged; outside: ignored."""
    tb, raw, sock, conn = await opened(dut)
    conn.put(RST, seq=conn.seq + 100)
    await conn.expect(ACK, "challenge ACK", ack=conn.seq)
    conn.put(RST, seq=conn.seq - 100)
    await raw.silence(1000)
    assert sock.ended is None
    conn.put(RST, seq=conn.seq)
    await tb.until(lambda: sock.ended is not None)
    assert sock.ended == Status.PEER_RESET
    await raw.silence(1000)
    assert not sock.closed
    await tb.ok(sock.close())
    await tb.until(lambda: sock.closed, 10_000)
    c = await tb.finish()
    assert c["rx_rst"] == 1


@cocotb.test()
async def abort_sends_reset(dut):
    tb, _, sock, conn = await opened(dut)
    conn.put(ACK, b"abc")
    await tb.until(lambda: sock.received == b"abc")
    await tb.ok(sock.abort())
    await tb.until(lambda: sock.closed, 10_000)
    while True:
        f = await conn.get("RST")
        if f.flags & RST:
            break
    assert f.seq == conn.ack
    c = await tb.finish()
    assert c["tx_rst"] == 1


@cocotb.test()
async def data_after_close_is_reset(dut):
    """The tenant has closed and cannot read: data that still comes is answered by RST (RFC 9293, 3.6.1)."""
    tb, raw, sock, conn = await opened(dut)
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN)
    conn.ack = fin.seq + 1
    conn.put(ACK)
    await tb.sleep(1000)
    raw.skip()
    conn.put(ACK, b"too late")
    f = await conn.get("RST or ACK")
    # Either is allowed by RFC 9293 (the RST is a MAY); the socket must come back in both cases.
    if not f.flags & RST:
        conn.put(ACK | FIN)
        await tb.until(lambda: sock.closed, 200_000_000)
    else:
        await tb.until(lambda: sock.closed, 1_000_000)
    await tb.finish()


@cocotb.test()
async def fin_wait2_does_not_last_for_ever(dut):
    """A peer that never sends its FIN: after FIN_WAIT2_US the socket is free."""
    tb, raw, sock, conn = await opened(dut, regs={PF.FIN_WAIT2_US: 3_000_000})
    await tb.ok(sock.close())
    fin = await conn.expect(ACK | FIN)
    conn.ack = fin.seq + 1
    conn.put(ACK)
    start = tb.now
    await tb.until(lambda: sock.closed, 10_000_000)
    assert 2_900_000 <= tb.now - start <= 3_500_000
    raw.skip()
    await tb.finish()


@cocotb.test()
async def reset_while_closing(dut):
    """RST in each state after CLOSE: CLOSED follows, once."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    for i, stage in enumerate(("FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING")):
        sock, conn = await tb.raw_accept(raw, 9000 + i, lport=6000 + i)
        raw.skip()
        if stage == "LAST_ACK":
            conn.put(ACK | FIN)
            await conn.expect(ACK)
        await tb.ok(sock.close())
        fin = await conn.expect(ACK | FIN)
        if stage == "FIN_WAIT2":
            conn.ack = fin.seq + 1
            conn.put(ACK)
        if stage == "CLOSING":
            conn.put(ACK | FIN, ack=fin.seq)
            await conn.expect(ACK)
        await tb.sleep(100)
        conn.put(RST)
        await tb.until(lambda s=sock: s.closed, 100_000, stage)
        raw.skip()
    await tb.finish()


@cocotb.test()
async def close_of_an_idle_socket(dut):
    tb = TB(dut)
    tenant = await tb.start()
    for how in ("close", "abort"):
        sock = tenant.socket()
        await tb.ok(getattr(sock, how)())
        await tb.until(lambda s=sock: s.closed, 10_000)
        assert sock.events == ["CLOSED"]
    await tb.finish()


@cocotb.test()
async def abort_in_mid_transmission(dut):
    """CLOSED comes only when no descriptor will read the TX ring any more: rings are the tenant's again
    with it, and the memory model faults on any later access."""
    slow = Stalls(ready=0.3, data=0.3, read_latency=(50, 400))
    tb = TB(dut, stalls=slow, link={"delay_us": 5})
    await tb.start()
    for i in range(12):
        sock, conn = await tb.connect(port=100 + i, tx_log2=16)
        sock.send(tb.rng.randbytes(40_000))
        conn.send(tb.rng.randbytes(10_000))
        tb.collect()
        await tb.sleep(tb.rng.randrange(1, 60))
        sock.abort()
        await tb.until(lambda s=sock: s.closed, 1_000_000, "CLOSED")
    await tb.sleep(5000)
    # Credits for data that was announced before the end are refused: no harm.
    tb.expected["nqe_errors"] = len(tb.tenants[0].rejects)
    await tb.finish()


@cocotb.test()
async def close_while_connecting(dut):
    tb = TB(dut)
    tenant = await tb.start()
    raw = tb.raw()
    for how in ("close", "abort"):
        sock = tenant.socket()
        await tb.ok(sock.connect(raw.ip, 80))
        await raw.next("SYN")
        await tb.ok(getattr(sock, how)())
        await tb.until(lambda s=sock: s.closed, 10_000)
        await raw.silence(3_000_000)
    await tb.finish()


@cocotb.test()
async def receive_window_closes_and_opens(dut):
    """The tenant does not read: the window goes to 0, nothing is overwritten; CREDIT opens it again."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    sock, conn = await tb.connect(rx_log2=12, auto_credit=False)
    data = tb.rng.randbytes(20_000)
    conn.send(data)
    tb.collect()
    await tb.sleep(3_000_000)
    assert 4096 - 1460 <= len(sock.received) <= 4096
    assert conn.snd_wnd < 1460
    while len(sock.received) < len(data):
        have = len(sock.received)
        sock.give_credit()
        await tb.until(lambda h=have: len(sock.received) > h, 5_000_000, "data after credit")
        await tb.sleep(100_000)
    assert sock.received == data
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(style=["new", "old"])
async def answers_window_probes(dut, style):
    """Probes of both kinds at a closed window are answered by an ACK, and the byte is not lost."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    opts = Options(probe=style, rto_init=300_000)
    sock, conn = await tb.connect(rx_log2=12, auto_credit=False, opts=opts)
    data = tb.rng.randbytes(9_000)
    conn.send(data)
    tb.collect()
    await tb.sleep(20_000_000)
    assert conn.state == "ESTABLISHED"
    assert conn.persist_backoff >= 2 or conn.snd_wnd
    while len(sock.received) < len(data):
        sock.give_credit()
        await tb.sleep(2_000_000)
    assert sock.received == data
    await tb.finish()


@cocotb.test()
async def window_never_shrinks_with_small_credits(dut):
    """Credits byte by byte: no silly windows, no shrinking edge, all data in the end."""
    tb = TB(dut, link={"delay_us": 5})
    await tb.start()
    sock, conn = await tb.connect(rx_log2=12, auto_credit=False)
    data = tb.rng.randbytes(12_000)
    conn.send(data)
    tb.collect()
    while len(sock.received) < len(data):
        await tb.sleep(300)
        unread = len(sock.received) - sock.credited
        if unread:
            sock.give_credit(min(unread, tb.rng.randrange(1, 400)))
        else:
            await tb.sleep(20_000)
    assert sock.received == data
    small = [len(f) for _, w, f in tb.wire if w == "in" and 0 < len(f) - 54 < 100]
    assert len(small) < 60, f"{len(small)} tiny segments: silly window"
    await tb.finish()


def test_nk_core_close():
    run_core(__file__)
