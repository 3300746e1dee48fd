# SPDX-License-Identifier: Apache-2.0
"""Our frames against scapy's: built alike, parsed alike, and every damage noticed."""

from __future__ import annotations

import logging
import random

import pytest

from model import frames as fr

logging.getLogger("scapy").setLevel(logging.ERROR)
scapy = pytest.importorskip("scapy.all")

A, B = "10.1.0.1", "10.1.0.2"
MAC_A, MAC_B = "02:00:00:00:00:01", "02:00:00:00:00:02"


def random_tcp(r: random.Random) -> tuple[bytes, bytes]:
    """The same random segment from us and from scapy."""
    seq, ack = r.getrandbits(32), r.getrandbits(32)
    sport, dport, window = r.getrandbits(16), r.getrandbits(16), r.getrandbits(16)
    flags = r.getrandbits(9)
    payload = r.randbytes(r.choice((0, 1, 2, 3, 100, 1459, 1460)))
    mss = r.choice((None, 536, 1460))
    wscale = r.choice((None, 0, 7, 14))
    options = []
    if mss is not None:
        options.append(("MSS", mss))
    if wscale is not None:
        options += [("NOP", None), ("WScale", wscale)]
    if len(payload) > 1400:
        payload = payload[: 1460 - 8]
    theirs = (
        scapy.Ether(dst=MAC_B, src=MAC_A)
        / scapy.IP(src=A, dst=B, id=77, flags="DF", ttl=64)
        / scapy.TCP(
            sport=sport, dport=dport, seq=seq, ack=ack, window=window, options=options, flags=flags
        )
        / payload
    )
    sip, dip = fr.ip(A), fr.ip(B)
    ours = fr.tcp(
        sip, dip, sport, dport, seq, ack, flags, window, payload, fr.tcp_options(mss, wscale)
    )
    frame = fr.ethernet(0x020000000002, 0x020000000001, fr.ETH_IPV4,
                        fr.ipv4(sip, dip, fr.IP_TCP, ours, ident=77))  # fmt: skip
    return frame, bytes(theirs)


def test_tcp_built_like_scapy():
    r = random.Random(1)
    for _ in range(60):
        ours, theirs = random_tcp(r)
        assert ours == theirs


def test_tcp_parsed_like_scapy():
    r = random.Random(2)
    for _ in range(60):
        _, theirs = random_tcp(r)
        got, packet = fr.parse(theirs), scapy.Ether(theirs)
        tcp = packet[scapy.TCP]
        assert (got.sport, got.dport, got.seq, got.ack) == (tcp.sport, tcp.dport, tcp.seq, tcp.ack)
        assert got.flags == int(tcp.flags)
        assert got.window == tcp.window
        assert got.payload == bytes(tcp.payload)
        options = dict(o for o in tcp.options if o[0] in ("MSS", "WScale"))
        assert got.mss == options.get("MSS")
        assert got.wscale == options.get("WScale")


def test_arp_and_icmp_like_scapy():
    ours = fr.arp(1, 0x020000000001, fr.ip(A), 0, fr.ip(B))
    theirs = scapy.Ether(dst="ff:ff:ff:ff:ff:ff", src=MAC_A) / scapy.ARP(
        op=1, hwsrc=MAC_A, psrc=A, hwdst="00:00:00:00:00:00", pdst=B
    )
    assert ours == bytes(theirs)
    parsed = fr.parse(ours)
    assert (parsed.kind, parsed.op, parsed.spa, parsed.tpa) == ("arp", 1, fr.ip(A), fr.ip(B))

    body = fr.icmp(8, 0, b"\x00\x05\x00\x09hello")
    theirs = scapy.IP(src=A, dst=B, id=1, flags="DF") / scapy.ICMP(type=8, id=5, seq=9) / b"hello"
    assert fr.ipv4(fr.ip(A), fr.ip(B), fr.IP_ICMP, body, ident=1) == bytes(theirs)


def test_checksum_against_rfc_1071():
    assert fr.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert fr.checksum(b"") == 0xFFFF
    assert fr.checksum(b"\xff\xff") == 0


def test_any_wrong_byte_is_noticed():
    """The property on which the link model's corruption rests."""
    r = random.Random(3)
    for _ in range(300):
        frame, _ = random_tcp(r)
        at = r.randrange(14, len(frame))
        wrong = frame[:at] + bytes((frame[at] ^ r.randrange(1, 256),)) + frame[at + 1 :]
        with pytest.raises(fr.FrameError):
            fr.parse(wrong)


@pytest.mark.parametrize("size", range(54))
def test_truncated_frames_are_refused(size):
    frame, _ = random_tcp(random.Random(4))
    with pytest.raises(fr.FrameError):
        fr.parse(frame[:size])


def test_padding_is_not_payload():
    segment = fr.tcp(1, 2, 3, 4, 5, 6, fr.ACK, 7)
    frame = fr.ethernet(0, 0, fr.ETH_IPV4, fr.ipv4(1, 2, fr.IP_TCP, segment)) + b"\xaa" * 6
    assert fr.parse(frame).payload == b""


def test_malformed_options_end_the_list():
    for text in ("02000000", "020905b4", "03010101", "01010102"):
        options = bytes.fromhex(text)
        segment = fr.tcp(1, 2, 3, 4, 5, 6, fr.SYN, 7, options=options)
        got = fr.parse(fr.ethernet(0, 0, fr.ETH_IPV4, fr.ipv4(1, 2, fr.IP_TCP, segment)))
        assert (got.mss, got.wscale) == (None, None)
