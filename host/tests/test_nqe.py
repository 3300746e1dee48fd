# SPDX-License-Identifier: Apache-2.0
"""NQEs in rings: decoding without a copy, wrap, phase, text."""

from __future__ import annotations

import numpy as np
import pytest
from netkernel import abi, nqe


def make(**fields: int) -> np.void:
    entry = np.zeros(1, abi.NQE_DTYPE)
    for name, value in fields.items():
        entry[name] = value
    return entry[0]


def test_ring_is_a_view_of_the_region() -> None:
    region = bytearray(64 << 10)
    entries = nqe.ring(region, 4096, 6)
    assert len(entries) == 64
    region[4096 + 32 * 3 + 24 : 4096 + 32 * 3 + 28] = (1234).to_bytes(4, "little")
    assert entries[3]["size"] == 1234
    entries["socket"][5] = 7
    assert region[4096 + 32 * 5 + 4] == 7
    assert len(nqe.view(region, 4096)) == (60 << 10) // 32


def test_between_wraps() -> None:
    entries = nqe.ring(bytearray(32 * 64), 0, 6)
    entries["size"] = np.arange(64)
    assert nqe.between(entries, 2, 5)["size"].tolist() == [2, 3, 4]
    assert nqe.between(entries, 126, 130)["size"].tolist() == [62, 63, 0, 1]
    assert nqe.between(entries, 0xFFFF_FFFE, 1)["size"].tolist() == [62, 63, 0]
    with pytest.raises(ValueError, match="do not fit"):
        nqe.between(entries, 0, 65)


@pytest.mark.parametrize("head", [0, 10, 63, 64, 100, 128])
@pytest.mark.parametrize("written", [0, 1, 30, 64])
def test_ready_follows_the_phase(head: int, written: int) -> None:
    entries = nqe.ring(bytearray(32 * 64), 0, 6)
    for index in range(head + written):  # as the card writes: phase 1 on even passes
        entries["flags"][index % 64] = 1 ^ (index // 64 & 1)
    assert nqe.ready(entries, head) == written


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"op": abi.Op.CONNECT, "socket": 3, "op_data": 0x0A000001 | 80 << 32 | 4000 << 48},
            "CONNECT     vf 0.0 socket 3      10.0.0.1:80 from port 4000  cookie 0x0",
        ),
        ({"op": abi.Op.DATA, "vm_id": 2, "size": 1448}, "DATA        vf 2.0 socket 0      1448 b"),
        ({"op": abi.Op.LISTEN, "op_data": 8080 << 48}, "port 8080"),
        ({"op": abi.Op.ACCEPT, "op_data": 9}, "credit 9"),
        ({"op": abi.Op.SETOPT, "op_data": abi.Option.KEEPIDLE | 30 << 32}, "KEEPIDLE 30  cookie"),
        ({"op": abi.Op.SETOPT, "op_data": 77}, "77 0  cookie"),
        (
            {"op": abi.Op.SOCKET, "data_ptr": 0x5000, "op_data": 0x9000, "size": 12 | 14 << 8},
            "rx 0x5000/2^12  tx 0x9000/2^14",
        ),
        ({"op": abi.Op.RESET, "cookie": abi.Status.REFUSED << 24}, "REFUSED"),
        ({"op": 0x3F, "cookie": 99 << 24 | 5}, "op 0x3f"),
        ({"op": 0x3F, "cookie": 99 << 24 | 5}, "status 99  cookie 0x5"),
        (
            {"op": abi.Op.ACCEPTED, "op_data": 0x7F000001 | 9 << 32 | 80 << 48, "size": 4},
            "127.0.0.1:9 at port 80, listener 4",
        ),
    ],
)
def test_text(fields: dict[str, int], text: str) -> None:
    assert text in nqe.text(make(**fields))


def test_every_opcode_has_a_line() -> None:
    for op in range(256):
        assert nqe.text(make(op=op))
        assert nqe.as_dict(make(op=op))["op"]
