# SPDX-License-Identifier: Apache-2.0
"""The soak's book-keeping: what must add up whenever nothing moves, and which ends of connections are excused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from netkernel import abi

Row = dict[str, Any]

# Where a frame from the wire can end, and what a frame to the wire can be.
RX_ENDS = (
    "rx_drop_runt", "rx_drop_filter", "rx_drop_proto", "rx_drop_ip_header", "rx_drop_fragment",
    "rx_drop_tcp_header", "rx_drop_tcp_csum", "rx_drop_overflow", "rx_arp", "rx_icmp_echo",
    "rx_drop_icmp", "rx_ptb", "rx_ptb_bad", "rx_segments",
)  # fmt: skip
TX_KINDS = ("tx_segments", "tx_arp_requests", "tx_arp_replies", "rx_icmp_echo")
# Counters of the card that are the sum of the VFs'.
SUMS = {
    "flows_opened": ("flows_opened",),
    "flows_closed": ("flows_closed",),
    "tx_retransmits": ("tx_retransmits",),
    "nqe_errors": ("nqe_errors",),
    "doorbell_errors": ("doorbell_errors",),
    "irq_sent": ("irqs",),
    "nqe_fetched": ("job_nqes", "send_nqes"),
}  # fmt: skip
QUEUE_OF = {
    "job_nqes": range(0x01, 0x10),
    "send_nqes": range(0x10, 0x20),
    "events": range(0x20, 0x40),
}
NEVER = ("events_lost", "rx_drop_overflow", "mmio_errors", "rx_renege")


@dataclass
class Snapshot:
    """The card, the twin and the daemons at one moment."""

    counters: dict[str, int]
    nqes: dict[str, int]
    vfs: dict[str, dict[str, int]]
    sockets: dict[str, int]  # of each VF, not FREE
    card: dict[str, int]
    twin: dict[str, Any]
    fds: dict[str, int] = field(default_factory=dict)

    def still(self, other: Snapshot) -> bool:
        """Nothing has moved in between but the clock and what looking costs."""
        mine, its = dict(self.counters), dict(other.counters)
        for counters in (mine, its):
            counters.pop("clocks")
        return (mine, self.nqes, self.vfs, self.sockets) == (
            its, other.nqes, other.vfs, other.sockets,
        )  # fmt: skip


def audit(now: Snapshot, reset_alive: bool = False) -> list[str]:
    """What does not add up. reset_alive: VFs were reset under living tenants, whose doorbells then mean nothing."""
    wrong = []
    c = now.counters

    def equal(what: str, left: int, right: int) -> None:
        if left != right:
            wrong.append(f"{what}: {left} is not {right}")

    for name in NEVER:
        equal(name, c[name], 0)
    if not reset_alive:
        equal("doorbell_errors", c["doorbell_errors"], 0)
    equal("the host interface's broken rules", now.twin["protocol_errors"], 0)
    equal(
        "flows opened less closed, FLOWS_IN_USE",
        c["flows_opened"] - c["flows_closed"],
        now.card["flows_in_use"],
    )
    equal(
        "hash entries made less deleted, HASH_IN_USE",
        c["hash_inserts"] - c["hash_deletes"],
        now.card["hash_in_use"],
    )
    equal("sockets of all VFs, FLOWS_IN_USE", sum(now.sockets.values()), now.card["flows_in_use"])
    for vf, counters in now.vfs.items():
        equal(
            f"VF {vf}: flows opened less closed, its sockets",
            counters["flows_opened"] - counters["flows_closed"],
            now.sockets[vf],
        )
    for name, parts in SUMS.items():
        equal(
            f"{name}, that of the VFs", c[name], sum(v[p] for v in now.vfs.values() for p in parts)
        )
    for name, ops in QUEUE_OF.items():
        by_op = sum(now.nqes.get(op.name, 0) for op in abi.Op if op.value in ops)
        equal(f"{name} of the VFs, by opcode", sum(v[name] for v in now.vfs.values()), by_op)
    equal("frames received, where they went", c["rx_frames"], sum(c[n] for n in RX_ENDS))
    equal("frames sent, what they were", c["tx_frames"], sum(c[n] for n in TX_KINDS))
    equal("frames the twin gave the core", now.twin["frames_rx"], c["rx_frames"])
    equal("frames the twin took from the core", now.twin["frames_tx"], c["tx_frames"])
    # SYNs and strangers' segments belong to no VF.
    if not sum(v["rx_segments"] for v in now.vfs.values()) <= c["rx_segments"]:
        wrong.append(f"more segments to VFs than {c['rx_segments']} in all")
    # RSTs to strangers belong to no VF.
    strangers = c["tx_segments"] - sum(v["tx_segments"] for v in now.vfs.values())
    if not 0 <= strangers <= c["tx_rst"] + c["tx_cookies"]:
        wrong.append(f"{strangers} segments sent for no VF, but {c['tx_rst']} RSTs")
    return wrong


@dataclass
class Trouble:
    """What the soak did to its own traffic, for the excuses."""

    killed: dict[str, float] = field(default_factory=dict)  # process -> when
    outages: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # place or address

    def out(self, what: str, begin: float, end: float) -> None:
        self.outages.setdefault(what, []).append((begin, end))

    def away(self, what: str, at: float) -> bool:
        return any(begin <= at <= end + 1 for begin, end in self.outages.get(what, ()))

    def hit(self, what: str, row: Row, before: float = 1.0, after: float = 1.0) -> bool:
        """`what` was away at some time of this connection."""
        return any(
            a - after <= row["ended"] and row["begun"] <= b + before
            for a, b in self.outages.get(what, ())
        )

    def excuses(self, row: Row, places: dict[str, str]) -> bool:
        """An end that is not clean, but not the fault of anybody but us. places: of addresses."""
        if row["end"].startswith("WRONG"):
            return False
        other = row["other"]
        mine = row["tag"].split("-")[0]
        away = [row.get("at", ""), row["to"], places.get(row["to"], ""), mine]
        if any(self.hit(what, row) for what in away if what):
            return True
        if other:
            return other in self.killed
        # Nobody said who it was: some process of that place was killed about then.
        place = places.get(row["to"], "")
        return any(
            tag.startswith(place) and row["begun"] - 5 <= at <= row["ended"] + 1
            for tag, at in self.killed.items()
        )


def pairs(
    rows: list[Row], trouble: Trouble, places: dict[str, str], tolerated: frozenset[str]
) -> tuple[list[str], dict[str, int]]:
    """Both ends of each connection against each other; what is wrong, and how many ended how."""
    wrong, tally = [], dict.fromkeys(("clean", "on purpose", "excused"), 0)
    served = {(r["id"], r["other"]): r for r in rows if r["what"] == "served" and r["id"]}
    for row in rows:
        if row["what"] not in ("client", "served"):
            continue
        on_purpose = row["mode"] in tolerated
        broken = row["end"] != "ok"
        if broken and not (on_purpose and row["end"].startswith(("errno", "short"))):
            if trouble.excuses(row, places):
                tally["excused"] += 1
            else:
                wrong.append(f"{row}")
            continue
        tally["on purpose" if on_purpose else "clean"] += 1
        if row["what"] != "client" or on_purpose:
            continue
        end = served.get((row["id"], row["tag"]))
        if end is None:
            if row["other"] not in trouble.killed and not trouble.excuses(row, places):
                wrong.append(f"no word of the server about {row}")
        elif end["end"] == "ok" and (end["sent"], end["got"]) != (row["got"], row["sent"]):
            wrong.append(f"{row} differs from {end}")
    return wrong, tally
