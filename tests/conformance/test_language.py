# SPDX-License-Identifier: Apache-2.0
"""The script language: what is read, what is refused and how; every script here can be read, and its player can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model import frames as fr
from pkt import lang, play

HERE = Path(__file__).parent
HEAD = "# A sentence.\n# RFC 9293, 3.5\n"
SCRIPTS = sorted(HERE.glob("*/*.pkt"))


def read(tmp_path: Path, text: str) -> lang.Script:
    path = tmp_path / "case.pkt"
    path.write_text(HEAD + text, encoding="utf-8")
    return lang.load(path, HERE)


def test_there_are_scripts_and_all_can_be_read() -> None:
    scripts = [lang.load(path, HERE) for path in SCRIPTS]
    assert len(scripts) >= 120
    titles = [s.title for s in scripts]
    assert len(set(titles)) > 0.95 * len(titles)
    assert sum(s.setup.on == "smoke" for s in scripts) >= 20


def test_a_segment() -> None:
    seg = lang.parse_segment("[ce] FP. 1:251(250/100) ack -5 win 3..9 <mss 5,sack 1:2 3:4> alt")
    assert seg.flags == fr.FIN | fr.PSH | fr.ACK
    assert seg.parts() == [(1, 100), (101, 100), (201, 50)]
    assert (seg.ack, str(seg.win), seg.ecn, seg.alt) == (-5, "3..9", fr.CE, True)
    assert [str(o) for o in seg.options or ()] == ["mss 5", "sack 1:2 3:4"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("+0 > . 1:5(3) ack 1", "the length is 4"),
        ("+0 > . 1:5(4)", "go together"),
        ("+0 > S 1:1(0) ack 1", "go together"),
        ("+0 < . 1:*(1..4) ack 1", "one length"),
        ("+0 > . 1:5(4/9) ack 1", "split"),
        ("+5 wait", "no time"),
        ("+5ms..1ms > . 1:1(0) ack 1", "ends before it begins"),
        ("+0 @ HELLO", "an event is one of"),
        ("+0 @ DATA", "argument"),
        ("+0 > . 1:1(0) ack 1 <foo>", "no TCP option"),
        ("+0 setopt FOO 1", "no option"),
        ("+0 sendx 5", "no direction"),
        ("+0 counter nothing=1", "no counter"),
        ("+0 info state=ASLEEP", "no such state"),
        ("card foo=1", "the card has no foo"),
        ("+0 wait\nprofile cc=reno", "before the first step"),
        ("repeat 3\n+0 wait", "without end"),
        ("use nothing", "there is no"),
        ("+0 send {1/0}", "zero"),
    ],
)
def test_refused_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(lang.ScriptError) as problem:
        read(tmp_path, line + "\n")
    assert says in str(problem.value)
    assert "case.pkt:" in str(problem.value)


def test_head_is_demanded(tmp_path: Path) -> None:
    path = tmp_path / "case.pkt"
    path.write_text("# no section\n+0 wait\n", encoding="utf-8")
    with pytest.raises(lang.ScriptError, match="opens with"):
        lang.load(path, HERE)


def test_repeat_and_names(tmp_path: Path) -> None:
    script = read(tmp_path, "let M = 10\nrepeat 2 as i\nrepeat 2 as j\n+0 send {M*i+j}\nend\nend\n")
    assert [s.args[0] for s in script.steps] == ["0", "1", "10", "11"]
    assert all(s.where.endswith(":6") for s in script.steps)


# ---- the player, against a card that answers as told -----------------------------------------------


class Echo:
    """A card without any TCP: gives back what a table says. Time jumps."""

    settle_us = 1000

    def __init__(self, answers: dict[int, Callable[[fr.Frame], bytes]]) -> None:
        self.answers, self.now, self.count = answers, 0, 0
        self.on_frame: Callable[[bytes, int], None] = lambda frame, at: None
        self.tenant: Any = type("Nobody", (), {"sockets": {}, "quiet": True})()

    def tolerance(self, us: int) -> int:
        return 100

    def send(self, frame: bytes) -> None:
        f = fr.parse(frame)
        if f.kind == "tcp":
            answer = self.answers.get(self.count)
            self.count += 1
            if answer:
                self.on_frame(answer(f), self.now)

    async def wait(self, cond: Callable[[], Any], until: int) -> bool:
        if cond():
            return True
        self.now = max(self.now, until)
        return bool(cond())

    async def fresh(self, writes: list[tuple[int, int]], mtu: int) -> None:
        self.now += 5

    async def pf_read(self, addr: int) -> int:
        return 0


def reset_of(f: fr.Frame, **change: int) -> bytes:
    """<RST,ACK> for a SYN, or something near it."""
    values = {"seq": 0, "ack": f.seq + 1, "flags": fr.RST | fr.ACK, **change}
    segment = fr.tcp(f.dip, f.sip, f.dport, f.sport, window=0, **values)
    return fr.ethernet(f.src, f.dst, fr.ETH_IPV4, fr.ipv4(f.dip, f.sip, fr.IP_TCP, segment))


CLOSED = "+0 < S 0:0(0) win 100\n+0 > R. 0:0(0) ack 1\n"


def run(tmp_path: Path, text: str, *answers: Callable[[fr.Frame], bytes]) -> str:
    player = play.Player(read(tmp_path, text), Echo(dict(enumerate(answers))))
    try:
        asyncio.run(player.run())
    except play.ScriptFailed as failure:
        return str(failure)
    return ""


def test_player_passes(tmp_path: Path) -> None:
    assert run(tmp_path, CLOSED, reset_of) == ""


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({"flags": fr.RST}, "flags"), ({"seq": 1}, "sequence numbers"), ({"ack": 7}, "ack")],
)
def test_player_sees_each_field(tmp_path: Path, change: dict[str, int], wrong: str) -> None:
    said = run(tmp_path, CLOSED, lambda f: reset_of(f, **change))
    assert f"wrong: {wrong}" in said
    assert "case.pkt:4:  +0 > R." in said
    assert "expected  R. 0:0(0) ack 1" in said
    assert "< S 0:0(0) win 100" in said, "the exchange"
    assert "proves: A sentence. (RFC 9293, 3.5)" in said


def test_player_sees_silence_and_surplus(tmp_path: Path) -> None:
    assert "nothing until" in run(tmp_path, CLOSED)
    text = "+0 < S 0:0(0)\n+5ms wait\n"
    assert "nothing before this step" in run(tmp_path, text, reset_of)
    assert "nothing after the last step" in run(tmp_path, "+0 < S 0:0(0)\n", reset_of)


def test_player_sees_time(tmp_path: Path) -> None:
    late = "+0 < S 0:0(0)\n+5ms > R. 0:0(0) ack 1\n"
    assert "it came at 0.000 ms" in run(tmp_path, late, reset_of)


def test_optional_and_alternatives(tmp_path: Path) -> None:
    assert run(tmp_path, "+0 < S 0:0(0)\n+0 >? R 0:0(0)\n+0 > R. 0:0(0) ack 1\n", reset_of) == ""
    either = "+0 < S 0:0(0)\n+0 >| R 9:9(0)\n+0 >| R. 0:0(0) ack 1\n+0 >| R 8:8(0)\n"
    assert run(tmp_path, either, reset_of) == ""
    neither = "+0 < S 0:0(0)\n+0 >| R 9:9(0)\n+0 >| R 8:8(0)\n"
    assert "expected  R 8:8(0)" in run(tmp_path, neither, reset_of)
    many = "+0 < S 0:0(0)\n+0 < S 0:0(0)\n+0 >* R. 0:0(0) ack 1\n"
    assert run(tmp_path, many, reset_of, reset_of) == ""
