# SPDX-License-Identifier: Apache-2.0
"""nk-hw vf: the VFs and their settings."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
import typer

from netkernel.cli.common import Json, emit_json, pairs, rundir, table
from netkernel.coreengine import CoreEngineClient
from netkernel.coreengine import schema as sc
from netkernel.errors import BadRequest, UnknownDevice

app = typer.Typer(no_args_is_help=True, help="VFs and their settings.")

Mac = Annotated[str | None, typer.Option(help="MAC address; 02:4e:4b:00:00:<vf> by default.")]
Gateway = Annotated[str | None, typer.Option(help="IPv4 address of the next hop; 0.0.0.0: none.")]
Mtu = Annotated[int | None, typer.Option(help="Largest IPv4 datagram, 576 to 1500.")]
MaxSockets = Annotated[int | None, typer.Option(help="Socket quota.")]
Nsm = Annotated[
    str | None, typer.Option(help="NSM profile of new connections, see `nk-hw nsm list`.")
]


MaxTxRate = Annotated[int | None, typer.Option(help="Largest transmit rate, Mb/s; 0: no limit.")]
MinTxRate = Annotated[int | None, typer.Option(help="Guaranteed transmit rate, Mb/s; 0: none.")]
MaxRxRate = Annotated[int | None, typer.Option(help="Largest receive rate, Mb/s; 0: no limit.")]
NqeRate = Annotated[int | None, typer.Option(help="Largest rate of NQEs a second; 0: no limit.")]
Weight = Annotated[int | None, typer.Option(help="Share among VFs that want more, 1 to 255.")]
VmShare = Annotated[
    bool | None, typer.Option(help="All flows of the VF share one congestion window.")
]
BurstTx = Annotated[int | None, typer.Option(help="KiB sent at once after a pause, 2 to 65535.")]
BurstRx = Annotated[
    int | None, typer.Option(help="KiB received at once after a pause, 2 to 65535.")
]
MaxListeners = Annotated[int | None, typer.Option(help="Quota of listeners, 0 to 65535.")]
MaxNeighbours = Annotated[int | None, typer.Option(help="Quota of neighbours, 1 to 65535.")]
Vlan = Annotated[int | None, typer.Option(help="VLAN of the VF, 1 to 4094; 0: none.")]
VlanQos = Annotated[int | None, typer.Option(help="VLAN priority of the VF, 0 to 7.")]
VxlanVni = Annotated[int | None, typer.Option(help="VXLAN network of the VF; 0: none.")]
VxlanRemote = Annotated[
    str | None, typer.Option(help="VTEP of stations that are not known yet; 0.0.0.0: none.")
]


def config(values: dict[str, Any]) -> sc.VfConfig:
    """Settings from the command line, whose parameters are named as they."""
    given = {name: values[name] for name in sc.VfConfig.model_fields if name in values}
    try:
        return sc.VfConfig.model_validate(given)
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
        [
            *("VF", "STATE", "IP", "MAC", "MTU", "NSM", "SOCKETS", "QUOTA"),
            *("TX-RATE", "RX-RATE", "NQE-RATE", "WEIGHT", "NETWORK", "PID", "REASON"),
        ],
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
                _rates(row["min_tx_rate"], row["max_tx_rate"]),
                row["max_rx_rate"] or "-",
                row["nqe_rate"] or "-",
                row["weight"],
                _network(row),
                row["holder_pid"],
                row["reason"],
            )
            for row in rows
        ],
    )


def _rates(least: int, most: int) -> str:
    """Guaranteed and largest rate, Mb/s."""
    return f"{least or ''}..{most or ''}" if least else str(most or "-")


def _network(row: dict[str, Any]) -> str:
    if row["vlan"]:
        return f"vlan {row['vlan']}"
    return f"vni {row['vxlan_vni']}" if row["vxlan_vni"] else "-"


@app.command(epilog="Example: nk-hw vf show 0")
def show(
    ctx: typer.Context,
    vf: Annotated[int, typer.Argument(help="Number of the VF.")],
    as_json: Json = False,
) -> None:
    """Show every setting of a VF. Rates in Mb/s, bursts in KiB; 0: no limit."""
    with CoreEngineClient(rundir(ctx)) as client:
        rows = client.request(sc.VfList())["vfs"]
    for row in rows:
        if row["vf"] == vf:
            _show(row, as_json)
            return
    raise UnknownDevice(f"VF {vf} is not configured", "`nk-hw vf list` shows those that are.")


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
    max_tx_rate: MaxTxRate = None,
    min_tx_rate: MinTxRate = None,
    max_rx_rate: MaxRxRate = None,
    nqe_rate: NqeRate = None,
    weight: Weight = None,
    vm_share: VmShare = None,
    burst_tx: BurstTx = None,
    burst_rx: BurstRx = None,
    max_listeners: MaxListeners = None,
    max_neighbours: MaxNeighbours = None,
    vlan: Vlan = None,
    vlan_qos: VlanQos = None,
    vxlan_vni: VxlanVni = None,
    vxlan_remote: VxlanRemote = None,
    as_json: Json = False,
) -> None:
    """Configure a VF and switch it on."""
    settings = config(dict(locals()))
    with CoreEngineClient(rundir(ctx)) as client:
        row = client.request(sc.VfCreate(vf=vf, config=settings))
    _show(row, as_json)


@app.command("set", epilog="Example: nk-hw vf set 0 --max-tx-rate 1000 --weight 4")
def set_vf(
    ctx: typer.Context,
    vf: Annotated[int, typer.Argument(help="Number of the VF.")],
    ip: Annotated[str | None, typer.Option(help="IPv4 address with prefix length.")] = None,
    mac: Mac = None,
    gateway: Gateway = None,
    mtu: Mtu = None,
    max_sockets: MaxSockets = None,
    nsm: Nsm = None,
    max_tx_rate: MaxTxRate = None,
    min_tx_rate: MinTxRate = None,
    max_rx_rate: MaxRxRate = None,
    nqe_rate: NqeRate = None,
    weight: Weight = None,
    vm_share: VmShare = None,
    burst_tx: BurstTx = None,
    burst_rx: BurstRx = None,
    max_listeners: MaxListeners = None,
    max_neighbours: MaxNeighbours = None,
    vlan: Vlan = None,
    vlan_qos: VlanQos = None,
    vxlan_vni: VxlanVni = None,
    vxlan_remote: VxlanRemote = None,
    as_json: Json = False,
) -> None:
    """Change a VF that nobody holds; also brings a failed one back. Rates, shares, limits and --nsm
    work on a VF in use, too: rates from the next frame on, --nsm for connections that open."""
    settings = config(dict(locals()))
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
