# SPDX-License-Identifier: Apache-2.0
"""Runs the daemon in the foreground: `python -m netkernel.coreengine --rundir DIR`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from netkernel.coreengine.daemon import CoreEngine
from netkernel.coreengine.metrics import metrics_address
from netkernel.coreengine.slot import find_slot
from netkernel.errors import NkError
from netkernel.rundir import default_rundir


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="netkernel.coreengine", description=__doc__)
    parser.add_argument("--rundir", type=Path, default=default_rundir())
    parser.add_argument("--device", default="twin", help="`twin`, or the PCI address of a PF")
    parser.add_argument("--metrics", help="[HOST:]PORT of a Prometheus endpoint; none by default")
    args = parser.parse_args(argv)

    try:
        metrics = metrics_address(args.metrics) if args.metrics else None
        slot = find_slot(args.device, args.rundir)
        engine = CoreEngine(args.rundir, slot, metrics=metrics)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: engine.stop(signal.Signals(n).name))
        engine.run()
    except NkError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)
        if error.hint:
            print(error.hint, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
