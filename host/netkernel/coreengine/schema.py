# SPDX-License-Identifier: Apache-2.0
"""What crosses coreengine.sock: JSON lines, a request and its answer, checked by pydantic.

A request is {"cmd": ..., "id": anything, ...}; its answer is {"ok": true, "id": ..., "result": ...}
or {"ok": false, "id": ..., "error": {"code", "message", "hint"}}. An error without an id that
nobody asked for says that the device is gone or that CoreEngine stops; then the connection closes.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from netkernel import abi

DEFAULT_RING_LOG2 = 18  # 256 KiB, RX and TX

RingLog2 = Annotated[int, Field(ge=abi.Lim.RING_LOG2_MIN, le=abi.Lim.RING_LOG2_MAX)]
VfNumber = Annotated[int, Field(ge=0, lt=abi.PF.VF_COUNT)]
RateMbps = Annotated[int, Field(ge=0, lt=1 << abi.VFE.MAX_TX_RATE_RATE.width)]
BurstKib = Annotated[int, Field(ge=2, lt=1 << abi.VFE.BURST_TX.width)]  # a frame must fit
Micros = Annotated[int, Field(ge=1, lt=1 << 32)]
Count8 = Annotated[int, Field(ge=1, le=255)]
ProfileName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,31}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---- parts ----


class VfConfig(_Model):
    """The settings of a VF; None: leave as it is, or the default."""

    mac: str | None = Field(None, description="MAC address, 02:4e:4b:00:00:<vf> by default")
    ip: IPv4Interface | None = Field(None, description="IPv4 address with prefix length")
    gateway: IPv4Address | None = Field(None, description="0.0.0.0: none")
    mtu: Annotated[int, Field(ge=576, le=abi.Lim.MTU_MAX)] | None = None
    max_sockets: Annotated[int, Field(ge=1)] | None = Field(
        None, description="socket quota; flows built in / VFs built in by default"
    )
    nsm: ProfileName | None = Field(
        None, description="NSM profile of connections that open from now on"
    )
    max_tx_rate: RateMbps | None = Field(None, description="Mb/s; 0: no limit")
    min_tx_rate: RateMbps | None = Field(None, description="Mb/s; 0: nothing guaranteed")
    max_rx_rate: RateMbps | None = Field(None, description="Mb/s; 0: no limit")
    nqe_rate: Annotated[int, Field(ge=0, lt=1 << 32)] | None = Field(
        None, description="NQEs a second; 0: no limit"
    )
    weight: Annotated[int, Field(ge=1, lt=1 << abi.VFE.SHARE_WEIGHT.width)] | None = Field(
        None, description="share of the card among VFs that want more than there is"
    )
    vm_share: bool | None = Field(
        None, description="all flows of the VF share one congestion window"
    )
    burst_tx: BurstKib | None = Field(None, description="KiB sent at once after a pause")
    burst_rx: BurstKib | None = Field(None, description="KiB received at once after a pause")
    max_listeners: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    max_neighbours: Annotated[int, Field(ge=1, le=0xFFFF)] | None = None
    vlan: Annotated[int, Field(ge=0, le=4094)] | None = Field(
        None, description="802.1Q network of the VF; 0: none"
    )
    vlan_qos: Annotated[int, Field(ge=0, le=7)] | None = Field(
        None, description="802.1Q priority of what the VF sends"
    )
    vxlan_vni: Annotated[int, Field(ge=0, lt=1 << abi.VFE.VNI_VNI.width)] | None = Field(
        None, description="VXLAN network of the VF; 0: none"
    )
    vxlan_remote: IPv4Address | None = Field(
        None, description="VTEP of stations that are not known yet; 0.0.0.0: none"
    )

    @field_validator("vxlan_remote")
    @classmethod
    def _vtep(cls, value: IPv4Address | None) -> IPv4Address | None:
        if value is not None and (value.is_multicast or value.is_loopback):
            raise ValueError(f"{value} cannot be the address of a VTEP")
        return value

    @field_validator("mac")
    @classmethod
    def _unicast(cls, text: str | None) -> str | None:
        if text is None:
            return None
        parts = text.lower().replace("-", ":").split(":")
        if len(parts) != 6 or not all(
            len(p) == 2 and all(c in "0123456789abcdef" for c in p) for p in parts
        ):
            raise ValueError("a MAC address is six bytes in hexadecimal, as in 02:4e:4b:00:00:01")
        if int(parts[0], 16) & 1 or set(parts) == {"00"}:
            raise ValueError("a VF's MAC address must be a unicast address")
        return ":".join(parts)

    @field_validator("ip")
    @classmethod
    def _host(cls, value: IPv4Interface | None) -> IPv4Interface | None:
        if value is None:
            return None
        if value.ip.is_multicast or value.ip.is_loopback or value.ip.is_unspecified:
            raise ValueError(f"{value.ip} cannot be the address of a VF")
        network = value.network
        if network.prefixlen < 31 and value.ip in (
            network.network_address,
            network.broadcast_address,
        ):
            raise ValueError(f"{value.ip} is the network's or its broadcast address, not a host's")
        return value


class VfInfo(_Model):
    """A configured VF."""

    vf: int
    state: Literal["free", "leased", "draining", "failed"]
    mac: str
    ip: str
    gateway: str
    mtu: int
    max_sockets: int
    nsm: str
    socket_base: int
    sockets: int
    max_tx_rate: int
    min_tx_rate: int
    max_rx_rate: int
    nqe_rate: int
    weight: int
    vm_share: bool
    burst_tx: int
    burst_rx: int
    max_listeners: int
    max_neighbours: int
    vlan: int
    vlan_qos: int
    vxlan_vni: int
    vxlan_remote: str
    holder_pid: int | None = None
    reason: str | None = None


class NsmParams(_Model):
    """Parameters of the network stack module that all profiles share; None: leave as it is."""

    rto_min_us: Micros | None = None
    rto_init_us: Micros | None = None
    rto_max_us: Micros | None = None
    time_wait_us: Micros | None = None
    delayed_ack_us: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None
    neigh_retry_us: Micros | None = None
    retries_data: Count8 | None = None
    retries_syn: Count8 | None = None
    retries_neigh: Count8 | None = None
    fin_wait2_us: Micros | None = None
    initial_cwnd: Count8 | None = None


class NsmSettings(_Model):
    """Settings of an NSM profile; None: leave as it is, or the default."""

    cc: str | None = Field(None, description="congestion control: reno, cubic, dctcp")
    sack: bool | None = None
    timestamps: bool | None = None
    ecn: bool | None = Field(None, description="on with dctcp, whatever is said here")
    window_scale: bool | None = None
    tlp: bool | None = Field(None, description="tail loss probes")
    initial_cwnd: Annotated[int, Field(ge=0, le=255)] | None = Field(
        None, description="segments; 0: that of the card"
    )
    params: dict[str, int] | None = Field(
        None, description="parameters of the congestion control, by name"
    )

    @field_validator("cc")
    @classmethod
    def _built_in(cls, text: str | None) -> str | None:
        if text is not None and text.upper() not in abi.CongestionControl.__members__:
            has = ", ".join(name.lower() for name in abi.CongestionControl.__members__)
            raise ValueError(f"no congestion control {text!r}; this card has {has}")
        return text and text.lower()


class NsmProfile(_Model):
    """An NSM profile, and the VFs whose new connections take it."""

    name: str
    slot: int
    cc: str
    sack: bool
    timestamps: bool
    ecn: bool
    window_scale: bool
    tlp: bool
    initial_cwnd: int
    params: dict[str, int]
    vfs: list[int]


class Ring(_Model):
    """A queue in the region: byte offset, log2 of its entries."""

    offset: int
    log2: int


class QueueSetLayout(_Model):
    """Where the queues of one queue set are."""

    job: Ring
    completion: Ring
    send: Ring
    receive: Ring
    status: int


class Extent(_Model):
    """Bytes of the region."""

    offset: int
    bytes: int


class Layout(_Model):
    """What a process needs to use its VF; fds: doorbells, region, an eventfd a queue set."""

    vf: int
    ip: str
    prefix: int
    gateway: str
    mtu: int
    max_sockets: int
    queue_sets: list[QueueSetLayout]
    doorbell_offset: int
    doorbell_stride: int
    region_bytes: int
    heap: Extent
    rx_log2: int
    tx_log2: int
    cc: int = Field(description="congestion control of the NSM profile that it has now")


# ---- requests ----


class _Request(_Model):
    id: int | str | None = None


class StatusRequest(_Request):
    cmd: Literal["status"] = "status"


class VfCreate(_Request):
    cmd: Literal["vf_create"] = "vf_create"
    vf: VfNumber | None = Field(None, description="the lowest that is not configured by default")
    config: VfConfig


class VfSet(_Request):
    cmd: Literal["vf_set"] = "vf_set"
    vf: VfNumber
    config: VfConfig


class VfDelete(_Request):
    cmd: Literal["vf_delete"] = "vf_delete"
    vf: VfNumber


class VfList(_Request):
    cmd: Literal["vf_list"] = "vf_list"


class LeaseRequest(_Request):
    cmd: Literal["lease"] = "lease"
    vf: VfNumber | None = Field(None, description="any free one by default")
    rx_log2: RingLog2 = DEFAULT_RING_LOG2
    tx_log2: RingLog2 = DEFAULT_RING_LOG2
    queue_sets: Annotated[int, Field(ge=1, le=abi.VF.QS_COUNT)] = 1


class ReleaseRequest(_Request):
    cmd: Literal["release"] = "release"


class StatsRequest(_Request):
    cmd: Literal["stats"] = "stats"
    vf: VfNumber | None = Field(None, description="counters of this VF only")
    queue_sets: bool = Field(False, description="those of the queue sets, too")


class NsmParamsRequest(_Request):
    cmd: Literal["nsm_params"] = "nsm_params"
    params: NsmParams = NsmParams()


class NsmList(_Request):
    cmd: Literal["nsm_list"] = "nsm_list"


class NsmCreate(_Request):
    cmd: Literal["nsm_create"] = "nsm_create"
    name: ProfileName
    settings: NsmSettings


class NsmSet(_Request):
    cmd: Literal["nsm_set"] = "nsm_set"
    name: ProfileName
    settings: NsmSettings


class NsmDelete(_Request):
    cmd: Literal["nsm_delete"] = "nsm_delete"
    name: ProfileName


class ShutdownRequest(_Request):
    cmd: Literal["shutdown"] = "shutdown"


Request = Annotated[
    StatusRequest
    | VfCreate
    | VfSet
    | VfDelete
    | VfList
    | LeaseRequest
    | ReleaseRequest
    | StatsRequest
    | NsmParamsRequest
    | NsmList
    | NsmCreate
    | NsmSet
    | NsmDelete
    | ShutdownRequest,
    Field(discriminator="cmd"),
]

REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


# ---- answers ----


class ErrorBody(_Model):
    code: str
    message: str
    hint: str = ""


class Reply(_Model):
    ok: bool
    id: int | str | None = None
    result: dict[str, Any] | None = None
    error: ErrorBody | None = None


class CardInfo(_Model):
    """The card behind CoreEngine."""

    abi: str
    build_id: str
    vfs: int
    queue_sets: int
    flows: int
    bus_bytes: int
    flows_in_use: int
    hash_in_use: int
    now_us: int


class StatusResult(_Model):
    pid: int
    uptime_s: float
    device: str
    card: CardInfo
    leases: int
    vfs_configured: int
    metrics: str | None = Field(None, description="URL of the Prometheus endpoint")


class StatsResult(_Model):
    """Counters by name; `nqes` by the opcode's name, both directions; the NSM profile of each VF.

    `queue_sets`: by VF and queue set, if they were asked for.
    """

    counters: dict[str, int]
    nqes: dict[str, int]
    vfs: dict[int, dict[str, int]]
    queue_sets: dict[int, dict[int, dict[str, int]]]
    nsm: dict[int, str]
