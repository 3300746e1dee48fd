# SPDX-License-Identifier: Apache-2.0
"""A host on the wire: ARP, ping, TCP after RFC 9293, 6298, 5681 and 6582; an independent judge.

It takes and gives Ethernet frames; its clock is the caller's, in microseconds::

    host = Host("10.1.0.1", seed=1)
    host.listen(80, on_accept=lambda c: c.send(b"hello"))
    host.input(frame, now)      # a frame arrived
    host.tick(now)              # let timers that are due run
    host.next_timer()           # when the next one is due, or None
    frames = host.take()        # frames to send

Besides being a correct peer it watches the other side: what no TCP may do (send beyond the window
that we advertised, a segment above the MSS, acknowledge what we never sent, other bytes under a
sequence number that it used before ...) goes into `host.violations`.

Sequence numbers are unbounded integers inside; 32 bits exist only in the frames. A byte of the
stream keeps its number for ever: no modular comparison in here could hide a fault of the RTL's.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import frames as fr
from .frames import ACK, FIN, PSH, RST, SYN, Frame, FrameError

MOD = 1 << 32
CLOSING_STATES = ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT")
SYNCHRONIZED = frozenset(("ESTABLISHED", *CLOSING_STATES))
CAN_SEND = frozenset(("ESTABLISHED", "CLOSE_WAIT"))


def unwrap(seq: int, near: int) -> int:
    """The integer nearest to `near` whose low 32 bits are `seq`."""
    return near + ((seq - near + (MOD >> 1)) % MOD) - (MOD >> 1)


def merged(blocks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Blocks (start, end) in order, those that touch or overlap made one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(blocks):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


@dataclass
class Options:
    """How a host's connections behave; a test varies these."""

    mss: int | None = 1460  # option in our SYN; None: no option
    wscale: int | None = 7  # option in our SYN; None: no option
    timestamps: bool = False  # RFC 7323
    sack: bool = False  # RFC 2018, 2883, 6675
    ecn: bool = False  # RFC 3168
    rcv_buf: int = 256 * 1024
    auto_read: bool = True  # the application takes data as it comes
    rto_min: int = 200_000
    rto_init: int = 1_000_000
    rto_max: int = 60_000_000
    retries: int = 12
    time_wait: int = 500_000
    delack: int = 10_000  # 0: acknowledge every segment at once
    ack_every: int = 2
    init_cwnd: int = 10  # segments
    probe: str = "new"  # zero-window probe: "new" byte, or "old" (an empty segment before SND.UNA)
    max_seg: int | None = None  # send segments no larger than this


class Conn:
    """One connection. The application's calls: send, shutdown, abort, read."""

    def __init__(self, host: Host, opts: Options, lport: int, rip: int, rport: int) -> None:
        self.host, self.opts = host, opts
        self.lport, self.rip, self.rport = lport, rip, rport
        self.state = "CLOSED"
        self.events: list[str] = []
        self.on_data: Callable[[Conn, bytes], None] | None = None
        self.on_fin: Callable[[Conn], None] | None = None
        self.received = bytearray()  # everything, in order
        self.read_pos = 0  # how much of it the application has taken
        self.retransmits = 0
        self.segments_out = 0
        self.user: Any = None
        # Send side. Sequence number of byte i of the stream: iss + 1 + i.
        self.iss = host.isn()
        self.stream = bytearray()
        self.fin_queued = False
        self.snd_una = self.snd_nxt = self.snd_max = self.iss
        self.snd_wnd = 0
        self.snd_ws = 0
        self.wl1 = self.wl2 = 0
        self.mss = 536
        self.cwnd = 0
        self.ssthresh = 1 << 30
        self.ca_acc = 0
        self.dupacks = 0
        self.recover = self.iss
        self.in_recovery = False
        self.srtt = self.rttvar = 0.0
        self.rto = float(opts.rto_init)
        self.timing: tuple[int, int] | None = None  # (sequence number that ends it, start)
        self.tries = 0
        # Receive side.
        self.irs = self.rcv_nxt = 0
        self.rcv_ws = 0
        self._ws_agreed = False
        self.adv_edge = 0  # right edge of the largest window that we advertised
        self.ooo: list[tuple[int, bytes]] = []
        self.fin_at: int | None = None
        self.peer_end: int | None = None  # after the peer's FIN
        self.unacked = 0  # in-order segments since our last ACK
        # Options that both SYNs had.
        self.ts_on = self.sack_on = self.ecn_on = False
        self.ts_base = host.rng.getrandbits(32)
        self.ts_recent = 0
        self.last_ack_sent = 0
        self.ts_sent: set[int] = set()
        self.their_ts: int | None = None
        self.sacked: list[tuple[int, int]] = []  # what the other side holds beyond snd_una
        self.rexmit_high = self.iss  # SACK recovery: holes below this were sent again
        self.latest: int | None = None  # start of the segment held that came last
        self.dsack: tuple[int, int] | None = None
        self.ece_now = False  # a CE mark is to be echoed
        self.cwr_now = False  # CWR goes with the next new data
        self.ce_seen = 0
        self.ecn_high = self.iss  # the window was cut for everything below
        self.their_edge = 0  # right edge that the peer advertised, for the no-shrink check
        self.their_ack = 0
        # Timers: deadlines or None.
        self.rtx_at: int | None = None
        self.persist_at: int | None = None
        self.persist_backoff = 0
        self.delack_at: int | None = None
        self.wait_at: int | None = None

    def __repr__(self) -> str:
        return f"<Conn {self.lport}-{fr.ip_text(self.rip)}:{self.rport} {self.state}>"

    # ---- the application's calls ---------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self.fin_queued or self.state not in (*CAN_SEND, "SYN_SENT", "SYN_RCVD"):
            raise RuntimeError(f"send in {self.state}")
        self.stream += data
        self._output()

    def shutdown(self) -> None:
        """No more sends: FIN after what is queued. The receive side stays open."""
        if self.fin_queued:
            return
        self.fin_queued = True
        if self.state == "ESTABLISHED":
            self.state = "FIN_WAIT_1"
        elif self.state == "CLOSE_WAIT":
            self.state = "LAST_ACK"
        self._output()

    def abort(self) -> None:
        if self.state in SYNCHRONIZED or self.state == "SYN_RCVD":
            self._segment(RST | ACK, self.snd_max)
        self._end("aborted")

    def read(self, n: int | None = None) -> bytes:
        """What the application takes when auto_read is off; opens the window."""
        end = len(self.received) if n is None else min(self.read_pos + n, len(self.received))
        data = bytes(self.received[self.read_pos : end])
        self.read_pos = end
        worth = min(2 * (self.opts.mss or 536), self.opts.rcv_buf // 2)
        closed = self.adv_edge <= self.rcv_nxt
        if self.state in SYNCHRONIZED and (self._edge() - self.adv_edge >= worth or closed):
            self._ack_now()
        return data

    @property
    def done_sending(self) -> bool:
        """Everything, our FIN included, is acknowledged."""
        return self.snd_una == self._end_seq()

    @property
    def fin_received(self) -> bool:
        return self.peer_end is not None

    # ---- opening -------------------------------------------------------------------------------

    def _open(self, syn: Frame | None) -> None:
        self.snd_nxt = self.iss
        if syn is None:
            self.state = "SYN_SENT"
        else:
            self.state = "SYN_RCVD"
            self._take_syn(syn)
        self._send_syn()

    def _take_syn(self, f: Frame) -> None:
        self.irs = f.seq
        self.rcv_nxt = self.adv_edge = f.seq + 1
        self.mss = min(f.mss if f.mss is not None else 536, 1460)
        self.ts_on = self.opts.timestamps and f.ts is not None
        self.sack_on = self.opts.sack and f.sack_ok
        self.mss -= 12 if self.ts_on else 0  # RFC 6691
        if f.ts is not None:
            self.ts_recent = self.their_ts = f.ts[0]
        marks = f.flags & (fr.ECE | fr.CWR)
        self.ecn_on = self.opts.ecn and marks == (fr.ECE if f.flags & ACK else fr.ECE | fr.CWR)
        if self.opts.max_seg:
            self.mss = min(self.mss, self.opts.max_seg)
        if f.wscale is not None and self.opts.wscale is not None:
            self.snd_ws, self.rcv_ws = f.wscale, self.opts.wscale
        self.snd_wnd = f.window  # never scaled in a SYN
        self.their_edge, self.their_ack = 0, self.iss
        self.wl1, self.wl2 = f.seq, self.snd_una

    def _send_syn(self) -> None:
        both = self.state == "SYN_RCVD"
        ws = self.opts.wscale
        if both and not self._ws_agreed:
            ws = None  # answer only what was offered
        with_ts = self.ts_on if both else self.opts.timestamps
        with_sack = self.sack_on if both else self.opts.sack
        options = fr.tcp_options(
            self.opts.mss, ws, ts=self._ts(both) if with_ts else None, sack_ok=with_sack
        )
        window = min(self.opts.rcv_buf, 65535)
        if both:
            self.adv_edge = max(self.adv_edge, self.rcv_nxt + window)
        flags = SYN
        if both:
            flags |= ACK | (fr.ECE if self.ecn_on else 0)
        elif self.opts.ecn:
            flags |= fr.ECE | fr.CWR
        self._segment(flags, self.iss, b"", options, window)
        self.snd_nxt = self.snd_max = max(self.snd_max, self.iss + 1)
        self._arm_rtx(restart=True)

    # ---- arrival of a segment (RFC 9293, 3.10.7) -----------------------------------------------

    def _arrives(self, f: Frame) -> None:
        if self.state == "SYN_SENT":
            self._arrives_syn_sent(f)
            return
        seq = unwrap(f.seq, self.rcv_nxt)
        ack = unwrap(f.ack, self.snd_una)
        self._watch(f, seq, ack)
        if self.ts_on and not f.flags & (RST | SYN):
            if f.ts is None:
                return  # RFC 7323, 3.2
            if (f.ts[0] - self.ts_recent) % MOD >= MOD >> 1:
                self._ack_now()  # PAWS
                return
        # First: is the sequence number acceptable?
        if not self._acceptable(seq, f.seg_len):
            if f.flags & RST:
                return
            if self.state == "TIME_WAIT":
                self.wait_at = self.host.now + self.opts.time_wait
            # A probe or an old segment may carry a fresh ACK and window: RFC 9293 wants those of
            # unacceptable segments ignored, except that a zero window takes valid ACKs (3.10.7.4).
            if self._edge() == self.rcv_nxt and f.flags & ACK and seq == self.rcv_nxt:
                self._take_ack(f, seq, ack)
            self._ack_now()
            return
        if f.flags & RST:
            if seq == self.rcv_nxt:
                passive = self.state == "SYN_RCVD"
                self._end("refused" if passive else "reset")
            else:
                self._ack_now()  # challenge (RFC 5961)
            return
        if f.flags & SYN:
            if self.state == "SYN_RCVD" and seq == self.irs:
                self._send_syn()
            else:
                self._ack_now()  # challenge
            return
        if not f.flags & ACK:
            return
        if self.state == "SYN_RCVD":
            if not self.snd_una < ack <= self.snd_max:
                self._segment(RST, ack)
                return
            self._established(f, seq, ack)
        if self.ts_on and f.ts is not None and seq <= self.last_ack_sent:
            self.ts_recent = f.ts[0]
        if not self._take_ack(f, seq, ack) or self.state == "CLOSED":
            return
        if self.ecn_on:
            self._take_marks(f)
        self._take_data(f, seq)
        self._output()

    def _arrives_syn_sent(self, f: Frame) -> None:
        ack = unwrap(f.ack, self.snd_una)
        good_ack = bool(f.flags & ACK) and self.snd_una < ack <= self.snd_max
        if f.flags & ACK and not good_ack:
            if not f.flags & RST:
                self._segment(RST, ack)
            return
        if f.flags & RST:
            if good_ack:
                self._end("refused")
            return
        if not f.flags & SYN:
            return
        self._ws_agreed = f.wscale is not None
        self._take_syn(f)
        if good_ack:
            self._established(f, f.seq, ack)
            self._take_ack(f, f.seq, ack)
            self._ack_now()
            self._output()
        else:  # simultaneous open
            self.state = "SYN_RCVD"
            self._send_syn()

    def _established(self, f: Frame, seq: int, ack: int) -> None:
        self.state = "FIN_WAIT_1" if self.fin_queued else "ESTABLISHED"
        self.snd_wnd = f.window << (0 if f.flags & SYN else self.snd_ws)
        self.wl1, self.wl2 = seq, ack
        self.cwnd = self.opts.init_cwnd * self.mss
        self.events.append("connected")
        if self.host.on_established:
            self.host.on_established(self)

    def _acceptable(self, seq: int, length: int) -> bool:
        edge = max(self._edge(), self.adv_edge)
        if edge == self.rcv_nxt:
            return length == 0 and seq == self.rcv_nxt
        if length == 0:
            return self.rcv_nxt <= seq < edge
        return seq < edge and seq + length > self.rcv_nxt

    def _take_marks(self, f: Frame) -> None:
        """RFC 3168: echo a mark until CWR; halve once a window for an echo."""
        if f.flags & fr.CWR:
            self.ece_now = False
        if f.ecn == fr.CE:
            self.ce_seen += 1
            self.ece_now = True
        if f.flags & fr.ECE and self.snd_una > self.ecn_high:
            self.ssthresh = max((self.snd_max - self.snd_una) // 2, 2 * self.mss)
            self.cwnd = self.ssthresh
            self.ecn_high = self.snd_max
            self.cwr_now = True

    # ---- acknowledgements and congestion control -----------------------------------------------

    def _take_ack(self, f: Frame, seq: int, ack: int) -> bool:
        """False: the segment acknowledges what we never sent, and must be dropped."""
        if ack > self.snd_max:
            self._ack_now()
            return False
        window = f.window << (0 if f.flags & SYN else self.snd_ws)
        flight = self.snd_nxt - self.snd_una
        news = self.sack_on and ack >= self.snd_una and self._take_sack(f, ack)
        if ack > self.snd_una:
            if self.ts_on and f.ts is not None and f.ts[1] in self.ts_sent:
                self.timing = None
                self._rtt_sample((self._now_ts() - f.ts[1]) % MOD * 1000 + 500)
            self._new_ack(ack)
        elif self.sack_on:
            if news and self.snd_max > self.snd_una:
                self._dup_ack(flight)
        elif (
            ack == self.snd_una
            and not f.seg_len
            and window == self.snd_wnd
            and self.snd_max > self.snd_una
            and window
        ):
            self._dup_ack(flight)
        # RFC 9293: windows of older segments do not count.
        if ack >= self.snd_una and (self.wl1 < seq or (self.wl1 == seq and self.wl2 <= ack)):
            self.snd_wnd, self.wl1, self.wl2 = window, seq, ack
            if window:
                self.persist_at, self.persist_backoff = None, 0
            else:  # RFC 9293, 3.8.6.1: never give up while the other side answers
                self.tries = min(self.tries, 2)
        return True

    def _new_ack(self, ack: int) -> None:
        now = self.host.now
        acked = ack - self.snd_una
        if self.timing and ack >= self.timing[0]:
            self._rtt_sample(now - self.timing[1])
            self.timing = None
        self.snd_una = ack
        self.snd_nxt = max(self.snd_nxt, ack)
        self.sacked = [(max(s, ack), e) for s, e in self.sacked if e > ack]
        self.tries = 0
        flight = self.snd_max - ack
        if self.in_recovery:
            if ack >= self.recover:
                self.in_recovery = False
                self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)
            elif self.sack_on:
                self._fill_holes()
            else:  # partial: the next hole (RFC 6582)
                self._retransmit_one()
                self.cwnd = max(self.cwnd - acked, 0) + (self.mss if acked >= self.mss else 0)
                self.cwnd = max(self.cwnd, self.mss)
        elif self.cwnd < self.ssthresh:
            self.cwnd += min(acked, self.mss)
        else:
            self.ca_acc += acked
            if self.ca_acc >= self.cwnd:
                self.ca_acc -= self.cwnd
                self.cwnd += self.mss
        self.dupacks = 0
        self._arm_rtx(restart=True)
        if self.fin_queued and ack == self._end_seq():
            if self.state == "FIN_WAIT_1":
                self.state = "FIN_WAIT_2"
            elif self.state == "CLOSING":
                self._time_wait()
            elif self.state == "LAST_ACK":
                self._end("closed")

    def _dup_ack(self, flight: int) -> None:
        self.dupacks += 1
        if self.in_recovery and self.sack_on:
            self._fill_holes()
        elif self.in_recovery:
            self.cwnd += self.mss
        elif self.dupacks == 3 and self.snd_una > self.recover - 1:
            self.ssthresh = max(flight // 2, 2 * self.mss)
            self.recover = self.snd_max
            self.in_recovery = True
            if self.sack_on:
                self.cwnd = self.ssthresh
                self.rexmit_high = self.snd_una
                self._fill_holes()
                return
            self._retransmit_one()
            self.cwnd = self.ssthresh + 3 * self.mss

    def _take_sack(self, f: Frame, ack: int) -> bool:
        """RFC 2018: add the blocks to the scoreboard; True if they told something new."""
        before = sum(e - s for s, e in self.sacked)
        blocks = [(unwrap(s, self.snd_una), unwrap(e, self.snd_una)) for s, e in f.sack]
        good = [(s, e) for s, e in blocks if ack <= s < e <= self.snd_max]
        self.sacked = merged([*self.sacked, *good])
        return sum(e - s for s, e in self.sacked) > before

    def _fill_holes(self) -> None:
        """RFC 6675 in short: holes below what is held go again, once, as the window allows."""
        held = sum(e - s for s, e in self.sacked)
        at = max(self.rexmit_high, self.snd_una)
        budget = self.cwnd - (self.snd_max - at - held)
        if at == self.snd_una:
            budget = max(budget, self.mss)
        for start, end in self.sacked:
            while at < start and budget > 0:
                n = self._send_hole(at, start)
                at += n
                budget -= n
            if at < start:
                break
            at = max(at, end)
        if not self.sacked and at == self.snd_una:
            at += self._send_hole(at, self.snd_max)
        self.rexmit_high = at

    def _send_hole(self, at: int, end: int) -> int:
        data_end = self.iss + 1 + len(self.stream)
        n = min(self.mss, end - at, data_end - at)
        fin = self.fin_queued and at + n == data_end and end > data_end
        self._send_range(at, n, fin)
        return n + fin

    def _rtt_sample(self, rtt: int) -> None:
        if not self.srtt:
            self.srtt, self.rttvar = float(rtt), rtt / 2
        else:
            self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - rtt)
            self.srtt = 0.875 * self.srtt + 0.125 * rtt
        self.rto = max(self.opts.rto_min, self.srtt + max(1000.0, 4 * self.rttvar))

    # ---- data in -------------------------------------------------------------------------------

    def _take_data(self, f: Frame, seq: int) -> None:
        data = f.payload
        if data or f.flags & FIN:
            if f.flags & FIN:
                self.fin_at = seq + len(data)
            if data:
                self._note_duplicate(seq, len(data))
                self._hold(seq, data)
                self.latest = seq if seq > self.rcv_nxt else self.latest
            in_order = seq <= self.rcv_nxt
            before = self.rcv_nxt
            self._deliver()
            if self.rcv_nxt == self.fin_at and self.peer_end is None:
                pass  # the FIN is acknowledged below
            elif self.rcv_nxt == before or not in_order or self.ooo:
                self._ack_now()
            else:
                self.unacked += 1
                if not self.opts.delack or self.unacked >= self.opts.ack_every:
                    self._ack_now()
                elif self.delack_at is None:
                    self.delack_at = self.host.now + self.opts.delack
        if self.fin_at is not None and self.rcv_nxt == self.fin_at and self.peer_end is None:
            self.rcv_nxt += 1
            self.peer_end = self.rcv_nxt
            self._ack_now()
            self.events.append("peer_closed")
            if self.state == "ESTABLISHED":
                self.state = "CLOSE_WAIT"
            elif self.state == "FIN_WAIT_1":
                self.state = "CLOSING"  # our FIN is not acknowledged yet, or _new_ack had moved us
            elif self.state == "FIN_WAIT_2":
                self._time_wait()
            if self.on_fin:
                self.on_fin(self)

    def _note_duplicate(self, seq: int, n: int) -> None:
        """RFC 2883: a segment that we have already is reported with the next ACK."""
        held = merged([(s, s + len(d)) for s, d in self.ooo])
        if seq + n <= self.rcv_nxt or any(s <= seq and seq + n <= e for s, e in held):
            self.dsack = (seq, seq + n)

    def _blocks(self) -> list[tuple[int, int]]:
        """SACK blocks for an ACK: D-SACK, then the block of the latest segment, then the others."""
        held = merged([(s, s + len(d)) for s, d in self.ooo])
        if self.latest is not None:
            held.sort(key=lambda b: not b[0] <= self.latest < b[1])
        out = ([self.dsack] if self.dsack else []) + held
        self.dsack = None
        return out[: 3 if self.ts_on else 4]

    def _now_ts(self) -> int:
        return (self.ts_base + self.host.now // 1000) % MOD

    def _ts(self, echo: bool) -> tuple[int, int]:
        now = self._now_ts()
        self.ts_sent.add(now)
        return now, self.ts_recent if echo else 0

    def _hold(self, seq: int, data: bytes) -> None:
        """Keep what is new of a segment; what we have already must be the same bytes."""
        edge = max(self._edge(), self.adv_edge)
        if seq + len(data) > edge:
            data = data[: max(0, edge - seq)]
        if seq < self.rcv_nxt:
            data = data[self.rcv_nxt - seq :]
            seq = self.rcv_nxt
        if data:
            for start, held in self.ooo:
                lo, hi = max(start, seq), min(start + len(held), seq + len(data))
                if lo < hi and held[lo - start : hi - start] != data[lo - seq : hi - seq]:
                    self._violation(f"other bytes at sequence {lo - self.irs - 1}")
            self.ooo.append((seq, data))
            self.ooo.sort(key=lambda item: item[0])

    def _same(self, seq: int, data: bytes) -> None:
        at = seq - self.irs - 1
        skip = max(0, -at)
        old = self.received[at + skip : max(0, at + len(data))]
        if old != data[skip : skip + len(old)]:
            self._violation(f"other bytes at sequence {at}")

    def _deliver(self) -> None:
        while self.ooo and self.ooo[0][0] <= self.rcv_nxt:
            seq, data = self.ooo.pop(0)
            new = data[self.rcv_nxt - seq :]
            if not new:
                continue
            self.received += new
            self.rcv_nxt += len(new)
            if self.opts.auto_read:
                self.read_pos = len(self.received)
            if self.on_data:
                self.on_data(self, new)

    def _edge(self) -> int:
        """Right edge of what our buffer can take."""
        room = self.opts.rcv_buf - (len(self.received) - self.read_pos)
        return self.rcv_nxt + max(0, room)

    # ---- watching the other side ---------------------------------------------------------------

    def _watch(self, f: Frame, seq: int, ack: int) -> None:
        limit = self.opts.mss if self.opts.mss is not None else 536
        if len(f.payload) + (0 if f.flags & SYN else len(f.options)) > limit:
            self._violation(f"segment of {len(f.payload)} bytes, our MSS is {limit}")
        if f.flags & RST:
            return
        if not f.flags & SYN:
            self._watch_options(f)
        end = seq + len(f.payload)
        if self.host.strict_old or end > self.rcv_nxt:
            self._same(seq, f.payload)
        probe = len(f.payload) <= 1
        if f.payload and end > self.adv_edge + (1 if probe else 0):
            self._violation(f"data {end - self.adv_edge} bytes beyond the window")
        if f.flags & ACK and ack > self.snd_max:
            self._violation(f"ACK of {ack - self.snd_max} bytes never sent")
        if f.payload and self.peer_end is not None and end > self.peer_end - 1:
            self._violation("data after FIN")
        if f.flags & FIN and self.fin_at is not None and end != self.fin_at:
            self._violation("FIN at another place")
        watch = self.host.watch_shrink and f.flags & ACK and not f.flags & SYN
        if watch and self.state in SYNCHRONIZED:
            edge = ack + (f.window << self.snd_ws)
            granularity = 1 << self.snd_ws
            if ack >= self.snd_una and seq >= self.wl1:
                if edge + granularity <= self.their_edge and ack >= self.their_ack:
                    self._violation(f"window shrank by {self.their_edge - edge}")
                self.their_ack = max(self.their_ack, ack)
                self.their_edge = max(self.their_edge, edge)

    def _watch_options(self, f: Frame) -> None:
        if (f.ts is not None) != self.ts_on:
            self._violation(f"timestamps {'missing' if self.ts_on else 'not agreed'}: {f}")
        if f.ts is not None and self.ts_on:
            if f.ts[1] not in self.ts_sent:
                self._violation(f"echo of a timestamp {f.ts[1]} that we never sent")
            back = self.their_ts is not None and (f.ts[0] - self.their_ts) % MOD >= MOD >> 1
            if back and self.host.watch_shrink:
                self._violation(f"timestamps went back from {self.their_ts} to {f.ts[0]}")
            if not back:
                self.their_ts = f.ts[0]
        if f.sack and not self.sack_on:
            self._violation("SACK blocks that nobody agreed on")
        ack = unwrap(f.ack, self.snd_una)
        for i, (s, e) in enumerate(f.sack):
            start, end = unwrap(s, self.snd_una), unwrap(e, self.snd_una)
            lowest = self.iss + 1 if i == 0 else ack + 1  # D-SACK stands first
            if not lowest <= start < end <= self.snd_max:
                text = f"{start - self.iss}:{end - self.iss}, ACK {ack - self.iss}"
                self._violation(f"SACK block {text}")
        if f.flags & fr.ECE and not self.ecn_on:
            self._violation("ECE that nobody agreed on")
        if f.ecn in (fr.ECT0, fr.ECT1) and not (self.ecn_on and f.payload):
            self._violation(f"ECT on a segment that must not be: {f}")

    def _violation(self, text: str) -> None:
        self.host.violations.append(f"{self.host.now} us {self!r}: {text}")

    # ---- sending -------------------------------------------------------------------------------

    def _end_seq(self) -> int:
        return self.iss + 1 + len(self.stream) + self.fin_queued

    def _output(self) -> None:
        """Send what the windows allow (RFC 9293, 3.8.6.2 for small segments), and owed ACKs."""
        if self.state not in SYNCHRONIZED or self.state == "TIME_WAIT":
            return
        end = self._end_seq()
        data_end = self.iss + 1 + len(self.stream)
        # What the other side holds is not in the network any more.
        held = sum(e - s for s, e in self.sacked) if self.in_recovery else 0
        window = min(self.snd_wnd, self.cwnd + held)
        while self.snd_nxt < end:
            room = self.snd_una + window - self.snd_nxt
            n = min(data_end - self.snd_nxt, self.mss)
            fin = self.fin_queued and self.snd_nxt + n == data_end
            if n > room:
                if room <= 0 or (room < self.mss and self.snd_nxt > self.snd_una):
                    break
                n, fin = room, False
            elif fin and n + 1 > room and n:
                fin = False
            if n + fin > room:
                break
            self._send_range(self.snd_nxt, n, fin)
            self.snd_nxt += n + fin
            self.snd_max = max(self.snd_max, self.snd_nxt)
        blocked = self.snd_nxt < end and self.snd_nxt == self.snd_una and not self.snd_wnd
        if blocked:
            self.rtx_at = None
            if self.persist_at is None:
                self.persist_at = self.host.now + (int(self.rto) << min(self.persist_backoff, 6))
        else:
            self._arm_rtx(restart=False)

    def _send_range(self, seq: int, n: int, fin: bool) -> None:
        at = seq - self.iss - 1
        data = bytes(self.stream[at : at + n])
        flags = ACK | (FIN if fin else 0) | (PSH if at + n == len(self.stream) and n else 0)
        ecn = fr.NOT_ECT
        if seq < self.snd_max:
            self.retransmits += 1
            self.timing = None  # Karn
        else:
            if self.timing is None:
                self.timing = (seq + n + fin, self.host.now)
            if self.ecn_on and n:
                ecn = fr.ECT0
                flags |= fr.CWR if self.cwr_now else 0
                self.cwr_now = False
        self._segment(flags, seq, data, ecn=ecn)

    def _retransmit_one(self) -> None:
        if self.snd_una == self.iss:
            self._send_syn()
            return
        data_end = self.iss + 1 + len(self.stream)
        n = min(self.mss, data_end - self.snd_una, max(1, self.snd_max - self.snd_una))
        fin = self.fin_queued and self.snd_una + n == data_end and self.snd_max > data_end
        self._send_range(self.snd_una, n, fin)

    def _ack_now(self) -> None:
        # SND.NXT of the RFC is the highest number sent. After a timeout `snd_nxt` has gone back; an
        # ACK with that number would lie left of the other side's window and be ignored, for ever
        # when both sides are there at once.
        self._segment(ACK, self.snd_max)

    def _segment(
        self,
        flags: int,
        seq: int,
        data: bytes = b"",
        options: bytes = b"",
        window: int | None = None,
        ecn: int = fr.NOT_ECT,
    ) -> None:
        if not flags & (SYN | RST):
            blocks = self._blocks() if self.sack_on and not data else []
            options = fr.tcp_options(ts=self._ts(True) if self.ts_on else None, sack=blocks)
            flags |= fr.ECE if self.ece_now else 0
        if flags & ACK:
            self.last_ack_sent = self.rcv_nxt
        if window is None:
            edge = max(self._edge(), self.adv_edge)  # a window never shrinks
            window = min((edge - self.rcv_nxt) >> self.rcv_ws, 65535)
            if flags & ACK:
                self.adv_edge = max(self.adv_edge, self.rcv_nxt + (window << self.rcv_ws))
        if flags & ACK:
            self.unacked = 0
            self.delack_at = None
        self.segments_out += 1
        self.host.send_tcp(
            self.rip, self.lport, self.rport,
            seq, self.rcv_nxt if flags & ACK else 0, flags, window if not flags & RST else 0,
            data, options, ecn,
        )  # fmt: skip

    # ---- timers, end ---------------------------------------------------------------------------

    def _arm_rtx(self, restart: bool) -> None:
        if self.snd_una == self.snd_max or self.state == "CLOSED":
            self.rtx_at = None
        elif restart or self.rtx_at is None:
            backed = min(self.rto * 2 ** min(self.tries, 16), self.opts.rto_max)
            self.rtx_at = self.host.now + int(backed)

    def deadline(self) -> int | None:
        times = [
            t for t in (self.rtx_at, self.persist_at, self.delack_at, self.wait_at) if t is not None
        ]
        return min(times, default=None)

    def _tick(self, now: int) -> None:
        if self.wait_at is not None and now >= self.wait_at:
            self._end("closed")
            return
        if self.delack_at is not None and now >= self.delack_at:
            self._ack_now()
        if self.persist_at is not None and now >= self.persist_at:
            self._probe(now)
        if self.rtx_at is not None and now >= self.rtx_at:
            self._timeout()

    def _probe(self, now: int) -> None:
        self.persist_backoff += 1
        wait = min(int(self.rto) << min(self.persist_backoff, 10), self.opts.rto_max)
        self.persist_at = now + wait
        if self.opts.probe == "old":
            self._segment(ACK, self.snd_una - 1)
            return
        if self.snd_una < self.iss + 1 + len(self.stream):
            self._send_range(self.snd_una, 1, False)
        else:
            self._send_range(self.snd_una, 0, True)
        self.snd_max = max(self.snd_max, self.snd_una + 1)

    def _timeout(self) -> None:
        self.tries += 1
        if self.tries > self.opts.retries:
            self._end("timeout")
            return
        self.timing = None
        if self.state in ("SYN_SENT", "SYN_RCVD"):
            self.retransmits += 1
            self._send_syn()
            return
        if self.tries == 1:
            self.ssthresh = max((self.snd_max - self.snd_una) // 2, 2 * self.mss)
        self.cwnd = self.mss
        self.in_recovery = False
        self.recover = self.snd_max
        self.dupacks = 0
        self.snd_nxt = self.snd_una
        self.sacked = []  # RFC 2018, 8
        self.rtx_at = None
        if self.snd_wnd == 0:
            self._retransmit_one()
            self.snd_nxt = self.snd_max
        self._output()
        self._arm_rtx(restart=True)

    def _time_wait(self) -> None:
        self.state = "TIME_WAIT"
        self.rtx_at = self.persist_at = None
        self.wait_at = self.host.now + self.opts.time_wait

    def _end(self, why: str) -> None:
        self.state = "CLOSED"
        self.events.append(why)
        self.rtx_at = self.persist_at = self.delack_at = self.wait_at = None
        self.host.forget(self)


@dataclass
class Listener:
    port: int
    opts: Options
    on_accept: Callable[[Conn], None] | None
    conns: list[Conn] = field(default_factory=list)


class Host:
    """One IPv4 address with ARP, ICMP echo and TCP."""

    def __init__(
        self,
        address: str = "10.1.0.1",
        mac: int = 0x020000000001,
        *,
        prefix: int = 16,
        gateway: str | None = None,
        seed: int = 0,
        opts: Options | None = None,
        arp_retry: int = 200_000,
    ) -> None:
        self.ip, self.mac = fr.ip(address), mac
        self.mask = (MOD - 1) ^ ((1 << 32 - prefix) - 1)
        self.gateway = fr.ip(gateway) if gateway else None
        self.rng = random.Random(f"host {address} {seed}")
        self.opts = opts or Options()
        self.now = 0
        self.arp_retry = arp_retry
        self.neigh: dict[int, int] = {}
        self._waiting: dict[int, tuple[list[bytes], int]] = {}
        self.conns: dict[tuple[int, int, int], Conn] = {}
        self.listeners: dict[int, Listener] = {}
        self.out: deque[bytes] = deque()
        self.violations: list[str] = []
        self.pongs: list[tuple[int, bytes]] = []
        self.bad_frames: list[str] = []
        self.counts = dict.fromkeys(("in", "tcp_in", "arp_in", "rst_in", "out"), 0)
        self.next_isn: int | None = None
        self.on_established: Callable[[Conn], None] | None = None
        self.answer_arp = True
        self.watch_shrink = True  # off where the link reorders: then old windows are no fault
        # Off where the sender reuses its buffer once we acknowledged: a segment on its way may then
        # hold anything, and we have those bytes already.
        self.strict_old = True
        self.silent = False  # takes nothing, sends nothing: a host that has gone
        self._port = 40000
        self._ident = 0

    # ---- the user's calls ----------------------------------------------------------------------

    def connect(
        self, rip: int | str, rport: int, lport: int | None = None, opts: Options | None = None
    ) -> Conn:
        if isinstance(rip, str):
            rip = fr.ip(rip)
        if lport is None:
            self._port += 1
            lport = self._port
        conn = Conn(self, opts or self.opts, lport, rip, rport)
        if self.conns.setdefault((lport, rip, rport), conn) is not conn:
            raise RuntimeError("address pair in use")
        conn._open(None)
        return conn

    def listen(
        self,
        port: int,
        on_accept: Callable[[Conn], None] | None = None,
        opts: Options | None = None,
    ) -> Listener:
        self.listeners[port] = Listener(port, opts or self.opts, on_accept)
        return self.listeners[port]

    def ping(self, rip: int | str, data: bytes = b"ping", ident: int = 1, seq: int = 1) -> None:
        if isinstance(rip, str):
            rip = fr.ip(rip)
        rest = ident.to_bytes(2, "big") + seq.to_bytes(2, "big") + data
        self._send_ip(rip, fr.IP_ICMP, fr.icmp(8, 0, rest))

    def take(self) -> list[bytes]:
        """The frames to be sent."""
        out = list(self.out)
        self.out.clear()
        self.counts["out"] += len(out)
        return out

    def next_timer(self) -> int | None:
        times = [t for c in self.conns.values() if (t := c.deadline()) is not None]
        times += [at for _, at in self._waiting.values()]
        return min(times, default=None)

    def tick(self, now: int) -> None:
        self.now = now
        for conn in list(self.conns.values()):
            deadline = conn.deadline()
            if deadline is not None and deadline <= now:
                conn._tick(now)
        for nexthop, (queue, at) in list(self._waiting.items()):
            if at <= now:
                self._waiting[nexthop] = (queue, now + self.arp_retry)
                self.out.append(fr.arp(1, self.mac, self.ip, 0, nexthop))

    def input(self, frame: bytes, now: int) -> None:
        self.now = now
        if self.silent:
            return
        self.counts["in"] += 1
        try:
            f = fr.parse(frame)
        except FrameError as problem:
            self.bad_frames.append(f"{now} us: {problem}")
            return
        if f.dst not in (self.mac, fr.BROADCAST):
            return
        if f.kind == "arp":
            self._arp(f)
        elif f.dip != self.ip:
            return
        elif f.kind == "icmp":
            self._icmp(f)
        elif f.kind == "tcp":
            self.counts["tcp_in"] += 1
            self._tcp(f)

    # ---- inside --------------------------------------------------------------------------------

    def isn(self) -> int:
        if self.next_isn is not None:
            value, self.next_isn = self.next_isn, None
            return value
        return self.rng.getrandbits(32)

    def forget(self, conn: Conn) -> None:
        self.conns.pop((conn.lport, conn.rip, conn.rport), None)

    def _arp(self, f: Frame) -> None:
        self.counts["arp_in"] += 1
        if f.op == 2 or f.tpa == self.ip:
            self.neigh[f.spa] = f.sha
            queue, _ = self._waiting.pop(f.spa, ([], 0))
            for packet in queue:
                self.out.append(fr.ethernet(f.sha, self.mac, fr.ETH_IPV4, packet))
        if f.op == 1 and f.tpa == self.ip and self.answer_arp:
            self.out.append(fr.arp(2, self.mac, self.ip, f.sha, f.spa))

    def _icmp(self, f: Frame) -> None:
        if f.payload[0] == 8:
            self._send_ip(f.sip, fr.IP_ICMP, fr.icmp(0, 0, f.payload[4:]))
        elif f.payload[0] == 0:
            self.pongs.append((f.sip, f.payload[8:]))

    def _tcp(self, f: Frame) -> None:
        if f.flags & RST:
            self.counts["rst_in"] += 1
        conn = self.conns.get((f.dport, f.sip, f.sport))
        if conn is not None and conn.state == "TIME_WAIT" and f.flags & SYN:
            # RFC 9293, 3.10.7.4: a SYN beyond the old connection's numbers may open a new one.
            beyond = unwrap(f.seq, conn.rcv_nxt) > conn.rcv_nxt
            if beyond and f.dport in self.listeners:
                conn._end("closed")
                conn = None
        if conn is not None:
            conn._arrives(f)
            return
        if f.flags & RST:
            return
        listener = self.listeners.get(f.dport)
        if listener and f.flags & SYN and not f.flags & ACK:
            conn = Conn(self, listener.opts, f.dport, f.sip, f.sport)
            conn._ws_agreed = f.wscale is not None
            self.conns[(f.dport, f.sip, f.sport)] = conn
            listener.conns.append(conn)
            conn._open(f)
            if listener.on_accept:
                listener.on_accept(conn)
            return
        if f.flags & ACK:
            self.send_tcp(f.sip, f.dport, f.sport, f.ack, 0, RST, 0)
        else:
            self.send_tcp(f.sip, f.dport, f.sport, 0, f.seq + f.seg_len, RST | ACK, 0)

    def send_tcp(
        self,
        rip: int,
        lport: int,
        rport: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        data: bytes = b"",
        options: bytes = b"",
        ecn: int = fr.NOT_ECT,
    ) -> None:
        segment = fr.tcp(self.ip, rip, lport, rport, seq, ack, flags, window, data, options)
        self._send_ip(rip, fr.IP_TCP, segment, ecn)

    def _send_ip(self, rip: int, proto: int, payload: bytes, ecn: int = fr.NOT_ECT) -> None:
        if self.silent:
            return
        self._ident = (self._ident + 1) & 0xFFFF
        packet = fr.ipv4(self.ip, rip, proto, payload, ident=self._ident, tos=ecn)
        nexthop = rip
        if (rip ^ self.ip) & self.mask and self.gateway is not None:
            nexthop = self.gateway
        mac = self.neigh.get(nexthop)
        if mac is not None:
            self.out.append(fr.ethernet(mac, self.mac, fr.ETH_IPV4, packet))
            return
        if nexthop not in self._waiting:
            self._waiting[nexthop] = ([], self.now + self.arp_retry)
            self.out.append(fr.arp(1, self.mac, self.ip, 0, nexthop))
        self._waiting[nexthop][0].append(packet)
