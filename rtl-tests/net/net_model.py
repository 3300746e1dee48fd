# SPDX-License-Identifier: Apache-2.0
"""What hw/net should do with a frame, in plain Python, and the frames to try it with (built by scapy)."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether

BROADCAST = b"\xff" * 6
FRAME_MAX = 1514

RX_OUTCOMES = (
    "rx_drop_runt",
    "rx_drop_filter",
    "rx_drop_proto",
    "rx_drop_ip_header",
    "rx_drop_fragment",
    "rx_drop_tcp_header",
    "rx_drop_tcp_csum",
    "rx_drop_overflow",
    "rx_arp",
    "rx_icmp_echo",
    "rx_drop_icmp",
    "rx_segments",
)
"""Every frame raises exactly one of these counters, or is "rx_ptb": ptb_valid."""


def mac_bytes(mac: str) -> bytes:
    return bytes(int(x, 16) for x in mac.split(":"))


def mac_int(mac: str | bytes) -> int:
    return int.from_bytes(mac if isinstance(mac, bytes) else mac_bytes(mac), "big")


def ip_int(ip: str) -> int:
    return int(ipaddress.IPv4Address(ip))


@dataclass(frozen=True)
class Vf:
    """One function's addresses."""

    mac: str
    ip: str
    mtu: int = 1500
    enabled: bool = True


def make_vfs(n: int) -> list[Vf]:
    """n functions; the second has a small MTU, the last of more than two is switched off."""
    return [
        Vf(
            mac=f"02:4e:4b:00:{i:02x}:0{(i * 3) % 10}",
            ip=f"10.1.{i}.{2 + 7 * i}",
            mtu=576 if i == 1 else 1500,
            enabled=not (n > 2 and i == n - 1),
        )
        for i in range(n)
    ]


def drive_config(dut: Any, vfs: Sequence[Vf]) -> None:
    """Put the addresses on cfg_*, as far as the module has them."""
    vectors = {
        "cfg_en": (1, [int(v.enabled) for v in vfs]),
        "cfg_mac": (48, [mac_int(v.mac) for v in vfs]),
        "cfg_ip": (32, [ip_int(v.ip) for v in vfs]),
        "cfg_mtu": (16, [v.mtu for v in vfs]),
    }
    for name, (width, values) in vectors.items():
        port = getattr(dut, name, None)
        if port is not None:
            port.value = sum(x << (width * i) for i, x in enumerate(values))


# ------------------------------------------------------------------------------------ the judge


def csum(data: bytes) -> int:
    """RFC 1071, over an odd number of bytes too; 0 for data that holds its right checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


NO_OPTIONS: dict[str, int] = {
    "mss": 0,
    "wscale": 0,
    "wscale_valid": 0,
    "sack_ok": 0,
    "ts_valid": 0,
    "tsval": 0,
    "tsecr": 0,
    "sack_n": 0,
    "sack": 0,
}


def parse_options(opts: bytes, syn: bool) -> dict[str, int]:
    """What nk_tcp_options says of these options; stops where they make no sense, the last of two counts."""
    found: dict[int, bytes] = {}
    sizes = {2: (2,), 3: (1,), 4: (0,), 5: (8, 16, 24, 32), 8: (8,)}
    rest = opts
    while rest and rest[0] != 0:
        if rest[0] == 1:
            rest = rest[1:]
            continue
        if len(rest) < 2 or not 2 <= rest[1] <= len(rest):
            break
        kind, body, rest = rest[0], rest[2 : rest[1]], rest[rest[1] :]
        if len(body) in sizes.get(kind, ()):
            found[kind] = body
    # RFC 9293 and 7323: MSS and window scale in a SYN only; RFC 2018: SACK never in one.
    for kind in (5,) if syn else (2, 3, 4):
        found.pop(kind, None)
    got = dict(NO_OPTIONS)
    if 2 in found:
        got["mss"] = int.from_bytes(found[2], "big")
    if 3 in found:
        got["wscale"], got["wscale_valid"] = min(found[3][0], 14), 1
    got["sack_ok"] = int(4 in found)
    if 8 in found:
        got["ts_valid"] = 1
        got["tsval"], got["tsecr"] = struct.unpack("!II", found[8])
    if 5 in found:
        edges = struct.unpack(f"!{len(found[5]) // 4}I", found[5])
        got["sack_n"] = len(edges) // 2
        got["sack"] = sum(edge << (32 * i) for i, edge in enumerate(edges))
    return got


@dataclass
class Verdict:
    """`counter`: which one rises. At most one of the others is set."""

    counter: str
    seg: dict[str, int] | None = None
    payload: bytes = b""
    header: int = 0  # bytes before the payload
    arp: dict[str, int] | None = None
    echo: bytes | None = None  # the datagram with its Ethernet header, no padding
    ptb: dict[str, int] | None = None


def judge(frame: bytes, vfs: Sequence[Vf], local: bool = False) -> Verdict:
    """The fate of a frame, as hw/net/doc/nk_net_rx.md says; `local`: it comes from this card."""
    n = len(frame)
    if n < 14 or n > FRAME_MAX:
        return Verdict("rx_drop_runt")
    dst, src, etype = frame[0:6], frame[6:12], int.from_bytes(frame[12:14], "big")
    vf = next((i for i, v in enumerate(vfs) if v.enabled and mac_bytes(v.mac) == dst), None)
    if vf is None and not (dst == BROADCAST and etype == 0x0806):
        return Verdict("rx_drop_filter")
    if etype == 0x0806:
        return _judge_arp(frame, vfs)
    if etype != 0x0800:
        return Verdict("rx_drop_proto")
    assert vf is not None
    if n < 34:
        return Verdict("rx_drop_runt")
    ihl = 4 * (frame[14] & 15)
    if frame[14] >> 4 != 4 or ihl < 20:
        return Verdict("rx_drop_ip_header")
    if n < 14 + ihl:
        return Verdict("rx_drop_runt")
    total = int.from_bytes(frame[16:18], "big")
    if csum(frame[14 : 14 + ihl]) or total < ihl:
        return Verdict("rx_drop_ip_header")
    mtu = vfs[vf].mtu
    if 14 + total > n or total > mtu or n > max(60, 14 + mtu):
        return Verdict("rx_drop_runt")
    sip, dip = frame[26:30], frame[30:34]
    own = ipaddress.IPv4Address(vfs[vf].ip).packed
    if (
        dip != own
        or (sip == own and not local)
        or sip == b"\0\0\0\0"
        or sip[0] >= 224
        or src[0] & 1
    ):
        return Verdict("rx_drop_filter")
    if int.from_bytes(frame[20:22], "big") & 0x3FFF:
        return Verdict("rx_drop_fragment")
    l4 = frame[14 + ihl : 14 + total]
    if frame[23] == 1:
        whole = ihl == 20 and len(l4) >= 8 and l4[:2] == b"\x08\x00" and not csum(l4)
        if whole:
            return Verdict("rx_icmp_echo", echo=frame[: 14 + total])
        ptb = _judge_ptb(l4, own)
        if ptb is not None:
            return Verdict("rx_ptb", ptb={"vf": vf, **ptb})
        return Verdict("rx_drop_icmp")
    if frame[23] != 6:
        return Verdict("rx_drop_proto")
    if len(l4) < 20 or l4[12] >> 4 < 5 or 4 * (l4[12] >> 4) > len(l4):
        return Verdict("rx_drop_tcp_header")
    if csum(sip + dip + struct.pack("!HH", 6, len(l4)) + l4):
        return Verdict("rx_drop_tcp_csum")
    doff = 4 * (l4[12] >> 4)
    sport, dport, seq, ack, flags, wnd = struct.unpack("!HHIIHH", l4[:16])
    seg = {
        "vf": vf,
        "smac": mac_int(src),
        "rip": int.from_bytes(sip, "big"),
        "rport": sport,
        "lport": dport,
        "seq": seq,
        "ack": ack,
        "flags": flags & 0x1FF,
        "wnd": wnd,
        "ecn": frame[15] & 3,
        **parse_options(l4[20:doff], bool(flags & 2)),
        "len": len(l4) - doff,
    }
    return Verdict("rx_segments", seg=seg, payload=l4[doff:], header=14 + ihl + doff)


def _judge_ptb(l4: bytes, own: bytes) -> dict[str, int] | None:
    """RFC 792, 1191: fragmentation needed, about a first fragment of TCP from `own` without IPv4 options."""
    if l4[:2] != b"\x03\x04" or len(l4) < 8 + 20 + 8 or csum(l4):
        return None
    quoted = l4[8:]
    if quoted[0] != 0x45 or quoted[9] != 6 or quoted[12:16] != own:
        return None
    if int.from_bytes(quoted[6:8], "big") & 0x1FFF:
        return None
    sport, dport, seq = struct.unpack("!HHI", quoted[20:28])
    mtu = int.from_bytes(l4[6:8], "big")
    rip = int.from_bytes(quoted[16:20], "big")
    return {"rip": rip, "rport": dport, "lport": sport, "seq": seq, "mtu": mtu}


def _judge_arp(frame: bytes, vfs: Sequence[Vf]) -> Verdict:
    if len(frame) < 42:
        return Verdict("rx_drop_runt")
    kind, op = frame[14:20], int.from_bytes(frame[20:22], "big")
    sha, spa, tha, tpa = frame[22:28], frame[28:32], frame[32:38], frame[38:42]
    if kind != bytes.fromhex("000108000604") or op not in (1, 2) or sha[0] & 1 or not any(sha):
        return Verdict("rx_drop_proto")
    ips = [ipaddress.IPv4Address(v.ip).packed for v in vfs]
    target = next((i for i, v in enumerate(vfs) if v.enabled and ips[i] == tpa), None)
    mine = False
    if target is not None:
        mac = mac_bytes(vfs[target].mac)
        mine = op == 1 or (frame[0:6] == mac and tha == mac)
    forged = any(v.enabled and ips[i] == spa and mac_bytes(v.mac) != sha for i, v in enumerate(vfs))
    arp = {
        "mine": int(mine),
        "request": int(op == 1),
        "sha": mac_int(sha),
        "spa": int.from_bytes(spa, "big"),
        "forged": int(forged),
    }
    if mine:
        assert target is not None
        arp["vf"] = target
    return Verdict("rx_arp" if mine else "rx_drop_filter", arp=arp)


def learnable(arp: dict[str, int]) -> bool:
    """May this ARP frame's sender go into the neighbour table?"""
    return arp["spa"] != 0 and arp["spa"] >> 29 != 7 and not arp["forged"]


# ------------------------------------------------------------------------------------ frames


@dataclass
class Peer:
    """A host on the wire."""

    mac: str = "02:00:00:00:00:99"
    ip: str = "10.1.200.9"
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def segment(
        self,
        vf: Vf,
        payload: bytes = b"",
        flags: str | int = "A",
        options: list[Any] | None = None,
        ip_options: bytes = b"",
        pad: int | None = None,
        **tcp: int,
    ) -> bytes:
        """A good TCP frame to `vf`; padded to 60 bytes, or by `pad` bytes."""
        r = self.rng
        fields = {
            "sport": r.randrange(1, 65536),
            "dport": r.randrange(1, 65536),
            "seq": r.getrandbits(32),
            "ack": r.getrandbits(32),
            "window": r.getrandbits(16),
        }
        layer = TCP(**{**fields, **tcp}, flags=flags, options=options or [])
        ip = IP(src=self.ip, dst=vf.ip, id=r.getrandbits(16), tos=r.choice([0, 1, 2, 0xB8, 0xFF]))
        packet = bytes(Ether(dst=vf.mac, src=self.mac) / ip / layer / payload)
        if ip_options:
            packet = with_ip_options(packet, ip_options)
        return self.padded(packet, pad)

    def padded(self, packet: bytes, pad: int | None = None) -> bytes:
        """Padding is not zero: it must not matter."""
        missing = max(0, 60 - len(packet)) if pad is None else pad
        return packet + self.rng.randbytes(missing)

    def echo(self, vf: Vf, data: bytes, pad: int | None = None, **icmp: int) -> bytes:
        layer = ICMP(
            **{"type": 8, "id": self.rng.getrandbits(16), "seq": self.rng.getrandbits(16), **icmp}
        )
        ip = IP(src=self.ip, dst=vf.ip, id=self.rng.getrandbits(16), ttl=self.rng.randrange(1, 256))
        return self.padded(bytes(Ether(dst=vf.mac, src=self.mac) / ip / layer / data), pad)

    def ptb(self, vf: Vf, mtu: int = 1400, extra: int = 0, **fields: Any) -> bytes:
        """Fragmentation needed, from this host as a router: quotes 8 and `extra` bytes of a segment from `vf`."""
        r = self.rng
        header = {
            "src": vf.ip,
            "dst": ip_str(r.getrandbits(32)),
            "flags": "DF",
            "ttl": r.randrange(64),
        }
        quoted = IP(**{**header, "proto": 6, "len": 1500, **fields})
        ports = r.randbytes(8 + extra)
        icmp = ICMP(type=3, code=4, nexthopmtu=mtu)
        outer = IP(src=self.ip, dst=vf.ip, id=r.getrandbits(16), tos=0xC0)
        return self.padded(bytes(Ether(dst=vf.mac, src=self.mac) / outer / icmp / quoted / ports))

    def arp(self, vf: Vf, op: int = 1, dst: str | None = None, **fields: Any) -> bytes:
        """Request for vf's address (broadcast), or reply to it (unicast)."""
        to = dst or ("ff:ff:ff:ff:ff:ff" if op == 1 else vf.mac)
        base = {"hwsrc": self.mac, "psrc": self.ip, "pdst": vf.ip}
        base["hwdst"] = "00:00:00:00:00:00" if op == 1 else vf.mac
        body = ARP(op=op, **{**base, **fields})
        return self.padded(bytes(Ether(dst=to, src=self.mac, type=0x0806) / body))


def with_ip_options(packet: bytes, options: bytes) -> bytes:
    """Put IPv4 options (a multiple of 4 bytes) into a frame."""
    assert len(options) % 4 == 0
    old = packet[14:34]
    return fix_ip(packet[:14] + old + options + packet[34:], ihl=5 + len(options) // 4)


def fix_ip(packet: bytes, ihl: int | None = None, total: int | None = None) -> bytes:
    """Set ihl and total length (default: what the frame holds) and make the header checksum right."""
    frame = bytearray(packet)
    if ihl is not None:
        frame[14] = 0x40 | ihl
    frame[16:18] = (len(frame) - 14 if total is None else total).to_bytes(2, "big")
    frame[24:26] = b"\0\0"
    frame[24:26] = csum(bytes(frame[14 : 14 + 4 * (frame[14] & 15)])).to_bytes(2, "big")
    return bytes(frame)


def fix_tcp(packet: bytes, end: int | None = None) -> bytes:
    """Make the TCP checksum right for whatever else the frame says (up to `end` bytes of it)."""
    frame = bytearray(packet)
    at = 14 + 4 * (frame[14] & 15)
    stop = len(frame) if end is None else end
    frame[at + 16 : at + 18] = b"\0\0"
    pseudo = bytes(frame[26:34]) + struct.pack("!HH", 6, stop - at)
    frame[at + 16 : at + 18] = csum(pseudo + bytes(frame[at:stop])).to_bytes(2, "big")
    return bytes(frame)


def echo_reply(request: bytes) -> bytes:
    """What nk_icmp_echo answers to an echo request, padded; checksums made anew."""
    eth = Ether(request)
    ip, icmp = eth[IP], eth[ICMP]
    ip.src, ip.dst, eth.src, eth.dst = ip.dst, ip.src, eth.dst, eth.src
    ip.ttl = 64
    icmp.type = 0
    ip.chksum = None
    icmp.chksum = None
    return bytes(eth).ljust(60, b"\0")


def arp_frame(vf: Vf, op: int, dst: str, hwdst: str, pdst: str) -> bytes:
    """An ARP frame as a VF sends it."""
    body = ARP(op=op, hwsrc=vf.mac, psrc=vf.ip, hwdst=hwdst, pdst=pdst)
    return bytes(Ether(dst=dst, src=vf.mac, type=0x0806) / body).ljust(60, b"\0")


def mac_str(mac: int) -> str:
    return ":".join(f"{b:02x}" for b in mac.to_bytes(6, "big"))


def ip_str(ip: int) -> str:
    return str(ipaddress.IPv4Address(ip))
