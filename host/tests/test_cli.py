# SPDX-License-Identifier: Apache-2.0
"""nk-hw in this process: output, JSON, sentences, exit codes; CoreEngine on a fake card."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_card import FakeCard
from netkernel import abi, errors
from netkernel import rundir as places
from netkernel.cli.run import layout_text
from netkernel.coreengine import CoreEngine, CoreEngineClient, TwinSlot
from netkernel.coreengine import schema as sc

HOST = Path(__file__).parents[1]
NSM = abi.VFE.NSM
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def engine(card: FakeCard, rundir: Path) -> Iterator[CoreEngine]:
    made = CoreEngine(rundir, TwinSlot(rundir, timeout=2), log=lambda _: None)
    assert card.pf.connections == 1
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    if thread.is_alive():
        made.stop()
    thread.join(10)
    assert not thread.is_alive()


COMMANDS = [
    ["list"],
    ["info"],
    ["nsm", "list"],
    ["nsm", "show"],
    ["nsm", "create"],
    ["nsm", "set"],
    ["nsm", "delete"],
    ["nsm", "assign"],
    ["nsm", "params"],
    ["stats"],
    ["top"],
    ["run"],
    ["exit-codes"],
    ["vf", "list"],
    ["vf", "create"],
    ["vf", "set"],
    ["vf", "show"],
    ["vf", "delete"],
    ["twin", "start"],
    ["twin", "stop"],
    ["twin", "status"],
    ["twin", "link"],
    ["coreengine", "start"],
    ["coreengine", "stop"],
    ["coreengine", "status"],
    ["trace", "pcap"],
    ["trace", "nqe"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(nk_hw: Run, command: list[str]) -> None:
    code, out, _ = nk_hw(*command, "--help")
    assert code == 0
    assert f"Example: nk-hw {' '.join(command)}" in out
    assert "--json" in out or command == ["run"]


def test_exit_codes_are_one_table(nk_hw: Run) -> None:
    code, out, _ = nk_hw("exit-codes", "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown == {str(code): text for code, text in errors.EXIT_CODES.items()}
    codes = [kind.exit_code for kind in errors.KINDS]
    assert len(set(codes)) == len(codes)
    assert set(errors.NkError.__subclasses__()) == set(errors.KINDS)
    for kind in errors.KINDS:  # the drawn tree names each with its code
        assert f"{kind.__name__:<20} {kind.exit_code:>2}" in (errors.__doc__ or "").replace(
            "├── ", ""
        ).replace("└── ", "")
        assert type(errors.from_dict(kind("text", "hint").as_dict())) is kind
    assert type(errors.from_dict({"code": "from the future"})) is errors.NkError


@pytest.mark.usefixtures("engine")
def test_vf_commands(nk_hw: Run, card: FakeCard) -> None:
    assert "no VF is configured" in nk_hw("vf", "list")[1]
    code, out, _ = nk_hw("vf", "create", "10.1.0.2/24", "--max-sockets", "16", "--json")
    assert (code, json.loads(out)["ip"]) == (0, "10.1.0.2/24")
    assert card.vfs[0].on
    code, out, _ = nk_hw("vf", "set", "0", "--mtu", "1400")
    assert code == 0
    assert "1400" in out
    code, out, _ = nk_hw("vf", "list")
    assert "10.1.0.2/24" in out
    assert json.loads(nk_hw("vf", "list", "--json")[1])["vfs"][0]["mtu"] == 1400
    assert nk_hw("vf", "delete", "0")[0] == 0
    assert not card.vfs[0].on


@pytest.mark.usefixtures("engine")
def test_vf_shares(nk_hw: Run, card: FakeCard) -> None:
    options = ["--max-tx-rate", "1000", "--min-tx-rate", "100", "--max-rx-rate", "2000"]
    options += ["--nqe-rate", "50000", "--weight", "4", "--vm-share", "--burst-tx", "32"]
    options += ["--burst-rx", "16", "--max-listeners", "8", "--max-neighbours", "9"]
    code, _, err = nk_hw("vf", "create", "10.1.0.2/24", *options, "--vlan", "7", "--vlan-qos", "3")
    assert code == 0, err
    entry = card.vfs[0].entry
    assert (entry[abi.VFE.MAX_TX_RATE], entry[abi.VFE.MIN_TX_RATE]) == (1000, 100)
    assert (entry[abi.VFE.MAX_RX_RATE], entry[abi.VFE.NQE_RATE]) == (2000, 50000)
    assert (entry[abi.VFE.SHARE], entry[abi.VFE.BURST]) == (0x104, 16 << 16 | 32)
    assert (entry[abi.VFE.LIMITS], entry[abi.VFE.VLAN]) == (9 << 16 | 8, 0x13007)
    lines = [line.split() for line in nk_hw("vf", "show", "0")[1].splitlines()]
    for line in (["max_tx_rate", "1000"], ["weight", "4"], ["vlan", "7"], ["vm_share", "True"]):
        assert line in lines
    assert json.loads(nk_hw("vf", "show", "0", "--json")[1])["nqe_rate"] == 50000
    out = nk_hw("vf", "list")[1]
    assert "100..1000" in out and "vlan 7" in out
    assert nk_hw("vf", "set", "0", "--max-tx-rate", "0", "--no-vm-share")[0] == 0
    assert (entry[abi.VFE.MAX_TX_RATE], entry[abi.VFE.SHARE]) == (0, 4)
    assert nk_hw("vf", "set", "0", "--vlan", "0", "--vlan-qos", "0", "--vxlan-vni", "77",
                 "--vxlan-remote", "192.0.2.9")[0] == 0  # fmt: skip
    assert (entry[abi.VFE.VLAN], entry[abi.VFE.VNI]) == (0, 1 << 31 | 77)
    assert "vni 77" in nk_hw("vf", "list")[1]


@pytest.mark.usefixtures("engine")
def test_stats_rates_and_queue_sets(nk_hw: Run, card: FakeCard) -> None:
    nk_hw("vf", "create", "10.1.0.2/24")
    card.queue_sets[0, 1, abi.QS_COUNTERS["sends"]] = 77
    assert "qs1" not in nk_hw("stats")[1]
    assert ["vf0.qs1.sends", "77"] in [x.split() for x in nk_hw("stats", "-q")[1].splitlines()]
    document = json.loads(nk_hw("stats", "--vf", "0", "-q", "--json")[1])
    assert document["queue_sets"]["0"]["1"]["sends"] == 77
    assert "rates" not in document
    at = abi.PF.VF_STATS_BASE + 8 * abi.VF_COUNTERS["tx_bytes"]
    step = count_up(card, at, 1000)
    document = json.loads(nk_hw("stats", "--interval", "0.2", "--json")[1])
    assert document["seconds"] >= 0.2
    assert document["rates"]["vf0.rx_bytes"] == 0
    reads = document["rates"]["vf0.tx_bytes"] * document["seconds"] / step
    assert abs(reads - 1) < 0.01, "one step between two looks"
    assert "PER SECOND" in nk_hw("stats", "--interval", "0.05")[1]


def count_up(card: FakeCard, at: int, step: int) -> int:
    """A counter that goes on with every look at it."""
    real = card.pf_regs

    class Counting(dict[int, int]):
        def get(self, key: int, default: int = 0) -> int:  # type: ignore[override]
            if key == at:
                self[at] = super().get(at, 0) + step
            return super().get(key, default)

    card.pf_regs = Counting(real)
    return step


@pytest.mark.usefixtures("engine")
def test_top(nk_hw: Run, card: FakeCard) -> None:
    for n in range(3):
        nk_hw("vf", "create", f"10.1.0.{n + 2}/24")
    vf1 = abi.PF.VF_STATS_BASE + abi.PF.VF_STATS_STRIDE
    count_up(card, vf1 + 8 * abi.VF_COUNTERS["tx_bytes"], 1_000_000)
    code, out, _ = nk_hw("top", "--once", "--interval", "0.1")
    assert code == 0
    head, columns, *rows = out.splitlines()
    assert "0 of 3 VFs lent" in head
    assert "TX_MBPS*" in columns
    assert [row.split()[0] for row in rows] == ["1", "0", "2"]
    document = json.loads(nk_hw("top", "--once", "--interval", "0.1", "--json")[1])
    first = document["vfs"][0]
    assert first["vf"] == 1
    assert first["tx_mbps"] == pytest.approx(8 / document["seconds"])
    assert all(row["rx_mbps"] == 0 for row in document["vfs"])
    by_vf = json.loads(nk_hw("top", "--once", "--interval", "0.1", "--sort", "VF", "--json")[1])
    assert [row["vf"] for row in by_vf["vfs"]] == [0, 1, 2]


@pytest.mark.usefixtures("engine")
def test_nsm_commands(nk_hw: Run, card: FakeCard) -> None:
    assert "default" in nk_hw("nsm", "list")[1]
    code, out, _ = nk_hw("nsm", "create", "dc", "--cc", "dctcp", "--param", "g_log2=5", "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["slot"], made["cc"], made["ecn"], made["sack"]) == (1, "dctcp", True, True)
    assert made["params"] == {"beta": 128, "g_log2": 5}
    code, out, _ = nk_hw("nsm", "set", "dc", "--no-timestamps", "--initial-cwnd", "20")
    assert code == 0
    assert ["timestamps", "off"] in [line.split() for line in out.splitlines()]
    assert "2^-this" in nk_hw("nsm", "show", "dc")[1]
    assert json.loads(nk_hw("nsm", "show", "dc", "--json")[1])["initial_cwnd"] == 20
    nk_hw("vf", "create", "10.1.0.2/24", "--nsm", "dc")
    nk_hw("vf", "create", "10.1.0.3/24")
    assert [vf.entry.get(NSM, 0) for vf in card.vfs[:2]] == [1, 0]
    assert json.loads(nk_hw("nsm", "assign", "dc", "1", "--json")[1])["vfs"][0]["nsm"] == "dc"
    assert nk_hw("nsm", "assign", "default", "0")[0] == 0
    assert [vf.entry[NSM] for vf in card.vfs[:2]] == [0, 1]
    assert "default:0 dc:1" in nk_hw("list")[1]
    assert "dctcp sack ecn window_scale tlp; VF 1" in nk_hw("info")[1]
    assert ["vf1.nsm", "dc"] in [line.split() for line in nk_hw("stats")[1].splitlines()]
    rows = json.loads(nk_hw("nsm", "list", "--json")[1])["profiles"]
    assert [(row["name"], row["vfs"]) for row in rows] == [("default", [0]), ("dc", [1])]
    code, _, err = nk_hw("nsm", "delete", "dc")
    assert code == errors.Busy.exit_code
    assert "that of VF 1" in err
    assert nk_hw("vf", "set", "1", "--nsm", "default")[0] == 0
    assert nk_hw("nsm", "delete", "dc")[0] == 0
    assert "dc" not in nk_hw("nsm", "list")[1]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("args", "kind", "text"),
    [
        (["vf", "delete", "3"], errors.UnknownDevice, "VF 3 is not configured"),
        (["vf", "create", "10.1.0.2/24"], errors.PortInUse, "address of VF 0"),
        (["vf", "create", "10.1.0.0/24"], errors.BadRequest, "not a host"),
        (["vf", "create", "ten"], errors.BadRequest, "ip: "),
        (["vf", "create", "10.1.0.9/24", "--mtu", "9000"], errors.BadRequest, "mtu: "),
        (["nsm", "params", "speed=1"], errors.BadRequest, "speed"),
        (["nsm", "params", "rto_min_us"], errors.BadRequest, "not NAME=VALUE"),
        (["nsm", "create", "x", "--cc", "bbr"], errors.BadRequest, "has reno, cubic, dctcp"),
        (["nsm", "create", "9x"], errors.BadRequest, "no name for a profile"),
        (["nsm", "create", "default"], errors.PortInUse, "already"),
        (["nsm", "create", "x", "--initial-cwnd", "256"], errors.BadRequest, "initial_cwnd: "),
        (["nsm", "create", "x", "--param", "beta"], errors.BadRequest, "not NAME=NUMBER"),
        (["nsm", "create", "x", "--param", "beta=x"], errors.BadRequest, "not NAME=NUMBER"),
        (["nsm", "create", "x", "--param", "g_log2=3"], errors.BadRequest, "cubic has no"),
        (["nsm", "create", "x", "--param", "c=256"], errors.BadRequest, "c of cubic is 1 to 255"),
        (["nsm", "create", "x", "--cc", "dctcp", "--no-ecn"], errors.BadRequest, "without ECN"),
        (["nsm", "set", "x", "--no-sack"], errors.UnknownDevice, "no profile 'x'"),
        (["nsm", "show", "x"], errors.UnknownDevice, "no profile 'x'"),
        (["nsm", "delete", "x"], errors.UnknownDevice, "no profile 'x'"),
        (["nsm", "delete", "default"], errors.BadRequest, "cannot be deleted"),
        (["nsm", "assign", "x", "0"], errors.UnknownDevice, "no profile 'x'"),
        (["nsm", "assign", "default", "3"], errors.UnknownDevice, "VF 3 is not configured"),
        (["vf", "set", "0", "--nsm", "x"], errors.UnknownDevice, "no profile 'x'"),
        (["vf", "create", "10.1.0.9/24", "--nsm", "?"], errors.BadRequest, "nsm: "),
        (["info", "card7"], errors.UnknownDevice, "card7"),
        (["stats", "--interval", "0"], errors.BadRequest, "--interval"),
        (["top", "--interval", "-1"], errors.BadRequest, "--interval"),
        (["top", "--sort", "size"], errors.BadRequest, "no column 'size'"),
        (["vf", "show", "3"], errors.UnknownDevice, "VF 3 is not configured"),
        (["vf", "set", "0", "--max-tx-rate", "1048576"], errors.BadRequest, "max_tx_rate: "),
        (["vf", "set", "0", "--max-rx-rate", "-1"], errors.BadRequest, "max_rx_rate: "),
        (["vf", "set", "0", "--nqe-rate", "4294967296"], errors.BadRequest, "nqe_rate: "),
        (["vf", "set", "0", "--weight", "0"], errors.BadRequest, "weight: "),
        (["vf", "set", "0", "--weight", "256"], errors.BadRequest, "weight: "),
        (["vf", "set", "0", "--burst-tx", "1"], errors.BadRequest, "burst_tx: "),
        (["vf", "set", "0", "--burst-rx", "65536"], errors.BadRequest, "burst_rx: "),
        (["vf", "set", "0", "--max-listeners", "65536"], errors.BadRequest, "max_listeners: "),
        (["vf", "set", "0", "--max-neighbours", "0"], errors.BadRequest, "max_neighbours: "),
        (["vf", "set", "0", "--vlan", "4095"], errors.BadRequest, "vlan: "),
        (["vf", "set", "0", "--vlan-qos", "8"], errors.BadRequest, "vlan_qos: "),
        (["vf", "set", "0", "--vlan-qos", "1"], errors.BadRequest, "needs a vlan"),
        (["vf", "set", "0", "--vxlan-vni", "16777216"], errors.BadRequest, "vxlan_vni: "),
        (["vf", "set", "0", "--vxlan-remote", "224.0.0.1"], errors.BadRequest, "of a VTEP"),
        (
            ["vf", "set", "0", "--min-tx-rate", "5", "--max-tx-rate", "4"],
            errors.BadRequest,
            "great",
        ),
        (["coreengine", "start", "--metrics", "x"], errors.BadRequest, "[HOST:]PORT"),
        (["twin", "status"], errors.UnknownDevice, "no twin runs"),
        (["trace", "pcap"], errors.BadRequest, "--stop"),
        (["twin", "link", "--dir", "up"], errors.BadRequest, "rx, tx or both"),
        (["coreengine", "start"], errors.AlreadyRunning, "runs already"),
    ],
)
def test_sentences(nk_hw: Run, args: list[str], kind: type[errors.NkError], text: str) -> None:
    nk_hw("vf", "create", "10.1.0.2/24")
    code, out, err = nk_hw(*args)
    assert code == kind.exit_code
    assert out == ""
    assert err.startswith("error: ")
    assert text in err
    code, out, err = nk_hw(*args, "--json")
    assert (code, err) == (kind.exit_code, "")
    assert json.loads(out)["error"]["code"] == kind.code


def test_wrong_use_of_the_command_line(nk_hw: Run) -> None:
    assert nk_hw("vf", "delete", "one")[0] == 2
    assert nk_hw("fly")[0] == 2


@pytest.mark.parametrize(
    "args",
    [
        ["vf", "list"],
        ["stats"],
        ["top", "--once"],
        ["nsm", "list"],
        ["coreengine", "stop"],
        ["run", "--", "true"],
    ],
)
def test_without_coreengine(nk_hw: Run, args: list[str]) -> None:
    code, _, err = nk_hw(*args)
    assert code == errors.CoreEngineNotRunning.exit_code
    assert err.splitlines()[1] == "Start it: `nk-hw coreengine start`"


def test_options_of_the_program_are_not_ours(nk_hw: Run) -> None:
    code, out, err = nk_hw("run", "--", "curl", "--json")
    assert code == errors.CoreEngineNotRunning.exit_code
    assert out == ""
    assert err.startswith("error: ")


def test_list_and_info(nk_hw: Run, card: FakeCard) -> None:
    # without CoreEngine: straight from the card
    rows = json.loads(nk_hw("list", "--json")[1])["devices"]
    assert [(r["device"], r["coreengine"], r["card"]["vfs"]) for r in rows] == [
        ("twin", "not running", 4)
    ]
    code, out, _ = nk_hw("info")
    assert "rto_min_us" in out
    assert "nsm.default" in out and "reno" in out  # the card's own, nobody has set it up
    card.version += 0x10000
    code, _, err = nk_hw("info")
    assert code == errors.AbiMismatch.exit_code
    assert f"ABI 1.{abi.ABI_MINOR}" in err
    card.version -= 0x10000


def test_list_without_a_device(nk_hw: Run) -> None:
    code, out, _ = nk_hw("list")
    assert code == 0
    assert "nk-hw twin start" in out
    assert json.loads(nk_hw("list", "--json")[1]) == {"devices": []}


@pytest.mark.usefixtures("engine")
def test_info_and_stats_through_coreengine(nk_hw: Run, card: FakeCard) -> None:
    assert json.loads(nk_hw("list", "--json")[1])["devices"][0]["coreengine"] == "running"
    assert nk_hw("nsm", "params", "initial_cwnd=4", "rto_min_us=9000")[0] == 0
    assert json.loads(nk_hw("info", "--json")[1])["params"]["initial_cwnd"] == 4
    card.pf_regs[0x1000] = 12345
    assert "12345" in nk_hw("stats")[1]
    assert "rx_bytes" not in nk_hw("stats")[1]
    assert "rx_bytes" in nk_hw("stats", "--all")[1]
    assert json.loads(nk_hw("stats", "--json")[1])["counters"]["rx_frames"] == 12345
    assert json.loads(nk_hw("coreengine", "status", "--json")[1])["card"]["flows"] == 1024


GUESTD = """#!{python}
import json, os, sys
options, at = {{}}, 1
while sys.argv[at] != "--":
    options.setdefault(sys.argv[at], []).append(int(sys.argv[at + 1]))
    at += 2
text = os.read(options["--layout-fd"][0], 8192).decode()
layout = dict(line.split("=") for line in text.splitlines())
print(json.dumps({{
    "layout": layout,
    "options": options,
    "program": sys.argv[at + 1:],
    "region": os.fstat(options["--region-fd"][0]).st_size,
    "bar": os.fstat(options["--bar-fd"][0]).st_size,
    "blocking": os.get_blocking(options["--lease-fd"][0]),
}}))
sys.exit(42)
"""


@pytest.mark.usefixtures("engine")
def test_run_hands_over_to_guestd(rundir: Path) -> None:
    guestd = rundir / "nk-guestd"
    guestd.write_text(GUESTD.format(python=sys.executable))
    guestd.chmod(guestd.stat().st_mode | stat.S_IXUSR)
    with CoreEngineClient(rundir) as client:
        config = sc.VfConfig.model_validate({"ip": "10.1.0.2/24", "max_sockets": 8})
        client.request(sc.VfCreate(config=config))
    argv = [sys.executable, "-m", "netkernel.cli", "--rundir", str(rundir), "run"]
    argv += ["--rx-log2", "13", "--", "curl", "--json", "-o", "x"]
    done = subprocess.run(
        argv,
        env={**os.environ, "NK_GUESTD": str(guestd), "PYTHONPATH": str(HOST)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 42, done.stderr
    said = json.loads(done.stdout)
    assert said["program"] == ["curl", "--json", "-o", "x"]
    assert said["blocking"]
    layout = said["layout"]
    assert (layout["vf"], layout["ip"], layout["prefix"], layout["nqs"]) == (
        "0",
        "10.1.0.2",
        "24",
        "1",
    )
    assert int(layout["region_bytes"]) == said["region"]
    assert said["bar"] == 0x20000
    assert layout["rx_log2"] == "13"
    assert layout["cc"] == str(abi.CongestionControl.CUBIC)
    assert len(said["options"]["--irq-fd"]) == 1


def test_layout_text_has_every_key() -> None:
    ring = sc.Ring(offset=4096, log2=10)
    queues = sc.QueueSetLayout(job=ring, completion=ring, send=ring, receive=ring, status=0)
    layout = sc.Layout(
        vf=1,
        ip="10.0.0.1",
        prefix=24,
        gateway="0.0.0.0",
        mtu=1500,
        max_sockets=4,
        queue_sets=[queues, queues],
        doorbell_offset=0x10000,
        doorbell_stride=4096,
        region_bytes=1 << 20,
        heap=sc.Extent(offset=8192, bytes=4096),
        rx_log2=12,
        tx_log2=12,
        cc=1,
    )
    keys = [line.split("=")[0] for line in layout_text(layout).splitlines()]
    assert len(keys) == len(set(keys)) == 15 + 2 * 9
    assert {"qs1_receive_log2", "qs1_status_offset", "db_stride", "heap_bytes"} <= set(keys)


@pytest.mark.usefixtures("card")
def test_coreengine_start_and_stop(nk_hw: Run, rundir: Path) -> None:
    code, out, err = nk_hw("coreengine", "start", "--json")
    assert code == 0, err
    pid = json.loads(out)["pid"]
    assert json.loads(nk_hw("coreengine", "status", "--json")[1])["pid"] == pid
    assert nk_hw("coreengine", "stop")[0] == 0
    assert not (rundir / places.COREENGINE_SOCK).exists()
    os.waitpid(pid, 0)


def test_coreengine_start_without_a_twin(nk_hw: Run) -> None:
    code, _, err = nk_hw("coreengine", "start")
    assert code == errors.UnknownDevice.exit_code
    assert "no device at" in err
    assert "nk-hw twin start" in err


def test_coreengine_dies_with_its_twin(nk_hw: Run, card: FakeCard) -> None:
    pid = json.loads(nk_hw("coreengine", "start", "--json")[1])["pid"]
    card.stop()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == errors.TwinGone.exit_code
    assert nk_hw("vf", "list")[0] == errors.CoreEngineNotRunning.exit_code


def test_rundir_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NK_RUNDIR", "/somewhere")
    assert places.default_rundir() == Path("/somewhere")
    monkeypatch.delenv("NK_RUNDIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.default_rundir() == Path("/run/netkernel")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert places.default_rundir() == Path("/run/user/1000/netkernel")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert places.default_rundir() == Path("/tmp/netkernel-1000")
    with pytest.raises(errors.BadRequest, match="too long"):
        places.prepare(Path("/tmp/" + "x" * 120))
    (tmp_path / "file").touch()
    with pytest.raises(errors.BadRequest, match="not a folder"):
        places.prepare(tmp_path / "file")
