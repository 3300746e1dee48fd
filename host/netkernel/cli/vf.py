# SPDX-License-Identifier: Apache-2.0
"""nk-hw vf: the VFs and their settings."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
import typer

from netkernel.cli.common import Json, emit_json, pairs, rundir, table
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest

app = typer.Typer(no_args_is_help=True, help="VFs and their settings.")

Mac = Annotated[str | None, typer.Option(help="MAC address; 02:4e:4b:00:00:<vf> by default.")]
Gateway = Annotated[str | None, typer.Option(help="IPv4 address of the next hop; 0.0.0.0: none.")]
Mtu = Annotated[int | None, typer.Option(help="Largest IPv4 datagram, 576 to 1500.")]
MaxSockets = Annotated[int | None, typer.Option(help="Socket quota.")]
Nsm = Annotated[
    str | None, typer.Option(help="NSM profile of new connections, see `nk-hw nsm list`.")
]


def config(**values: str | int | None) -> sc.VfConfig:
    """Settings from the command line."""
    try:
        return sc.VfConfig.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadRequest(f"{first['loc'][0]}: {first['msg']}") from error


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(row)
    else:
        pairs({name: value for name, value in row.items() if value is not None})


@app.command("list", epilog="Example: nk-hw vf list")
def list_vfs(ctx: typer.Context, as_json: Json = False) -> None:
    """List the configured VFs and who holds them."""
    with CoreEngineClient(rundir(ctx)) as client:
        rows = client.request(sc.VfList())["vfs"]
    if as_json:
        emit_json({"vfs": rows})
        return
    if not rows:
        print("no VF is configured. Create one: nk-hw vf create 10.1.0.2/24")
        return
    table(
        ["VF", "STATE", "IP", "MAC", "MTU", "NSM", "SOCKETS", "QUOTA", "PID", "REASON"],
        [
            (
                row["vf"],
                row["state"],
                row["ip"],
                row["mac"],
                row["mtu"],
                row["nsm"],
                row["sockets"],
                row["max_sockets"],
                row["holder_pid"],
                row["reason"],
            )
            for row in rows
        ],
    )


@app.command(epilog="Example: nk-hw vf create 10.1.0.2/24 --gateway 10.1.0.1")
def create(
    ctx: typer.Context,
    ip: Annotated[str, typer.Argument(help="IPv4 address with prefix length.")],
    vf: Annotated[int | None, typer.Option(help="Its number; the lowest free by default.")] = None,
    mac: Mac = None,
    gateway: Gateway = None,
    mtu: Mtu = None,
    max_sockets: MaxSockets = None,
    nsm: Nsm = None,
    as_json: Json = False,
) -> None:
    """Configure a VF and switch it on."""
    settings = config(ip=ip, mac=mac, gateway=gateway, mtu=mtu, max_sockets=max_sockets, nsm=nsm)
    with CoreEngineClient(rundir(ctx)) as client:
        row = client.request(sc.VfCreate(vf=vf, config=settings))
    _show(row, as_json)


@app.command("set", epilog="Example: nk-hw vf set 0 --max-sockets 64")
def set_vf(
    ctx: typer.Context,
    vf: Annotated[int, typer.Argument(help="Number of the VF.")],
    ip: Annotated[str | None, typer.Option(help="IPv4 address with prefix length.")] = None,
    mac: Mac = None,
    gateway: Gateway = None,
    mtu: Mtu = None,
    max_sockets: MaxSockets = None,
    nsm: Nsm = None,
    as_json: Json = False,
) -> None:
    """Change a VF that nobody holds; also brings a failed one back. --nsm alone works on a VF in use:
    connections that open from now on take that profile."""
    settings = config(ip=ip, mac=mac, gateway=gateway, mtu=mtu, max_sockets=max_sockets, nsm=nsm)
    with CoreEngineClient(rundir(ctx)) as client:
        row = client.request(sc.VfSet(vf=vf, config=settings))
    _show(row, as_json)


@app.command(epilog="Example: nk-hw vf delete 0")
def delete(
    ctx: typer.Context,
    vf: Annotated[int, typer.Argument(help="Number of the VF.")],
    as_json: Json = False,
) -> None:
    """Switch a VF off that nobody holds."""
    with CoreEngineClient(rundir(ctx)) as client:
        row = client.request(sc.VfDelete(vf=vf))
    if as_json:
        emit_json(row)
