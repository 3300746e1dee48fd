# SPDX-License-Identifier: Apache-2.0
"""The PF as CoreEngine sees it: VF table, parameters, counters. The card holds the truth."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

from netkernel import abi
from netkernel.coreengine.schema import CardInfo, NsmParams
from netkernel.device import Device
from netkernel.errors import BadRequest, DeviceRefused

_NSM_REGISTERS: Final = (abi.NSM.CTRL, abi.NSM.PARAM_LO, abi.NSM.PARAM_HI)

# parameter -> register, field of it (None: the whole register)
_PARAMS: Final[dict[str, tuple[int, abi.Field | None]]] = {
    "rto_min_us": (abi.PF.RTO_MIN_US, None),
    "rto_init_us": (abi.PF.RTO_INIT_US, None),
    "rto_max_us": (abi.PF.RTO_MAX_US, None),
    "time_wait_us": (abi.PF.TIME_WAIT_US, None),
    "delayed_ack_us": (abi.PF.DELAYED_ACK_US, None),
    "neigh_retry_us": (abi.PF.NEIGH_RETRY_US, None),
    "retries_data": (abi.PF.RETRIES, abi.PF.RETRIES_DATA),
    "retries_syn": (abi.PF.RETRIES, abi.PF.RETRIES_SYN),
    "retries_neigh": (abi.PF.RETRIES, abi.PF.RETRIES_NEIGH),
    "fin_wait2_us": (abi.PF.FIN_WAIT2_US, None),
    "initial_cwnd": (abi.PF.INITIAL_CWND, abi.PF.INITIAL_CWND_VALUE),
}


# setting of a VF -> register, field of it (None: the whole register); writable while the VF is used
_SHARES: Final[dict[str, tuple[int, abi.Field | None]]] = {
    "weight": (abi.VFE.SHARE, abi.VFE.SHARE_WEIGHT),
    "vm_share": (abi.VFE.SHARE, abi.VFE.SHARE_VM_SHARE),
    "max_tx_rate": (abi.VFE.MAX_TX_RATE, abi.VFE.MAX_TX_RATE_RATE),
    "min_tx_rate": (abi.VFE.MIN_TX_RATE, abi.VFE.MIN_TX_RATE_RATE),
    "max_rx_rate": (abi.VFE.MAX_RX_RATE, abi.VFE.MAX_RX_RATE_RATE),
    "nqe_rate": (abi.VFE.NQE_RATE, None),
    "burst_tx": (abi.VFE.BURST, abi.VFE.BURST_TX),
    "burst_rx": (abi.VFE.BURST, abi.VFE.BURST_RX),
    "max_listeners": (abi.VFE.LIMITS, abi.VFE.LIMITS_LISTENERS),
    "max_neighbours": (abi.VFE.LIMITS, abi.VFE.LIMITS_NEIGHBOURS),
}
# setting -> what a card must serve for it to have an effect
_FEATURES: Final[dict[str, abi.Field]] = {
    "weight": abi.PF.FEATURES_TX_RATES,
    "max_tx_rate": abi.PF.FEATURES_TX_RATES,
    "min_tx_rate": abi.PF.FEATURES_TX_RATES,
    "burst_tx": abi.PF.FEATURES_TX_RATES,
    "max_rx_rate": abi.PF.FEATURES_RX_RATE,
    "burst_rx": abi.PF.FEATURES_RX_RATE,
    "nqe_rate": abi.PF.FEATURES_NQE_RATE,
    "vm_share": abi.PF.FEATURES_VM_SHARE,
    "max_listeners": abi.PF.FEATURES_LIMITS,
    "max_neighbours": abi.PF.FEATURES_LIMITS,
    "vlan": abi.PF.FEATURES_VLAN,
    "vlan_qos": abi.PF.FEATURES_VLAN,
    "vxlan_vni": abi.PF.FEATURES_VXLAN,
    "vxlan_remote": abi.PF.FEATURES_VXLAN,
}
_NOBODY: Final = IPv4Address(0)
# What may be changed while a process holds the VF.
LIVE: Final = frozenset({"nsm", *_SHARES})


@dataclass(frozen=True)
class VfEntry:
    """A row of the VF table. Rates in Mb/s, NQEs a second; bursts in KiB; 0: no limit, no network."""

    mac: str
    ip: IPv4Interface
    gateway: IPv4Address
    mtu: int
    socket_base: int
    max_sockets: int
    nsm: int = 0  # slot of its profile
    max_tx_rate: int = 0
    min_tx_rate: int = 0
    max_rx_rate: int = 0
    nqe_rate: int = 0
    weight: int = 1
    vm_share: bool = False
    burst_tx: int = abi.VFE.BURST_TX.get(abi.VFE_RESET["BURST"])
    burst_rx: int = abi.VFE.BURST_RX.get(abi.VFE_RESET["BURST"])
    max_listeners: int = abi.VFE.LIMITS_LISTENERS.get(abi.VFE_RESET["LIMITS"])
    max_neighbours: int = abi.VFE.LIMITS_NEIGHBOURS.get(abi.VFE_RESET["LIMITS"])
    vlan: int = 0
    vlan_qos: int = 0
    vxlan_vni: int = 0
    vxlan_remote: IPv4Address = _NOBODY

    @property
    def network(self) -> tuple[int, int]:
        """Two VFs can meet, and their addresses collide, only in the same network."""
        return self.vlan, self.vxlan_vni


@dataclass(frozen=True)
class VfState:
    """The status register of a row."""

    enabled: bool
    resetting: bool
    sockets: int


class Card:
    """Register operations on the PF."""

    def __init__(self, pf: Device) -> None:
        if not pf.identity.is_pf:
            raise BadRequest("this is a VF; CoreEngine needs the PF")
        self.pf = pf
        self.identity = pf.identity
        self._features = pf.bar_read(abi.PF.FEATURES)

    def unserved(self, settings: Iterable[str]) -> list[str]:
        """Those of these settings of a VF that would have no effect on this card."""
        return [s for s in settings if s in _FEATURES and not _FEATURES[s].get(self._features)]

    # ---- VF table ----

    def vf_enabled(self, vf: int) -> bool:
        """The VF may be used."""
        return bool(abi.VFE.CTRL_ENABLE.get(self._vf_read(vf, abi.VFE.CTRL)))

    def vf_entry(self, vf: int) -> VfEntry:
        """The settings of a VF, from the card."""
        lo, hi = self._vf_read(vf, abi.VFE.MAC_LO), self._vf_read(vf, abi.VFE.MAC_HI)
        mac = ((hi & 0xFFFF) << 32 | lo).to_bytes(6, "big")
        address = IPv4Address(self._vf_read(vf, abi.VFE.IPV4))
        prefix = bin(self._vf_read(vf, abi.VFE.NETMASK)).count("1")
        vlan, vni = self._vf_read(vf, abi.VFE.VLAN), self._vf_read(vf, abi.VFE.VNI)
        return VfEntry(
            mac=mac.hex(":"),
            ip=IPv4Interface((address, prefix)),
            gateway=IPv4Address(self._vf_read(vf, abi.VFE.GATEWAY)),
            mtu=abi.VFE.MTU_VALUE.get(self._vf_read(vf, abi.VFE.MTU)),
            socket_base=self._vf_read(vf, abi.VFE.SOCKET_BASE),
            max_sockets=self._vf_read(vf, abi.VFE.SOCKET_COUNT),
            nsm=abi.VFE.NSM_PROFILE.get(self._vf_read(vf, abi.VFE.NSM)),
            **self._shares(vf),
            vlan=abi.VFE.VLAN_ID.get(vlan) if abi.VFE.VLAN_ENABLE.get(vlan) else 0,
            vlan_qos=abi.VFE.VLAN_PCP.get(vlan),
            vxlan_vni=abi.VFE.VNI_VNI.get(vni) if abi.VFE.VNI_ENABLE.get(vni) else 0,
            vxlan_remote=IPv4Address(self._vf_read(vf, abi.VFE.VXLAN_REMOTE)),
        )

    def _shares(self, vf: int) -> dict[str, Any]:
        """What may be set while the VF is used."""
        words = {reg: self._vf_read(vf, reg) for reg in {reg for reg, _ in _SHARES.values()}}
        values: dict[str, Any] = {
            name: part.get(words[register]) if part else words[register]
            for name, (register, part) in _SHARES.items()
        }
        values["weight"] = values["weight"] or 1  # the card counts 0 as 1
        values["vm_share"] = bool(values["vm_share"])
        return values

    def vf_state(self, vf: int) -> VfState:
        """What the VF does right now."""
        status = self._vf_read(vf, abi.VFE.STATUS)
        return VfState(
            enabled=bool(abi.VFE.STATUS_ENABLED.get(status)),
            resetting=bool(abi.VFE.STATUS_RESETTING.get(status)),
            sockets=abi.VFE.STATUS_SOCKETS.get(status),
        )

    def vf_disable(self, vf: int, wait: Callable[[Callable[[], bool], str], None]) -> None:
        """Switch a VF off; its flows are gone when this returns."""
        self._vf_write(vf, abi.VFE.CTRL, 0)
        wait(lambda: not self.vf_state(vf).resetting, f"VF {vf} to be off")

    def vf_program(self, vf: int, entry: VfEntry) -> None:
        """Write the settings of a VF that is off, and switch it on."""
        mac = int.from_bytes(bytes.fromhex(entry.mac.replace(":", "")), "big")
        for register, value in (
            (abi.VFE.MAC_LO, mac & 0xFFFF_FFFF),
            (abi.VFE.MAC_HI, mac >> 32),
            (abi.VFE.IPV4, int(entry.ip.ip)),
            (abi.VFE.NETMASK, int(entry.ip.netmask)),
            (abi.VFE.GATEWAY, int(entry.gateway)),
            (abi.VFE.SOCKET_BASE, entry.socket_base),
            (abi.VFE.SOCKET_COUNT, entry.max_sockets),
            (abi.VFE.MTU, entry.mtu),
            (
                abi.VFE.VLAN,
                abi.VFE.VLAN_ID.put(entry.vlan)
                | abi.VFE.VLAN_PCP.put(entry.vlan_qos)
                | abi.VFE.VLAN_ENABLE.put(int(entry.vlan != 0)),
            ),
            (
                abi.VFE.VNI,
                abi.VFE.VNI_VNI.put(entry.vxlan_vni)
                | abi.VFE.VNI_ENABLE.put(int(entry.vxlan_vni != 0)),
            ),
            (abi.VFE.VXLAN_REMOTE, int(entry.vxlan_remote)),
        ):
            self._vf_write(vf, register, value)
        self._write_live(vf, entry)
        self._vf_write(vf, abi.VFE.CTRL, abi.VFE.CTRL_ENABLE.put(1))
        if not self.vf_enabled(vf) or self.vf_entry(vf) != entry:
            self._vf_write(vf, abi.VFE.CTRL, 0)
            raise DeviceRefused(f"the card refused to enable VF {vf} with these settings")

    def vf_set_live(self, vf: int, entry: VfEntry) -> None:
        """Settings of `entry` that may change while the VF is in use; the others are as they were."""
        self._write_live(vf, entry)
        if self.vf_entry(vf) != entry:
            raise DeviceRefused(f"the card refused these settings for VF {vf}")

    def _write_live(self, vf: int, entry: VfEntry) -> None:
        words = {abi.VFE.NSM: abi.VFE.NSM_PROFILE.put(entry.nsm)}
        for name, (register, part) in _SHARES.items():
            value = int(getattr(entry, name))
            words[register] = words.get(register, 0) | (part.put(value) if part else value)
        for register, word in words.items():
            self._vf_write(vf, register, word)

    # ---- NSM profiles ----

    def nsm_words(self, slot: int) -> tuple[int, int, int]:
        """CTRL, PARAM_LO and PARAM_HI of a profile."""
        ctrl, lo, hi = (
            self.pf.bar_read(abi.PF.NSM_BASE + abi.PF.NSM_STRIDE * slot + register)
            for register in _NSM_REGISTERS
        )
        return ctrl, lo, hi

    def nsm_program(self, slot: int, words: tuple[int, int, int]) -> None:
        """Write a profile; it may be in use."""
        for register, value in zip(_NSM_REGISTERS, words, strict=True):
            self.pf.bar_write(abi.PF.NSM_BASE + abi.PF.NSM_STRIDE * slot + register, value)
        if self.nsm_words(slot) != words:
            raise DeviceRefused(f"the card refused the settings of profile {slot}")

    # ---- parameters, counters ----

    def seed_hash_key(self) -> None:
        """A key that nobody outside knows, for flow hash and sequence numbers (RFC 6528)."""
        for n in range(abi.PF.HASH_KEY_COUNT):
            address = abi.PF.HASH_KEY + n * abi.PF.HASH_KEY_STRIDE
            self.pf.bar_write(address, secrets.randbits(32))

    def params(self) -> dict[str, int]:
        """All parameters."""
        values = {}
        for name, (register, part) in _PARAMS.items():
            word = self.pf.bar_read(register)
            values[name] = part.get(word) if part else word
        return values

    def set_params(self, params: NsmParams) -> None:
        """Write those that are not None."""
        new = {**self.params(), **params.model_dump(exclude_none=True)}
        if not new["rto_min_us"] <= new["rto_init_us"] <= new["rto_max_us"]:
            raise BadRequest("rto_min_us <= rto_init_us <= rto_max_us must hold")
        for name, value in params.model_dump(exclude_none=True).items():
            register, part = _PARAMS[name]
            if part:
                word = self.pf.bar_read(register)
                value = word & ~part.mask | part.put(value)
            self.pf.bar_write(register, value)

    def counters(self) -> dict[str, int]:
        """The card's counters."""
        return self._counters(abi.PF.STATS, abi.COUNTERS)

    def nqe_counts(self) -> dict[str, int]:
        """NQEs by opcode."""
        return self._counters(abi.PF.NQE_STATS, {op.name: op.value for op in abi.Op})

    def vf_counters(self, vf: int) -> dict[str, int]:
        """The counters of a VF."""
        return self._counters(abi.PF.VF_STATS_BASE + abi.PF.VF_STATS_STRIDE * vf, abi.VF_COUNTERS)

    def queue_set_counters(self, vf: int, queue_set: int) -> dict[str, int]:
        """The counters of a queue set, each of its own moment."""
        values = {}
        for name, index in abi.QS_COUNTERS.items():
            self.pf.bar_write(
                abi.PF.QSTAT_SELECT,
                abi.PF.QSTAT_SELECT_VF.put(vf)
                | abi.PF.QSTAT_SELECT_QUEUE_SET.put(queue_set)
                | abi.PF.QSTAT_SELECT_INDEX.put(index),
            )
            low, high = self.pf.bar_read_block(abi.PF.QSTAT_LO, 2)
            values[name] = high << 32 | low
        return values

    def info(self) -> CardInfo:
        """Identity and use."""
        me = self.identity
        return CardInfo(
            abi=f"{me.abi_major}.{me.abi_minor}",
            build_id=f"{me.build_id:08x}",
            vfs=me.vfs,
            queue_sets=me.queue_sets,
            flows=me.flows,
            bus_bytes=me.bus_bytes,
            flows_in_use=self.pf.bar_read(abi.PF.FLOWS_IN_USE),
            hash_in_use=self.pf.bar_read(abi.PF.HASH_IN_USE),
            now_us=self.pf.bar_read(abi.PF.NOW_US),
        )

    # ---- access ----

    def _counters(self, base: int, indices: dict[str, int]) -> dict[str, int]:
        # In order: a counter's low word is read first, which latches the high one.
        words = self.pf.bar_read_block(base, 2 * (1 + max(indices.values())))
        return {name: words[2 * i + 1] << 32 | words[2 * i] for name, i in indices.items()}

    def _vf_read(self, vf: int, register: int) -> int:
        return self.pf.bar_read(abi.PF.VF_BASE + abi.PF.VF_STRIDE * vf + register)

    def _vf_write(self, vf: int, register: int, value: int) -> None:
        self.pf.bar_write(abi.PF.VF_BASE + abi.PF.VF_STRIDE * vf + register, value)
