# SPDX-License-Identifier: Apache-2.0
"""What the tests of the combinational protocol modules share: driving, states, and seqs on a line.

The models count in plain integers from the initial sequence number, so that wraps are the RTL's problem alone.
"""

from __future__ import annotations

from typing import Any

from cocotb.triggers import Timer
from common.tcb import FIELDS, M32, pack, unpack
from netkernel.abi import FlowState as S

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
RTO, PERSIST, TIMEWAIT, FINWAIT2, NEIGH = range(5)
T_NONE, T_SYN, T_REXMIT, T_PROBE, T_DATA, T_ACK = range(6)

SYNCED = (S.ESTABLISHED, S.FIN_WAIT1, S.FIN_WAIT2, S.CLOSE_WAIT, S.CLOSING, S.LAST_ACK, S.TIME_WAIT)
"""States in which both ends know each other's numbers (RFC 9293, 3.3.2)."""
SENDING = (S.ESTABLISHED, S.FIN_WAIT1, S.CLOSE_WAIT, S.CLOSING, S.LAST_ACK)
"""States in which data or a FIN may still leave."""
LIVE = (S.SYN_SENT, S.SYN_RCVD, *SYNCED[:-1])
"""States in which the peer owes answers."""


async def ask(dut: Any, outputs: tuple[str, ...], **inputs: int) -> dict[str, int]:
    """Drive a combinational module and read some of its outputs."""
    for name, value in inputs.items():
        getattr(dut, name).value = int(value)
    await Timer(1, "ns")
    return {name: int(getattr(dut, name).value) for name in outputs}


async def ask_tcb(
    dut: Any, tcb: dict[str, int], outputs: tuple[str, ...] = (), **inputs: int
) -> tuple[dict[str, int], dict[str, int]]:
    """The same for a module with a flow state in and out: new state, other outputs."""
    out = await ask(dut, ("tcb_out", *outputs), tcb=pack(tcb), **inputs)
    return unpack(out.pop("tcb_out")), out


def expect(got: dict[str, int], before: dict[str, int], changes: dict[str, int], what: str) -> None:
    """The state is as before but for `changes` (on the circle of 32 bits)."""
    want = before | {n: v & (1 << FIELDS[n][1]) - 1 for n, v in changes.items()}
    wrong = {n: (got[n], want[n]) for n in FIELDS if got[n] != want[n]}
    assert not wrong, f"{what}: (got, want) {wrong}"


def on_circle(base: int, **line: int) -> dict[str, int]:
    """Fields counted on the line from `base`, as they stand in the TCB."""
    return {name: (base + value) & M32 for name, value in line.items()}
