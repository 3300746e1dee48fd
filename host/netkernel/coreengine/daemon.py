# SPDX-License-Identifier: Apache-2.0
"""CoreEngine: owns the PF, configures VFs, lends them to processes, and takes them back.

One thread, one selector. Only the taking back of a VF takes time, and it is polled between other
work. All lasting state is in the card: a CoreEngine that was killed finds its VFs again, and resets
those that were lent when it died, since their holders have lost their lease with it. Only the names
of NSM profiles stand beside it, in a file.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from netkernel import abi
from netkernel.coreengine import schema as sc
from netkernel.coreengine.card import LIVE, Card, VfEntry
from netkernel.coreengine.metrics import MetricsServer
from netkernel.coreengine.profiles import DEFAULT, Profiles
from netkernel.coreengine.slot import Slot
from netkernel.coreengine.tenancy import Tenancy
from netkernel.errors import (
    AlreadyRunning,
    BadRequest,
    Busy,
    CoreEngineNotRunning,
    DeviceRefused,
    NkError,
    NothingFree,
    PermissionDenied,
    PortInUse,
    ProtocolError,
    TwinGone,
    UnknownDevice,
)
from netkernel.rundir import COREENGINE_LOCK, COREENGINE_SOCK, NSM_PROFILES, prepare

_LINE_MAX: Final = 1 << 16
_BACKLOG_MAX: Final = 1 << 20
_DRAIN_POLL_S: Final = 0.005
_DRAIN_LIMIT_S: Final = 30.0  # a card that needs longer to stop a VF is broken
_WAIT_LIMIT_S: Final = 10.0


class _Client:
    """A connection, and what its process holds."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid, self.uid, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        self.buffer = bytearray()
        self.out: deque[tuple[bytes, list[int]]] = deque()
        self.vf: int | None = None
        self.alive = True


class _Vf:
    """A configured VF: who has it, and how far its return is."""

    def __init__(self, entry: VfEntry) -> None:
        self.entry = entry
        self.state: Literal["free", "leased", "draining", "failed"] = "free"
        self.tenancy: Tenancy | None = None
        self.holder: _Client | None = None
        self.deadline = 0.0
        self.reason: str | None = None
        # NSM slots that connections of this lease may have.
        self.slots = {entry.nsm}
        self.waiters: list[tuple[_Client, sc.Request]] = []


class CoreEngine:
    """The daemon. `slot` is the card, `clock` and `pause` stand for time.

    `metrics`: where the Prometheus endpoint listens; port 0: any free one.
    """

    def __init__(
        self,
        rundir: Path,
        slot: Slot,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        log: Callable[[str], None] = lambda text: print(text, flush=True),
        metrics: tuple[str, int] | None = None,
    ) -> None:
        self._slot = slot
        self._clock = clock
        self._pause = pause
        self._log = log
        self._started = clock()
        self._clients: dict[int, _Client] = {}
        self._vfs: dict[int, _Vf] = {}
        self._done, self._why = False, ""
        self._gone: TwinGone | None = None
        self._metrics: MetricsServer | None = None
        self._selector = selectors.DefaultSelector()
        self._stack = contextlib.ExitStack()
        try:
            self._rundir = prepare(rundir)
            self._stack.callback(self._selector.close)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._stack.callback(os.close, self._wake)
            self._selector.register(
                self._wake, selectors.EVENT_READ, lambda _mask: os.eventfd_read(self._wake)
            )
            self._take_lock()
            pf = self._stack.enter_context(slot.open_pf())
            self._card = Card(pf)
            self._profiles = Profiles(
                self._card, self._rundir / NSM_PROFILES, self._slot.name, self._log
            )
            self._adopt()
            self._listen()
            if (fd := pf.fileno()) is not None:
                self._selector.register(fd, selectors.EVENT_READ, self._on_pf)
            if metrics is not None:
                self._metrics = MetricsServer(self._rundir, *metrics)
                self._stack.callback(self._metrics.close)
                self._log(f"metrics at {self._metrics.url}")
        except BaseException:
            self._stack.close()
            raise

    # ---- life ----

    def run(self) -> None:
        """Serve until `shutdown`, or until the device is gone (TwinGone)."""
        try:
            while not self._done:
                self.step()
            self._log(f"CoreEngine ends: {self._why}")
        finally:
            self.close()

    def step(self, timeout: float | None = None) -> None:
        """One round: wait for input at most `timeout` seconds, answer it, look at returning VFs."""
        draining = any(vf.state == "draining" for vf in self._vfs.values())
        if timeout is None and draining:
            timeout = _DRAIN_POLL_S
        for key, mask in self._selector.select(timeout):
            key.data(mask)
        if self._gone is None:
            try:
                self._poll_drains()
            except TwinGone as error:
                self._gone = error
        if self._gone is not None:
            self._say_gone(self._gone)
            raise self._gone

    def stop(self, why: str = "stopped") -> None:
        """Leave `run` after the current round (from a signal handler too); leases end in order."""
        self._done, self._why = True, why
        with contextlib.suppress(OSError):  # close() was faster
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End every lease in order and let go of the card. Harmless when called twice."""
        if self._gone is None:
            with contextlib.suppress(NkError):
                self._end_leases()
        for vf in self._vfs.values():
            if vf.tenancy is not None:
                vf.tenancy.drop()
                vf.tenancy = None
        for client in list(self._clients.values()):
            self._flush(client)
            self._forget(client)
        self._stack.close()

    def _end_leases(self) -> None:
        for n, vf in self._vfs.items():
            if vf.state == "leased":
                assert vf.holder is not None
                ended = CoreEngineNotRunning("CoreEngine stops; your VF was taken back")
                self._send_error(vf.holder, None, ended)
                self._begin_drain(n)
        deadline = self._clock() + _WAIT_LIMIT_S
        while any(vf.state == "draining" for vf in self._vfs.values()):
            self._poll_drains()
            if self._clock() > deadline:
                self._log("some VFs did not come to rest before the end")
                return
            self._pause(_DRAIN_POLL_S)

    def _say_gone(self, error: TwinGone) -> None:
        self._log(f"the device is gone: {error.message}")
        for client in list(self._clients.values()):
            self._send_error(client, None, error)

    # ---- start ----

    def _take_lock(self) -> None:
        path = self._rundir / COREENGINE_LOCK
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise PermissionDenied(f"cannot open {path}") from error
        self._stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"CoreEngine runs already in {self._rundir} (process {pid})",
                "Stop it: `nk-hw coreengine stop`",
            ) from error
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())

    def _listen(self) -> None:
        path = self._rundir / COREENGINE_SOCK
        # The lock is ours, so a socket file that is here was left by a dead CoreEngine.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = self._stack.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        )
        try:
            listener.bind(str(path))
        except OSError as error:
            raise PortInUse(f"cannot listen at {path}: {error.strerror or error}") from error
        self._stack.callback(path.unlink, missing_ok=True)
        path.chmod(0o600)
        listener.listen(64)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._on_connect)

    def _adopt(self) -> None:
        """Take over the VF table that the card holds."""
        enabled = [n for n in range(self._card.identity.vfs) if self._card.vf_enabled(n)]
        if not enabled:
            self._card.seed_hash_key()
        for n in enabled:
            entry = self._card.vf_entry(n)
            state = self._card.vf_state(n)
            if state.enabled or state.sockets or state.resetting:
                self._log(f"VF {n} was lent by a CoreEngine that died: reset")
                self._card.vf_disable(n, self._wait)
                self._card.vf_program(n, entry)
            self._vfs[n] = _Vf(entry)
        self._profiles.adopt({vf.entry.nsm for vf in self._vfs.values()}, fresh=not enabled)
        self._log(f"{self._slot.name}: {len(enabled)} VF(s) configured")

    # ---- input ----

    def _on_pf(self, _mask: int) -> None:
        # Between our calls nothing is to be read there but the end of the connection.
        try:
            self._card.pf.bar_read(abi.PF.MAGIC)
        except NkError as error:
            self._gone = TwinGone(error.message)

    def _on_connect(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        client = _Client(sock)
        self._clients[sock.fileno()] = client
        self._selector.register(
            sock, selectors.EVENT_READ, lambda mask: self._on_client(client, mask)
        )

    def _on_client(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(client)
        if not mask & selectors.EVENT_READ or not client.alive:
            return
        try:
            data = client.sock.recv(_LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(client)
            return
        client.buffer += data
        while (end := client.buffer.find(b"\n")) >= 0 and client.alive:
            if end > _LINE_MAX:
                break  # too long, though it came in one go with its end
            line = bytes(client.buffer[:end])
            del client.buffer[: end + 1]
            if line.strip():
                self._serve(client, line)
        if client.alive and len(client.buffer) > _LINE_MAX:
            self._send_error(
                client, None, BadRequest(f"a request is longer than {_LINE_MAX} bytes")
            )
            self._flush(client)
            self._forget(client)

    def _serve(self, client: _Client, line: bytes) -> None:
        request: sc.Request | None = None
        try:
            request = _parse(line)
            self._dispatch(client, request)
        except (TwinGone, ProtocolError) as error:
            # A VF's connection may die alone; the card is gone only if its PF says so.
            self._send_error(client, request, error)
            self._on_pf(0)
        except NkError as error:
            self._send_error(client, request, error)

    def _dispatch(self, client: _Client, request: sc.Request) -> None:
        match request:
            case sc.StatusRequest():
                result = self._status()
            case sc.VfList():
                result = {"vfs": [self._vf_info(n).model_dump() for n in sorted(self._vfs)]}
            case sc.VfCreate():
                result = self._vf_create(request)
            case sc.VfSet():
                result = self._vf_set(request)
            case sc.VfDelete():
                result = self._vf_delete(request.vf)
            case sc.LeaseRequest():
                self._lease(client, request)
                return
            case sc.ReleaseRequest():
                self._release(client, request)
                return
            case sc.StatsRequest():
                result = self._stats(request.vf, request.queue_sets)
            case sc.NsmParamsRequest():
                self._card.set_params(request.params)
                result = self._card.params()
            case sc.NsmList():
                names = self._profiles.names()
                result = {"profiles": [self._nsm_info(name).model_dump() for name in names]}
            case sc.NsmCreate():
                lingering = set[int]().union(*(vf.slots for vf in self._vfs.values()))
                self._profiles.create(request.name, request.settings, lingering)
                result = self._nsm_info(request.name).model_dump()
            case sc.NsmSet():
                self._profiles.set(request.name, request.settings)
                result = self._nsm_info(request.name).model_dump()
            case sc.NsmDelete():
                self._profiles.delete(request.name, self._nsm_info(request.name).vfs)
                result = {"name": request.name}
            case sc.ShutdownRequest():
                self._done, self._why = True, f"process {client.pid} asked for it"
                result = {}
        self._send(client, sc.Reply(ok=True, id=request.id, result=result))

    # ---- requests ----

    def _status(self) -> dict[str, Any]:
        return sc.StatusResult(
            pid=os.getpid(),
            uptime_s=round(self._clock() - self._started, 3),
            device=self._slot.name,
            card=self._card.info(),
            leases=sum(vf.state == "leased" for vf in self._vfs.values()),
            vfs_configured=len(self._vfs),
            metrics=self._metrics.url if self._metrics else None,
        ).model_dump()

    def _stats(self, only: int | None, queue_sets: bool) -> dict[str, Any]:
        if only is not None:
            self._known(only)
        chosen = sorted(self._vfs) if only is None else [only]
        return sc.StatsResult(
            counters=self._card.counters() if only is None else {},
            nqes=self._card.nqe_counts() if only is None else {},
            vfs={n: self._card.vf_counters(n) for n in chosen},
            queue_sets={
                n: {
                    qs: self._card.queue_set_counters(n, qs)
                    for qs in range(self._card.identity.queue_sets)
                }
                for n in (chosen if queue_sets else ())
            },
            nsm={n: self._profiles.name(self._vfs[n].entry.nsm) for n in chosen},
        ).model_dump()

    def _nsm_info(self, name: str) -> sc.NsmProfile:
        slot = self._profiles.slot(name)
        return self._profiles.info(
            name, [n for n, vf in sorted(self._vfs.items()) if vf.entry.nsm == slot]
        )

    def _vf_info(self, n: int) -> sc.VfInfo:
        vf = self._known(n)
        settings = asdict(vf.entry)
        for name in ("ip", "gateway", "vxlan_remote"):
            settings[name] = str(settings[name])
        settings["nsm"] = self._profiles.name(vf.entry.nsm)
        return sc.VfInfo(
            **settings,
            vf=n,
            state=vf.state,
            sockets=self._card.vf_state(n).sockets,
            holder_pid=vf.holder.pid if vf.holder else None,
            reason=vf.reason,
        )

    def _vf_create(self, request: sc.VfCreate) -> dict[str, Any]:
        built = self._card.identity.vfs
        n = request.vf
        if n is None:
            n = next((i for i in range(built) if i not in self._vfs), built)
            if n == built:
                raise NothingFree(f"all {built} VFs are configured")
        if n >= built:
            raise UnknownDevice(f"there is no VF {n}: this card has VFs 0 to {built - 1}")
        if n in self._vfs:
            raise Busy(f"VF {n} is configured already", "Change it with `nk-hw vf set`.")
        if request.config.ip is None:
            raise BadRequest("a VF needs an IPv4 address with prefix length, as in 10.1.0.2/24")
        fresh = VfEntry(
            mac=f"02:4e:4b:00:00:{n:02x}",
            ip=request.config.ip,
            gateway=IPv4Address(0),
            mtu=abi.Lim.MTU_MAX,
            socket_base=0,
            max_sockets=0,
            nsm=self._profiles.slot(DEFAULT),
        )
        entry = self._merge(n, fresh, request.config)
        self._card.vf_program(n, entry)
        self._vfs[n] = _Vf(entry)
        self._log(f"VF {n} created: {entry.ip}")
        return self._vf_info(n).model_dump()

    def _vf_set(self, request: sc.VfSet) -> dict[str, Any]:
        vf = self._known(request.vf)
        wanted = request.config.model_dump(exclude_none=True).keys()
        if wanted and wanted <= LIVE and vf.state != "failed":
            return self._vf_set_live(request.vf, request.config)
        self._idle(request.vf)
        entry = self._merge(request.vf, vf.entry, request.config)
        self._quiesce(request.vf)
        self._card.vf_program(request.vf, entry)
        self._vfs[request.vf] = _Vf(entry)
        return self._vf_info(request.vf).model_dump()

    def _vf_set_live(self, n: int, config: sc.VfConfig) -> dict[str, Any]:
        """Rates, shares, limits, and the profile of new connections: also of a VF in use."""
        vf = self._vfs[n]
        entry = self._merge(n, vf.entry, config)
        self._card.vf_set_live(n, entry)
        vf.entry = entry
        vf.slots = vf.slots | {entry.nsm} if vf.state != "free" else {entry.nsm}
        return self._vf_info(n).model_dump()

    def _vf_delete(self, n: int) -> dict[str, Any]:
        self._idle(n)
        self._quiesce(n)
        del self._vfs[n]
        self._log(f"VF {n} deleted")
        return {"vf": n}

    def _merge(self, n: int, old: VfEntry, config: sc.VfConfig) -> VfEntry:
        """Settings after `config`, checked against those of the other VFs."""
        me = self._card.identity
        others = {i: vf.entry for i, vf in self._vfs.items() if i != n}
        given = {name: getattr(config, name) for name in config.model_dump(exclude_none=True)}
        given["nsm"] = self._profiles.slot(config.nsm) if config.nsm else old.nsm
        given.pop("max_sockets", None)
        changed = [name for name, value in given.items() if value != getattr(old, name)]
        if unserved := self._card.unserved(changed):
            raise BadRequest(
                f"{', '.join(unserved)}: not served by this card",
                "Its FEATURES register tells what is; a newer bitstream may serve more.",
            )
        # With a network goes what belongs to it.
        if config.vlan == 0:
            given.setdefault("vlan_qos", 0)
        if config.vxlan_vni == 0:
            given.setdefault("vxlan_remote", IPv4Address(0))
        new = replace(old, **given)
        _check_entry(new)
        for i, other in others.items():
            if other.network == new.network and (other.ip.ip == new.ip.ip or other.mac == new.mac):
                what = new.ip.ip if other.ip.ip == new.ip.ip else new.mac
                raise PortInUse(f"{what} is the address of VF {i}")
        wanted = config.max_sockets or old.max_sockets or max(1, me.flows // me.vfs)
        base = old.socket_base
        if wanted != old.max_sockets:
            taken = [(e.socket_base, e.max_sockets) for e in others.values()]
            base = _first_fit(taken, wanted, me.flows)
        return replace(new, socket_base=base, max_sockets=wanted)

    def _lease(self, client: _Client, request: sc.LeaseRequest) -> None:
        if client.vf is not None:
            raise BadRequest(f"this connection holds VF {client.vf} already")
        n = self._choose(request.vf)
        vf = self._vfs[n]
        vf.tenancy = Tenancy(
            n,
            lambda: self._slot.open_vf(n),
            vf.entry,
            rx_log2=request.rx_log2,
            tx_log2=request.tx_log2,
            queue_sets=request.queue_sets,
            cc=abi.NSM.CTRL_CC.get(self._card.nsm_words(vf.entry.nsm)[0]),
        )
        vf.state, vf.holder, client.vf = "leased", client, n
        self._log(f"VF {n} lent to process {client.pid}")
        reply = sc.Reply(ok=True, id=request.id, result=vf.tenancy.layout.model_dump())
        self._send(client, reply, vf.tenancy.fds)

    def _choose(self, wanted: int | None) -> int:
        if wanted is not None:
            vf = self._known(wanted)
            if vf.state != "free":
                why = f": {vf.reason}" if vf.reason else ""
                raise Busy(f"VF {wanted} is {vf.state}{why}", "`nk-hw vf list` shows its holder.")
            return wanted
        for n in sorted(self._vfs):
            if self._vfs[n].state == "free":
                return n
        if not self._vfs:
            raise NothingFree("no VF is configured", "Create one: `nk-hw vf create 10.1.0.2/24`")
        raise NothingFree("every configured VF is in use")

    def _release(self, client: _Client, request: sc.ReleaseRequest) -> None:
        if client.vf is None:
            raise BadRequest("this connection holds no VF")
        vf = self._vfs[client.vf]
        if vf.state == "leased":
            self._begin_drain(client.vf)
        vf.waiters.append((client, request))

    # ---- taking VFs back ----

    def _begin_drain(self, n: int) -> None:
        vf = self._vfs[n]
        assert vf.tenancy is not None
        vf.state, vf.deadline = "draining", self._clock() + _DRAIN_LIMIT_S
        try:
            vf.tenancy.begin_drain()
        except NkError as error:
            self._fail(n, error)

    def _poll_drains(self) -> None:
        for n, vf in self._vfs.items():
            if vf.state != "draining" or vf.tenancy is None:
                continue
            try:
                if vf.tenancy.drained():
                    vf.tenancy.finish()
                    left = self._card.vf_state(n).sockets
                    if left:
                        raise DeviceRefused(f"{left} socket(s) are left after the reset")
                elif self._clock() < vf.deadline:
                    continue
                else:
                    raise DeviceRefused(f"no rest {_DRAIN_LIMIT_S:g} s after the reset")
            except NkError as error:
                self._fail(n, error)
                continue
            self._log(f"VF {n} is free again")
            self._returned(n, "free")

    def _fail(self, n: int, error: NkError) -> None:
        """The VF cannot be lent any more, and its memory stays until the PF has reset it."""
        self._vfs[n].reason = error.message
        self._log(f"VF {n} failed: {error.message}")
        self._returned(n, "failed")
        if isinstance(error, TwinGone | ProtocolError):
            self._on_pf(0)

    def _returned(self, n: int, state: Literal["free", "failed"]) -> None:
        vf = self._vfs[n]
        vf.state = state
        if state == "free":
            vf.tenancy = None
            vf.slots = {vf.entry.nsm}
        if vf.holder is not None:
            vf.holder.vf = None
            vf.holder = None
        for client, request in vf.waiters:
            if state == "free":
                self._send(client, sc.Reply(ok=True, id=request.id, result={"vf": n}))
            else:
                self._send_error(client, request, DeviceRefused(f"VF {n} failed: {vf.reason}"))
        vf.waiters.clear()

    def _quiesce(self, n: int) -> None:
        """Switch a VF off by the PF; then what a failed lease left behind can go."""
        self._card.vf_disable(n, self._wait)
        vf = self._vfs[n]
        if vf.tenancy is not None:
            vf.tenancy.drop()
            vf.tenancy = None

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = self._clock() + _WAIT_LIMIT_S
        while not condition():
            if self._clock() > deadline:
                raise DeviceRefused(f"waited {_WAIT_LIMIT_S:g} s for {what}")
            self._pause(_DRAIN_POLL_S)

    def _known(self, n: int) -> _Vf:
        if n not in self._vfs:
            raise UnknownDevice(
                f"VF {n} is not configured", "`nk-hw vf list` shows those that are."
            )
        return self._vfs[n]

    def _idle(self, n: int) -> _Vf:
        vf = self._known(n)
        if vf.state in ("leased", "draining"):
            by = f" by process {vf.holder.pid}" if vf.holder else ""
            raise Busy(f"VF {n} is {vf.state}{by}", "End that process first.")
        return vf

    # ---- output ----

    def _send_error(self, client: _Client, request: sc.Request | None, error: NkError) -> None:
        body = sc.ErrorBody(**error.as_dict())
        self._send(client, sc.Reply(ok=False, id=request.id if request else None, error=body))

    def _send(self, client: _Client, reply: sc.Reply, fds: list[int] | None = None) -> None:
        if not client.alive:
            return
        line = reply.model_dump_json(exclude_none=True).encode() + b"\n"
        # Copies: the lease may end, and its numbers be used again, before the client reads this.
        client.out.append((line, [os.dup(fd) for fd in fds or []]))
        self._flush(client)
        if sum(len(part) for part, _ in client.out) > _BACKLOG_MAX:
            self._forget(client)  # it does not read its answers

    def _flush(self, client: _Client) -> None:
        while client.out and client.alive:
            data, fds = client.out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = client.sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self._forget(client)
                return
            _close_all(fds)
            if sent == len(data):
                client.out.popleft()
            else:
                client.out[0] = (data[sent:], [])
        if client.alive:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.out else 0)
            key = self._selector.get_key(client.sock)
            if key.events != wanted:
                self._selector.modify(client.sock, wanted, key.data)

    def _forget(self, client: _Client) -> None:
        """The connection is over, and with it the lease."""
        if not client.alive:
            return
        client.alive = False
        self._selector.unregister(client.sock)
        del self._clients[client.sock.fileno()]
        client.sock.close()
        for _, fds in client.out:
            _close_all(fds)
        if client.vf is not None and self._vfs[client.vf].state == "leased" and not self._gone:
            self._log(f"process {client.pid} has ended: VF {client.vf} is taken back")
            self._begin_drain(client.vf)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _parse(line: bytes) -> sc.Request:
    try:
        return sc.REQUEST.validate_json(line)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"{where}: {first['msg']}" if where else str(first["msg"])) from error


def _check_entry(new: VfEntry) -> None:
    """Rules between the settings of one VF."""
    gateway, network = new.gateway, new.ip.network
    if int(gateway) and (gateway not in network or gateway == new.ip.ip):
        raise BadRequest(f"gateway {gateway} is not a neighbour in {network}")
    if new.max_tx_rate and new.min_tx_rate > new.max_tx_rate:
        raise BadRequest(
            f"min_tx_rate {new.min_tx_rate} is greater than max_tx_rate {new.max_tx_rate} Mb/s"
        )
    if new.vlan and new.vxlan_vni:
        raise BadRequest("a VF is in a VLAN or in a VXLAN network, not in both")
    if new.vlan_qos and not new.vlan:
        raise BadRequest("vlan_qos needs a vlan", "Give both: --vlan 100 --vlan-qos 3")
    if int(new.vxlan_remote) and not new.vxlan_vni:
        raise BadRequest("vxlan_remote needs a vxlan_vni")


def _first_fit(taken: list[tuple[int, int]], wanted: int, total: int) -> int:
    """Lowest base of a free range of `wanted` flows."""
    base = 0
    for start, count in sorted(taken):
        if start - base >= wanted:
            break
        base = max(base, start + count)
    if base + wanted > total:
        used = sum(count for _, count in taken)
        raise NothingFree(
            f"no range of {wanted} sockets is free: {used} of {total} are given to other VFs",
            "Choose a smaller quota with --max-sockets.",
        )
    return base
