# SPDX-License-Identifier: Apache-2.0
"""The script language: text to a list of steps. tests/conformance/README.md describes it.

Everything is relative: times to the step before, sequence numbers to the initial ones. A step keeps
the file and line that it came from, through includes and repetitions, for messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model import frames as fr
from netkernel import abi

US = {"us": 1, "ms": 1000, "s": 1_000_000, "min": 60_000_000}
FLAG_LETTERS = {
    "F": fr.FIN, "S": fr.SYN, "R": fr.RST, "P": fr.PSH, ".": fr.ACK, "U": fr.URG,
    "E": fr.ECE, "W": fr.CWR, "A": fr.AE, "0": 0,
}  # fmt: skip
ECN_NAMES = {"noecn": fr.NOT_ECT, "ect0": fr.ECT0, "ect1": fr.ECT1, "ce": fr.CE}
EVENTS = ("CONNECTED", "ACCEPTED", "DATA", "SENT", "PEER_CLOSED", "RESET", "TIMEOUT", "CLOSED")
CALLS = (
    "socket", "listen", "accept", "connect", "send", "credit", "shutdown", "close", "abort", "setopt",
)  # fmt: skip
OTHER = ("info", "counter", "wait", "rebase")
LISTENER = "listener"  # the label of the listening socket
STATE_NAMES = {s.name for s in abi.FlowState}


class ScriptError(Exception):
    """A script that cannot be read; the message begins with file:line."""


# ------------------------------------------------------------------------------ values


@dataclass(frozen=True)
class Term:
    """A number, or a name that stands for one plus a number."""

    name: str | None
    number: int

    def __str__(self) -> str:
        if self.name is None:
            return str(self.number)
        return self.name + (f"{self.number:+d}" if self.number else "")


@dataclass(frozen=True)
class Value:
    """`*`, a term, or `term..term` with both ends included."""

    lo: Term | None = None
    hi: Term | None = None

    def __str__(self) -> str:
        if self.lo is None or self.hi is None:
            return "*"
        return str(self.lo) if self.lo == self.hi else f"{self.lo}..{self.hi}"

    @property
    def any(self) -> bool:
        return self.lo is None

    @property
    def bare_name(self) -> str | None:
        """The name, if the value is nothing but one."""
        if self.lo is not None and self.lo == self.hi and self.lo.name and not self.lo.number:
            return self.lo.name
        return None


ANY = Value()
_TERM = re.compile(r"(?:([a-z]\w*)([+-]\d+)?|(-?\d+)(us|ms|s|min|K|M)?)$")
_SCALE = {"": 1, "K": 1024, "M": 1 << 20, **US}


def parse_term(text: str) -> Term:
    m = _TERM.match(text)
    if not m:
        raise ValueError(f"{text!r} is no number and no name")
    if m[1]:
        return Term(m[1], int(m[2] or 0))
    return Term(None, int(m[3]) * _SCALE[m[4] or ""])


def parse_value(text: str) -> Value:
    if text == "*":
        return ANY
    lo, dots, hi = text.partition("..")
    a = parse_term(lo)
    return Value(a, parse_term(hi) if dots else a)


def parse_time(text: str) -> int:
    """'20ms' -> 20000 microseconds; a bare 0 needs no unit."""
    m = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|min)?", text)
    if not m or (m[2] is None and float(m[1])):
        raise ValueError(f"{text!r} is no time: a number and us, ms, s or min")
    return round(float(m[1]) * US[m[2] or "us"])


def parse_size(text: str) -> int:
    term = parse_term(text)
    if term.name or term.number < 0:
        raise ValueError(f"{text!r} is no size")
    return term.number


# ------------------------------------------------------------------------------ steps


@dataclass(frozen=True)
class When:
    """When a step happens after the one before, microseconds; hi None: whenever it comes."""

    lo: int
    hi: int | None
    exact: bool = True  # a single time, not a range

    def __str__(self) -> str:
        if self.hi is None:
            return "*"
        return f"+{self.lo} us" if self.exact else f"+{self.lo}..{self.hi} us"


@dataclass(frozen=True)
class Option:
    """mss, wscale: a = value. TS: a = TSval, b = TSecr. sack: blocks. raw: data. Others: none."""

    kind: str
    a: Value = ANY
    b: Value = ANY
    blocks: tuple[tuple[int, int], ...] = ()
    data: bytes = b""

    def __str__(self) -> str:
        if self.kind in ("mss", "wscale"):
            return f"{self.kind} {self.a}"
        if self.kind == "TS":
            return f"TS val {self.a} ecr {self.b}"
        if self.kind == "sack":
            return "sack " + " ".join(f"{s}:{e}" for s, e in self.blocks)
        return f"hex {self.data.hex()}" if self.kind == "hex" else self.kind


@dataclass(frozen=True)
class Segment:
    flags: int
    seq: int
    length: int
    longest: int  # the same as length, but for SEQ:*(LO..HI)
    chunk: int | None  # split into segments of this size
    ack: int | None
    win: Value | None
    options: tuple[Option, ...] | None  # None: not given
    any_options: bool
    ecn: int | None
    alt: bool  # other bytes than the stream's own

    def option(self, kind: str) -> Option | None:
        return next((o for o in self.options or () if o.kind == kind), None)

    def parts(self) -> list[tuple[int, int]]:
        """(seq, length) of each segment that this one stands for."""
        if not self.chunk:
            return [(self.seq, self.length)]
        starts = range(0, self.length, self.chunk)
        return [(self.seq + at, min(self.chunk, self.length - at)) for at in starts]


@dataclass(frozen=True)
class Step:
    """kind: in, out, ptb, event, call, info, counter, wait or rebase."""

    where: str  # file:line
    text: str
    when: When
    kind: str
    label: str = "main"
    segment: Segment | None = None
    # out: "" must come, "?" may come, "|" it or the next one, "*" any number, "~" after earlier ACKs
    mode: str = ""
    name: str = ""  # event, call, counter
    args: tuple[str, ...] = ()
    values: tuple[tuple[str, Value], ...] = ()
    status: str = "OK"  # of a call
    mtu: int = 0  # ptb


@dataclass
class Setup:
    """Everything before the first step."""

    profile: dict[str, int] = field(default_factory=dict)
    card: dict[str, int] = field(default_factory=dict)
    rx_log2: int = 16
    tx_log2: int = 17
    auto_credit: bool = True
    peer_isn: int = 0x5EED0000
    peer_ts: int = 1_000_000
    card_iss: int | None = None  # about; the player waits for the hour when it is so
    on: str = "both"  # both: sim and twin; sim; smoke: both, and on the twin by default


@dataclass
class Script:
    path: Path
    title: str
    rfc: str
    setup: Setup
    steps: list[Step]

    @property
    def least_us(self) -> int:
        """The time that the script takes at least."""
        return sum(step.when.lo for step in self.steps)

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


# ------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Line:
    where: str
    text: str


class _Reader:
    """Includes, repetitions, names for numbers: gives plain lines."""

    def __init__(self, path: Path, root: Path) -> None:
        self.root = root
        self.names: dict[str, int] = {}
        self.lines = list(self._expand(self._raw(path, 0)))

    def _raw(self, path: Path, depth: int) -> list[_Line]:
        if depth > 4:
            raise ScriptError(f"{path}: includes nest too deeply")
        try:
            shown = path.relative_to(self.root.parent.parent)
        except ValueError:
            shown = path
        out: list[_Line] = []
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = text.split("#", 1)[0].strip()
            if not line:
                continue
            where = f"{shown}:{number}"
            words = line.split()
            if words[0] == "use":
                if len(words) != 2:
                    raise ScriptError(f"{where}: use NAME")
                other = self.root / "setup" / f"{words[1]}.inc"
                if not other.is_file():
                    raise ScriptError(f"{where}: there is no {other}")
                out += self._raw(other, depth + 1)
            else:
                out.append(_Line(where, line))
        return out

    def _number(self, text: str, where: str) -> int:
        try:
            return int(eval(text, {"__builtins__": {}}, dict(self.names)))  # our own scripts
        except Exception as problem:
            raise ScriptError(f"{where}: {{{text}}}: {problem}") from None

    def _subst(self, line: _Line) -> _Line:
        def put(m: re.Match[str]) -> str:
            return str(self._number(m[1], line.where))

        return _Line(line.where, re.sub(r"\{([^{}]*)\}", put, line.text))

    def _expand(self, lines: list[_Line]) -> Iterator[_Line]:
        at = 0
        while at < len(lines):
            line = lines[at]
            words = line.text.split()
            if words[0] == "let":
                m = re.fullmatch(r"let (\w+) *= *(.+)", line.text)
                if not m:
                    raise ScriptError(f"{line.where}: let NAME = EXPRESSION")
                self.names[m[1]] = self._number(m[2].strip("{}"), line.where)
            elif words[0] == "repeat":
                end, depth = at + 1, 1
                while end < len(lines):
                    first = lines[end].text.split()[0]
                    depth += (first == "repeat") - (first == "end")
                    if not depth:
                        break
                    end += 1
                else:
                    raise ScriptError(f"{line.where}: repeat without end")
                m = re.fullmatch(r"repeat (\S+)(?: as (\w+))?", line.text)
                if not m:
                    raise ScriptError(f"{line.where}: repeat COUNT [as NAME]")
                for i in range(self._number(m[1].strip("{}"), line.where)):
                    if m[2]:
                        self.names[m[2]] = i
                    yield from self._expand(lines[at + 1 : end])
                at = end
            elif words[0] == "end":
                raise ScriptError(f"{line.where}: end without repeat")
            else:
                yield self._subst(line)
            at += 1


_SEG = re.compile(
    r"(?:\[(?P<ecn>\w+)\] )?(?P<flags>[FSRP.UEWA0]+) (?P<seq>-?\d+):(?P<end>-?\d+|\*)\((?P<len>\d+)"
    r"(?:/(?P<chunk>\d+)|\.\.(?P<most>\d+))?\)(?: ack (?P<ack>-?\d+))?(?: win (?P<win>\S+))?"
    r"(?: <(?P<opts>[^>]*)>)?(?P<alt> alt)?$"
)


def parse_option(text: str) -> Option:
    words = text.split()
    match words:
        case ["mss" | "wscale", value]:
            return Option(words[0], parse_value(value))
        case ["TS", "val", val, "ecr", ecr]:
            return Option("TS", parse_value(val), parse_value(ecr))
        case ["sack", *blocks] if blocks:
            pairs = []
            for block in blocks:
                m = re.fullmatch(r"(-?\d+):(-?\d+)", block)
                if not m:
                    raise ValueError(f"{block!r} is no block START:END")
                pairs.append((int(m[1]), int(m[2])))
            return Option("sack", blocks=tuple(pairs))
        case ["hex", *data] if data:
            return Option("hex", data=bytes.fromhex("".join(data)))
        case ["sackOK" | "nop" | "eol" | "noTS" as kind]:
            return Option(kind)
    raise ValueError(f"{text!r} is no TCP option")


def parse_segment(text: str) -> Segment:
    m = _SEG.match(re.sub(r"\s+", " ", text))
    if not m:
        raise ValueError(f"{text!r} is no segment: FLAGS SEQ:END(LEN) [ack N] [win N] [<options>]")
    flags = 0
    for letter in m["flags"]:
        flags |= FLAG_LETTERS[letter]
    seq, length = int(m["seq"]), int(m["len"])
    longest = int(m["most"] or length)
    if (m["end"] == "*") != (m["most"] is not None) or longest < length:
        raise ValueError("a segment of whatever length is written SEQ:*(LO..HI)")
    if m["end"] != "*" and int(m["end"]) - seq != length:
        raise ValueError(f"{seq}:{m['end']}({length}): the length is {int(m['end']) - seq}")
    if m["ecn"] and m["ecn"] not in ECN_NAMES:
        raise ValueError(f"[{m['ecn']}]: one of {', '.join(ECN_NAMES)}")
    chunk = int(m["chunk"]) if m["chunk"] else None
    if chunk is not None and not 0 < chunk <= length:
        raise ValueError(f"a length of {length} cannot be split by {chunk}")
    if bool(flags & fr.ACK) != (m["ack"] is not None) and not flags & fr.RST:
        raise ValueError("ack and the flag `.` go together")
    options: tuple[Option, ...] | None = None
    any_options = False
    if m["opts"] is not None:
        text = m["opts"].strip()
        any_options = text == "*"
        if not any_options:
            options = tuple(parse_option(o.strip()) for o in text.split(",")) if text else ()
    return Segment(
        flags, seq, length, longest, chunk,
        int(m["ack"]) if m["ack"] is not None else None,
        parse_value(m["win"]) if m["win"] else None,
        options, any_options,
        ECN_NAMES[m["ecn"]] if m["ecn"] else None, bool(m["alt"]),
    )  # fmt: skip


def _parse_when(text: str) -> When:
    if text == "*":
        return When(0, None, False)
    if not text.startswith("+"):
        raise ValueError(f"{text!r} is no time: +20ms, +20ms..40ms or *")
    lo, dots, hi = text[1:].partition("..")
    a = parse_time(lo)
    if not dots:
        return When(a, a)
    b = parse_time(hi)
    if b < a:
        raise ValueError(f"{text}: ends before it begins")
    return When(a, b, False)


def _fields(words: Sequence[str]) -> tuple[tuple[str, Value], ...]:
    out = []
    for word in words:
        key, eq, value = word.partition("=")
        if not eq:
            raise ValueError(f"{word!r}: NAME=VALUE")
        out.append((key, parse_value(value)))
    return tuple(out)


INFO_FIELDS = ("cwnd", "ssthresh", "srtt", "rttvar", "retrans", "mss", "state")


def _parse_step(line: _Line) -> Step:
    time, _, rest = line.text.partition(" ")
    when = _parse_when(time)
    rest = rest.strip()
    if not rest:
        raise ValueError("nothing happens here")
    first, _, tail = rest.partition(" ")
    label = "main"
    if first not in ("<", ">", ">?", ">|", ">*", "~>", "@") and first not in (*CALLS, *OTHER):
        if not re.fullmatch(r"[a-z]\w*", first):
            raise ValueError(f"{first!r} is no direction, call or label")
        label = first
        first, _, tail = tail.strip().partition(" ")
    tail = tail.strip()
    base = {"where": line.where, "text": line.text, "when": when, "label": label}
    if first == "<":
        if tail.startswith("ptb "):
            m = re.fullmatch(r"ptb mtu (\d+) seq (-?\d+)(?: (unknown))?", tail)
            if not m:
                raise ValueError("< ptb mtu N seq N [unknown]")
            args = (m[2], m[3] or "")
            return Step(**base, kind="ptb", mtu=int(m[1]), args=args)
        segment = parse_segment(tail)
        if segment.longest != segment.length:
            raise ValueError("a segment to the card has one length")
        return Step(**base, kind="in", segment=segment)
    if first in (">", ">?", ">|", ">*", "~>"):
        mode = first.strip(">")
        return Step(**base, kind="out", segment=parse_segment(tail), mode=mode)
    words = tail.split()
    if first == "@":
        if not words or words[0] not in EVENTS:
            raise ValueError(f"an event is one of {', '.join(EVENTS)}")
        count = {"DATA": 1, "SENT": 1, "RESET": 1}.get(words[0], 0)
        if len(words) != 1 + count and not (words[0] == "CONNECTED" and len(words) == 2):
            raise ValueError(f"{words[0]} has {count} argument")
        return Step(**base, kind="event", name=words[0], args=tuple(words[1:]))
    if first == "info":
        bad = [w for w in words if w.partition("=")[0] not in INFO_FIELDS]
        if bad or not words:
            raise ValueError(f"info NAME=VALUE, of {', '.join(INFO_FIELDS)}")
        states = [w for w in words if w.startswith("state=")]
        if states and states[0][6:] not in STATE_NAMES:
            raise ValueError(f"{states[0]}: no such state")
        plain = [w for w in words if w not in states]
        return Step(**base, kind="info", args=tuple(s[6:] for s in states), values=_fields(plain))
    if first == "counter":
        values = _fields(words)
        for key, _ in values:
            if key not in abi.COUNTERS:
                raise ValueError(f"{key} is no counter of the card")
        return Step(**base, kind="counter", values=values)
    if first == "wait":
        if words:
            raise ValueError("wait has no argument")
        return Step(**base, kind="wait")
    if first == "rebase":
        for word in words:
            if not re.fullmatch(r"card|peer=-?\d+", word):
                raise ValueError("rebase [card] [peer=N]")
        return Step(**base, kind="rebase", args=tuple(words))
    if first not in CALLS:
        raise ValueError(f"{first!r} is no direction and no call")
    status = "OK"
    if len(words) >= 2 and words[-2] == "=":
        status = words[-1]
        words = words[:-2]
        if status not in abi.Status.__members__:
            raise ValueError(f"{status} is no status")
    counts = {"send": (1, 1), "credit": (1, 1), "setopt": (2, 2), "connect": (0, 1)}
    low, high = counts.get(first, (0, 0))
    if not low <= len(words) <= high:
        raise ValueError(f"{first} takes {low} arguments, not {len(words)}")
    if first == "setopt" and words[0] not in abi.Option.__members__:
        raise ValueError(f"{words[0]} is no option")
    if first in ("send", "credit"):
        words = [str(parse_size(words[0]))]
    return Step(**base, kind="call", name=first, args=tuple(words), status=status)


PROFILE_FLAGS = ("sack", "timestamps", "ecn", "window_scale", "tlp")
CARD_TIMES = {
    "rto_min": abi.PF.RTO_MIN_US, "rto_init": abi.PF.RTO_INIT_US, "rto_max": abi.PF.RTO_MAX_US,
    "time_wait": abi.PF.TIME_WAIT_US, "delayed_ack": abi.PF.DELAYED_ACK_US,
    "fin_wait2": abi.PF.FIN_WAIT2_US,
}  # fmt: skip
CARD_NUMBERS = ("retries", "syn_retries", "initial_cwnd", "mtu", "iss")


def _switch(text: str) -> int:
    if text not in ("on", "off"):
        raise ValueError(f"{text!r}: on or off")
    return int(text == "on")


def _directive(setup: Setup, words: list[str]) -> None:
    what, rest = words[0], words[1:]
    if what == "on":
        if rest not in (["sim"], ["both"], ["smoke"]):
            raise ValueError("on sim, on both or on smoke")
        setup.on = rest[0]
        return
    for word in rest:
        key, eq, value = word.partition("=")
        if not eq:
            raise ValueError(f"{word!r}: NAME=VALUE")
        if what == "profile":
            if key == "cc":
                setup.profile[key] = abi.CongestionControl[value.upper()].value
            elif key in PROFILE_FLAGS:
                setup.profile[key] = _switch(value)
            elif key in ("initial_cwnd", "param"):
                setup.profile[key] = int(value, 0)
            else:
                raise ValueError(f"a profile has no {key}")
        elif what == "card":
            if key in CARD_TIMES:
                setup.card[key] = parse_time(value)
            elif key == "iss":
                setup.card_iss = int(value) % fr_mod
            elif key in CARD_NUMBERS:
                setup.card[key] = int(value)
            else:
                raise ValueError(f"the card has no {key}")
        elif what == "tenant":
            if key in ("rx", "tx"):
                log2 = parse_size(value).bit_length() - 1
                if 1 << log2 != parse_size(value) or not 12 <= log2 <= 20:
                    raise ValueError(f"{value}: a power of two, 4K to 1M")
                setattr(setup, f"{key}_log2", log2)
            elif key == "credit" and value in ("auto", "manual"):
                setup.auto_credit = value == "auto"
            else:
                raise ValueError(f"{word}: rx=SIZE, tx=SIZE, credit=auto or credit=manual")
        elif what == "peer":
            if key not in ("isn", "ts"):
                raise ValueError("peer isn=N ts=N")
            setattr(setup, f"peer_{key}", int(value) % fr_mod)


fr_mod = 1 << 32
DIRECTIVES = ("profile", "card", "tenant", "peer", "on")


def load(path: Path, root: Path | None = None) -> Script:
    """Read a script. `root`: the folder of all scripts, where setup/ is."""
    root = root or path.parent.parent
    title, rfc = _header(path)
    setup, steps = Setup(), []
    for line in _Reader(path, root).lines:
        words = line.text.split()
        try:
            if words[0] in DIRECTIVES:
                if steps:
                    raise ValueError(f"{words[0]} stands before the first step")
                _directive(setup, words)
            else:
                steps.append(_parse_step(line))
        except (ValueError, KeyError) as problem:
            raise ScriptError(f"{line.where}: {problem}\n    {line.text}") from None
    if not steps:
        raise ScriptError(f"{path}:1: nothing happens")
    return Script(path, title, rfc, setup, steps)


def _header(path: Path) -> tuple[str, str]:
    """What the script proves and the RFC section: the comment at its head."""
    said = []
    for text in path.read_text(encoding="utf-8").splitlines():
        if not text.startswith("#"):
            break
        said.append(text.lstrip("# ").strip())
    said = [s for s in said if s and not s.startswith("SPDX")]
    rfc = [s for s in said if re.match(r"RFC \d+", s)]
    title = [s for s in said if s not in rfc]
    if not title or not rfc:
        raise ScriptError(
            f"{path}:1: a script opens with '# what it proves' and '# RFC number, section'"
        )
    return " ".join(title), "; ".join(rfc)
