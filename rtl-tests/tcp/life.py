# SPDX-License-Identifier: Apache-2.0
"""What the tests of a connection's life share: a plain flow, timer kinds, profile flags, groups of states."""

from __future__ import annotations

import random

from common.tcb import M32, unpack
from tcp.tcp_dut import S

RTO, PERSIST, TIMEWAIT, FINWAIT2, NEIGH, TLP, REO, KEEP, CORK = range(9)
PF_SACK, PF_TS, PF_ECN, PF_WS, PF_TLP = (1 << i for i in range(5))

BOTH_KNOW = (
    S.SYN_RCVD,
    S.ESTABLISHED,
    S.FIN_WAIT1,
    S.FIN_WAIT2,
    S.CLOSE_WAIT,
    S.CLOSING,
    S.LAST_ACK,
)
"""States in which the peer has a connection that a RST can end."""
HEARD = (*BOTH_KNOW[1:], S.TIME_WAIT, S.DEAD)
"""States of which a tenant hears."""


def start(rnd: random.Random | None, default: int) -> int:
    """An initial sequence number, often near a wrap."""
    if rnd is None:
        return default
    return rnd.choice([default, M32 - 3000, 0x7FFFFFFF - 2000, rnd.getrandbits(32)])


def flow(rnd: random.Random | None = None, **more: int) -> dict[str, int]:
    """A plain established flow with nothing in flight, 64 KiB rings and a segment size of 1460."""
    iss, irs = start(rnd, 1000), start(rnd, 5000)
    una, nxt = (iss + 1) & M32, (irs + 1) & M32
    same = {
        name: una
        for name in (
            "SND_UNA",
            "SND_NXT",
            "TX_END",
            "SND_NTF",
            "LOST_END",
            "RXT_NXT",
            "RXT_MARK",
            "RECOVER",
            "TLP_END",
            "RTT_SEQ",
        )
    }
    base = {
        "STATE": S.ESTABLISHED,
        "VF": 1,
        "SOCKET": 3,
        "LPORT": 80,
        "RPORT": 40000,
        "RIP": 0x0A000002,
        "RX_LOG2": 16,
        "TX_LOG2": 16,
        "KA_IDLE": 7200,
        "KA_INTVL": 75,
        "KA_CNT": 9,
        "MSS": 1460,
        "ISS": iss,
        "SND_WND": 60000,
        "SND_WL1": nxt,
        "CWND": 14600,
        "SSTHRESH": (1 << 25) - 1,
        "IRS": irs,
        "RCV_NXT": nxt,
        "RCV_NTF": nxt,
        "RCV_EDGE": (nxt + 65536) & M32,
        "RCV_ADV": nxt,
    }
    return unpack(0) | base | same | more
