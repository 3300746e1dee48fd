# SPDX-License-Identifier: Apache-2.0
"""The card's goodput beside that of a Linux TCP in its place: same path, same peer, same seeds (`make bench-interop`).

    python tests/interop/against_linux.py [--quick] [--only sender,cubic,loss1] [--seeds 3] [--mib 4]

Prints a table, keeps the ratios (`interop.goodput_ratio`) in build/bench/results.json, every single transfer with
its counters in build/bench/interop/runs.jsonl, and a plot in build/bench/interop.png. With --quick only a few short
transfers are made, and no figure is kept. Exit code 1: bytes were not equal, or a transfer stalled. A low ratio is a
figure, not an error.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (HERE, HERE.parent / "e2e", ROOT / "tools"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from bench import record  # noqa: E402
from places import LINUX_HAS, CardPath, LinuxPath, Profile, Run, TwoPlaces, linux_cc  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from rig import RigError, enter_user_namespace, why_not  # noqa: E402

RESULTS = ROOT / "build" / "bench"
# 10 Mb/s and a round trip of 40 ms: 50 kB in flight, and a queue of about as much.
LINK: dict[str, float] = {"rate_mbps": 10.0, "delay_us": 20_000, "queue_bytes": 65_536}
PATHS: dict[str, dict[str, float]] = {
    "clean": {},
    "loss0.1": {"loss": 0.001},
    "loss1": {"loss": 0.01},
    "loss3": {"loss": 0.03},
    "reorder": {"reorder": 0.05, "reorder_us": 6000},
    "bursts": {"burst": 0.003, "burst_frames": 5},
    "ecn": {"mark_bytes": 24_576},
}
CCS = {"sender": ("reno", "cubic", "dctcp"), "receiver": ("reno", "cubic", "dctcp")}
QUICK = (
    ("sender", "reno", "loss1"),
    ("sender", "cubic", "clean"),
    ("sender", "dctcp", "ecn"),
    ("receiver", "reno", "reorder"),
    ("receiver", "cubic", "bursts"),
)
WRONG_MAX = 5  # then the twin or CoreEngine has most likely died
SILENCE_MAX = 8.0  # seconds; a few timeouts in a row at 3 % loss stay below


@dataclass(frozen=True)
class Cell:
    role: str
    cc: str
    path: str

    @property
    def profile(self) -> Profile:
        return Profile(self.cc, self.path == "ecn" or self.cc == "dctcp")

    @property
    def link(self) -> dict[str, float]:
        return LINK | PATHS[self.path]

    @property
    def baseline(self) -> str:
        """What Linux used where it stood for the card, or beside it."""
        return linux_cc(self.profile)


@dataclass
class Measured:
    """All transfers of a cell; index: the seed's."""

    card: list[Run]
    linux: list[Run]

    @staticmethod
    def mean(runs: Sequence[Run]) -> float:
        return sum(r.mbps for r in runs) / len(runs)

    @property
    def ratios(self) -> list[float]:
        return [c.mbps / x.mbps for c, x in zip(self.card, self.linux, strict=True)]

    @property
    def ratio(self) -> float:
        """Geometric mean: a seed that is twice as good and one that is half as good are even."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))


def cells(only: Sequence[str] = ()) -> Iterator[Cell]:
    """All cells that every word of `only` fits. A Linux peer sends by what its kernel has: mostly not by DCTCP."""
    for role, ccs in CCS.items():
        for cc in ccs:
            if role == "receiver" and cc not in LINUX_HAS:
                continue
            for path in PATHS:
                if all(any(w == x for x in (role, cc, path)) for w in only):
                    yield Cell(role, cc, path)


def judge(run: Run, size: int) -> str:
    """What is wrong with a transfer, or nothing."""
    if not run.equal or run.bytes != size:
        return f"bytes differ ({run.bytes} of {size})"
    return f"silent for {run.silence:.1f} s" if run.silence > SILENCE_MAX else ""


def measure(
    chosen: Sequence[Cell],
    places: dict[str, TwoPlaces],
    size: int,
    seeds: Sequence[int],
    console: Console,
) -> tuple[dict[Cell, Measured], list[str]]:
    """Every cell at both places with every seed, and what went wrong."""
    found: dict[Cell, Measured] = {}
    wrong: list[str] = []
    for cell in chosen:
        kept: dict[str, list[Run]] = {"card": [], "linux": []}
        for seed in seeds:
            for name, place in places.items():
                what = f"{name} as {cell.role}, {cell.cc}, {cell.path}, seed {seed}"
                try:
                    run = place.transfer(cell.role, cell.profile, size, seed, cell.link)
                except RigError as error:
                    wrong.append(f"{what}: {error}")
                    console.print(f"[red]{wrong[-1]}[/]")
                    if len(wrong) >= WRONG_MAX:
                        return found, wrong
                    continue
                if problem := judge(run, size):
                    wrong.append(f"{what}: {problem}")
                kept[name].append(run)
                keep_run(cell, seed, name, run)
        if not len(kept["card"]) == len(kept["linux"]) == len(seeds):
            continue
        found[cell] = Measured(**kept)
        console.print(
            f"{cell.role:9}{cell.cc:6}{cell.path:8} {found[cell].ratio:5.2f}", highlight=False
        )
    return found, wrong


def keep_run(cell: Cell, seed: int, place: str, run: Run) -> None:
    file = RESULTS / "interop" / "runs.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        row = {**asdict(cell), "seed": seed, "place": place, "mbps": run.mbps, **asdict(run)}
        out.write(json.dumps(row) + "\n")


RECOVERY = {
    # sent again, timeouts, probes, by the name that each side's counters have
    ("card", "sender"): ("tx_retransmits", "tx_rto", "tx_tlp"),
    ("linux", "sender"): ("RetransSegs", "TCPTimeouts", "TCPLossProbes"),
    ("card", "receiver"): ("peer_RetransSegs", "peer_TCPTimeouts", "peer_TCPLossProbes"),
    ("linux", "receiver"): ("peer_RetransSegs", "peer_TCPTimeouts", "peer_TCPLossProbes"),
}


def table(found: dict[Cell, Measured], seeds: int) -> Table:
    made = Table(title=f"Goodput, {seeds} transfers a cell: the card and Linux in its place")
    for column in ("role", "cc", "path", "card Mb/s", "Linux Mb/s", "ratio", "of one seed"):
        side = "left" if column in ("role", "cc", "path") else "right"
        made.add_column(column, justify=side, no_wrap=True)
    made.add_column("sent again/RTO/TLP: card, Linux", no_wrap=True)
    for cell, m in found.items():
        notes = []
        for place, runs in (("card", m.card), ("linux", m.linux)):
            sums = [sum(r.counters.get(k, 0) for r in runs) for k in RECOVERY[place, cell.role]]
            notes.append("/".join(map(str, sums)))
        colour = "green" if m.ratio >= 1 else "yellow" if m.ratio >= 0.9 else "red"
        made.add_row(
            cell.role,
            cell.cc if cell.cc == cell.baseline else f"{cell.cc} (Linux: {cell.baseline})",
            cell.path,
            f"{m.mean(m.card):.2f}",
            f"{m.mean(m.linux):.2f}",
            f"[{colour}]{m.ratio:.2f}[/]",
            f"{min(m.ratios):.2f} .. {max(m.ratios):.2f}",
            ", ".join(notes),
        )
    return made


def plot(found: dict[Cell, Measured], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    roles = [r for r in CCS if any(c.role == r for c in found)]
    figure, axes = plt.subplots(len(roles), 1, figsize=(9, 3.4 * len(roles)), squeeze=False)
    for axis, role in zip(axes[:, 0], roles, strict=True):
        ccs = [cc for cc in CCS[role] if any((c.role, c.cc) == (role, cc) for c in found)]
        for n, cc in enumerate(ccs):
            mine = {c.path: m for c, m in found.items() if (c.role, c.cc) == (role, cc)}
            at = [list(PATHS).index(p) + (n - (len(ccs) - 1) / 2) * 0.8 / len(ccs) for p in mine]
            ratio = [m.ratio for m in mine.values()]
            spread = [
                [m.ratio - min(m.ratios) for m in mine.values()],
                [max(m.ratios) - m.ratio for m in mine.values()],
            ]
            axis.bar(at, ratio, 0.75 / len(ccs), yerr=spread, label=cc, capsize=2)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(PATHS)), list(PATHS))
        axis.set_ylabel("goodput, card / Linux")
        axis.set_title(f"the card as {role}: 10 Mb/s, 40 ms round trip")
        axis.legend(ncols=3, fontsize="small")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few short transfers, nothing kept")
    parser.add_argument("--only", default="", help="role, cc and path, separated by commas")
    parser.add_argument("--seeds", type=int, default=3, help="transfers a cell (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--mib", type=float, default=4.0, help="of a transfer (%(default)s)")
    args = parser.parse_args()
    enter_user_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # take everything down all the same
    console = Console(highlight=False, width=150)
    if reason := why_not():
        console.print(f"This benchmark cannot run here: {reason}")
        return 1
    if args.quick:
        chosen, args.seeds, args.mib = [Cell(*c) for c in QUICK], 1, 1.0
    else:
        chosen = list(cells([w for w in args.only.split(",") if w]))
    for cc in sorted({"reno", "cubic", "dctcp"} - set(LINUX_HAS)):
        console.print(
            f"No {cc} in this kernel: the card's stands beside Linux' reno; no peer sends by it."
        )
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nk-interop-")))
        (folder / "linux").mkdir()
        places: dict[str, TwoPlaces] = {
            "card": stack.enter_context(CardPath(folder)),
            "linux": stack.enter_context(LinuxPath(folder / "linux")),
        }
        found, wrong = measure(chosen, places, int(args.mib * (1 << 20)), seeds, console)
    console.print(table(found, args.seeds))
    if found and not args.quick:
        for cell, m in found.items():
            params = {**asdict(cell), "against": cell.baseline, "seeds": args.seeds}
            record("interop.goodput_ratio", round(m.ratio, 3), "", params=params, goal=1.0)
        plot(found, RESULTS / "interop.png")
        console.print(f"Plot: {RESULTS / 'interop.png'}; every transfer: {RESULTS / 'interop/runs.jsonl'}")  # fmt: skip
    if wrong:
        console.print(f"[red]{len(wrong)} transfers failed:[/]")
    for line in wrong:
        console.print(f"[red]{line}[/]")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
