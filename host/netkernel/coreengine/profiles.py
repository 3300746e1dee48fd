# SPDX-License-Identifier: Apache-2.0
"""NSM profiles: what the connections of a VF run on. Eight slots in the card, names beside them.

A connection keeps the number of its profile for life. So a VF that moves to another profile changes
its new connections only, and a slot is given to another profile only when no connection of the one
before can be left. The card holds the values; the names stand in a file of the run directory, with
the values at the time, by which a card that was reset since is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import pydantic

from netkernel import abi
from netkernel.coreengine import schema as sc
from netkernel.errors import (
    BadRequest,
    Busy,
    NothingFree,
    PermissionDenied,
    PortInUse,
    UnknownDevice,
)

Words = tuple[int, int, int]  # CTRL, PARAM_LO, PARAM_HI

DEFAULT: Final = "default"  # the profile of slot 0, which a VF has from the start
FREE: Final[Words] = (
    abi.NSM_RESET["CTRL"],
    abi.NSM_RESET["PARAM_LO"],
    abi.NSM_RESET["PARAM_HI"],
)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a congestion control; `field` counts from bit 0 of PARAM_LO."""

    field: abi.Field
    default: int
    lowest: int
    highest: int
    unit: str
    zero_is_default: bool = True  # the card takes 0 for the default, so 0 cannot be asked for

    def get(self, bits: int) -> int:
        """Its value in the 64 bits of a profile."""
        value = self.field.get(bits)
        return self.default if value == 0 and self.zero_is_default else value

    def put(self, value: int) -> int:
        """The value in its place; the default is 0 there, so that it stays the card's."""
        return 0 if value == self.default and self.zero_is_default else self.field.put(value)


def _beta(default: int) -> Parameter:
    return Parameter(abi.Field(0, 8), default, 1, 255, "share of the window a loss leaves, 1/256")


# As the heads of hw/tcp/rtl/nk_cc_*.v have them (docs/congestion-control.md).
PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = MappingProxyType(
    {
        "reno": {"beta": _beta(128)},
        "cubic": {
            "beta": _beta(179),
            "c": Parameter(abi.Field(8, 8), 40, 1, 255, "C, 1/100 segments/s^3"),
            "alpha_inverse": Parameter(abi.Field(16, 8), 121, 1, 255, "1/alpha, 1/64"),
            "no_fast_convergence": Parameter(
                abi.Field(24, 1), 0, 0, 1, "1: w_max stays as it was", zero_is_default=False
            ),
        },
        "dctcp": {
            "beta": _beta(128),
            "g_log2": Parameter(abi.Field(8, 4), 4, 1, 15, "gain g is 2^-this"),
        },
    }
)


@dataclass(frozen=True)
class Profile:
    """The settings of a profile."""

    cc: str = "cubic"
    sack: bool = True
    timestamps: bool = True
    ecn: bool = False
    window_scale: bool = True
    tlp: bool = True
    initial_cwnd: int = 0
    params: Mapping[str, int] = field(default_factory=dict)  # those that are not the default

    @property
    def all_params(self) -> dict[str, int]:
        """Every parameter of the congestion control, defaults too."""
        known = PARAMETERS.get(self.cc, {})
        return {name: self.params.get(name, known[name].default) for name in known}

    def words(self) -> Words:
        """The registers of its slot."""
        ctrl = (
            abi.NSM.CTRL_CC.put(abi.CongestionControl[self.cc.upper()])
            | abi.NSM.CTRL_SACK.put(self.sack)
            | abi.NSM.CTRL_TIMESTAMPS.put(self.timestamps)
            | abi.NSM.CTRL_ECN.put(self.ecn)
            | abi.NSM.CTRL_WINDOW_SCALE.put(self.window_scale)
            | abi.NSM.CTRL_TLP.put(self.tlp)
            | abi.NSM.CTRL_INITIAL_CWND.put(self.initial_cwnd)
        )
        bits = 0
        for name, value in self.params.items():
            bits |= PARAMETERS[self.cc][name].put(value)
        return ctrl, bits & 0xFFFF_FFFF, bits >> 32

    @classmethod
    def from_words(cls, words: Words) -> Profile:
        """The settings that a slot holds."""
        ctrl, bits = words[0], words[2] << 32 | words[1]
        cc = abi.CongestionControl(abi.NSM.CTRL_CC.get(ctrl)).name.lower()
        known = PARAMETERS.get(cc, {})
        return cls(
            cc=cc,
            sack=bool(abi.NSM.CTRL_SACK.get(ctrl)),
            timestamps=bool(abi.NSM.CTRL_TIMESTAMPS.get(ctrl)),
            ecn=bool(abi.NSM.CTRL_ECN.get(ctrl)),
            window_scale=bool(abi.NSM.CTRL_WINDOW_SCALE.get(ctrl)),
            tlp=bool(abi.NSM.CTRL_TLP.get(ctrl)),
            initial_cwnd=abi.NSM.CTRL_INITIAL_CWND.get(ctrl),
            params={n: p.get(bits) for n, p in known.items() if p.get(bits) != p.default},
        )

    def changed(self, settings: sc.NsmSettings) -> Profile:
        """With what `settings` names; another congestion control begins with its own defaults."""
        cc = settings.cc or self.cc
        params = dict(self.params) if cc == self.cc else {}
        for name, value in (settings.params or {}).items():
            params[name] = _checked(cc, name, value)
        ecn = self.ecn if settings.ecn is None else settings.ecn
        if cc == "dctcp":
            if settings.ecn is False:
                raise BadRequest(
                    "DCTCP reads its congestion from ECN marks, so it cannot go without ECN",
                    "Leave --no-ecn out, or choose reno or cubic.",
                )
            ecn = True
        plain = settings.model_dump(exclude_none=True, exclude={"cc", "ecn", "params"})
        return replace(self, cc=cc, ecn=ecn, params=params, **plain)


def _checked(cc: str, name: str, value: int) -> int:
    known = PARAMETERS.get(cc, {})
    if name not in known:
        has = ", ".join(known) or "none"
        raise BadRequest(f"{cc} has no parameter {name!r}", f"It has: {has}.")
    of = known[name]
    if not of.lowest <= value <= of.highest:
        raise BadRequest(
            f"{name} of {cc} is {of.lowest} to {of.highest} ({of.unit}), not {value}",
            f"Its default is {of.default}.",
        )
    return value


class _Slots(Protocol):
    """What is needed of a card."""

    def nsm_words(self, slot: int) -> Words: ...

    def nsm_program(self, slot: int, words: Words) -> None: ...


class _Entry(pydantic.BaseModel):
    slot: int = pydantic.Field(ge=0, lt=abi.PF.NSM_COUNT)
    words: Words


class _File(pydantic.BaseModel):
    device: str
    profiles: dict[sc.ProfileName, _Entry]


class Profiles:
    """The profiles of a card, by name."""

    def __init__(
        self, card: _Slots, path: Path, device: str, log: Callable[[str], None] = lambda _: None
    ) -> None:
        self._card = card
        self._path = path
        self._device = device
        self._log = log
        self._slots: dict[str, int] = {}

    # ---- start ----

    def load(self, used: Collection[int], fresh: bool) -> bool:
        """Find names for what the card holds, without a change of either.

        used: slots that VFs are set to. fresh: no VF is configured, so the card may have been reset.
        Returns whether the card is one that this instance has set up before.
        """
        file = self._read()
        known = file is not None and not (fresh and self._differs(file))
        names = {e.slot: name for name, e in file.profiles.items()} if file and known else {}
        names[0] = DEFAULT
        for slot in used:
            names.setdefault(slot, f"slot{slot}")
        self._slots = {name: slot for slot, name in names.items()}
        return known

    def adopt(self, used: Collection[int], fresh: bool) -> None:
        """As `load`, and bring the card in order: a default of ours, and unnamed slots are empty."""
        if not self.load(used, fresh) and fresh:
            self._card.nsm_program(0, Profile().words())
        for slot in set(range(abi.PF.NSM_COUNT)) - set(self._slots.values()):
            if self._card.nsm_words(slot) != FREE:
                self._card.nsm_program(slot, FREE)
        self._write()

    def _differs(self, file: _File) -> bool:
        return any(self._card.nsm_words(e.slot) != e.words for e in file.profiles.values())

    # ---- look ----

    def slot(self, name: str) -> int:
        """Where a profile is."""
        if name not in self._slots:
            raise UnknownDevice(
                f"there is no profile {name!r}", "`nk-hw nsm list` shows those that are."
            )
        return self._slots[name]

    def name(self, slot: int) -> str:
        """What is there."""
        return next((name for name, at in self._slots.items() if at == slot), f"slot{slot}")

    def get(self, name: str) -> Profile:
        """The settings of a profile, from the card."""
        return Profile.from_words(self._card.nsm_words(self.slot(name)))

    def info(self, name: str, vfs: list[int]) -> sc.NsmProfile:
        """A profile as the operator sees it."""
        found = self.get(name)
        return sc.NsmProfile(
            name=name,
            slot=self.slot(name),
            cc=found.cc,
            sack=found.sack,
            timestamps=found.timestamps,
            ecn=found.ecn,
            window_scale=found.window_scale,
            tlp=found.tlp,
            initial_cwnd=found.initial_cwnd,
            params=found.all_params,
            vfs=vfs,
        )

    def names(self) -> list[str]:
        """All, by slot."""
        return sorted(self._slots, key=self._slots.__getitem__)

    # ---- change ----

    def create(self, name: str, settings: sc.NsmSettings, lingering: Collection[int]) -> None:
        """A new profile; lingering: slots that connections of deleted profiles may still have."""
        if name in self._slots:
            raise PortInUse(f"there is a profile {name!r} already", "Change it: `nk-hw nsm set`.")
        made = Profile().changed(settings)
        taken = set(self._slots.values())
        free = [slot for slot in range(abi.PF.NSM_COUNT) if slot not in taken]
        if not free:
            raise NothingFree(
                f"all {abi.PF.NSM_COUNT} profiles are taken", "Delete one: `nk-hw nsm delete NAME`."
            )
        free = [slot for slot in free if slot not in lingering]
        if not free:
            raise NothingFree(
                "connections may still run on the profiles that were deleted",
                "End the processes on their VFs first; `nk-hw vf list` shows them.",
            )
        self._card.nsm_program(free[0], made.words())
        self._slots[name] = free[0]
        self._write()

    def set(self, name: str, settings: sc.NsmSettings) -> None:
        """Change a profile where it is."""
        self._card.nsm_program(self.slot(name), self.get(name).changed(settings).words())
        self._write()

    def delete(self, name: str, vfs: list[int]) -> None:
        """Forget a profile. Its slot keeps its values: connections may still run on it."""
        if self.slot(name) == 0:
            raise BadRequest("the default profile cannot be deleted", "Change it: `nk-hw nsm set`.")
        if vfs:
            which = ", ".join(map(str, vfs))
            raise Busy(
                f"profile {name!r} is that of VF {which}",
                "Give it another one first: `nk-hw nsm assign default VF`.",
            )
        del self._slots[name]
        self._write()

    # ---- the file ----

    def _read(self) -> _File | None:
        try:
            file = _File.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, pydantic.ValidationError):
            self._log(f"{self._path} cannot be read: the names of profiles in it are lost")
            return None
        slots = [entry.slot for entry in file.profiles.values()]
        return file if file.device == self._device and len(set(slots)) == len(slots) else None

    def _write(self) -> None:
        entries = {
            name: _Entry(slot=slot, words=self._card.nsm_words(slot))
            for name, slot in self._slots.items()
        }
        text = _File(device=self._device, profiles=entries).model_dump_json(indent=1)
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(text + "\n")
            os.replace(beside, self._path)
        except OSError as error:
            raise PermissionDenied(f"cannot write {self._path}: {error.strerror}") from error
