# SPDX-License-Identifier: Apache-2.0
"""The demo: an unmodified curl and an unmodified nginx whose TCP runs in the RTL, against a Linux host.

Builds nothing itself (`make demo` does), needs root or a kernel that gives user namespaces, and prints what happened.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

from rig import Rig, RigError, enter_user_namespace, why_not  # noqa: E402
from transfer import Transfer, fetch_in, fetch_out, make_file  # noqa: E402

console = Console(highlight=False)
PCAP = ROOT / "build" / "demo.pcap"


def show_transfers(transfers: list[Transfer]) -> None:
    table = Table(title="Files")
    for column in ("what", "MiB", "SHA-256", "s", "Mb/s", "clocks", "clocks/s"):
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    what = {"in": "card curl <- Linux", "out": "Linux <- card nginx"}
    for t in transfers:
        table.add_row(
            what[t.direction],
            f"{t.size >> 20}",
            "equal" if t.equal else "[red]DIFFERENT[/]",
            f"{t.seconds:.2f}",
            f"{t.mbps:.0f}",
            f"{t.clocks:,}",
            f"{t.clocks_per_second:,.0f}",
        )
    console.print(table)


def show_counters(stats: dict[str, dict[str, int]]) -> None:
    card = stats["counters"]
    table = Table(title="What the card counted")
    table.add_column("counter")
    table.add_column("", justify="right")
    rows = (
        "flows_opened",
        "flows_closed",
        "rx_segments",
        "tx_segments",
        "tx_retransmits",
        "rx_out_of_order",
    )
    for name in (*rows, "nqe_fetched", "nqe_errors", "irq_sent", "clocks"):
        table.add_row(name, f"{card[name]:,}")
    for op, count in sorted(stats["nqes"].items(), key=lambda x: -x[1]):
        if count:
            table.add_row(f"NQE {op}", f"{count:,}")
    console.print(table)


def run(
    folder: Path, file: Path, loss: float, seed: int
) -> tuple[list[Transfer], dict[str, dict[str, int]]]:
    """Both transfers, and the card's counters after them."""
    rig = Rig(folder, vfs=2, seed=seed)
    mib = file.stat().st_size >> 20
    with ExitStack() as stack:
        with console.status("starting the twin, CoreEngine and a Linux host in a namespace"):
            stack.enter_context(rig)
        rig.nk("trace", "pcap", str(PCAP))
        if loss:
            rig.link(loss=loss)
        console.print(
            f"A card of {rig.width}-bit RTL runs as a process. Its wire is the TAP of a Linux host {rig.peer_ip}; "
            f"VF 0 is {rig.vf_ip(0)}, VF 1 is {rig.vf_ip(1)}."
        )
        with console.status(f"curl over VF 0 fetches {mib} MiB from the Linux host"):
            rig.serve_files(file.parent)
            transfers = [fetch_in(rig, file, vf=0)]
        with console.status(f"the Linux host fetches {mib} MiB from nginx over VF 1"):
            rig.serve_nginx(file.parent, vf=1)
            transfers.append(fetch_out(rig, file, vf=1))
        stats = rig.nk_json("stats")
        rig.nk("trace", "pcap", "--stop")
    return transfers, stats


def main() -> int:
    """Run the demo; exit code 0 if both files came over unharmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--mib", type=int, default=64, help="size of the file (default %(default)s MiB)"
    )
    parser.add_argument("--loss", type=float, default=0.0, help="loss probability of the wire")
    parser.add_argument("--seed", type=int, default=1, help="seed of the link model")
    args = parser.parse_args()
    enter_user_namespace()
    reason = why_not()
    if reason:
        console.print(f"The demo cannot run here: {reason}")
        return 1
    PCAP.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nk-demo-") as folder:
        Path(folder).chmod(0o755)  # nginx' workers may have another user
        www = Path(folder) / "www"
        file = make_file(www / "file.bin", args.mib << 20)
        try:
            transfers, stats = run(Path(folder), file, args.loss, args.seed)
        except RigError as error:
            console.print(f"[red]The demo failed:[/] {error}")
            return 1
    show_transfers(transfers)
    show_counters(stats)
    console.print(f"Every frame of it: {PCAP} (Wireshark, or: tcpdump -nr {PCAP} | head)")
    return 0 if all(t.equal for t in transfers) else 1


if __name__ == "__main__":
    sys.exit(main())
