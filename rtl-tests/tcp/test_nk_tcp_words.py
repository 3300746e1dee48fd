# SPDX-License-Identifier: Apache-2.0
"""nk_tcp_words: ring addresses counted byte by byte, and answers to strangers by RFC 9293, 3.10.7.1."""

from __future__ import annotations

import cocotb
import pytest
from common.runner import run_module
from common.stream import params, rng
from common.tcb import M32, pack
from tcp.life import flow
from tcp.tcp_dut import ACK, FIN, RST, SYN, ask, on_circle

SEG = {
    "vf": 8, "smac": 48, "rip": 32, "rport": 16, "lport": 16, "seq": 32, "ack": 32, "flags": 9, "wnd": 16, "mss": 16, "ws": 4, "wsv": 1,
    "len": 16, "ecn": 2, "tsv": 1, "tsval": 32, "tsecr": 32, "sackok": 1, "sackn": 3, "sack": 256,
}  # fmt: skip
TXD = {
    "vf": 8, "dmac": 48, "rip": 32, "rport": 16, "lport": 16, "seq": 32, "ack": 32, "flags": 9, "wnd": 16, "mss": 16, "wscale": 4,
    "wscale_valid": 1, "len": 16, "addr": 64, "wrap_len": 16, "wrap_addr": 64, "ecn": 2, "ts_valid": 1, "tsval": 32, "tsecr": 32,
    "sack_ok": 1, "sack_n": 3, "sack": 256,
}  # fmt: skip
RAW_NONE, RAW_RST, RAW_COOKIE = range(3)
PAY_NONE, PAY_PLACE, PAY_DROP = range(3)
EV_NONE, EV_EVENT, EV_FLUSHED = range(3)
OWN = {
    "seg_seq": 32, "seg_ack": 32, "seg_flags": 9, "seg_wnd": 16, "seg_mss": 16, "seg_ws_valid": 1, "seg_ws": 4, "seg_len": 16,
    "seg_sack_ok": 1, "seg_ts_valid": 1, "seg_tsval": 32, "seg_tsecr": 32, "seg_sack_n": 3, "seg_sack": 256, "seg_ecn": 2,
}  # fmt: skip


def lane_bits() -> int:
    return (int(params().get("W", 512)) // 8).bit_length() - 1


def act_fields() -> dict[str, int]:
    """The word's layout as nk_place describes it."""
    return {
        "payload": 2, "vf": 8, "addr": 64, "len": 16, "lane": lane_bits(), "skip": 16, "wrap_len": 16, "wrap_addr": 64,
        "event": 2, "qs": 8, "op": 8, "socket": 16, "data": 64, "size": 32, "status": 8,
    }  # fmt: skip


def split(word: int, layout: dict[str, int]) -> dict[str, int]:
    out = {}
    for name, bits in layout.items():
        out[name], word = word & (1 << bits) - 1, word >> bits
    assert word == 0
    return out


def join(values: dict[str, int], layout: dict[str, int]) -> int:
    word = at = 0
    for name, bits in layout.items():
        assert 0 <= values[name] < 1 << bits, name
        word, at = word | values[name] << at, at + bits
    return word


async def words(dut, rnd, tcb, seg, lane, **more):
    """A pass with random inputs but those given; the two words, taken apart, and the inputs."""
    give = {name: rnd.getrandbits(bits) for name, bits in OWN.items()}
    give |= {
        n: 0 for n in ("payload", "place", "event_valid", "flushed", "raw", "rst_kind", "from_wire")
    }
    give |= {
        "place_seq": tcb["RCV_NXT"],
        "place_skip": 0,
        "place_len": seg["len"],
        "raw_seq": rnd.getrandbits(32),
    }
    give |= {
        "vf": rnd.getrandbits(8),
        "region": rnd.getrandbits(40) << 12,
        "mtu": 1500,
        "next_mac": rnd.getrandbits(48),
    }
    give |= {
        "ev_op": rnd.getrandbits(8),
        "ev_data": rnd.getrandbits(64),
        "ev_size": rnd.getrandbits(32),
    }
    give |= {"ev_status": rnd.getrandbits(8), "rst_seq": rnd.getrandbits(32)} | more
    out = await ask(
        dut,
        ("word_act", "word_txd"),
        tcb=pack(tcb),
        seg=join(seg, SEG) | lane << sum(SEG.values()),
        **give,
    )
    return split(out["word_act"], act_fields()), split(out["word_txd"], TXD), give


def segment(rnd, **more):
    seg = {name: rnd.getrandbits(bits) for name, bits in SEG.items()}
    return seg | {"len": rnd.choice([0, 1, 64, 1460, rnd.randrange(1461)])} | more


def ring_flow(rnd):
    rx, tx = rnd.randrange(12, 25), rnd.randrange(12, 25)
    pages = {"RX_PAGE": rnd.getrandbits(20), "TX_PAGE": rnd.getrandbits(20)}
    return flow(
        rnd, RX_LOG2=rx, TX_LOG2=tx, QS=rnd.randrange(8), SOCKET=rnd.getrandbits(16), **pages
    )


def bytes_of(addr, length, wrap_len, wrap_addr):
    """Where each byte of a transfer lies (docs/interfaces.md, wrap_len)."""
    return [addr + i if i < wrap_len else wrap_addr + i - wrap_len for i in range(length)]


@cocotb.test()
async def payload_lies_where_the_stream_says(dut):
    """Byte k of the stream at ring offset k modulo the ring, whatever was trimmed off the segment's front."""
    rnd = rng("place")
    beat = 1 << lane_bits()
    wraps = 0
    for _ in range(1500):
        tcb, seg = ring_flow(rnd), segment(rnd, len=rnd.randrange(1, 1461))
        ring = 1 << tcb["RX_LOG2"]
        skip = rnd.choice([0, 0, 1, beat - 1, beat, rnd.randrange(seg["len"])])
        skip = min(skip, seg["len"] - 1)
        length = rnd.randrange(1, seg["len"] - skip + 1)
        lane = rnd.randrange(beat)
        # The first placed byte's offset in the stream; often close to the ring's end.
        first = rnd.choice(
            [rnd.randrange(1 << 24), ring - 1, ring - rnd.randrange(1, 1500), 5 * ring - 3]
        )
        tcb |= on_circle(tcb["IRS"], RCV_NXT=1 + first)
        act, _, give = await words(
            dut, rnd, tcb, seg, lane, payload=1, place=1, from_wire=1,
            place_seq=(tcb["IRS"] + 1 + first) & M32, place_skip=skip, place_len=length,
        )  # fmt: skip
        assert (act["payload"], act["vf"], act["event"]) == (PAY_PLACE, give["vf"], EV_NONE)
        base = give["region"] + (tcb["RX_PAGE"] << 12)
        where = [base + (first + i) % ring for i in range(length)]
        assert act["len"] == length
        assert bytes_of(act["addr"], length, act["wrap_len"], act["wrap_addr"]) == where
        wraps += act["wrap_len"] < length
        # Which byte of the payload stream comes first there.
        assert act["skip"] * beat + act["lane"] == lane + skip and act["lane"] < beat
    assert wraps > 50


@cocotb.test()
async def one_word_for_payload_and_event(dut):
    rnd = rng("act")
    for _ in range(300):
        tcb, seg = ring_flow(rnd), segment(rnd)
        payload, place, event, flushed = (rnd.randrange(2) for _ in range(4))
        act, _, give = await words(
            dut,
            rnd,
            tcb,
            seg,
            0,
            payload=payload,
            place=place,
            event_valid=event,
            flushed=flushed and not event,
        )
        assert act["payload"] == ((PAY_PLACE if place else PAY_DROP) if payload else PAY_NONE)
        assert act["event"] == (EV_EVENT if event else EV_FLUSHED if flushed else EV_NONE)
        assert act["vf"] == give["vf"]
        if event:
            got = (act["qs"], act["op"], act["socket"], act["data"], act["size"], act["status"])
            told = tuple(give[n] for n in ("ev_op", "ev_data", "ev_size", "ev_status"))
            assert got == (tcb["QS"], told[0], tcb["SOCKET"], *told[1:])


@cocotb.test()
async def own_segments(dut):
    """Payload from its place in the TX ring; all else as nk_tcp_tx gives it, to the next hop, on whatever event."""
    rnd = rng("own")
    for _ in range(1500):
        tcb, seg = ring_flow(rnd), segment(rnd)
        ring = 1 << tcb["TX_LOG2"]
        first = rnd.choice(
            [rnd.randrange(1 << 24), ring - 1, ring - rnd.randrange(1, 1500), 3 * ring - 1]
        )
        length = rnd.choice([0, 1, 1460])
        _, txd, give = await words(
            dut,
            rnd,
            tcb,
            seg,
            0,
            seg_seq=(tcb["ISS"] + 1 + first) & M32,
            seg_len=length,
            from_wire=rnd.randrange(2),
        )
        to = ("rip", "rport", "lport")
        assert tuple(txd[n] for n in to) == (tcb["RIP"], tcb["RPORT"], tcb["LPORT"])
        assert (txd["dmac"], txd["vf"]) == (give["next_mac"], give["vf"])
        pairs = {n: f"seg_{n}" for n in TXD if f"seg_{n}" in OWN} | {
            "wscale": "seg_ws",
            "wscale_valid": "seg_ws_valid",
        }
        for name, source in pairs.items():
            assert txd[name] == give[source], name
        base = give["region"] + (tcb["TX_PAGE"] << 12)
        where = [base + (first + i) % ring for i in range(length)]
        assert bytes_of(txd["addr"], length, txd["wrap_len"], txd["wrap_addr"]) == where


@cocotb.test()
async def answers(dut):
    """RSTs and SYN cookies go back to where the segment came from; none carries options but a cookie's MSS."""
    rnd = rng("answers")
    for _ in range(1000):
        tcb = ring_flow(rnd)
        flags = rnd.choice([0, ACK, SYN, SYN | ACK, FIN | ACK, FIN, SYN | FIN])
        seg = segment(rnd, flags=flags)
        which = rnd.choice(["stranger", "raw", "bad ack", "abort", "refuse", "cookie"])
        kind = {"stranger": 3, "bad ack": 1, "abort": 2, "refuse": 2}.get(which, 0)
        raw = {"raw": RAW_RST, "cookie": RAW_COOKIE}.get(which, RAW_NONE)
        _, txd, give = await words(
            dut, rnd, tcb, seg, 0, rst_kind=kind, raw=raw, from_wire=int(which != "abort")
        )
        if which in ("stranger", "raw"):  # RFC 9293, 3.10.7.1
            end = seg["seq"] + seg["len"] + bool(flags & SYN) + bool(flags & FIN)
            want = (seg["ack"], 0, RST) if flags & ACK else (0, end & M32, RST | ACK)
        elif which == "bad ack":  # RFC 9293, 3.10.7.3: <SEQ=SEG.ACK><CTL=RST>
            want = (seg["ack"], 0, RST)
        elif which == "cookie":
            want = (give["raw_seq"], (seg["seq"] + 1) & M32, SYN | ACK)
        else:
            want = (give["rst_seq"], tcb["RCV_NXT"], RST | ACK)
        assert (txd["seq"], txd["ack"], txd["flags"]) == want, which
        to = (txd["dmac"], txd["rip"], txd["rport"], txd["lport"])
        if which == "abort":
            assert to == (give["next_mac"], tcb["RIP"], tcb["RPORT"], tcb["LPORT"])
        else:
            assert to == (seg["smac"], seg["rip"], seg["rport"], seg["lport"]), which
        assert txd["len"] == 0
        assert (txd["mss"], txd["wnd"]) == ((1460, 4096) if which == "cookie" else (0, 0)), which
        assert not any(txd[n] for n in ("wscale_valid", "ts_valid", "sack_ok", "sack_n", "ecn")), (
            which
        )


@pytest.mark.parametrize("w", [64, 512])
def test_nk_tcp_words(w):
    run_module("nk_tcp_words", __file__, {"W": w})
