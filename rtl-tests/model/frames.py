# SPDX-License-Identifier: Apache-2.0
"""Ethernet, ARP, IPv4, ICMP and TCP as bytes: builders and a parser that checks everything.

Addresses are numbers in host order: 10.0.0.1 = 0x0a000001, a MAC's first octet in bits 47:40.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = (1 << i for i in range(9))
NOT_ECT, ECT1, ECT0, CE = range(4)  # the ECN field of the IPv4 header (RFC 3168)
BROADCAST = (1 << 48) - 1
ETH_IPV4, ETH_ARP = 0x0800, 0x0806
IP_ICMP, IP_TCP = 1, 6


class FrameError(Exception):
    """The frame is not what its headers claim."""


def ip(text: str) -> int:
    """'10.0.0.1' -> 0x0a000001."""
    a, b, c, d = map(int, text.split("."))
    return a << 24 | b << 16 | c << 8 | d


def ip_text(value: int) -> str:
    return ".".join(str(value >> s & 255) for s in (24, 16, 8, 0))


def flags_text(flags: int) -> str:
    return "".join(c for i, c in enumerate("FSRPAUEWN") if flags >> i & 1) or "."


def checksum(data: bytes, start: int = 0) -> int:
    """RFC 1071: complement of the one's complement sum of 16-bit words."""
    if len(data) & 1:
        data += b"\0"
    # 2**16 = 1 (mod 65535): the sum of the words is the whole as one number, modulo 65535.
    total = start + int.from_bytes(data, "big")
    folded = total % 65535
    if folded == 0 and total:
        folded = 65535
    return folded ^ 0xFFFF


def ethernet(dst: int, src: int, ethertype: int, payload: bytes) -> bytes:
    return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + ethertype.to_bytes(2, "big") + payload


def arp(op: int, sha: int, spa: int, tha: int, tpa: int, dst: int | None = None) -> bytes:
    """op 1 request, 2 reply."""
    body = struct.pack(">HHBBH", 1, ETH_IPV4, 6, 4, op)
    body += sha.to_bytes(6, "big") + spa.to_bytes(4, "big")
    body += tha.to_bytes(6, "big") + tpa.to_bytes(4, "big")
    if dst is None:
        dst = BROADCAST if op == 1 else tha
    return ethernet(dst, sha, ETH_ARP, body)


def ipv4(
    src: int,
    dst: int,
    proto: int,
    payload: bytes,
    *,
    ident: int = 0,
    ttl: int = 64,
    frag: int = 0x4000,
    options: bytes = b"",
    tos: int = 0,
) -> bytes:
    ihl = 5 + len(options) // 4
    head = struct.pack(
        ">BBHHHBBHII",
        0x40 | ihl, tos, ihl * 4 + len(payload), ident, frag, ttl, proto, 0, src, dst,
    )  # fmt: skip
    head += options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    """`rest`: everything after the checksum."""
    head = bytes((kind, code))
    return head + checksum(head + b"\0\0" + rest).to_bytes(2, "big") + rest


def frag_needed(packet: bytes, mtu: int, quote: int = 8, code: int = 4) -> bytes:
    """ICMP 'fragmentation needed and DF set' (RFC 1191) about an IPv4 packet.

    quote: bytes quoted behind its IPv4 header.
    """
    head = (packet[0] & 15) * 4
    return icmp(3, code, b"\0\0" + mtu.to_bytes(2, "big") + packet[: head + quote])


def tcp_options(
    mss: int | None = None,
    wscale: int | None = None,
    extra: bytes = b"",
    *,
    ts: tuple[int, int] | None = None,
    sack_ok: bool = False,
    sack: Sequence[tuple[int, int]] = (),
) -> bytes:
    """TCP options as bytes. `ts`: (TSval, TSecr); `sack`: (start, end) of each block, 32 bits."""
    out = b""
    if mss is not None:
        out += struct.pack(">BBH", 2, 4, mss)
    if sack_ok:
        out += bytes((1, 1, 4, 2))
    if ts is not None:
        out += struct.pack(">BBBBII", 1, 1, 8, 10, ts[0] & 0xFFFFFFFF, ts[1] & 0xFFFFFFFF)
    if wscale is not None:
        out += bytes((1, 3, 3, wscale))
    if sack:
        out += bytes((1, 1, 5, 2 + 8 * len(sack)))
        out += b"".join(struct.pack(">II", s & 0xFFFFFFFF, e & 0xFFFFFFFF) for s, e in sack)
    out += extra
    out += b"\0" * (-len(out) % 4)
    if len(out) > 40:
        raise ValueError(f"{len(out)} bytes of options do not fit into a TCP header")
    return out


def tcp(
    src: int,
    dst: int,
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """A TCP segment; src and dst are the IPv4 addresses of its pseudo header."""
    offset = 5 + len(options) // 4
    head = struct.pack(
        ">HHIIHHHH",
        sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset << 12 | flags, window, 0, 0,
    )  # fmt: skip
    segment = head + options + payload
    pseudo = (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + IP_TCP + len(segment)
    csum = checksum(segment, pseudo)
    return segment[:16] + csum.to_bytes(2, "big") + segment[18:]


@dataclass(frozen=True)
class Frame:
    """A parsed frame. Fields that its protocol lacks stay at their defaults."""

    dst: int
    src: int
    ethertype: int
    kind: str  # "arp", "tcp", "icmp", "other"
    # ARP
    op: int = 0
    sha: int = 0
    spa: int = 0
    tha: int = 0
    tpa: int = 0
    # IPv4
    sip: int = 0
    dip: int = 0
    proto: int = 0
    ecn: int = 0  # NOT_ECT, ECT1, ECT0, CE
    # TCP
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    mss: int | None = None
    wscale: int | None = None
    ts: tuple[int, int] | None = None  # (TSval, TSecr)
    sack_ok: bool = False
    sack: tuple[tuple[int, int], ...] = ()  # (start, end) of each block
    options: bytes = b""
    # TCP payload, or ICMP from the type on
    payload: bytes = field(default=b"", repr=False)

    @property
    def seg_len(self) -> int:
        """Sequence numbers that the segment takes."""
        return len(self.payload) + (self.flags & 1) + (self.flags >> 1 & 1)

    def __str__(self) -> str:
        if self.kind != "tcp":
            return f"{self.kind} {self.op} {ip_text(self.sip or self.spa)}"
        opts = "" if self.mss is None else f" mss={self.mss}"
        opts += "" if self.wscale is None else f" ws={self.wscale}"
        opts += " sackok" if self.sack_ok else ""
        opts += "" if self.ts is None else f" ts={self.ts[0]}/{self.ts[1]}"
        opts += "".join(f" sack={s}:{e}" for s, e in self.sack)
        opts += " ce" if self.ecn == CE else ""
        return (
            f"{ip_text(self.sip)}:{self.sport}>{ip_text(self.dip)}:{self.dport}"
            f" [{flags_text(self.flags)}] seq={self.seq} ack={self.ack}"
            f" wnd={self.window} len={len(self.payload)}{opts}"
        )


def parse(frame: bytes) -> Frame:
    """Take a frame apart; raise FrameError where a length or a checksum is wrong."""
    if len(frame) < 14:
        raise FrameError("shorter than an Ethernet header")
    dst = int.from_bytes(frame[0:6], "big")
    src = int.from_bytes(frame[6:12], "big")
    ethertype = frame[12] << 8 | frame[13]
    if ethertype == ETH_ARP:
        if len(frame) < 42:
            raise FrameError("ARP too short")
        if frame[14:20] != b"\x00\x01\x08\x00\x06\x04":
            raise FrameError("ARP not for Ethernet and IPv4")
        num = int.from_bytes
        return Frame(
            dst, src, ethertype, "arp",
            op=num(frame[20:22], "big"),
            sha=num(frame[22:28], "big"), spa=num(frame[28:32], "big"),
            tha=num(frame[32:38], "big"), tpa=num(frame[38:42], "big"),
        )  # fmt: skip
    if ethertype != ETH_IPV4:
        return Frame(dst, src, ethertype, "other", payload=frame[14:])
    if len(frame) < 34 or frame[14] >> 4 != 4:
        raise FrameError("no IPv4 header")
    ihl = (frame[14] & 15) * 4
    total = frame[16] << 8 | frame[17]
    if ihl < 20 or total < ihl or 14 + total > len(frame):
        raise FrameError("IPv4 lengths")
    if checksum(frame[14 : 14 + ihl]):
        raise FrameError("IPv4 header checksum")
    if (frame[20] << 8 | frame[21]) & 0x3FFF:
        raise FrameError("fragment")
    proto = frame[23]
    sip, dip = struct.unpack(">II", frame[26:34])
    body = frame[14 + ihl : 14 + total]
    ecn = frame[15] & 3
    if proto == IP_ICMP:
        if len(body) < 8 or checksum(body):
            raise FrameError("ICMP")
        return Frame(dst, src, ethertype, "icmp", sip=sip, dip=dip, proto=proto, payload=body)
    if proto != IP_TCP:
        return Frame(dst, src, ethertype, "other", sip=sip, dip=dip, proto=proto, payload=body)
    if len(body) < 20:
        raise FrameError("TCP header")
    sport, dport, seq, ack, off, window, _, _ = struct.unpack(">HHIIHHHH", body[:20])
    doff = (off >> 12) * 4
    if doff < 20 or doff > len(body):
        raise FrameError("TCP data offset")
    pseudo = (sip >> 16) + (sip & 0xFFFF) + (dip >> 16) + (dip & 0xFFFF) + IP_TCP + len(body)
    if checksum(body, pseudo):
        raise FrameError("TCP checksum")
    options = body[20:doff]
    return Frame(
        dst, src, ethertype, "tcp", sip=sip, dip=dip, proto=proto, ecn=ecn,
        sport=sport, dport=dport, seq=seq, ack=ack, flags=off & 0x1FF, window=window,
        options=options, payload=body[doff:], **parse_options(options),
    )  # fmt: skip


def parse_options(options: bytes) -> dict[str, Any]:
    """What TCP options say, by the names of Frame's fields; absent ones are left out."""
    got: dict[str, Any] = {}
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            break  # RFC 9293: a malformed option ends the list
        length = options[at + 1]
        if kind == 2 and length == 4:
            got["mss"] = options[at + 2] << 8 | options[at + 3]
        elif kind == 3 and length == 3:
            got["wscale"] = min(options[at + 2], 14)
        elif kind == 4 and length == 2:
            got["sack_ok"] = True
        elif kind == 5 and length in (10, 18, 26, 34):
            edges = struct.unpack(f">{(length - 2) // 4}I", options[at + 2 : at + length])
            got["sack"] = tuple(zip(edges[::2], edges[1::2], strict=True))
        elif kind == 8 and length == 10:
            got["ts"] = struct.unpack(">II", options[at + 2 : at + 10])
        at += length
    return got
