# SPDX-License-Identifier: Apache-2.0
"""What nk_net_tx should make of a descriptor, built by scapy; a host that answers its reads after a fixed time."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from common.stream import Pause, Signal, never, params, rng
from net.net_model import Vf, ip_str, mac_str
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

NO_WRAP = 0xFFFF
TXD_FIELDS = (
    *("vf", "dmac", "rip", "rport", "lport", "seq", "ack", "flags", "wnd", "mss", "wscale"),
    *("wscale_valid", "ecn", "ts_valid", "tsval", "tsecr", "sack_ok", "sack_n", "sack"),
    *("len", "addr", "wrap_len", "wrap_addr"),
)


def sack_blocks(d: dict[str, int]) -> list[int]:
    """The edges that fit: RFC 2018 leaves room for three blocks beside timestamps, for four without."""
    n = min(d.get("sack_n", 0), 3 if d.get("ts_valid") else 4)
    return [d["sack"] >> 32 * i & 0xFFFFFFFF for i in range(2 * n)]


def tx_options(d: dict[str, int]) -> list[Any]:
    """Options in the order of the wire, each group a whole number of 32-bit words."""
    edges = sack_blocks(d)
    syn = not edges
    sack_ok = syn and d.get("sack_ok", 0)
    opts: list[Any] = []
    if syn and d["mss"]:
        opts.append(("MSS", d["mss"]))
    if sack_ok or d.get("ts_valid"):
        if not (sack_ok and d.get("ts_valid")):
            opts += [("NOP", None), ("NOP", None)]
        if sack_ok:
            opts.append(("SAckOK", b""))
        if d.get("ts_valid"):
            opts.append(("Timestamp", (d["tsval"], d["tsecr"])))
    if syn and d["wscale_valid"]:
        opts += [("NOP", None), ("WScale", d["wscale"])]
    if edges:
        opts += [("NOP", None), ("NOP", None), ("SAck", tuple(edges))]
    return opts


def tx_frame(vf: Vf, d: dict[str, int], payload: bytes, ip_id: int) -> bytes:
    """The frame for a descriptor."""
    tcp = TCP(
        sport=d["lport"],
        dport=d["rport"],
        seq=d["seq"],
        ack=d["ack"],
        flags=d["flags"],
        window=d["wnd"],
        options=tx_options(d),
    )
    ip = IP(src=vf.ip, dst=ip_str(d["rip"]), id=ip_id, flags="DF", ttl=64, tos=d.get("ecn", 0))
    eth = Ether(src=vf.mac, dst=mac_str(d["dmac"]))
    return bytes(eth / ip / tcp / payload).ljust(60, b"\0")


class Host:
    """Memory of each function behind rdreq_*: answers in order, `latency` clocks after the request.

    Requests are taken and beats are given in every clock that the pauses leave; lanes without data hold rubbish.
    """

    def __init__(
        self,
        dut,
        size=1 << 16,
        funcs=9,
        req_pause: Pause = never,
        dat_pause: Pause = never,
        latency=1,
    ):
        self.rng = rng("host memory")
        self.nbytes = params()["W"] // 8
        self.mem = [bytearray(self.rng.randbytes(size)) for _ in range(funcs)]
        self.req_pause, self.dat_pause, self.latency = req_pause, dat_pause, latency
        names = ("func", "addr", "len", "lane", "wrap_len", "wrap_addr")
        self._req = {n: Signal(getattr(dut, f"rdreq_{n}")) for n in names}
        lines = ["rst", *(f"rdreq_{n}" for n in ("valid", "ready"))]
        lines += [f"rdat_{n}" for n in ("valid", "ready", "data", "last")]
        self._sig = {n: Signal(getattr(dut, n)) for n in lines}
        self._edge = RisingEdge(dut.clk)
        self.clear()
        cocotb.start_soon(self._run())

    def clear(self):
        self.requests: deque[dict[str, int]] = deque()  # what was asked for
        self._due: deque[tuple[int, list[tuple[int, int]]]] = deque()
        self._beats: deque[tuple[int, int]] = deque()
        self.received = 0  # requests
        self.lasts = 0  # reads whose last beat was taken
        self.most = 0  # reads outstanding at a time
        self.clock = 0

    def read(self, func, addr, length, wrap_len, wrap_addr) -> bytes:
        mem = self.mem[func]
        if length <= wrap_len:
            return bytes(mem[addr : addr + length])
        return bytes(mem[addr : addr + wrap_len] + mem[wrap_addr : wrap_addr + length - wrap_len])

    def answer(self, r) -> list[tuple[int, int]]:
        data = self.read(r["func"], r["addr"], r["len"], r["wrap_len"], r["wrap_addr"])
        n = -(-(r["lane"] + r["len"]) // self.nbytes)
        junk = self.rng.randbytes(n * self.nbytes - r["len"])
        stream = junk[: r["lane"]] + data + junk[r["lane"] :]
        at = range(0, len(stream), self.nbytes)
        words = [int.from_bytes(stream[i : i + self.nbytes], "little") for i in at]
        return [(w, int(i == n - 1)) for i, w in enumerate(words)]

    async def _run(self):
        s = self._sig
        valid, ready = s["rdat_valid"], s["rdreq_ready"]
        while True:
            await self._edge
            self.clock += 1
            if s["rst"].is_not_low():
                valid.set(0)
                ready.set(0)
                self._due.clear()
                self._beats.clear()
                continue
            if valid.last and s["rdat_ready"].get():
                self.lasts += s["rdat_last"].last
                valid.set(0)
            if ready.last and s["rdreq_valid"].get():
                r = {n: sig.get() for n, sig in self._req.items()}
                self.requests.append(r)
                self.received += 1
                self._due.append((self.clock + self.latency - 1, self.answer(r)))
                self.most = max(self.most, self.received - self.lasts)
            ready.set(int(not self.req_pause()))
            while self._due and self._due[0][0] <= self.clock:
                self._beats.extend(self._due.popleft()[1])
            if not valid.last and self._beats and not self.dat_pause():
                data, last = self._beats.popleft()
                s["rdat_data"].set(data)
                s["rdat_last"].set(last)
                valid.set(1)
            elif not valid.last:
                s["rdat_data"].set(self.rng.getrandbits(8 * self.nbytes))
