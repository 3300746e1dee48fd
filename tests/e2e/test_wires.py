# SPDX-License-Identifier: Apache-2.0
"""Other wires and other ways to move a file than test_files.py: bursts, jitter, a slow wire, uploads, ranges."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rig import Rig
from transfer import fetch_in, fetch_out, sha256

PUT_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        open(sys.argv[2], "wb").write(data)
        self.send_response(201)
        self.end_headers()
http.server.HTTPServer((sys.argv[1], 8001), Handler).serve_forever()
"""
WIRES = {
    "bursts": {"burst_loss": 0.003, "delay_us": 300},
    "jitter": {"jitter_us": 2000, "delay_us": 500},
    "slow": {"rate_mbps": 20, "delay_us": 2000},
}


@pytest.mark.parametrize("wire", list(WIRES))
def test_wires(clean: Rig, seed: int, wire: str) -> None:
    clean.serve_nginx(clean.folder / "www", vf=1)
    clean.link(**WIRES[wire], seed=seed)
    try:
        assert fetch_in(clean, clean.folder / "www" / "medium", vf=0).equal
        assert fetch_out(clean, clean.folder / "www" / "medium", vf=1).equal
    finally:
        clean.link(burst_loss=0, jitter_us=0, delay_us=0, rate_mbps=0)


def test_link_changes_while_bytes_flow(clean: Rig, seed: int) -> None:
    """The wire turns bad and good again under a running transfer."""
    out = clean.folder / "changing"
    url = f"http://{clean.peer_ip}/file"
    argv = ["curl", "-sSf", "--limit-rate", "4M", "-o", str(out), url]
    curl = clean.spawn(clean.card_cmd(argv, vf=0), "changing.log")
    for loss in (0.05, 0.0, 0.02, 0.0):
        clean.link(loss=loss, seed=seed)
    assert curl.wait(120) == 0, (clean.folder / "changing.log").read_text()
    assert sha256(out) == sha256(clean.folder / "www" / "file")


def test_upload(clean: Rig) -> None:
    """A client on the card sends: PUT of a file to a server of Linux."""
    got = clean.folder / "put"
    argv = [sys.executable, "-c", PUT_SERVER, clean.peer_ip, str(got)]
    clean.spawn(clean.peer_cmd(argv), "put.log")
    clean.wait_listen(clean.peer_ip, 8001)
    file: Path = clean.folder / "www" / "file"
    clean.run(["curl", "-sSf", "-T", file, f"http://{clean.peer_ip}:8001/put"], vf=0)
    assert sha256(got) == sha256(file)


def test_ranges(clean: Rig) -> None:
    """Requests that end at every kind of place in the stream, over one connection each."""
    whole = (clean.folder / "www" / "medium").read_bytes()
    url = f"http://{clean.peer_ip}/medium"
    end = len(whole) - 1
    for first, last in ((0, 0), (5, 5000), (end - 9, end), (100_000, 300_000)):
        clean.run(["curl", "-sSf", "-r", f"{first}-{last}", "-o", "part", url], vf=0)
        assert (clean.folder / "part").read_bytes() == whole[first : last + 1]
