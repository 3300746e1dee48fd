# SPDX-License-Identifier: Apache-2.0
"""python -m netkernel.twin: runs the card as a process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from netkernel.errors import NkError
from netkernel.rundir import default_rundir
from netkernel.twin.build import TwinConfig
from netkernel.twin.library import START_US
from netkernel.twin.process import Options, fail, run


def parse(argv: Sequence[str] | None) -> Options:
    defaults = TwinConfig()
    parser = argparse.ArgumentParser(
        prog="python -m netkernel.twin",
        description="Runs the card's RTL in real time, with vfio-user sockets and a TAP.",
        epilog="example: python -m netkernel.twin --rundir /run/netkernel --tap nk0 --seed 7",
    )
    parser.add_argument(
        "--rundir", type=Path, default=default_rundir(), help="folder of the sockets (%(default)s)"
    )
    wire = parser.add_mutually_exclusive_group()
    wire.add_argument(
        "--tap", metavar="NAME", help="TAP device that is the wire; created if it is not there"
    )
    wire.add_argument(
        "--wire-fd", type=int, metavar="N", help="open datagram socket or TAP that is the wire"
    )
    wire.add_argument("--no-wire", action="store_true", help="no wire (the default)")
    parser.add_argument("--seed", type=int, help="of the link model (default: random, printed)")
    parser.add_argument("--pcap", type=Path, metavar="FILE", help="capture from the start")
    parser.add_argument(
        "--w", type=int, default=defaults.width, help="bits of the data bus (%(default)s)"
    )
    parser.add_argument("--nvf", type=int, default=defaults.vfs, help="VFs (%(default)s)")
    parser.add_argument(
        "--nqs", type=int, default=defaults.queue_sets, help="queue sets of a VF (%(default)s)"
    )
    parser.add_argument("--flows", type=int, default=defaults.flows, help="flows (%(default)s)")
    parser.add_argument(
        "--read-latency", type=int, default=4, metavar="CLOCKS", help="of DMA reads (%(default)s)"
    )
    parser.add_argument(
        "--start-us", type=int, default=int(os.environ.get("NK_TWIN_START_US", START_US)),
        metavar="N", help="card time at the start, to see it wrap soon (NK_TWIN_START_US; %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rtl", type=Path, action="append", default=[], metavar="FILE",
        help="Verilog that takes the place of the file of that name in hw/",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if not 0 <= options.read_latency <= 1_000_000:
        parser.error("--read-latency must be 0 to 1000000")
    if not 0 <= options.start_us < 1 << 40:
        parser.error("--start-us must be 0 to 2^40")
    return Options(
        rundir=options.rundir,
        config=TwinConfig(
            width=options.w, vfs=options.nvf, queue_sets=options.nqs, flows=options.flows
        ),
        tap=options.tap,
        wire_fd=options.wire_fd,
        seed=options.seed,
        pcap=options.pcap,
        read_latency=options.read_latency,
        start_us=options.start_us,
        rtl=tuple(options.rtl),
    )


def main(argv: Sequence[str] | None = None) -> int:
    try:
        run(parse(argv))
    except NkError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
