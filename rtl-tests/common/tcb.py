# SPDX-License-Identifier: Apache-2.0
"""The TCB as Python sees it: fields by name, packed and unpacked by hw/tcp/data/tcb.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

_SOURCE = Path(__file__).resolve().parents[2] / "hw/tcp/data/tcb.yaml"
FIELDS: dict[str, tuple[int, int]] = {}
"""name -> (least significant bit, width)"""

_lsb = 0
for _name, _width, _keep, _doc in yaml.safe_load(_SOURCE.read_text())["fields"]:
    FIELDS[_name] = (_lsb, _width)
    _lsb += _width
WIDTH = _lsb

M32 = 0xFFFFFFFF


def pack(values: dict[str, int]) -> int:
    """Return the TCB as an integer; fields not named are 0, too wide a value is an error."""
    word = 0
    for name, value in values.items():
        lsb, width = FIELDS[name]
        assert 0 <= value < 1 << width, f"{name} = {value} does not fit {width} bits"
        word |= value << lsb
    return word


def unpack(word: int) -> dict[str, int]:
    """Return all fields of a TCB."""
    return {n: word >> lsb & (1 << width) - 1 for n, (lsb, width) in FIELDS.items()}


def diff(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the fields that changed, with their new values."""
    return {n: after[n] for n in FIELDS if before[n] != after[n]}


def established(rnd=None, **more: int) -> dict[str, int]:
    """Return a plain established flow; sequence numbers near a wrap when `rnd` is given."""
    iss = rnd.choice([1000, M32 - 3000, 0x7FFFFFFF - 2000, rnd.getrandbits(32)]) if rnd else 1000
    irs = rnd.choice([5000, M32 - 3000, 0x7FFFFFFF - 2000, rnd.getrandbits(32)]) if rnd else 5000
    first = (iss + 1) & M32
    base = unpack(0) | {
        "STATE": 6,
        "VF": 1,
        "SOCKET": 3,
        "LPORT": 80,
        "RPORT": 40000,
        "RIP": 0x0A000002,
        "RX_LOG2": 16,
        "TX_LOG2": 16,
        "ISS": iss,
        "SND_UNA": first,
        "SND_NXT": first,
        "SND_MAX": first,
        "TX_END": first,
        "SND_NTF": first,
        "SND_WND": 60000,
        "MSS": 1460,
        "IRS": irs,
        "RCV_NXT": (irs + 1) & M32,
        "RCV_NTF": (irs + 1) & M32,
        "RCV_EDGE": (irs + 1 + 65536) & M32,
        "RCV_ADV": (irs + 1) & M32,
        "SND_WL1": (irs + 1) & M32,
        "SND_WL2": first,
        "CWND": 14600,
        "SSTHRESH": 0x7FFFFFFF,
        "RECOVER": iss,
        "RTO": 200000,
    }
    return base | more
