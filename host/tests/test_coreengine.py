# SPDX-License-Identifier: Apache-2.0
"""CoreEngine on a fake card: leases, the death of holders and of the card, and wrong requests."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from fake_card import FakeCard, Vf
from netkernel import abi
from netkernel.coreengine import CoreEngine, CoreEngineClient, TwinSlot
from netkernel.coreengine import schema as sc
from netkernel.coreengine.client import Lease
from netkernel.coreengine.layout import plan
from netkernel.errors import (
    AbiMismatch,
    AlreadyRunning,
    BadRequest,
    Busy,
    CoreEngineNotRunning,
    DeviceRefused,
    NkError,
    NothingFree,
    PortInUse,
    TwinGone,
    UnknownDevice,
)


class Running:
    """A CoreEngine in a thread; `error` is what ended it."""

    def __init__(self, rundir: Path) -> None:
        self.rundir = rundir
        self.log: list[str] = []
        self.error: NkError | None = None
        self.engine = CoreEngine(rundir, TwinSlot(rundir, timeout=2), log=self.log.append)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.engine.run()
        except NkError as error:
            self.error = error

    def client(self) -> CoreEngineClient:
        return CoreEngineClient(self.rundir, timeout=5)

    def ask(self, request: sc.Request) -> dict[str, object]:
        with self.client() as client:
            return client.request(request)

    def vf(self, n: int) -> dict[str, object]:
        rows = self.ask(sc.VfList())["vfs"]
        assert isinstance(rows, list)
        return next(row for row in rows if row["vf"] == n)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.engine.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def running(card: FakeCard, rundir: Path) -> Iterator[Running]:
    engine = Running(rundir)
    yield engine
    engine.stop()
    for vf in card.vfs:
        assert vf.dma == {} or engine.error is not None


def create(running: Running, text: str, **settings: object) -> dict[str, object]:
    config = sc.VfConfig(ip=IPv4Interface(text), **settings)  # type: ignore[arg-type]
    return running.ask(sc.VfCreate(config=config))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def close(lease: Lease) -> None:
    for fd in (lease.doorbell_fd, lease.region_fd, *lease.irq_fds):
        os.close(fd)


def resting(vf: Vf) -> bool:
    return not vf.enabled and vf.dma == {} and vf.irqs == [] and vf.qs_on == set()


# ---- VF table ----


def test_status_and_key(card: FakeCard, running: Running) -> None:
    status = running.ask(sc.StatusRequest())
    assert status["pid"] == os.getpid()
    assert status["card"]["vfs"] == 4  # type: ignore[index]
    key = [card.pf_regs[abi.PF.HASH_KEY + 4 * n] for n in range(4)]
    assert len(set(key)) == 4


def test_vf_create_programs_the_card(card: FakeCard, running: Running) -> None:
    made = create(running, "10.1.0.2/24", gateway="10.1.0.1", mtu=1400, mac="02-00-00-00-aa-BB")
    assert made["vf"] == 0
    assert made["max_sockets"] == 1024 // 4
    entry = card.vfs[0].entry
    assert card.vfs[0].on
    assert entry[abi.VFE.IPV4] == 0x0A010002
    assert entry[abi.VFE.NETMASK] == 0xFFFFFF00
    assert entry[abi.VFE.GATEWAY] == 0x0A010001
    assert (entry[abi.VFE.MAC_HI], entry[abi.VFE.MAC_LO]) == (0x0200, 0x0000AABB)
    assert entry[abi.VFE.MTU] == 1400
    second = create(running, "10.1.0.3/24")
    assert (second["vf"], second["socket_base"], second["mac"]) == (1, 256, "02:4e:4b:00:00:01")


def test_vf_set_and_delete(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24")
    create(running, "10.1.0.3/24")
    changed = running.ask(sc.VfSet(vf=0, config=sc.VfConfig(max_sockets=512)))
    assert (changed["socket_base"], changed["max_sockets"]) == (512, 512)
    assert changed["ip"] == "10.1.0.2/24"
    running.ask(sc.VfDelete(vf=1))
    assert not card.vfs[1].on
    changed = running.ask(sc.VfSet(vf=0, config=sc.VfConfig(max_sockets=64)))
    assert changed["socket_base"] == 0
    # a gap of exactly the wanted size is used
    assert create(running, "10.1.0.4/24", max_sockets=64)["socket_base"] == 64
    assert create(running, "10.1.0.5/24", max_sockets=64)["socket_base"] == 128
    running.ask(sc.VfDelete(vf=1))
    assert create(running, "10.1.0.4/24", max_sockets=64)["socket_base"] == 64
    running.ask(sc.VfDelete(vf=1))
    with pytest.raises(UnknownDevice, match="not configured"):
        running.ask(sc.VfDelete(vf=1))


@pytest.mark.parametrize(
    ("kind", "config", "text"),
    [
        (BadRequest, {}, "needs an IPv4 address"),
        (BadRequest, {"ip": "10.1.0.9/24", "gateway": "10.2.0.1"}, "not a neighbour"),
        (PortInUse, {"ip": "10.1.0.2/16"}, "address of VF 0"),
        (PortInUse, {"ip": "10.1.0.9/24", "mac": "02:4e:4b:00:00:00"}, "address of VF 0"),
        (NothingFree, {"ip": "10.1.0.9/24", "max_sockets": 1024}, "no range"),
    ],
)
def test_vf_create_refused(
    running: Running, kind: type[NkError], config: dict[str, object], text: str
) -> None:
    create(running, "10.1.0.2/24")
    request = sc.VfCreate.model_validate({"cmd": "vf_create", "config": config})
    with pytest.raises(kind, match=text):
        running.ask(request)


def test_vf_numbers(running: Running) -> None:
    for n in range(4):
        create(running, f"10.1.0.{n + 2}/24")
    with pytest.raises(NothingFree, match="all 4 VFs"):
        create(running, "10.1.0.9/24")
    with pytest.raises(UnknownDevice, match="VFs 0 to 3"):
        running.ask(sc.VfCreate(vf=4, config=sc.VfConfig()))
    with pytest.raises(Busy, match="configured already"):
        running.ask(sc.VfCreate(vf=0, config=sc.VfConfig()))


def test_nsm_parameters(card: FakeCard, running: Running) -> None:
    params = running.ask(sc.NsmParamsRequest())
    assert (params["rto_min_us"], params["retries_syn"], params["initial_cwnd"]) == (200000, 6, 10)
    new = sc.NsmParams(rto_min_us=5000, retries_syn=3)
    params = running.ask(sc.NsmParamsRequest(params=new))
    assert card.pf_regs[abi.PF.RETRIES] == 60 << 16 | 3 << 8 | 12
    assert params["rto_min_us"] == 5000
    with pytest.raises(BadRequest, match="must hold"):
        running.ask(sc.NsmParamsRequest(params=sc.NsmParams(rto_min_us=70_000_000)))


def test_stats(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24")
    card.pf_regs[abi.PF.STATS + 8 * abi.COUNTERS["rx_frames"]] = 7
    card.pf_regs[abi.PF.STATS + 8 * abi.COUNTERS["rx_frames"] + 4] = 1
    card.pf_regs[abi.PF.NQE_STATS + 8 * abi.Op.SEND] = 9
    card.pf_regs[abi.PF.VF_STATS_BASE + 8 * abi.VF_COUNTERS["tx_bytes"]] = 11
    stats = sc.StatsResult.model_validate(running.ask(sc.StatsRequest()))
    assert stats.counters["rx_frames"] == (1 << 32) + 7
    assert stats.nqes["SEND"] == 9
    assert stats.vfs[0]["tx_bytes"] == 11
    with pytest.raises(UnknownDevice):
        running.ask(sc.StatsRequest(vf=3))


# ---- shares, limits, networks ----

SHARES: dict[str, int | bool] = {
    "max_tx_rate": 10_000,
    "min_tx_rate": 500,
    "max_rx_rate": (1 << 20) - 1,
    "nqe_rate": (1 << 32) - 1,
    "weight": 255,
    "vm_share": True,
    "burst_tx": 128,
    "burst_rx": 65535,
    "max_listeners": 12,
    "max_neighbours": 34,
}
WORDS = {
    abi.VFE.MAX_TX_RATE: 10_000,
    abi.VFE.MIN_TX_RATE: 500,
    abi.VFE.MAX_RX_RATE: 0xFFFFF,
    abi.VFE.NQE_RATE: 0xFFFF_FFFF,
    abi.VFE.SHARE: 0x1FF,
    abi.VFE.BURST: 0xFFFF_0080,
    abi.VFE.LIMITS: 34 << 16 | 12,
}


def test_shares_of_a_new_vf(card: FakeCard, running: Running) -> None:
    plain = create(running, "10.1.0.2/24")
    assert plain["weight"] == 1
    assert (plain["burst_tx"], plain["max_listeners"], plain["nqe_rate"]) == (64, 0xFFFF, 0)
    made = create(running, "10.1.0.3/24", **SHARES)
    assert {name: made[name] for name in SHARES} == SHARES
    assert {reg: card.vfs[1].entry[reg] for reg in WORDS} == WORDS
    assert card.vfs[0].entry[abi.VFE.LIMITS] == 0xFFFF_FFFF


@pytest.mark.parametrize("name", SHARES)
def test_shares_of_a_vf_in_use(card: FakeCard, running: Running, name: str) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    with running.client() as client:
        lease = client.lease(sc.LeaseRequest())
        before = dict(card.vfs[0].entry)
        config = sc.VfConfig.model_validate({name: SHARES[name]})
        if name == "min_tx_rate":
            client.request(sc.VfSet(vf=0, config=sc.VfConfig(max_tx_rate=10_000)))
        changed = client.request(sc.VfSet(vf=0, config=config))
        assert (changed["state"], changed[name]) == ("leased", SHARES[name])
        assert card.vfs[0].enabled, "no restart"
        assert card.vfs[0].resets == 0
        others = set(before) - set(WORDS)
        assert {r: before[r] for r in others} == {r: card.vfs[0].entry[r] for r in others}
        with pytest.raises(Busy, match="leased"):
            client.request(sc.VfSet(vf=0, config=sc.VfConfig(vlan=5)))
        close(lease)


def test_shares_outlive_coreengine(card: FakeCard, running: Running, rundir: Path) -> None:
    """The card is the memory: another CoreEngine shows what the first one set."""
    create(running, "10.1.0.2/24", **SHARES, vlan=100, vlan_qos=5)
    running.stop()
    again = Running(rundir)
    row = again.vf(0)
    assert {name: row[name] for name in SHARES} == SHARES
    assert (row["vlan"], row["vlan_qos"], row["vxlan_vni"]) == (100, 5, 0)
    again.stop()


def test_networks(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", vlan=4094, vlan_qos=7)
    assert card.vfs[0].entry[abi.VFE.VLAN] == 1 << 16 | 7 << 12 | 4094
    assert card.vfs[0].entry[abi.VFE.VNI] == 0
    # The same address in another network is another station; in the same one it is not.
    create(running, "10.1.0.2/24", vxlan_vni=0xFFFFFF, vxlan_remote="192.0.2.1")
    assert card.vfs[1].entry[abi.VFE.VNI] == 1 << 31 | 0xFFFFFF
    assert card.vfs[1].entry[abi.VFE.VXLAN_REMOTE] == 0xC0000201
    create(running, "10.1.0.2/24")
    for network in ({}, {"vlan": 4094}, {"vxlan_vni": 0xFFFFFF}):
        with pytest.raises(PortInUse, match="address of VF"):
            create(running, "10.1.0.2/24", **network)
    with pytest.raises(PortInUse, match="address of VF 0"):
        running.ask(sc.VfSet(vf=2, config=sc.VfConfig(vlan=4094)))
    running.ask(sc.VfDelete(vf=2))
    changed = running.ask(sc.VfSet(vf=0, config=sc.VfConfig(vlan=0)))
    assert (changed["vlan"], changed["vlan_qos"]) == (0, 0)
    assert card.vfs[0].entry[abi.VFE.VLAN] == 0
    changed = running.ask(sc.VfSet(vf=1, config=sc.VfConfig(vxlan_vni=0, vlan=9)))
    assert (changed["vxlan_vni"], changed["vxlan_remote"], changed["vlan"]) == (0, "0.0.0.0", 9)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"min_tx_rate": 2, "max_tx_rate": 1}, "min_tx_rate 2 is greater than max_tx_rate 1"),
        ({"vlan": 3, "vxlan_vni": 4}, "not in both"),
        ({"vlan_qos": 3}, "vlan_qos needs a vlan"),
        ({"vxlan_remote": "192.0.2.1"}, "vxlan_remote needs a vxlan_vni"),
    ],
)
def test_settings_that_contradict(
    card: FakeCard, running: Running, config: dict[str, object], text: str
) -> None:
    create(running, "10.1.0.2/24")
    before = dict(card.vfs[0].entry)
    for request in (
        sc.VfSet(vf=0, config=sc.VfConfig.model_validate(config)),
        sc.VfCreate(vf=1, config=sc.VfConfig.model_validate({"ip": "10.1.0.3/24", **config})),
    ):
        with pytest.raises(BadRequest, match=text):
            running.ask(request)
    assert card.vfs[0].entry == before
    assert not card.vfs[1].on


def test_settings_that_the_card_refuses(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24")
    card.frozen = True
    with pytest.raises(DeviceRefused, match="refused these settings"):
        running.ask(sc.VfSet(vf=0, config=sc.VfConfig(weight=9)))
    assert running.vf(0)["weight"] == 1


def test_queue_set_counters(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24")
    card.queue_sets[0, 1, abi.QS_COUNTERS["sends"]] = (1 << 40) + 5
    card.queue_sets[0, 0, abi.QS_COUNTERS["irqs"]] = 7
    stats = sc.StatsResult.model_validate(running.ask(sc.StatsRequest(queue_sets=True)))
    assert set(stats.queue_sets) == {0}
    assert set(stats.queue_sets[0]) == {0, 1}
    assert stats.queue_sets[0][1]["sends"] == (1 << 40) + 5
    assert stats.queue_sets[0][0] == {name: 7 * (name == "irqs") for name in abi.QS_COUNTERS}
    assert sc.StatsResult.model_validate(running.ask(sc.StatsRequest())).queue_sets == {}


# ---- leases ----


def test_lease(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=32)
    with running.client() as client:
        lease = client.lease(sc.LeaseRequest(queue_sets=2, rx_log2=14, tx_log2=13))
        layout = lease.layout
        assert (layout.vf, layout.ip, layout.prefix, layout.max_sockets) == (0, "10.1.0.2", 24, 32)
        assert (layout.doorbell_offset, layout.doorbell_stride) == (0x10000, 4096)
        assert layout.heap.bytes == 32 * ((1 << 14) + (1 << 13))
        assert layout.heap.offset + layout.heap.bytes == layout.region_bytes
        assert os.fstat(lease.region_fd).st_size == layout.region_bytes
        vf = card.vfs[0]
        assert vf.enabled
        assert vf.qs_on == {0, 1}
        assert vf.dma == {0x1_0000_0000: (0, layout.region_bytes)}
        assert vf.regs[abi.VF.REGION_BASE_HI] == 1
        # The three shared things are the card's own: memory, doorbells, interrupts.
        with mmap.mmap(lease.region_fd, layout.region_bytes) as region:
            region[layout.heap.offset : layout.heap.offset + 4] = b"data"
        assert os.pread(card.memory[0], 4, layout.heap.offset) == b"data"
        os.eventfd_write(vf.irqs[1], 1)
        assert os.eventfd_read(lease.irq_fds[1]) == 1
        with pytest.raises(PermissionError):  # sealed: the card's memory cannot be taken away
            os.ftruncate(lease.region_fd, 0)
        assert running.vf(0)["state"] == "leased"
        assert running.vf(0)["holder_pid"] == os.getpid()
        with pytest.raises(BadRequest, match="holds VF 0 already"):
            client.request(sc.LeaseRequest())
        close(lease)
    eventually(lambda: running.vf(0)["state"] == "free")
    assert resting(vf)
    assert vf.resets >= 1


def test_release(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    with running.client() as client:
        for _ in range(3):
            close(client.lease(sc.LeaseRequest()))
            assert client.request(sc.ReleaseRequest()) == {"vf": 0}
            assert resting(card.vfs[0])
        with pytest.raises(BadRequest, match="holds no VF"):
            client.request(sc.ReleaseRequest())


def test_choice_of_vf(running: Running) -> None:
    with running.client() as client, pytest.raises(NothingFree, match="no VF is configured"):
        client.lease(sc.LeaseRequest())
    create(running, "10.1.0.2/24", max_sockets=4)
    create(running, "10.1.0.3/24", max_sockets=4)
    with running.client() as one, running.client() as two, running.client() as three:
        first, second = one.lease(sc.LeaseRequest()), two.lease(sc.LeaseRequest())
        assert (first.layout.vf, second.layout.vf) == (0, 1)
        with pytest.raises(NothingFree, match="in use"):
            three.lease(sc.LeaseRequest())
        with pytest.raises(Busy, match="VF 1 is leased"):
            three.lease(sc.LeaseRequest(vf=1))
        with pytest.raises(Busy, match=f"leased by process {os.getpid()}"):
            running.ask(sc.VfDelete(vf=0))
        close(first)
        close(second)


HOLDER = """
import sys
from pathlib import Path
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine.schema import LeaseRequest
client = CoreEngineClient(Path(sys.argv[1]))
lease = client.lease(LeaseRequest())
print(lease.layout.vf, flush=True)
sys.stdin.read()
"""


def test_killed_holder(card: FakeCard, running: Running, rundir: Path) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(rundir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        assert running.vf(0)["holder_pid"] == process.pid
        assert card.vfs[0].enabled
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: running.vf(0)["state"] == "free")
    assert resting(card.vfs[0])
    assert any("taken back" in line for line in running.log)


def test_other_requests_while_a_vf_drains(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    with running.client() as client:
        close(client.lease(sc.LeaseRequest()))
        card.reset_looks = 1 << 30
    eventually(lambda: running.vf(0)["state"] == "draining")
    assert card.vfs[0].dma  # memory stays while the card may use it
    with pytest.raises(Busy, match="draining"):
        running.ask(sc.VfSet(vf=0, config=sc.VfConfig(mtu=1400)))
    create(running, "10.1.0.3/24")
    card.vfs[0].resetting = card.reset_looks = 0
    eventually(lambda: running.vf(0)["state"] == "free")
    assert resting(card.vfs[0])


def test_sockets_left_after_reset(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    card.leak_sockets = 2
    with running.client() as client:
        close(client.lease(sc.LeaseRequest()))
        with pytest.raises(DeviceRefused, match=r"2 socket\(s\) are left"):
            client.request(sc.ReleaseRequest())
        with pytest.raises(Busy, match="failed"):
            client.lease(sc.LeaseRequest(vf=0))
        # A change of settings resets it by the PF and makes it usable again.
        card.leak_sockets = 0
        client.request(sc.VfSet(vf=0, config=sc.VfConfig()))
        close(client.lease(sc.LeaseRequest(vf=0)))


def test_lease_that_the_card_refuses(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    card.refuse_enable = True
    with running.client() as client:
        with pytest.raises(DeviceRefused, match="refused to enable VF 0"):
            client.lease(sc.LeaseRequest())
        assert resting(card.vfs[0])
        card.refuse_enable = False
        close(client.lease(sc.LeaseRequest()))
        client.request(sc.ReleaseRequest())
        with pytest.raises(BadRequest, match="2 queue set"):
            client.lease(sc.LeaseRequest(queue_sets=3))
        create(running, "10.1.0.4/24", max_sockets=512)
        with pytest.raises(BadRequest, match="MiB"):
            client.lease(sc.LeaseRequest(vf=1, rx_log2=24, tx_log2=24))


def test_no_descriptor_leaks(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)

    def once() -> None:
        with running.client() as client:
            close(client.lease(sc.LeaseRequest()))
        eventually(lambda: running.vf(0)["state"] == "free")

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        once()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert card.functions[0].connections == 11


# ---- protocol ----


def talk(rundir: Path, data: bytes) -> list[dict[str, object]]:
    """Everything that comes back for raw bytes, until the daemon is done with them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(rundir / "coreengine.sock"))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while part := sock.recv(1 << 16):
            answer += part
    return [json.loads(line) for line in answer.splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b'{"cmd":"fly"}',
        b'{"cmd":"lease","rx_log2":11}',
        b'{"cmd":"lease","tx_log2":25}',
        b'{"cmd":"lease","vf":-1}',
        b'{"cmd":"lease","surprise":1}',
        b'{"cmd":"vf_create","config":{"ip":"10.0.0.0/24"}}',
        b'{"cmd":"vf_create","config":{"ip":"224.0.0.1/24"}}',
        b'{"cmd":"vf_create","config":{"mac":"01:00:00:00:00:01"}}',
        b'{"cmd":"vf_create","config":{"mac":"02:00:00:00:00"}}',
        b'{"cmd":"nsm_params","params":{"rto_min_us":0}}',
        b'{"cmd":"nsm_create","name":"a b","settings":{}}',
        b'{"cmd":"nsm_create","name":"x","settings":{"cc":"vegas"}}',
        b'{"cmd":"nsm_create","name":"x","settings":{"params":{"beta":"much"}}}',
        b'{"cmd":"nsm_set","name":"default","settings":{"initial_cwnd":256}}',
        b'{"cmd":"nsm_set","name":"default","settings":{"speed":1}}',
        b"\xff\xfe",
    ],
)
def test_wrong_requests(running: Running, rundir: Path, line: bytes) -> None:
    answers = talk(rundir, line + b'\n{"cmd":"vf_list","id":7}\n')
    assert [a["ok"] for a in answers] == [False, True]
    assert answers[0]["error"]["code"] == "bad_request"  # type: ignore[index]
    assert answers[1]["id"] == 7
    assert running.error is None


def test_endless_line(running: Running) -> None:
    with running.client() as client:
        # More than a line may be; the request behind it brings the line's end.
        client.sock.sendall(b"[" * 70_000)
        with pytest.raises(BadRequest, match="longer than"):
            client.request(sc.StatusRequest())
    assert running.ask(sc.VfList()) == {"vfs": []}


def test_answers_that_nobody_reads(running: Running, rundir: Path) -> None:
    def flood(sock: socket.socket) -> None:
        for _ in range(2000):
            sock.sendall(b'{"cmd":"fly"}\n' * 100)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(rundir / "coreengine.sock"))
        sock.settimeout(20)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            flood(sock)
    assert running.ask(sc.VfList()) == {"vfs": []}


# ---- life and death ----


def test_second_instance(running: Running, rundir: Path) -> None:
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        CoreEngine(rundir, TwinSlot(rundir))
    assert running.ask(sc.VfList()) == {"vfs": []}


def test_shutdown_ends_leases(card: FakeCard, running: Running) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    holder = running.client()
    close(holder.lease(sc.LeaseRequest()))
    assert running.ask(sc.ShutdownRequest()) == {}
    running.thread.join(5)
    assert any(f"ends: process {os.getpid()} asked" in line for line in running.log)
    assert resting(card.vfs[0])
    with pytest.raises(CoreEngineNotRunning, match="your VF was taken back"):
        holder.request(sc.StatusRequest())
    holder.close()
    with pytest.raises(CoreEngineNotRunning, match="not running"):
        running.client()


def test_restart_finds_its_vfs(card: FakeCard, rundir: Path) -> None:
    first = Running(rundir)
    create(first, "10.1.0.2/24", max_sockets=4)
    create(first, "10.1.0.3/24", max_sockets=4)
    key = [card.pf_regs[abi.PF.HASH_KEY + 4 * n] for n in range(4)]
    first.stop()
    # As if it had been killed while VF 1 was lent.
    card.vfs[1].enabled = True
    card.vfs[1].sockets = 3
    second = Running(rundir)
    try:
        assert second.vf(0)["ip"] == "10.1.0.2/24"
        assert second.vf(1)["state"] == "free"
        assert card.vfs[1].resets == 1
        assert card.vfs[1].on
        assert not card.vfs[1].enabled
        assert [card.pf_regs[abi.PF.HASH_KEY + 4 * n] for n in range(4)] == key
    finally:
        second.stop()


def test_dead_twin(card: FakeCard, running: Running, rundir: Path) -> None:
    create(running, "10.1.0.2/24", max_sockets=4)
    idle, holder = running.client(), running.client()
    idle.request(sc.StatusRequest())
    close(holder.lease(sc.LeaseRequest()))
    card.stop()
    running.thread.join(5)
    assert not running.thread.is_alive()
    assert isinstance(running.error, TwinGone)
    assert running.error.exit_code == 7
    assert any("gone" in line for line in running.log)
    for client in (idle, holder):
        with pytest.raises(TwinGone):
            client.request(sc.StatusRequest())
        client.close()
    assert not (rundir / "coreengine.sock").exists()


def test_twin_with_another_abi(card: FakeCard, rundir: Path) -> None:
    card.version += 0x10000
    with pytest.raises(AbiMismatch):
        CoreEngine(rundir, TwinSlot(rundir))
    card.version -= 0x10000
    Running(rundir).stop()  # lock and socket were let go


def test_no_twin(rundir: Path) -> None:
    with pytest.raises(UnknownDevice, match="no device at"):
        CoreEngine(rundir, TwinSlot(rundir))


@pytest.mark.parametrize(("sockets", "sets"), [(1, 1), (128, 1), (1024, 1), (300, 8)])
def test_layout(sockets: int, sets: int) -> None:
    made = plan(sockets, sets, 12, 15)
    spans = []
    for queues in made.queue_sets:
        for queue in (queues.job, queues.completion, queues.send, queues.receive):
            assert abi.Lim.QUEUE_LOG2_MIN <= queue.log2 <= abi.Lim.QUEUE_LOG2_MAX
            spans.append((queue.offset, abi.NQE_SIZE << queue.log2))
        spans.append((queues.status, 4096))
        assert 1 << queues.completion.log2 >= (1 << queues.job.log2) + (1 << queues.send.log2)
    spans.append((made.heap.offset, made.heap.bytes))
    spans.sort()
    at = 0
    for offset, size in spans:
        assert offset % 4096 == 0
        assert offset >= at
        at = offset + size
    assert at == made.size
    assert made.heap.bytes == sockets * (4096 + 32768)


def test_settings_that_the_card_does_not_serve(card: FakeCard, rundir: Path) -> None:
    """A setting without effect is refused, by name; what is as it was is no setting."""
    card.pf_regs[abi.PF.FEATURES] = abi.PF.FEATURES_TX_RATES.put(1)
    running = Running(rundir)
    try:
        create(running, "10.1.0.2/24", weight=3, max_tx_rate=100, vlan=0)
        for name, value in {"max_rx_rate": 5, "nqe_rate": 5, "vm_share": True, "vlan": 5}.items():
            with pytest.raises(BadRequest, match=f"{name}: not served by this card"):
                running.ask(sc.VfSet(vf=0, config=sc.VfConfig.model_validate({name: value})))
    finally:
        running.stop()
