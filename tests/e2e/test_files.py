# SPDX-License-Identifier: Apache-2.0
"""Files over the card, in and out, on a good wire and on a hostile one: equal by SHA-256."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from rig import Rig
from transfer import fetch_in, fetch_out, sha256

HOSTILE = {"loss": 0.01, "reorder": 0.05, "duplicate": 0.01, "corrupt": 0.005}


@pytest.fixture(scope="module")
def web(rig: Rig) -> Rig:
    """nginx over VF 1 for the whole module."""
    rig.serve_nginx(rig.folder / "www", vf=1)
    return rig


def test_good_wire(web: Rig) -> None:
    file = web.folder / "www" / "file"
    before = web.counters()
    assert fetch_in(web, file, vf=0).equal
    assert fetch_out(web, file, vf=1).equal
    after = web.counters()
    assert after["rx_drop_tcp_csum"] == before["rx_drop_tcp_csum"]
    assert after["rx_segments"] - before["rx_segments"] > file.stat().st_size // 1460


@pytest.mark.parametrize("n", range(3))
def test_hostile_wire(web: Rig, seed: int, n: int) -> None:
    """Loss 1 %, reorder 5 %, duplicate 1 %, corrupt 0.5 %, each direction; three seeds.

    Inbound the file is smaller: the sender is Linux, which without SACK and timestamps of ours goes back to its
    timer again and again on such a wire.
    """
    file = web.folder / "www" / "file"
    before = web.counters()
    web.link(**HOSTILE, seed=seed + n)
    try:
        assert fetch_in(web, web.folder / "www" / "medium", vf=0).equal
        assert fetch_out(web, file, vf=1).equal
    finally:
        web.link(loss=0, reorder=0, duplicate=0, corrupt=0)
    after = web.counters()
    for name in ("tx_retransmits", "rx_out_of_order", "rx_duplicate", "rx_drop_tcp_csum"):
        assert after[name] > before[name], f"the link was kinder than asked: {name} did not move"


def test_many_connections_two_vfs(web: Rig) -> None:
    """64 transfers at a time through VF 0, and 16 from nginx on VF 1 meanwhile: all bytes equal."""
    small = web.folder / "www" / "small"
    want = sha256(small)
    urls = []
    for i in range(64):
        urls += ["-o", f"many-{i}", f"http://{web.peer_ip}/small"]
    fetch = ["curl", "-sSf", "--parallel", "--parallel-immediate", "--parallel-max", "64", *urls]
    peers = []
    for i in range(16):
        peers += ["-o", f"out-{i}", f"http://{web.vf_ip(1)}/small"]
    peer_fetch = [
        "curl",
        "-sSf",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        "16",
        *peers,
    ]
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(web.run, fetch, 0), pool.submit(web.peer, peer_fetch)]
        for job in jobs:
            job.result()
    names = [f"many-{i}" for i in range(64)] + [f"out-{i}" for i in range(16)]
    assert [n for n in names if sha256(web.folder / n) != want] == []
