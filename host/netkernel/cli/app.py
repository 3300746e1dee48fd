# SPDX-License-Identifier: Apache-2.0
"""The command line: its subcommands, and how errors become sentences and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from netkernel import __version__
from netkernel.cli import coreengine, nsm, trace, twin, vf
from netkernel.cli.common import Json, emit_json, table
from netkernel.cli.devices import info, list_devices
from netkernel.cli.run import run
from netkernel.cli.stats import stats
from netkernel.cli.top import top
from netkernel.errors import EXIT_CODES, NkError
from netkernel.rundir import default_rundir

app = typer.Typer(
    name="nk-hw",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="NetKernel-HW: a tenant's network stack as a service, in hardware.",
    epilog="Exit codes: `nk-hw exit-codes`. Start with: nk-hw twin start; nk-hw coreengine start;"
    " nk-hw vf create 10.1.0.2/24; nk-hw run -- curl http://10.1.0.1/",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nk-hw {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    rundir: Annotated[
        Path | None,
        typer.Option(help="Folder of the sockets; NK_RUNDIR or a default of the system."),
    ] = None,
    version: Annotated[  # noqa: ARG001  (used by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = rundir if rundir is not None else default_rundir()


@app.command("exit-codes", epilog="Example: nk-hw exit-codes --json")
def exit_codes(as_json: Json = False) -> None:
    """List the exit codes and what they mean."""
    if as_json:
        emit_json({str(code): meaning for code, meaning in EXIT_CODES.items()})
    else:
        table(["CODE", "MEANING"], EXIT_CODES.items())


app.command("list", epilog="Example: nk-hw list --json")(list_devices)
app.command(epilog="Example: nk-hw info twin")(info)
app.add_typer(vf.app, name="vf")
app.add_typer(nsm.app, name="nsm")
app.command(epilog="Example: nk-hw stats --watch")(stats)
app.command(epilog="Example: nk-hw top --sort nqes")(top)
app.add_typer(twin.app, name="twin")
app.add_typer(coreengine.app, name="coreengine")
app.command(
    epilog="Example: nk-hw run -- curl -o file http://10.1.0.1/file",
    context_settings={"allow_interspersed_args": False},
)(run)
app.add_typer(trace.app, name="trace")


def main(argv: list[str] | None = None) -> None:
    """Run `nk-hw`. An NkError becomes one sentence, what to do next, and its exit code."""
    args = sys.argv[1:] if argv is None else argv
    try:
        app(args=args, prog_name="nk-hw")
    except NkError as error:
        # Options of the program behind `--` are not ours.
        ours = args[: args.index("--")] if "--" in args else args
        if "--json" in ours:
            emit_json({"error": error.as_dict()})
        else:
            print(f"error: {error.message}", file=sys.stderr)
            if error.hint:
                print(error.hint, file=sys.stderr)
        sys.exit(error.exit_code)
