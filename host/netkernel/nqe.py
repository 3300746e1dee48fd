# SPDX-License-Identifier: Apache-2.0
"""NQEs as numpy sees them: decoding without a copy, rings, and readable text."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netkernel import abi

Nqes = NDArray[np.void]  # of abi.NQE_DTYPE


def view(buffer: Any, offset: int = 0, count: int | None = None) -> Nqes:
    """`count` NQEs of a buffer, from byte `offset`; a view of its memory, not a copy."""
    if count is None:
        count = (len(memoryview(buffer)) - offset) // abi.NQE_SIZE
    return np.frombuffer(buffer, dtype=abi.NQE_DTYPE, count=count, offset=offset)


def ring(region: Any, offset: int, log2: int) -> Nqes:
    """A queue of 2**log2 entries in a tenant's region."""
    return view(region, offset, 1 << log2)


def between(entries: Nqes, head: int, tail: int) -> Nqes:
    """The entries from free-running index `head` up to `tail`: a view, a copy only at the wrap."""
    size = len(entries)
    count = (tail - head) & 0xFFFF_FFFF
    if count > size:
        raise ValueError(f"{count} entries do not fit into a ring of {size}")
    first = head % size
    if first + count <= size:
        return entries[first : first + count]
    return np.concatenate((entries[first:], entries[: first + count - size]))


def ready(entries: Nqes, head: int) -> int:
    """How many entries from index `head` on carry the phase of this pass, so have been written."""
    size = len(entries)
    phase = entries["flags"] & np.uint8(abi.Flag.PHASE)
    index = (head + np.arange(size)) % size
    wanted = 1 ^ (((head + np.arange(size)) // size) & 1)
    fresh = phase[index] == wanted
    return size if fresh.all() else int(np.argmin(fresh))


def name(op: int) -> str:
    """The opcode's name."""
    return abi.Op(op).name if op in abi.Op._value2member_map_ else f"op {op:#04x}"


def status_name(status: int) -> str:
    """The status code's name."""
    known = status in abi.Status._value2member_map_
    return abi.Status(status).name if known else f"status {status}"


def as_dict(nqe: Any) -> dict[str, int | str]:
    """One NQE with its fields, and what they mean for its opcode."""
    op, vm_id, queue_set, flags, socket, op_data, data_ptr, size, cookie = (
        int(value) for value in nqe.item()
    )
    row: dict[str, int | str] = {
        "op": name(op),
        "vf": vm_id,
        "queue_set": queue_set,
        "flags": flags,
        "socket": socket,
        "op_data": op_data,
        "data_ptr": data_ptr,
        "size": size,
        "cookie": abi.COOKIE_VALUE.get(cookie),
        "status": status_name(abi.COOKIE_STATUS.get(cookie)),
    }
    match op:
        case abi.Op.CONNECT | abi.Op.CONNECTED | abi.Op.ACCEPTED:
            address = IPv4Address(abi.ADDR_REMOTE_IP.get(op_data))
            row["remote"] = f"{address}:{abi.ADDR_REMOTE_PORT.get(op_data)}"
            row["local_port"] = abi.ADDR_LOCAL_PORT.get(op_data)
        case abi.Op.LISTEN:
            row["local_port"] = abi.ADDR_LOCAL_PORT.get(op_data)
        case abi.Op.SOCKET:
            row["rx_log2"] = abi.RING_SIZES_RX_LOG2.get(size)
            row["tx_log2"] = abi.RING_SIZES_TX_LOG2.get(size)
        case abi.Op.ACCEPT:
            row["credit"] = op_data & 0xFFFF_FFFF
        case abi.Op.SETOPT:
            option = op_data & 0xFF
            known = {int(o): o.name for o in abi.Option}
            row["option"] = known.get(option, str(option))
            row["value"] = op_data >> 32
    return row


def text(nqe: Any) -> str:
    """One NQE on a line."""
    row = as_dict(nqe)
    parts = [f"{row['op']:<11} vf {row['vf']}.{row['queue_set']} socket {row['socket']:<5}"]
    match row["op"]:
        case "SEND" | "CREDIT" | "DATA" | "SENT":
            parts.append(f"{row['size']} bytes")
        case "SOCKET":
            parts.append(
                f"rx {row['data_ptr']:#x}/2^{row['rx_log2']}"
                f"  tx {row['op_data']:#x}/2^{row['tx_log2']}"
            )
        case "ACCEPT":
            parts.append(f"credit {row['credit']}")
        case "SETOPT":
            parts.append(f"{row['option']} {row['value']}")
        case "LISTEN":
            parts.append(f"port {row['local_port']}")
        case "CONNECT" | "CONNECTED":
            parts.append(f"{row['remote']} from port {row['local_port']}")
        case "ACCEPTED":
            parts.append(f"{row['remote']} at port {row['local_port']}, listener {row['size']}")
    if row["status"] != "OK":
        parts.append(str(row["status"]))
    parts.append(f"cookie {row['cookie']:#x}")
    return "  ".join(parts)
