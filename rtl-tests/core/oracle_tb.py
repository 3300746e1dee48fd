# SPDX-License-Identifier: Apache-2.0
"""The bench of nk_core with the RFC 9293 oracle beside it: every frame and every NQE is judged.

The oracle hears of a frame when it reaches the card's receive port, of one from the card when it leaves, of
what a tenant asks for when it asks, and of events when the tenant reads them.
"""

from __future__ import annotations

from typing import Any

from common.tenant import Job, Sock, Tenant
from core.core_tb import TB, vf_ip
from model import frames as fr
from model.rfc9293 import Key, Oracle
from netkernel import abi
from netkernel.abi import NSM, PF, Op, Status


def profile(**change: int) -> dict[int, int]:
    """Register writes for NSM profile 0: cc, sack, timestamps, ecn, window_scale, tlp."""
    values = {"cc": 0, "sack": 1, "timestamps": 1, "ecn": 0, "window_scale": 1, "tlp": 1, **change}
    ctrl = 0
    for name, value in values.items():
        ctrl |= getattr(NSM, f"CTRL_{name.upper()}").put(value)
    return {PF.NSM_BASE + NSM.CTRL: ctrl}


class JudgedTB(TB):
    """TB whose VF 0 is judged. mark: share of ECT frames towards the card that get a CE mark."""

    def __init__(self, dut: Any, *, mark: float = 0.0, **kw: Any) -> None:
        super().__init__(dut, **kw)
        self.oracle = Oracle(vf_ip(0))
        self.mark = mark
        self.keys: dict[int, Key] = {}  # socket -> connection
        self.ports: dict[int, int] = {}  # listener -> port
        due, on_frame, step = self.link_in.due, self.shim.on_frame, self.shim.step
        assert on_frame and step

        def judged_due(now: int) -> list[bytes]:
            frames = [self._mark(f) for f in due(now)]
            for frame in frames:
                self.oracle.received(frame, now)
            return frames

        def judged_frame(frame: bytes) -> None:
            self.oracle.sent(frame, self.now)
            on_frame(frame)

        def judged_step(now: int) -> bool:
            self.oracle.tick(now)
            return bool(step(now))

        self.link_in.due = judged_due  # type: ignore[method-assign]
        self.shim.on_frame, self.shim.step = judged_frame, judged_step

    def _mark(self, frame: bytes) -> bytes:
        ect = len(frame) > 34 and frame[12:14] == b"\x08\x00" and frame[15] & 3 in (1, 2)
        if not ect or not self.mark or self.rng.random() >= self.mark:
            return frame
        head = bytearray(frame[14:34])
        if fr.checksum(bytes(head)):
            return frame  # damaged on its way
        head[1] |= fr.CE
        head[10:12] = b"\0\0"
        head[10:12] = fr.checksum(bytes(head)).to_bytes(2, "big")
        return frame[:14] + bytes(head) + frame[34:]

    # ---- the tenant ----------------------------------------------------------------------------

    async def add_tenant(self, vf: int, **kw: Any) -> Tenant:
        tenant = await super().add_tenant(vf, **kw)
        if vf == 0:
            self._watch(tenant)
        return tenant

    def _watch(self, tenant: Tenant) -> None:
        raw_job, send_op = tenant.raw_job, tenant.send_op

        def job(op: int, socket: int, op_data: int = 0, *args: Any, **kw: Any) -> Job:
            self._asked(tenant, op, socket, op_data)
            return raw_job(op, socket, op_data, *args, **kw)

        def send(sock: Sock, op: int, n: int) -> None:
            key = self.keys.get(sock.id)
            if key is not None:
                if op == Op.SEND:
                    self.oracle.gave(key, self._ring_bytes(sock, n))
                else:
                    self.oracle.took(key, n)
            send_op(sock, op, n)

        tenant.raw_job, tenant.send_op = job, send  # type: ignore[method-assign]
        for name in (
            "connected",
            "accepted",
            "data",
            "sent",
            "peer_closed",
            "reset",
            "timeout",
            "closed",
        ):
            self._watch_event(tenant, name)

    @staticmethod
    def _ring_bytes(sock: Sock, n: int) -> bytes:
        size = 1 << sock.tx_log2
        ring = sock.tenant.memory.bytes[sock.tx_offset : sock.tx_offset + size]
        at = sock.sent - n & size - 1
        first = min(n, size - at)
        return bytes(ring[at : at + first].tobytes() + ring[: n - first].tobytes())

    def _asked(self, tenant: Tenant, op: int, socket: int, op_data: int) -> None:
        key = self.keys.get(socket)
        sock = tenant.sockets.get(socket)
        if op == Op.CONNECT and sock is not None:
            key = (op_data >> 48, op_data & 0xFFFFFFFF, op_data >> 32 & 0xFFFF)
            self.keys[socket] = key
            self.oracle.connect(key, 1 << sock.rx_log2)
        elif op == Op.LISTEN:
            self.ports[socket] = op_data >> 48
            self.oracle.listen(op_data >> 48)
        elif op in (Op.CLOSE, Op.ABORT) and socket in self.ports:
            self.oracle.listen(self.ports.pop(socket), False)
        elif key is not None and op in (Op.SHUTDOWN, Op.CLOSE):
            self.oracle.shutdown(key, close=op == Op.CLOSE)
        elif key is not None and op == Op.ABORT:
            self.oracle.abort(key)

    def _watch_event(self, tenant: Tenant, name: str) -> None:
        handler = getattr(tenant, f"_on_{name}")

        def judged(sock: Sock, op_data: int, size: int, status: Status) -> None:
            if name == "accepted" and sock.listener is not None:
                port = self.ports[sock.listener.id]
                key = (port, op_data & 0xFFFFFFFF, op_data >> 32 & 0xFFFF)
                self.keys[sock.id] = key
                if key in self.oracle.conns:
                    self.oracle.conns[key].ring = 1 << sock.rx_log2
            key = self.keys.get(sock.id)
            if name == "data":
                handler(sock, op_data, size, status)
                if key is not None:
                    self.oracle.event(key, "DATA", self.now, bytes(sock.received[-size:]))
                return
            if key is not None:
                self.oracle.event(key, name.upper(), self.now, n=size)
            if name == "closed":
                self.keys.pop(sock.id, None)
            handler(sock, op_data, size, status)

        setattr(tenant, f"_on_{name}", judged)

    async def judge_state(self, sock: Sock) -> None:
        """INFO: a state that RFC 9293 allows after all that has happened."""
        key = self.keys.get(sock.id)
        if key is None or sock.closed:
            return
        before = self.oracle.states(key)
        job = sock.info()
        await self.until(lambda: job.done, what="INFO")
        if job.status != Status.OK:
            return
        state = abi.FlowState(job.size >> 16 & 15).name
        allowed = before | self.oracle.states(key)
        assert state in allowed, f"{sock} is in {state}, RFC 9293 allows {sorted(allowed)}"

    async def finish(self, **kw: Any) -> dict[str, int]:
        result = await super().finish(**kw)
        self.oracle.check()
        assert self.oracle.judged > 20, "the oracle has seen next to nothing"
        return result
