# SPDX-License-Identifier: Apache-2.0
"""What the subcommands share: where the run directory is, and how results are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

# Into a pipe or file nothing is cut to a terminal's width.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)


def rundir(ctx: typer.Context) -> Path:
    """The run directory that the command line chose."""
    return Path(ctx.find_root().obj)


def emit_json(data: Any) -> None:
    """JSON for programs: one document, no colour, no wrapping."""
    print(json.dumps(data, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, no_wrap=True)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(made)


def pairs(data: dict[str, Any]) -> None:
    """Names and values, one pair a line."""
    width = max((len(name) for name in data), default=0)
    for name, value in data.items():
        print(f"{name:<{width}}  {value}")


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dictionaries in dictionaries as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
