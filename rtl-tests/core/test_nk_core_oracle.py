# SPDX-License-Identifier: Apache-2.0
"""nk_core under the RFC 9293 oracle: long random runs on good and hostile wires, each step judged."""

from __future__ import annotations

import os
import random

import cocotb
from common.hostmem import Stalls
from core.core_tb import run_core, vf_ip
from core.oracle_tb import JudgedTB, profile
from model.tcp_peer import Conn, Options
from netkernel.abi import PF

WIRES = {
    "good": {"delay_us": 200},
    "far": {"delay_us": 10_000},
    "loss": {"loss": 0.03, "delay_us": 500},
    "bursts": {"burst_loss": 0.02, "delay_us": 500},
    "reorder": {"reorder": 0.2, "delay_us": 500},
    "twice": {"duplicate": 0.2, "delay_us": 200},
    "everything": {
        "loss": 0.02, "burst_loss": 0.003, "reorder": 0.1, "duplicate": 0.05,
        "corrupt": 0.02, "delay_us": 500, "jitter_us": 200,
    },
}  # fmt: skip
ROUNDS = 12 if os.environ.get("NK_NIGHTLY") else 1
REGS = {PF.RETRIES: 40 | 20 << 8 | 60 << 16, PF.RTO_MAX_US: 5_000_000}


async def opened(tb: JudgedTB, r: random.Random, opts: Options, listener, i: int):
    """A connection, opened by either side: (socket, the host's side)."""
    tenant = tb.tenants[0]
    sock = tenant.socket(
        r.choice((12, 14, 16)), r.choice((12, 14, 17)), auto_credit=r.random() < 0.8
    )
    if i % 2:
        await tb.ok(listener.credit_accept(sock))
        conn = tb.host.connect(vf_ip(0), 8080, opts=opts)
        tb.collect()
    else:
        have = len(tb.host.listeners[80].conns)
        tb.host.listeners[80].opts = opts
        await tb.ok(sock.connect(tb.host.ip, 80))
        await tb.until(lambda: len(tb.host.listeners[80].conns) > have, 400_000_000, "the SYN")
        conn = tb.host.listeners[80].conns[have]
    await tb.until(lambda: sock.connected, 400_000_000, "established")
    await tb.until(lambda: conn.state != "SYN_RCVD", 400_000_000, "established at the host")
    return sock, conn


async def talk(tb: JudgedTB, r: random.Random, sock, conn: Conn, size: int) -> None:
    """Writes of all sizes both ways, pauses, half closes, and one of the ends that there are."""
    up, down = r.randbytes(r.randrange(size)), r.randbytes(r.randrange(size))
    at = [0, 0]
    while at[0] < len(up) or at[1] < len(down):
        n = r.choice((1, 10, 500, 1460, 5000, 20_000))
        ours = at[0] < len(up) and (r.random() < 0.5 or at[1] >= len(down))
        if ours:
            sock.send(up[at[0] : at[0] + n])
            at[0] += n
        else:
            conn.send(down[at[1] : at[1] + n])
            at[1] += n
            tb.collect()
        if r.random() < 0.3:
            await tb.sleep(r.choice((1, 50, 2000, 60_000)))
        if not sock.auto_credit:
            sock.give_credit()
        if r.random() < 0.1:
            await tb.judge_state(sock)

    def done() -> bool:
        if not sock.auto_credit:
            sock.give_credit()
        return len(conn.received) >= len(up) and len(sock.received) >= len(down)

    await tb.until(done, 1_200_000_000, "all bytes")
    assert conn.received == up
    assert sock.received == down
    await end(tb, r, sock, conn)


async def end(tb: JudgedTB, r: random.Random, sock, conn: Conn) -> None:
    way = r.choice(("card", "host", "both", "half", "half", "abort", "reset"))
    if way == "abort":
        await tb.ok(sock.abort())
        return
    if way == "reset":
        conn.abort()
        tb.collect()
        await tb.sleep(100_000)
        await tb.judge_state(sock)
        if not sock.closing:
            await tb.ok(sock.close() if sock.ended is not None else sock.abort())
        return
    if way in ("host", "both"):
        conn.shutdown()
        tb.collect()
    if way == "host":
        await tb.until(lambda: sock.peer_closed, 600_000_000, "PEER_CLOSED")
        await tb.judge_state(sock)
    if way == "half":
        await tb.until(lambda: sock.all_acked, 600_000_000, "everything SENT")
        await tb.ok(sock.shutdown())
        await tb.judge_state(sock)
        await tb.until(lambda: conn.fin_received, 600_000_000, "the card's FIN")
        late = r.randbytes(r.randrange(1, 3000))
        have = len(sock.received)
        conn.send(late)
        conn.shutdown()
        tb.collect()

        def came() -> bool:
            if not sock.auto_credit:
                sock.give_credit()
            return len(sock.received) == have + len(late)

        await tb.until(came, 600_000_000, "data after our FIN")
        assert sock.received[have:] == late
    await tb.until(lambda: sock.all_acked, 600_000_000, "everything SENT")
    await tb.ok(sock.close())
    await tb.judge_state(sock)
    if not conn.fin_queued:
        await tb.until(lambda: conn.fin_received, 600_000_000, "the card's FIN")
        conn.shutdown()
        tb.collect()
    await tb.until(lambda: sock.closed, 600_000_000, "CLOSED")


async def run(dut, wire: str, seed: str, stalls: Stalls | None = None, **prof: int) -> None:
    r = random.Random(f"{os.environ.get('NK_SEED', '0')} {wire} {seed}")
    config = {**WIRES[wire], "seed": r.getrandbits(30)}
    tb = JudgedTB(dut, link=config, stalls=stalls, mark=0.1 if prof.get("ecn") else 0.0)
    tb.host.watch_shrink = False
    tb.host.strict_old = False  # what was acknowledged is overwritten while a copy may be under way
    await tb.start(regs={**REGS, **profile(**prof)})
    tb.host.listen(80)
    listener = await tb.listen(8080, 0)
    for _ in range(3 * ROUNDS):
        opts = Options(
            retries=40, rto_max=2_000_000, time_wait=60_000_000, mss=r.choice((None, 700, 1460)),
            wscale=r.choice((None, 0, 7)), rcv_buf=r.choice((8192, 65536, 300_000)),
            timestamps=r.random() < 0.7, sack=r.random() < 0.7, ecn=r.random() < 0.7,
            ack_every=r.choice((1, 2)),
        )  # fmt: skip
        pairs = [
            await opened(tb, r, opts, listener, r.randrange(2)) for _ in range(r.choice((1, 2, 4)))
        ]
        talks = [cocotb.start_soon(talk(tb, r, s, c, 30_000)) for s, c in pairs]
        for task in talks:
            await task
        tb.oracle.check()
    await tb.ok(listener.close())
    await tb.finish()


@cocotb.test()
@cocotb.parametrize(wire=list(WIRES))
async def wires(dut, wire):
    await run(dut, wire, "wires")


@cocotb.test()
@cocotb.parametrize(wire=["good", "everything"])
async def without_options(dut, wire):
    await run(dut, wire, "plain", sack=0, timestamps=0, window_scale=0)


@cocotb.test()
@cocotb.parametrize(cc=[0, 1, 2])
async def congestion_controls(dut, cc):
    """With ECN and marks, on a wire that loses too."""
    await run(dut, "loss", "cc", cc=cc, ecn=1)


@cocotb.test()
async def rough_host(dut):
    await run(dut, "everything", "rough", Stalls.rough())


def test_nk_core_oracle():
    run_core(__file__)
