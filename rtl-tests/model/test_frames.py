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
    sack_ok, sack, ts = r.random() < 0.3, (), None
    if sack_ok:
        options += [("NOP", None), ("NOP", None), ("SAckOK", b"")]
    if r.random() < 0.5:
        ts = (r.getrandbits(32), r.getrandbits(32))
        options += [("NOP", None), ("NOP", None), ("Timestamp", ts)]
    if wscale is not None:
        options += [("NOP", None), ("WScale", wscale)]
    if not sack_ok and r.random() < 0.4:
        sack = tuple((r.getrandbits(32), r.getrandbits(32)) for _ in range(r.randrange(1, 3)))
        edges = tuple(edge for block in sack for edge in block)
        options += [("NOP", None), ("NOP", None), ("SAck", edges)]
    payload = payload[:1420]
    ecn = r.randrange(4)
    theirs = (
        scapy.Ether(dst=MAC_B, src=MAC_A)
        / scapy.IP(src=A, dst=B, id=77, flags="DF", ttl=64, tos=ecn)
        / scapy.TCP(
            sport=sport, dport=dport, seq=seq, ack=ack, window=window, options=options, flags=flags
        )
        / payload
    )
    sip, dip = fr.ip(A), fr.ip(B)
    built = fr.tcp_options(mss, wscale, ts=ts, sack_ok=sack_ok, sack=sack)
    ours = fr.tcp(sip, dip, sport, dport, seq, ack, flags, window, payload, built)
    frame = fr.ethernet(0x020000000002, 0x020000000001, fr.ETH_IPV4,
                        fr.ipv4(sip, dip, fr.IP_TCP, ours, ident=77, tos=ecn))  # fmt: skip
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
        options = dict(tcp.options)
        assert got.mss == options.get("MSS")
        assert got.wscale == options.get("WScale")
        assert got.sack_ok == ("SAckOK" in options)
        assert got.ts == options.get("Timestamp")
        assert tuple(edge for block in got.sack for edge in block) == options.get("SAck", ())
        assert got.ecn == packet[scapy.IP].tos


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
    for text in ("02000000", "020905b4", "03010101", "01010102", "080b0000", "05061111"):
        options = bytes.fromhex(text)
        segment = fr.tcp(1, 2, 3, 4, 5, 6, fr.SYN, 7, options=options)
        got = fr.parse(fr.ethernet(0, 0, fr.ETH_IPV4, fr.ipv4(1, 2, fr.IP_TCP, segment)))
        assert (got.mss, got.wscale, got.ts, got.sack) == (None, None, None, ())


def test_wrong_lengths_of_known_options():
    """A timestamp or SACK option of another length than its own says nothing; the next one counts."""
    for text in ("080900000000000000", "050800000000" + "0000", "0403ff", "0303070000"):
        options = bytes.fromhex(text)
        options += bytes.fromhex("020405b4") if text != "0303070000" else b""
        options += b"\0" * (-len(options) % 4)
        segment = fr.tcp(1, 2, 3, 4, 5, 6, fr.SYN, 7, options=options)
        got = fr.parse(fr.ethernet(0, 0, fr.ETH_IPV4, fr.ipv4(1, 2, fr.IP_TCP, segment)))
        assert (got.ts, got.sack, got.sack_ok) == (None, (), False)
        assert got.mss == (None if text == "0303070000" else 1460)


def test_frag_needed_like_scapy():
    segment = fr.tcp(fr.ip(A), fr.ip(B), 3, 4, 5, 6, fr.ACK, 7, b"x" * 1000)
    packet = fr.ipv4(fr.ip(A), fr.ip(B), fr.IP_TCP, segment)
    got = scapy.ICMP(fr.frag_needed(packet, 1400))
    assert (got.type, got.code, got.nexthopmtu) == (3, 4, 1400)
    assert bytes(got.payload) == packet[:28]
    assert fr.checksum(bytes(got)) == 0
