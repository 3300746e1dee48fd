# SPDX-License-Identifier: Apache-2.0
"""nk-hw nsm: parameters of the network stack module."""

from __future__ import annotations

from typing import Annotated

import pydantic
import typer

from netkernel.cli.common import Json, emit_json, pairs, rundir
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest


def nsm(
    ctx: typer.Context,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Parameters to change.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show or change the parameters of the network stack module (timers, retries, windows)."""
    values = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"{text!r} is not NAME=VALUE", "Example: nk-hw nsm rto_min_us=5000")
        values[name] = value
    try:
        params = sc.NsmParams.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = ", ".join(sc.NsmParams.model_fields)
        raise BadRequest(f"{first['loc'][0]}: {first['msg']}", f"Known: {known}") from error
    with CoreEngineClient(rundir(ctx)) as client:
        result = client.request(sc.NsmRequest(params=params))
    if as_json:
        emit_json(result)
    else:
        pairs(result)
