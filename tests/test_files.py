# SPDX-License-Identifier: Apache-2.0
"""Files through the card in both directions, with and without a hostile wire: equal by SHA-256."""

from __future__ import annotations

import pytest
from lab import FAULTS, HOST_IP, Lab, vf_ip
from servers import http_server, nginx_argv, random_file, sha256

pytestmark = pytest.mark.e2e
MIB = 1 << 20


def test_curl_fetches_from_the_host(lab: Lab):
    digest = random_file(lab.work / "file", 8 * MIB)
    http_server(lab)
    lab.run(0, ["curl", "-sS", "-o", "got", f"http://{HOST_IP}:8000/file"], 120, check=True)
    assert sha256(lab.work / "got") == digest
    c = lab.counters()
    assert c["tx_retransmits"] == 0
    assert c["rx_drop_tcp_csum"] == 0


def test_curl_uploads_to_the_host(lab: Lab, programs):
    """The other direction of a client: PUT of a file to a server of Linux."""
    digest = random_file(lab.work / "file", 4 * MIB)
    script = (
        "import http.server,sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "  def do_PUT(self):\n"
        "    open('put','wb').write(self.rfile.read(int(self.headers['Content-Length'])))\n"
        "    self.send_response(201); self.end_headers()\n"
        "http.server.HTTPServer((sys.argv[1],8001),H).serve_forever()"
    )
    import sys

    server = lab.host([sys.executable, "-c", script, HOST_IP])
    lab.listening(server, 8001, lab.net)
    lab.run(0, ["curl", "-sS", "-T", "file", f"http://{HOST_IP}:8001/put"], 120, check=True)
    assert sha256(lab.work / "put") == digest


def test_nginx_on_the_card(lab: Lab):
    """nginx with its master and workers under GuestLib; Linux' curl fetches from it."""
    digest = random_file(lab.work / "file", 8 * MIB)
    server = lab.start(0, nginx_argv(lab.work / "ngx", lab.work, 80, workers=2))
    lab.reachable(0, 80, server)
    for i in range(3):
        lab.host_run(["curl", "-sS", "-o", f"got{i}", f"http://{vf_ip(0)}/file"], 120, check=True)
        assert sha256(lab.work / f"got{i}") == digest
    # Keep-alive: several requests over one connection, and errors too.
    done = lab.host_run(
        ["curl", "-sS", "-o", "a", "-o", "b", "-w", "%{http_code} %{num_connects} ",
         f"http://{vf_ip(0)}/file", f"http://{vf_ip(0)}/nothing"], 120, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["200", "1", "404", "0"]
    assert sha256(lab.work / "a") == digest


@pytest.mark.parametrize(
    "lab", [{"seed": s} for s in (1, 2, 3)], indirect=True, ids="seed{}".format
)
def test_faults_both_directions(lab: Lab):
    """Loss 1 %, reorder 5 %, duplicate 1 %, corrupt 0.5 %, both ways, several seeds."""
    digest = random_file(lab.work / "file", MIB, lab.seed)
    http_server(lab)
    server = lab.start(0, nginx_argv(lab.work / "ngx", lab.work, 80))
    lab.reachable(0, 80, server)
    lab.vf_create(1)
    lab.link(**FAULTS, delay_us=200)
    lab.run(1, ["curl", "-sS", "-o", "down", f"http://{HOST_IP}:8000/file"], 300, check=True)
    assert sha256(lab.work / "down") == digest
    lab.host_run(["curl", "-sS", "-o", "up", f"http://{vf_ip(0)}/file"], 300, check=True)
    assert sha256(lab.work / "up") == digest
    link = lab.nk_json("twin", "status")["link"]
    for way in ("rx", "tx"):
        counts = link[way]["counters"]
        for what in ("lost", "reordered", "duplicated", "corrupted"):
            assert counts[what] > 0, f"{way} {what}: the wire did no harm"
    c = lab.counters()
    assert c["rx_drop_tcp_csum"] + c["rx_drop_ip_header"] > 0
    assert c["tx_retransmits"] > 0
    assert c["rx_out_of_order"] > 0


def test_bursts_and_jitter(lab: Lab):
    digest = random_file(lab.work / "file", MIB)
    http_server(lab)
    lab.link(burst_loss=0.003, jitter_us=2000, delay_us=500)
    lab.run(0, ["curl", "-sS", "-o", "got", f"http://{HOST_IP}:8000/file"], 300, check=True)
    assert sha256(lab.work / "got") == digest


def test_resume_and_ranges(lab: Lab):
    """Many short requests with ranges, from a curl on the card to nginx of Linux."""
    random_file(lab.work / "file", MIB)
    server = lab.host(nginx_argv(lab.work / "ngx", lab.work, 8080))
    lab.listening(server, 8080, lab.net)
    whole = (lab.work / "file").read_bytes()
    url = f"http://{HOST_IP}:8080/file"
    for start, end in ((0, 0), (5, 5000), (MIB - 10, MIB - 1), (100_000, 300_000)):
        lab.run(0, ["curl", "-sS", "-r", f"{start}-{end}", "-o", "part", url], check=True)
        assert (lab.work / "part").read_bytes() == whole[start : end + 1]
