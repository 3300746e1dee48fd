# SPDX-License-Identifier: Apache-2.0
"""The Prometheus endpoint: CoreEngine on a fake card, scraped over HTTP and read by the client library."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from fake_card import FakeCard
from netkernel import abi
from netkernel.coreengine import CoreEngine, CoreEngineClient, TwinSlot
from netkernel.coreengine import schema as sc
from netkernel.coreengine.metrics import MetricsServer, metrics_address
from netkernel.errors import BadRequest, PortInUse
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(url: str) -> Samples:
    """Every sample by name and labels."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def url(card: FakeCard, rundir: Path) -> Iterator[str]:
    assert card.pf.connections == 0
    slot = TwinSlot(rundir, timeout=2)
    engine = CoreEngine(rundir, slot, log=lambda _: None, metrics=("127.0.0.1", 0))
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    with CoreEngineClient(rundir) as client:
        at = client.request(sc.StatusRequest())["metrics"]
        client.request(sc.VfCreate(config=sc.VfConfig(ip=IPv4Interface("10.1.0.2/24"))))
        client.request(sc.VfCreate(config=sc.VfConfig(ip=IPv4Interface("10.1.0.3/24"))))
    yield at
    engine.stop()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(OSError):
        scrape(at)


def test_scrape(card: FakeCard, url: str) -> None:
    vf1 = abi.PF.VF_STATS_BASE + abi.PF.VF_STATS_STRIDE
    card.pf_regs[vf1 + 8 * abi.VF_COUNTERS["tx_bytes"]] = 11
    card.pf_regs[vf1 + 8 * abi.VF_COUNTERS["tx_bytes"] + 4] = 1
    card.pf_regs[abi.PF.STATS + 8 * abi.COUNTERS["rx_frames"]] = 7
    card.pf_regs[abi.PF.NQE_STATS + 8 * abi.Op.SEND] = 9
    card.queue_sets[1, 1, abi.QS_COUNTERS["irqs"]] = 5
    found = scrape(url)
    assert found["netkernel_up", ()] == 1
    assert found["netkernel_rx_frames_total", ()] == 7
    assert found["netkernel_nqes_total", (("op", "SEND"),)] == 9
    assert found["netkernel_vf_tx_bytes_total", (("vf", "1"),)] == (1 << 32) + 11
    assert found["netkernel_vf_tx_bytes_total", (("vf", "0"),)] == 0
    irqs = "netkernel_queue_set_irqs_total"
    assert found[irqs, (("queue_set", "1"), ("vf", "1"))] == 5
    assert found[irqs, (("queue_set", "0"), ("vf", "1"))] == 0
    labels = (("ip", "10.1.0.3/24"), ("nsm", "default"), ("state", "free"), ("vf", "1"))
    assert found["netkernel_vf_info", labels] == 1
    names = {name for name, _ in found}
    for counter in abi.VF_COUNTERS:
        assert f"netkernel_vf_{counter}_total" in names
    for counter in abi.QS_COUNTERS:
        assert f"netkernel_queue_set_{counter}_total" in names
    for counter in abi.COUNTERS:
        assert f"netkernel_{counter}_total" in names
    card.pf_regs[abi.PF.STATS + 8 * abi.COUNTERS["rx_frames"]] = 8
    assert scrape(url)["netkernel_rx_frames_total", ()] == 8


def test_without_coreengine(rundir: Path) -> None:
    server = MetricsServer(rundir, "127.0.0.1", 0)
    assert scrape(server.url) == {("netkernel_up", ()): 0}
    server.close()


def test_port_in_use(rundir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port}"):
            MetricsServer(rundir, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_address(text: str, at: tuple[str, int]) -> None:
    assert metrics_address(text) == at


@pytest.mark.parametrize("text", ["", ":", "host", "host:65536", "1.2.3.4:-1", "1.2.3.4:http"])
def test_wrong_address(text: str) -> None:
    with pytest.raises(BadRequest, match="PORT"):
        metrics_address(text)
