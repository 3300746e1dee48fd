# SPDX-License-Identifier: Apache-2.0
"""nk_cc_newreno against RFC 5681 and RFC 6582 written down in Python, over random histories."""

from __future__ import annotations

import cocotb
from cocotb.triggers import Timer
from common.runner import run_module
from common.stream import rng

M32 = 0xFFFFFFFF


def after(a: int, b: int) -> bool:
    return 0 < (a - b) & M32 < 1 << 31


class Model:
    """The sender's view; `una`, `max` are sequence numbers."""

    def __init__(self, mss: int, iss: int):
        self.mss, self.cwnd, self.ssthresh = mss, 10 * mss, 0x7FFFFFFF
        self.recover, self.una, self.max = iss, (iss + 1) & M32, (iss + 1) & M32
        self.acc = self.dups = 0
        self.recovering = False

    def flight(self) -> int:
        return (self.max - self.una) & M32

    def ack(self, ack: int) -> bool:
        """New data acknowledged; returns whether the next segment is to be sent again."""
        acked = (ack - self.una) & M32
        resend = False
        if self.recovering and not after(self.recover, ack):  # RFC 6582, 3.2 (3): full ACK
            self.recovering = False
            left = (self.max - ack) & M32
            self.cwnd = min(self.ssthresh, max(left, self.mss) + self.mss)
            self.acc = 0
        elif self.recovering:  # partial ACK: deflate, re-inflate by one segment
            resend = True
            self.cwnd = max(
                self.mss, max(0, self.cwnd - acked) + (self.mss if acked >= self.mss else 0)
            )
        elif self.cwnd < self.ssthresh:  # RFC 5681 (2)
            self.cwnd += min(acked, self.mss)
        else:  # RFC 5681, 3.1: byte counting
            self.acc += acked
            if self.acc >= self.cwnd:
                self.acc -= self.cwnd
                self.cwnd += self.mss
        self.una, self.dups = ack, 0
        return resend

    def dup(self) -> bool:
        self.dups = min(15, self.dups + 1)
        if self.recovering:
            self.cwnd += self.mss
        elif self.dups == 3 and after(self.una, self.recover):
            self.recovering, self.recover = True, self.max
            self.ssthresh = max(self.flight() // 2, 2 * self.mss)
            self.cwnd = self.ssthresh + 3 * self.mss
            return True
        return False

    def timeout(self) -> None:
        self.ssthresh = max(self.flight() // 2, 2 * self.mss)
        self.cwnd, self.recover, self.recovering = self.mss, self.max, False
        self.dups = self.acc = 0


@cocotb.test()
async def random_histories(dut):
    rnd = rng("cc")
    seen = {"enter": 0, "partial": 0, "full": 0, "rto": 0}
    for _ in range(60):
        m = Model(rnd.choice([64, 536, 1460]), rnd.choice([7, M32 - 5000, rnd.getrandbits(32)]))
        for _ in range(120):
            m.max = (
                (m.max + rnd.randrange(0, max(1, m.cwnd - m.flight() + 1))) & M32
                if m.cwnd > m.flight()
                else m.max
            )
            kind = rnd.choices(["ack", "dup", "rto", "none"], [5, 6, 0.3, 1])[0]
            if m.flight() == 0 and kind != "none":
                continue
            ack = (
                (
                    m.una
                    + rnd.choice(
                        [rnd.randrange(1, m.flight() + 1), min(m.mss, m.flight()), m.flight()]
                    )
                )
                & M32
                if kind == "ack"
                else m.una
            )
            for name, value in dict(
                cwnd=m.cwnd,
                ssthresh=m.ssthresh,
                recover=m.recover,
                ca_acc=m.acc,
                in_rec=m.recovering,
                dupacks=m.dups,
                ev_ack=kind == "ack",
                ev_dupack=kind == "dup",
                ev_rto=kind == "rto",
                ack=ack,
                snd_una=m.una,
                snd_max=m.max,
                mss=m.mss,
            ).items():
                getattr(dut, name).value = int(value)
            await Timer(1, "ns")
            was = m.recovering
            resend = False
            if kind == "ack":
                resend = m.ack(ack)
            elif kind == "dup":
                resend = m.dup()
            elif kind == "rto":
                m.timeout()
                seen["rto"] += 1
            seen["enter"] += m.recovering and not was
            seen["full"] += was and not m.recovering and kind == "ack"
            seen["partial"] += was and m.recovering and kind == "ack"
            got = {
                n: int(getattr(dut, n + "_out").value)
                for n in ("cwnd", "ssthresh", "recover", "ca_acc", "in_rec", "dupacks")
            }
            want = dict(
                cwnd=m.cwnd,
                ssthresh=m.ssthresh,
                recover=m.recover,
                ca_acc=m.acc,
                in_rec=int(m.recovering),
                dupacks=m.dups,
            )
            assert got == want, kind
            assert int(dut.rexmit.value) == resend, kind
            assert int(dut.entered.value) == (m.recovering and not was)
    assert min(seen.values()) > 10, f"history too tame: {seen}"


def test_nk_cc_newreno():
    run_module("nk_cc_newreno", __file__)
