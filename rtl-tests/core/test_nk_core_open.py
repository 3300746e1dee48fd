# SPDX-License-Identifier: Apache-2.0
"""nk_core: how connections begin, or fail to."""

from __future__ import annotations

import cocotb
from core.core_tb import TB, RawConn, run_core, vf_ip, vf_mac
from model import frames as fr
from model.frames import ACK, RST, SYN
from model.tcp_peer import Options
from netkernel.abi import PF, Status


@cocotb.test()
async def active(dut):
    """CONNECT: ARP, SYN with MSS and window scale, CONNECTED with address and MSS."""
    tb = TB(dut)
    await tb.start()
    sock, conn = await tb.connect(port=7777)
    assert sock.peer == (tb.host.ip, 7777)
    assert sock.mss == 1460
    assert conn.mss == 1460
    assert conn._ws_agreed
    assert conn.rport >= 1024
    syn = next(f for _, w, raw in tb.wire if w == "out" and (f := fr.parse(raw)).flags & SYN)
    assert (syn.mss, syn.flags) == (1460, SYN)
    await tb.close_both(sock, conn)
    assert sock.events == ["CONNECTED", "PEER_CLOSED", "CLOSED"] or sock.events == [
        "CONNECTED",
        "CLOSED",
    ]
    c = await tb.finish()
    assert c["tx_arp_requests"] == 1
    assert c["tx_retransmits"] == 0


@cocotb.test()
async def active_from_a_chosen_port(dut):
    tb = TB(dut)
    await tb.start()
    tb.host.listen(80)
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(tb.host.ip, 80, 4242))
    await tb.until(lambda: sock.connected)
    (conn,) = tb.host.listeners[80].conns
    assert conn.rport == 4242
    again = tb.tenants[0].socket()
    assert await tb.status(again.connect(tb.host.ip, 80, 4242)) == Status.ADDR_IN_USE
    tb.expected["nqe_errors"] = 1
    await tb.finish()


@cocotb.test()
async def passive(dut):
    """LISTEN, ACCEPT credit, SYN: ACCEPTED on the credited socket with the peer's address."""
    tb = TB(dut)
    await tb.start()
    sock, conn, listener = await tb.accept(8080)
    assert sock.peer == (tb.host.ip, conn.lport)
    assert conn.mss == 1460
    assert conn._ws_agreed
    await tb.close_both(sock, conn)
    await tb.ok(listener.close())
    await tb.until(lambda: listener.closed)
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(mss=[None, 536, 700, 1460, 9000], wscale=[None, 0, 7, 14])
async def options(dut, mss, wscale):
    """Every mix of MSS and window scale from the peer, in both directions of opening."""
    tb = TB(dut)
    await tb.start()
    opts = Options(mss=mss, wscale=wscale)
    want = min(mss or 536, 1460)
    for opener in (tb.connect, tb.accept):
        sock, conn, *listener = await opener(opts=opts)
        if opener == tb.connect:
            assert sock.mss == want
        else:  # RFC 7323: the option only in answer to the option
            assert conn._ws_agreed == (wscale is not None)
        data = tb.rng.randbytes(5000)
        sock.send(data)
        conn.send(data)
        tb.collect()
        await tb.until(lambda c=conn, s=sock, d=data: c.received == d and s.received == d)
        await tb.close_both(sock, conn)
        for each in listener:
            await tb.ok(each.close())
    await tb.finish()


@cocotb.test()
async def refused(dut):
    """RST in answer to our SYN: RESET with status REFUSED; the socket stays until CLOSE."""
    tb = TB(dut)
    await tb.start()
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(tb.host.ip, 81))
    await tb.until(lambda: sock.ended is not None)
    assert sock.ended == Status.REFUSED
    assert sock.events == ["RESET"]
    await tb.sleep(1000)
    assert not sock.closed
    await tb.ok(sock.close())
    await tb.until(lambda: sock.closed)
    await tb.finish()


@cocotb.test()
async def nobody_answers(dut):
    """SYNs go out at 1, 2, 4 ... times the first RTO; then TIMEOUT."""
    tb = TB(dut)
    await tb.start(regs={PF.RETRIES: 12 | 3 << 8 | 60 << 16})
    raw = tb.raw()
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(raw.ip, 80))
    times = []
    first = None
    for _ in range(4):
        f = await raw.next("SYN", 20_000_000)
        assert f.flags == SYN
        first = first or f
        assert (f.seq, f.mss, f.wscale, f.sport) == (
            first.seq,
            first.mss,
            first.wscale,
            first.sport,
        )
        times.append(tb.now)
    await tb.until(lambda: sock.ended is not None, 20_000_000)
    assert sock.ended == Status.TIMED_OUT
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    for gap, want in zip(gaps, (1_000_000, 2_000_000, 4_000_000), strict=True):
        assert want <= gap < want * 1.05, gaps
    await tb.ok(sock.close())
    c = await tb.finish()
    assert c["flow_timeouts"] == 1


@cocotb.test()
async def next_hop_unknown(dut):
    """No answer to ARP: asked again, given up as UNREACHABLE after the tries set."""
    tb = TB(dut)
    await tb.start(regs={PF.RETRIES: 12 | 6 << 8 | 5 << 16})
    raw = tb.raw()
    raw.answer_arp = False
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(raw.ip, 80))
    await tb.until(lambda: sock.ended is not None, 10_000_000)
    assert sock.ended == Status.UNREACHABLE
    asked = [f for _, w, x in tb.wire if w == "out" and (f := fr.parse(x)).kind == "arp"]
    assert 3 <= len(asked) <= 6
    assert all((f.op, f.spa, f.tpa) == (1, vf_ip(0), raw.ip) for f in asked)
    assert not raw.got
    await tb.ok(sock.close())
    await tb.finish()


@cocotb.test()
async def late_arp_answer(dut):
    """An ARP answer after some tries: the connection then opens."""
    tb = TB(dut)
    await tb.start()
    tb.host.listen(80)
    tb.host.answer_arp = False
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(tb.host.ip, 80))
    await tb.sleep(300_000)
    tb.host.answer_arp = True
    await tb.until(lambda: sock.connected)
    await tb.finish()


@cocotb.test()
async def other_network_goes_to_the_gateway(dut):
    """An address outside the netmask: ARP asks for the gateway, and the frame goes to its MAC."""
    tb = TB(dut)
    await tb.start()
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(fr.ip("192.0.2.9"), 80))

    def syns() -> list[fr.Frame]:
        sent = [fr.parse(x) for _, w, x in tb.wire if w == "out"]
        return [f for f in sent if f.kind == "tcp"]

    await tb.until(lambda: bool(syns()))
    assert (syns()[0].dst, syns()[0].dip) == (tb.host.mac, fr.ip("192.0.2.9"))
    await tb.finish()


@cocotb.test()
async def syn_without_credit(dut):
    """A SYN that no credit waits for is dropped and counted; a credit posted later takes the next."""
    tb = TB(dut)
    await tb.start()
    listener = await tb.listen(8080, credits=0)
    conn = tb.host.connect(vf_ip(0), 8080)
    tb.collect()
    await tb.sleep(200_000)
    assert await tb.counter("rx_syn_no_credit") == 1
    assert await tb.counter("accept_drops", 0) == 1
    assert conn.state == "SYN_SENT"
    child = tb.tenants[0].socket()
    await tb.ok(listener.credit_accept(child))
    await tb.until(lambda: child.connected)
    assert conn.state == "ESTABLISHED"
    await tb.finish()


@cocotb.test()
async def every_credit_is_taken_once(dut):
    """In which order is not promised."""
    tb = TB(dut)
    tenant = await tb.start()
    listener = await tb.listen(8080, credits=0)
    children = [tenant.socket() for _ in range(5)]
    for child in children:
        await tb.ok(listener.credit_accept(child))
    order = []
    tenant.on_accept = order.append
    for i in range(5):
        tb.host.connect(vf_ip(0), 8080)
        tb.collect()
        await tb.until(lambda i=i: len(order) == i + 1)
    assert sorted(s.id for s in order) == [s.id for s in children]
    await tb.finish()


@cocotb.test()
async def listener_close_hands_credits_back(dut):
    """CLOSE of a listener: CLOSED for each unused credit and for itself; new SYNs meet RST."""
    tb = TB(dut)
    tenant = await tb.start()
    listener = await tb.listen(8080, credits=4)
    kids = [s for s in tenant.sockets.values() if s is not listener]
    await tb.ok(listener.close())
    await tb.until(lambda: listener.closed and all(k.closed for k in kids))
    conn = tb.host.connect(vf_ip(0), 8080)
    tb.collect()
    await tb.until(lambda: conn.state == "CLOSED")
    assert conn.events == ["refused"]
    await tb.finish()


@cocotb.test()
async def listening_port_is_taken_once(dut):
    tb = TB(dut)
    tenant = await tb.start(vfs=2)
    first = await tb.listen(8080, credits=0)
    second = tenant.socket()
    assert await tb.status(second.listen(8080)) == Status.ADDR_IN_USE
    other = await tb.listen(8080, credits=0, vf=1)  # another address: free
    await tb.ok(first.close())
    await tb.until(lambda: first.closed)
    await tb.ok(second.listen(8080))
    assert other.id in tb.tenants[1].sockets
    tb.expected["nqe_errors"] = 1
    await tb.finish()


@cocotb.test()
async def closed_port_answers_reset(dut):
    """RFC 9293, 3.10.7.1: RST with the numbers that make it acceptable; none for an RST."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    raw.arp_now()
    raw.tcp(5000, 9, 1000, 0, SYN)
    f = await raw.next("RST")
    assert (f.flags, f.seq, f.ack) == (RST | ACK, 0, 1001)
    raw.tcp(5000, 9, 1000, 555, ACK, payload=b"xyz")
    f = await raw.next("RST")
    assert (f.flags & RST, f.seq) == (RST, 555)
    raw.tcp(5000, 9, 1000, 555, RST)
    raw.tcp(5000, 9, 1000, 555, RST | ACK)
    await raw.silence(100_000)
    c = await tb.finish()
    assert (c["rx_no_flow"], c["tx_rst"]) == (4, 2)


@cocotb.test()
async def bad_remote_addresses(dut):
    tb = TB(dut)
    tenant = await tb.start()
    for address, port in (("0.0.0.0", 80), ("255.255.255.255", 80), ("224.0.0.1", 80),
                          ("239.1.2.3", 80), ("10.1.0.1", 0)):  # fmt: skip
        sock = tenant.socket()
        assert await tb.status(sock.connect(fr.ip(address), port)) == Status.BAD_ADDR, address
        tb.expected["nqe_errors"] += 1
    await tb.finish()


@cocotb.test()
async def simultaneous_open(dut):
    """Two SYNs cross (RFC 9293, 3.5): both sides end ESTABLISHED."""
    tb = TB(dut)
    await tb.start()
    tb.host.neigh[vf_ip(0)] = 0x024E4B000000
    sock = tb.tenants[0].socket()
    raw = tb.raw()
    raw.arp_now()
    await tb.ok(sock.connect(raw.ip, 2000, 1000))
    f = await raw.next("SYN")
    assert f.flags == SYN
    conn = RawConn(raw, 2000, 1000, iss=7000)
    conn.put(SYN, options=fr.tcp_options(1460))
    conn.ack = f.seq + 1
    synack = await conn.expect(SYN | ACK, "SYN,ACK of a simultaneous open", ack=7001, seq=f.seq)
    assert synack.mss == 1460
    conn.put(SYN | ACK, seq=7000, options=fr.tcp_options(1460))
    # Its numbers lie left of the window: an ACK may answer it, and ours completes the handshake.
    conn.put(ACK)
    await tb.until(lambda: sock.connected, what="CONNECTED")
    conn.put(ACK, b"hello")
    await tb.until(lambda: sock.received == b"hello")
    await tb.finish()


@cocotb.test()
async def simultaneous_open_with_a_host(dut):
    """The same with a whole TCP on the other side, and bytes both ways."""
    tb = TB(dut, link={"delay_us": 300})
    await tb.start()
    tb.host.neigh[vf_ip(0)] = vf_mac(0)
    tb.to_card(fr.arp(1, tb.host.mac, tb.host.ip, 0, vf_ip(0)))
    await tb.sleep(1000)
    sock = tb.tenants[0].socket()
    job = sock.connect(tb.host.ip, 2000, 1000)
    await tb.until(lambda: any(w == "out" and fr.parse(x).kind == "tcp" for _, w, x in tb.wire))
    conn = tb.host.connect(vf_ip(0), 1000, lport=2000)
    tb.collect()
    await tb.ok(job)
    await tb.until(lambda: sock.connected and conn.state == "ESTABLISHED")
    conn.send(b"from the wire")
    sock.send(b"from the tenant")
    tb.collect()
    await tb.until(
        lambda: sock.received == b"from the wire" and conn.received == b"from the tenant"
    )
    await tb.close_both(sock, conn)
    await tb.finish()


@cocotb.test()
async def lost_syn_ack(dut):
    """The SYN,ACK is sent again by timer, and again for a repeated SYN."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, credits=1)
    conn = RawConn(raw, 5000, 8080)
    conn.put(SYN, options=fr.tcp_options(1460))
    first = await conn.expect(SYN | ACK, ack=1001)
    again = await conn.expect(SYN | ACK, "by timer", ack=1001, seq=first.seq)
    assert again.mss == first.mss
    conn.put(SYN, seq=1000, options=fr.tcp_options(1460))
    await conn.get("answer to a repeated SYN", 3_000_000)
    conn.ack = first.seq + 1
    conn.put(ACK)
    kid = next(s for s in tb.tenants[0].sockets.values() if s is not listener)
    await tb.until(lambda: kid.connected)
    await tb.finish()


@cocotb.test()
async def reset_in_syn_rcvd_returns_the_socket(dut):
    """A half-open passive connection that is reset: the tenant hears of it and gets the socket back."""
    tb = TB(dut)
    tenant = await tb.start()
    raw = tb.raw()
    raw.arp_now()
    listener = await tb.listen(8080, credits=1)
    kid = next(s for s in tenant.sockets.values() if s is not listener)
    conn = RawConn(raw, 5000, 8080)
    conn.put(SYN, options=fr.tcp_options(1460))
    await conn.expect(SYN | ACK, ack=1001)
    conn.put(RST)
    await tb.sleep(100_000)
    # Either the credit is back in the listener, or the socket was handed back.
    conn2 = tb.host.connect(vf_ip(0), 8080)
    tb.collect()
    await tb.sleep(100_000)
    assert kid.closed or kid.ended is not None or kid.connected
    if kid.connected:
        assert conn2.state == "ESTABLISHED"
    await tb.finish()


@cocotb.test()
async def bad_ack_in_syn_sent(dut):
    """An ACK of something never sent is answered by RST and does not end the attempt."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    sock = tb.tenants[0].socket()
    await tb.ok(sock.connect(raw.ip, 80, 1000))
    f = await raw.next("SYN")
    conn = RawConn(raw, 80, 1000)
    conn.put(SYN | ACK, ack=f.seq + 99, seq=1000)
    rst = await conn.get("RST")
    assert (rst.flags & RST, rst.seq) == (RST, (f.seq + 99) & 0xFFFFFFFF)
    conn.put(RST | ACK, ack=f.seq + 99, seq=1000)  # RST that acknowledges nothing of ours: ignored
    await tb.sleep(1000)
    assert sock.ended is None
    conn.ack = f.seq + 1
    conn.put(SYN | ACK, options=fr.tcp_options(1460))
    await tb.until(lambda: sock.connected)
    await tb.finish()


@cocotb.test()
async def initial_sequence_numbers_differ(dut):
    """RFC 6528: other addresses, other numbers; and another key, other numbers."""
    tb = TB(dut)
    await tb.start()
    raw = tb.raw()
    raw.arp_now()
    seen = set()
    for i in range(12):
        sock = tb.tenants[0].socket()
        await tb.ok(sock.connect(raw.ip, 80, 2000 + i))
        f = await raw.next("SYN")
        seen.add(f.seq)
    assert len(seen) == 12
    spread = sorted(seen)
    assert spread[-1] - spread[0] > 1 << 24, "numbers are close to each other"
    await tb.finish()


def test_nk_core_open():
    run_core(__file__)
