# SPDX-License-Identifier: Apache-2.0
"""nk-hw list, info: what devices there are and what they can do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from netkernel.cli.common import Json, emit_json, pairs, rundir, table
from netkernel.coreengine import CoreEngineClient, TwinSlot
from netkernel.coreengine import schema as sc
from netkernel.coreengine.card import Card
from netkernel.coreengine.profiles import Profiles
from netkernel.errors import CoreEngineNotRunning, NkError, UnknownDevice
from netkernel.rundir import NSM_PROFILES
from netkernel.twin import pci

_SYSFS = Path("/sys/bus/pci/devices")


def _look(folder: Path) -> dict[str, Any]:
    """The card of a run directory: through CoreEngine, which owns the PF, or directly."""
    try:
        with CoreEngineClient(folder) as client:
            status = sc.StatusResult.model_validate(client.request(sc.StatusRequest()))
            vfs = client.request(sc.VfList())["vfs"]
            params = client.request(sc.NsmParamsRequest())
            profiles = client.request(sc.NsmList())["profiles"]
        where, card = status.device, status.card
    except CoreEngineNotRunning:
        slot = TwinSlot(folder)
        with slot.open_pf() as pf:
            found = Card(pf)
            where, card, vfs, params = slot.name, found.info(), None, found.params()
            profiles = _profiles(found, folder, slot.name)
    return {
        "device": "twin" if where.startswith("twin") else where.rsplit(" ", 1)[-1],
        "where": where,
        "coreengine": "running" if vfs is not None else "not running",
        "card": card.model_dump(),
        "vfs": vfs,
        "params": params,
        "profiles": profiles,
    }


def _profiles(card: Card, folder: Path, device: str) -> list[dict[str, Any]]:
    """The NSM profiles as the card holds them."""
    entries = {n: card.vf_entry(n) for n in range(card.identity.vfs) if card.vf_enabled(n)}
    profiles = Profiles(card, folder / NSM_PROFILES, device)
    profiles.load({entry.nsm for entry in entries.values()}, fresh=not entries)
    return [
        profiles.info(
            name, [n for n, entry in entries.items() if entry.nsm == profiles.slot(name)]
        ).model_dump()
        for name in profiles.names()
    ]


def _short(profiles: list[dict[str, Any]]) -> str:
    """The profiles, and behind each the VFs that have it: default:0,1 dc:2"""
    return " ".join(f"{p['name']}:{','.join(map(str, p['vfs'])) or '-'}" for p in profiles)


def _cards(sysfs: Path) -> list[dict[str, Any]]:
    """PFs on this machine's PCI bus."""
    rows = []
    for function in sorted(sysfs.glob("*")):
        with contextlib.suppress(OSError, ValueError):
            ids = [int((function / name).read_text(), 16) for name in ("vendor", "device")]
            if ids == [pci.VENDOR_ID, pci.DEVICE_ID_PF]:
                driver = function / "driver"
                name = driver.resolve().name if driver.exists() else "none"
                rows.append({"device": function.name, "where": f"PCI, driver {name}"})
    return rows


def list_devices(ctx: typer.Context, as_json: Json = False) -> None:
    """List the devices of this run directory."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(UnknownDevice):  # an empty list is an answer
        rows.append(_look(rundir(ctx)))
    held = {row["device"] for row in rows}
    rows += [row for row in _cards(_SYSFS) if row["device"] not in held]
    if as_json:
        emit_json({"devices": rows})
        return
    if not rows:
        print("no device. Start the twin: nk-hw twin start")
        return
    table(
        ["DEVICE", "WHERE", "ABI", "BUILD", "VFS", "FLOWS", "COREENGINE", "NSM"],
        [
            (
                row["device"],
                row["where"],
                *(row.get("card", {}).get(key) for key in ("abi", "build_id", "vfs", "flows")),
                row.get("coreengine"),
                _short(row.get("profiles", [])),
            )
            for row in rows
        ],
    )


def info(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help="A device as `nk-hw list` names it.")] = "twin",
    as_json: Json = False,
) -> None:
    """Show a device: capabilities, use, parameters and profiles of its network stack."""
    try:
        found = _look(rundir(ctx))
    except UnknownDevice as error:
        if device == "twin":
            raise
        raise _unknown(device) from error
    if found["device"] != device:
        raise _unknown(device)
    if as_json:
        emit_json(found)
        return
    pairs(
        {
            "device": found["device"],
            "where": found["where"],
            "coreengine": found["coreengine"],
            **found["card"],
            **found["params"],
            **{f"nsm.{p['name']}": _profile_line(p) for p in found["profiles"]},
        }
    )


def _profile_line(profile: dict[str, Any]) -> str:
    """A profile in one line: its congestion control, the options that are on, its VFs."""
    options = ("sack", "timestamps", "ecn", "window_scale", "tlp")
    words = [profile["cc"], *(name for name in options if profile[name])]
    return f"{' '.join(words)}; VF {', '.join(map(str, profile['vfs'])) or 'none'}"


def _unknown(device: str) -> NkError:
    return UnknownDevice(f"there is no device {device!r}")
