# SPDX-License-Identifier: Apache-2.0
"""Flow states for the tests of the receive path: every field random, those that must agree with each other set by the test."""

from __future__ import annotations

import random

from common.tcb import FIELDS, M32

PF_SACK, PF_TS, PF_ECN, PF_WS = 1, 2, 4, 8
ECE, CWR = 0x40, 0x80
ECN_CE = 3


def somewhere(rnd: random.Random) -> int:
    """A sequence number, more often than not shortly before a wrap of 31 or 32 bits."""
    return (
        rnd.choice([0, M32, 0x7FFFFFFF, 0x80000000, rnd.getrandbits(32)])
        - rnd.choice([0, 1, rnd.randrange(70000)])
        & M32
    )


def rubbish(rnd: random.Random) -> dict[str, int]:
    """A flow state without any sense; a module must leave alone what it does not own."""
    state = {name: rnd.getrandbits(width) for name, (_, width) in FIELDS.items()}
    return state | {name: 0 for name in FIELDS if name.startswith("W_")}
