# SPDX-License-Identifier: Apache-2.0
"""NSM profiles: their registers, their names over restarts, and slots that connections still hold."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_card import FakeCard
from netkernel import abi
from netkernel.coreengine import CoreEngine, CoreEngineClient, TwinSlot
from netkernel.coreengine import schema as sc
from netkernel.coreengine.profiles import FREE, PARAMETERS, Profile
from netkernel.errors import BadRequest, Busy, DeviceRefused, NothingFree, PortInUse, UnknownDevice

ROOT = Path(__file__).resolve().parents[2]
RESET = (0x1B00, 0, 0)


class Engine:
    """CoreEngine served in this thread: one request a call."""

    def __init__(self, rundir: Path) -> None:
        self.log: list[str] = []
        self.rundir = rundir
        self.engine = CoreEngine(rundir, TwinSlot(rundir, timeout=2), log=self.log.append)

    def close(self) -> None:
        self.engine.close()

    def ask(self, cmd: str, **fields: object) -> dict[str, object]:
        request = sc.REQUEST.validate_python({"cmd": cmd, **fields})
        box: list[object] = []

        def call() -> None:
            with CoreEngineClient(self.rundir, timeout=5) as client:
                try:
                    box.append(client.request(request))
                except Exception as error:
                    box.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive():
            self.engine.step(0.01)
        if isinstance(box[0], Exception):
            raise box[0]
        assert isinstance(box[0], dict)
        return box[0]

    def create(self, name: str, **settings: object) -> dict[str, object]:
        return self.ask("nsm_create", name=name, settings=settings)

    def profiles(self) -> dict[str, dict[str, object]]:
        rows = self.ask("nsm_list")["profiles"]
        assert isinstance(rows, list)
        return {row["name"]: row for row in rows}


@pytest.fixture
def engine(card: FakeCard, rundir: Path) -> Iterator[Engine]:
    assert card.pf.connections == 0
    made = Engine(rundir)
    yield made
    made.close()


def slot(card: FakeCard, n: int) -> tuple[int, ...]:
    """The registers of a slot, as the card shows them."""
    base = 0x2000 + 16 * n
    return tuple(card.read(0, base + ofs) for ofs in (0, 4, 8))


# ---- values ----


def test_registers() -> None:
    """By hand, from hw/abi/nk_regs.rdl and docs/congestion-control.md."""
    assert FREE == RESET
    assert Profile().words() == (0x1B01, 0, 0)  # CUBIC, SACK, timestamps, window scale, TLP; no ECN
    every = sc.NsmSettings.model_validate(
        {"cc": "DCTCP", "sack": False, "timestamps": False, "window_scale": False, "tlp": False,
         "initial_cwnd": 32, "params": {"beta": 200, "g_log2": 6}}
    )  # fmt: skip
    assert Profile().changed(every).words() == (0x20_0402, 0x6C8, 0)
    cubic = sc.NsmSettings.model_validate(
        {"params": {"beta": 1, "c": 2, "alpha_inverse": 3, "no_fast_convergence": 1}}
    )
    assert Profile().changed(cubic).words()[1:] == (0x01_03_02_01, 0)


@pytest.mark.parametrize("cc", list(PARAMETERS))
def test_round_trip(cc: str) -> None:
    plain = Profile().changed(sc.NsmSettings.model_validate({"cc": cc}))
    assert Profile.from_words(plain.words()) == plain
    for name, of in PARAMETERS[cc].items():
        for value in {of.lowest, of.highest, of.default}:
            settings = sc.NsmSettings.model_validate({"params": {name: value}})
            made = plain.changed(settings)
            again = Profile.from_words(made.words())
            assert again.all_params == made.all_params
            assert again.all_params[name] == value
        for value in (of.lowest - 1, of.highest + 1):
            with pytest.raises(BadRequest, match=f"{name} of {cc} is"):
                plain.changed(sc.NsmSettings.model_validate({"params": {name: value}}))


def test_parameters_are_those_of_the_rtl() -> None:
    """Bits and defaults as the heads of the algorithms say."""
    assert set(PARAMETERS) == {cc.name.lower() for cc in abi.CongestionControl}
    for cc, known in PARAMETERS.items():
        rtl = (ROOT / f"hw/tcp/rtl/nk_cc_{cc}.v").read_text()
        defaults = {
            (int(lo), int(hi) - int(lo) + 1): int(value)
            for hi, lo, value in re.findall(r"prm\[(\d+):(\d+)\]:[^;]*?\(0: (\d+)\)", rtl)
        }
        valued = {p.field: p.default for p in known.values() if p.zero_is_default}
        assert {tuple(field): value for field, value in valued.items()} == defaults
        for p in known.values():
            if not p.zero_is_default:
                assert f"prm[{p.field.lsb}]" in rtl


def test_dctcp_means_ecn() -> None:
    settings = sc.NsmSettings.model_validate
    dctcp = Profile().changed(settings({"cc": "dctcp"}))
    assert dctcp.ecn
    with pytest.raises(BadRequest, match="without ECN"):
        Profile().changed(settings({"cc": "dctcp", "ecn": False}))
    with pytest.raises(BadRequest, match="without ECN"):
        dctcp.changed(settings({"ecn": False}))
    assert not dctcp.changed(settings({"cc": "cubic", "ecn": False})).ecn
    assert dctcp.changed(settings({"cc": "reno"})).ecn  # what is not named stays


def test_another_algorithm_begins_with_its_own_defaults() -> None:
    settings = sc.NsmSettings.model_validate
    tuned = Profile().changed(settings({"params": {"beta": 99, "c": 7}}))
    assert tuned.changed(settings({"sack": False})).all_params["c"] == 7
    assert tuned.changed(settings({"cc": "reno"})).all_params == {"beta": 128}
    assert tuned.changed(settings({"cc": "cubic"})).all_params["c"] == 7


# ---- through CoreEngine ----


def test_default_profile(card: FakeCard, engine: Engine) -> None:
    assert slot(card, 0) == (0x1B01, 0, 0)
    assert [slot(card, n) for n in range(1, 8)] == [RESET] * 7
    assert list(engine.profiles()) == ["default"]
    changed = engine.ask("nsm_set", name="default", settings={"cc": "reno", "ecn": True})
    assert (changed["cc"], changed["ecn"], changed["sack"]) == ("reno", True, True)
    assert slot(card, 0) == (0x1F00, 0, 0)


def test_eight_profiles(card: FakeCard, engine: Engine) -> None:
    for n in range(1, 8):
        assert engine.create(f"p{n}", initial_cwnd=n)["slot"] == n
        assert slot(card, n) == (0x1B01 | n << 16, 0, 0)
    with pytest.raises(NothingFree, match="all 8 profiles"):
        engine.create("p8")
    with pytest.raises(PortInUse):
        engine.create("p3")
    engine.ask("nsm_delete", name="p3")
    assert engine.create("p8", cc="reno")["slot"] == 3
    assert list(engine.profiles()) == ["default", "p1", "p2", "p8", "p4", "p5", "p6", "p7"]


def test_card_that_refuses(card: FakeCard, engine: Engine) -> None:
    engine.create("one")
    before = slot(card, 1)
    write = card._pf_write
    card._pf_write = lambda address, value: None if address == 0x2010 else write(address, value)  # type: ignore[method-assign]
    with pytest.raises(DeviceRefused, match="settings of profile 1"):
        engine.ask("nsm_set", name="one", settings={"cc": "reno"})
    assert slot(card, 1) == before


def test_vf_in_use(card: FakeCard, engine: Engine) -> None:
    """A leased VF takes another profile at once, and nothing else of it changes."""
    engine.create("dc", cc="dctcp")
    engine.ask("vf_create", config={"ip": "10.1.0.2/24", "max_sockets": 4})
    vf = card.vfs[0]
    vf.enabled = True  # as if its tenant ran
    engine.engine._vfs[0].state = "leased"
    row = engine.ask("vf_set", vf=0, config={"nsm": "dc"})
    assert (row["nsm"], row["state"], vf.entry[abi.VFE.NSM]) == ("dc", "leased", 1)
    assert (vf.on, vf.enabled, vf.resets) == (True, True, 0)
    with pytest.raises(Busy):
        engine.ask("vf_set", vf=0, config={"nsm": "default", "mtu": 1400})
    assert vf.entry[abi.VFE.NSM] == 1
    with pytest.raises(UnknownDevice):
        engine.ask("vf_set", vf=0, config={"nsm": "nothing"})
    with pytest.raises(Busy, match="that of VF 0"):
        engine.ask("nsm_delete", name="dc")
    # Its old connections keep a deleted profile's slot: nobody else gets it until the lease is over.
    engine.ask("vf_set", vf=0, config={"nsm": "default"})
    engine.ask("nsm_delete", name="dc")
    assert slot(card, 1) == (0x1F02, 0, 0)
    assert engine.create("next")["slot"] == 2
    for n in range(3, 8):
        engine.create(f"p{n}")
    with pytest.raises(NothingFree, match="connections may still run"):
        engine.create("last")
    engine.engine._returned(0, "free")
    assert engine.create("last")["slot"] == 1
    vf.enabled = False


def test_profile_of_an_idle_vf(card: FakeCard, engine: Engine) -> None:
    engine.create("dc", cc="dctcp")
    made = engine.ask("vf_create", config={"ip": "10.1.0.2/24", "nsm": "dc"})
    assert (made["nsm"], card.vfs[0].entry[abi.VFE.NSM]) == ("dc", 1)
    changed = engine.ask("vf_set", vf=0, config={"mtu": 1400})
    assert (changed["nsm"], card.vfs[0].entry[abi.VFE.NSM]) == ("dc", 1)
    assert engine.ask("vf_set", vf=0, config={"nsm": "default"})["nsm"] == "default"
    assert engine.ask("stats")["nsm"] == {"0": "default"}


# ---- names over restarts ----


def test_restart(card: FakeCard, rundir: Path) -> None:
    first = Engine(rundir)
    first.create("dc", cc="dctcp")
    first.create("old", cc="reno")
    first.create("gone")
    first.ask("nsm_delete", name="gone")
    first.ask("nsm_set", name="default", settings={"initial_cwnd": 3})
    first.ask("vf_create", config={"ip": "10.1.0.2/24", "nsm": "old"})
    first.close()
    words = [slot(card, n) for n in range(3)]
    second = Engine(rundir)
    try:
        found = second.profiles()
        assert {n: (p["slot"], p["cc"], p["vfs"]) for n, p in found.items()} == {
            "default": (0, "cubic", []), "dc": (1, "dctcp", []), "old": (2, "reno", [0])
        }  # fmt: skip
        assert [slot(card, n) for n in range(3)] == words
        assert slot(card, 3) == RESET
    finally:
        second.close()


def test_restart_without_vfs(card: FakeCard, rundir: Path) -> None:
    """No VF shows that the card is the same: its values do. Reno as default looks as a card after reset."""
    first = Engine(rundir)
    first.ask("nsm_set", name="default", settings={"cc": "reno"})
    first.close()
    assert slot(card, 0) == RESET
    second = Engine(rundir)
    assert second.profiles()["default"]["cc"] == "reno"
    second.create("dc", cc="dctcp")
    second.close()
    third = Engine(rundir)
    assert list(third.profiles()) == ["default", "dc"]
    third.close()


def test_new_card_in_an_old_run_directory(card: FakeCard, rundir: Path) -> None:
    first = Engine(rundir)
    first.create("dc", cc="dctcp")
    first.close()
    card.pf_regs.clear()  # as a new twin
    second = Engine(rundir)
    assert list(second.profiles()) == ["default"]
    assert slot(card, 0) == (0x1B01, 0, 0)
    second.close()


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"device": "other", "profiles": {}}', '{"device": 1}',
     '{"device": "twin in X", "profiles": {"a": {"slot": 9, "words": [0, 0, 0]}}}'],
)  # fmt: skip
def test_lost_names(card: FakeCard, rundir: Path, text: str) -> None:
    """What VFs run on stays, under a name of its slot; the rest is given back."""
    first = Engine(rundir)
    for n in range(1, 4):
        first.create(f"p{n}", cc="reno", initial_cwnd=n)
    first.ask("vf_create", config={"ip": "10.1.0.2/24", "nsm": "p2"})
    first.close()
    (rundir / "nsm.json").write_text(text.replace("X", str(rundir)))
    second = Engine(rundir)
    found = second.profiles()
    assert {n: p["initial_cwnd"] for n, p in found.items()} == {"default": 0, "slot2": 2}
    assert found["default"]["cc"] == "cubic"
    assert [slot(card, n) for n in (1, 3)] == [RESET] * 2
    second.close()
