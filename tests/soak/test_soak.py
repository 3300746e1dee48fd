# SPDX-License-Identifier: Apache-2.0
"""The soak in its short form, and its book-keeping: the judge must see what does not add up."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from books import RX_ENDS, TX_KINDS, Snapshot, Trouble, audit, pairs
from netkernel import abi
from run import BROKEN_ON_PURPOSE, Soak, why_not

SHORT_S = 20


@pytest.mark.e2e
def test_soak(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Half a minute of everything: traffic of all kinds, a lost peer, killed programs, a tenant that dies."""
    reason = why_not()
    assert not reason, f"no end-to-end test can run here: {reason}"
    seed = int(os.environ.get("NK_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"NK_SEED={seed}")
    figures = Soak(tmp_path_factory.mktemp("soak"), SHORT_S, seed).run()
    print(figures)
    assert figures["connections"] > 100
    assert figures["clean"] > 100
    assert figures["on purpose"] > 0
    assert figures["retransmits"] > 0
    assert figures["processes killed"] > 0


def balanced() -> Snapshot:
    counters = dict.fromkeys(abi.COUNTERS, 0) | {
        "rx_frames": 100, "rx_segments": 90, "rx_arp": 10, "tx_frames": 50, "tx_segments": 49, "tx_arp_requests": 1,
        "flows_opened": 30, "flows_closed": 28, "hash_inserts": 20, "hash_deletes": 19, "nqe_fetched": 65,
        "tx_retransmits": 3, "irq_sent": 7, "tx_rst": 5,
    }  # fmt: skip
    vf = dict.fromkeys(abi.VF_COUNTERS, 0) | {
        "flows_opened": 30, "flows_closed": 28, "job_nqes": 40, "send_nqes": 25, "events": 70, "rx_segments": 80,
        "tx_segments": 45, "tx_retransmits": 3, "irqs": 7,
    }  # fmt: skip
    nqes = dict.fromkeys((op.name for op in abi.Op), 0) | {"SOCKET": 40, "SEND": 25, "DATA": 70}
    twin = {"protocol_errors": 0, "frames_rx": 100, "frames_tx": 50}
    return Snapshot(
        counters, nqes, {"0": vf}, {"0": 2}, {"flows_in_use": 2, "hash_in_use": 1}, twin
    )


def test_balanced_books() -> None:
    assert audit(balanced()) == []
    assert len(set(RX_ENDS) | set(TX_KINDS)) == len(RX_ENDS) + len(TX_KINDS) - 1  # an echo is both


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("counters", "flows_closed"),
        ("counters", "hash_deletes"),
        ("counters", "rx_arp"),
        ("counters", "tx_arp_requests"),
        ("counters", "events_lost"),
        ("counters", "nqe_fetched"),
        ("counters", "irq_sent"),
        ("counters", "tx_retransmits"),
        ("counters", "doorbell_errors"),
        ("nqes", "DATA"),
        ("sockets", "0"),
        ("card", "hash_in_use"),
        ("card", "flows_in_use"),
        ("twin", "protocol_errors"),
        ("twin", "frames_rx"),
    ],
)
def test_one_too_many_is_seen(where: str, name: str) -> None:
    shot = balanced()
    part = dict(getattr(shot, where))
    part[name] += 1
    assert audit(dataclasses.replace(shot, **{where: part}))


def end(what: str, **more: object) -> dict[str, object]:
    tag, other = ("v0-1.0.0", "p-1.0.0") if what == "client" else ("p-1.0.0", "v0-1.0.0")
    row = {
        "what": what,
        "tag": tag,
        "other": other,
        "mode": "duplex",
        "id": 7,
        "end": "ok",
        "sent": 5,
        "got": 9,
    }
    row |= {"to": "10.1.0.1" if what == "client" else "10.1.0.2", "begun": 100.0, "ended": 103.0}
    return row | more


PLACES = {"10.1.0.1": "p", "10.1.0.2": "v0"}


def judged(*rows: dict[str, object], trouble: Trouble | None = None) -> list[str]:
    return pairs(list(rows), trouble or Trouble(), PLACES, BROKEN_ON_PURPOSE)[0]


def test_two_ends_that_agree() -> None:
    assert judged(end("client"), end("served", sent=9, got=5)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"got": 4, "sent": 9},
        {"end": "errno 104 Connection reset by peer"},
        {"end": "stall TimeoutError"},
        {"id": 8},
    ],
)
def test_two_ends_that_differ(change: dict[str, object]) -> None:
    assert judged(end("client"), end("served", **({"sent": 9, "got": 5} | change)))


def test_excuses() -> None:
    """A broken end is excused by the death of the process at the other one, or of its place; wrong bytes never."""
    broken = end("client", end="errno 104 Connection reset by peer")
    assert judged(broken)
    assert judged(broken, trouble=Trouble(killed={"p-1.1.0": 102.0}))
    assert not judged(broken, trouble=Trouble(killed={"p-1.0.0": 102.0}))
    assert not judged(broken, trouble=Trouble(outages={"v0": [(101.0, 110.0)]}))
    assert judged(broken, trouble=Trouble(outages={"v0": [(90.0, 95.0)]}))
    assert judged(end("client", end="WRONG bytes"), trouble=Trouble(killed={"p-1.0.0": 102.0}))
    stranger = end("client", other="", end="errno 111 Connection refused")
    assert not judged(stranger, trouble=Trouble(killed={"p-1.2.0": 99.0}))
    assert judged(stranger, trouble=Trouble(killed={"v1-1.2.0": 99.0}))
