# SPDX-License-Identifier: Apache-2.0
"""nk-hw nsm: network stack profiles, which VF has which, and the parameters that all share."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
import typer

from netkernel.cli.common import Json, emit_json, flatten, pairs, rundir, table
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.coreengine.profiles import PARAMETERS
from netkernel.errors import BadRequest, UnknownDevice

app = typer.Typer(
    no_args_is_help=True,
    help="Network stack profiles: congestion control and TCP options of a VF's connections.",
    epilog="Example: nk-hw nsm create dc --cc dctcp; nk-hw nsm assign dc 0",
)

Name = Annotated[str, typer.Argument(help="Name of the profile.")]
Cc = Annotated[str | None, typer.Option(help="Congestion control: reno, cubic or dctcp.")]
Sack = Annotated[
    bool | None, typer.Option("--sack/--no-sack", help="Selective acknowledgement (RFC 2018).")
]
Timestamps = Annotated[
    bool | None, typer.Option("--timestamps/--no-timestamps", help="Timestamps (RFC 7323).")
]
Ecn = Annotated[
    bool | None, typer.Option("--ecn/--no-ecn", help="ECN (RFC 3168); always on with dctcp.")
]
WindowScale = Annotated[
    bool | None, typer.Option("--window-scale/--no-window-scale", help="Window scale (RFC 7323).")
]
Tlp = Annotated[bool | None, typer.Option("--tlp/--no-tlp", help="Tail loss probes (RFC 8985).")]
InitialCwnd = Annotated[
    int | None, typer.Option(help="Initial congestion window, segments; 0: that of the card.")
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Parameter of the congestion control; repeatable. "
        + "; ".join(f"{cc}: {', '.join(known)}" for cc, known in PARAMETERS.items()),
    ),
]


def _number(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name, int(value, 0)
    except ValueError:
        pass
    raise BadRequest(f"{text!r} is not NAME=NUMBER", "Example: --param beta=179")


def _settings(values: dict[str, Any], params: list[str] | None) -> sc.NsmSettings:
    if params:
        values["params"] = dict(_number(text) for text in params)
    try:
        return sc.NsmSettings.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadRequest(f"{first['loc'][0]}: {first['msg']}") from error


def _named(name: str) -> str:
    try:
        return pydantic.TypeAdapter(sc.ProfileName).validate_python(name)
    except pydantic.ValidationError as error:
        raise BadRequest(
            f"{name!r} is no name for a profile",
            "A letter, then letters, digits and . _ -, at most 32 in all.",
        ) from error


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(row)
        return
    shown = flatten({key: value for key, value in row.items() if key != "params"})
    for name, value in row["params"].items():
        shown[f"params.{name}"] = f"{value}  ({PARAMETERS[row['cc']][name].unit})"
    pairs({key: _plain(value) for key, value in shown.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value


@app.command("list", epilog="Example: nk-hw nsm list")
def list_profiles(ctx: typer.Context, as_json: Json = False) -> None:
    """List the profiles and the VFs that have them."""
    with CoreEngineClient(rundir(ctx)) as client:
        rows = client.request(sc.NsmList())["profiles"]
    if as_json:
        emit_json({"profiles": rows})
        return
    keys = ["name", "cc", "sack", "timestamps", "ecn", "window_scale", "tlp", "initial_cwnd", "vfs"]
    table(
        ["NAME", "CC", "SACK", "TIMESTAMPS", "ECN", "WSCALE", "TLP", "INITCWND", "VFS"],
        [[_plain(row[key]) for key in keys] for row in rows],
    )


@app.command(epilog="Example: nk-hw nsm show default")
def show(ctx: typer.Context, name: Name = "default", as_json: Json = False) -> None:
    """Show a profile with the parameters of its congestion control."""
    with CoreEngineClient(rundir(ctx)) as client:
        rows = client.request(sc.NsmList())["profiles"]
    for row in rows:
        if row["name"] == name:
            _show(row, as_json)
            return
    raise UnknownDevice(
        f"there is no profile {name!r}", "`nk-hw nsm list` shows those that there are."
    )


@app.command(epilog="Example: nk-hw nsm create dc --cc dctcp --param g_log2=4")
def create(
    ctx: typer.Context,
    name: Name,
    cc: Cc = None,
    sack: Sack = None,
    timestamps: Timestamps = None,
    ecn: Ecn = None,
    window_scale: WindowScale = None,
    tlp: Tlp = None,
    initial_cwnd: InitialCwnd = None,
    param: Param = None,
    as_json: Json = False,
) -> None:
    """Make a profile: CUBIC, SACK, timestamps, window scale and TLP, unless told otherwise."""
    values = dict(
        cc=cc,
        sack=sack,
        timestamps=timestamps,
        ecn=ecn,
        window_scale=window_scale,
        tlp=tlp,
        initial_cwnd=initial_cwnd,
    )
    request = sc.NsmCreate(name=_named(name), settings=_settings(values, param))
    with CoreEngineClient(rundir(ctx)) as client:
        _show(client.request(request), as_json)


@app.command("set", epilog="Example: nk-hw nsm set default --cc reno --no-timestamps")
def set_profile(
    ctx: typer.Context,
    name: Name,
    cc: Cc = None,
    sack: Sack = None,
    timestamps: Timestamps = None,
    ecn: Ecn = None,
    window_scale: WindowScale = None,
    tlp: Tlp = None,
    initial_cwnd: InitialCwnd = None,
    param: Param = None,
    as_json: Json = False,
) -> None:
    """Change a profile. Options are for new connections; congestion control, its parameters and TLP
    reach the running connections of the profile too (`nk-hw nsm assign` leaves those alone)."""
    values = dict(
        cc=cc,
        sack=sack,
        timestamps=timestamps,
        ecn=ecn,
        window_scale=window_scale,
        tlp=tlp,
        initial_cwnd=initial_cwnd,
    )
    request = sc.NsmSet(name=_named(name), settings=_settings(values, param))
    with CoreEngineClient(rundir(ctx)) as client:
        _show(client.request(request), as_json)


@app.command(epilog="Example: nk-hw nsm delete dc")
def delete(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Delete a profile that no VF has."""
    with CoreEngineClient(rundir(ctx)) as client:
        row = client.request(sc.NsmDelete(name=_named(name)))
    if as_json:
        emit_json(row)


@app.command(epilog="Example: nk-hw nsm assign dc 0 1")
def assign(
    ctx: typer.Context,
    name: Name,
    vfs: Annotated[list[int], typer.Argument(metavar="VF...", help="Numbers of the VFs.")],
    as_json: Json = False,
) -> None:
    """Give VFs a profile, in use or not: connections that open from now on take it, others keep theirs."""
    config = sc.VfConfig.model_validate({"nsm": _named(name)})
    with CoreEngineClient(rundir(ctx)) as client:
        rows = [client.request(sc.VfSet(vf=vf, config=config)) for vf in vfs]
    if as_json:
        emit_json({"vfs": rows})


@app.command(epilog="Example: nk-hw nsm params rto_min_us=5000 initial_cwnd=4")
def params(
    ctx: typer.Context,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Parameters to change.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show or change what all profiles share (timers, retries, windows)."""
    values = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(
                f"{text!r} is not NAME=VALUE", "Example: nk-hw nsm params rto_min_us=5000"
            )
        values[name] = value
    try:
        wanted = sc.NsmParams.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = ", ".join(sc.NsmParams.model_fields)
        raise BadRequest(f"{first['loc'][0]}: {first['msg']}", f"Known: {known}") from error
    with CoreEngineClient(rundir(ctx)) as client:
        result = client.request(sc.NsmParamsRequest(params=wanted))
    if as_json:
        emit_json(result)
    else:
        pairs(result)
