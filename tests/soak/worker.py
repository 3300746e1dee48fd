# SPDX-License-Identifier: Apache-2.0
"""Traffic of the soak: an ordinary program that opens and serves connections of every kind until it is killed.

    worker.py PLACE PORT PROCESSES THREADS SEED FOLDER KILL_S TARGET...     TARGET: ADDRESS:PORT:PROCESSES

Runs alike on the card and on Linux. A supervisor keeps PROCESSES children, each with a listener on PORT + its number and
THREADS clients that connect to the targets; every KILL_S seconds or so (0: never) it kills a child by SIGKILL. The client
says in a header what the connection is to do, both ends check every byte. What ended is told in JSON lines on stdout; where
FOLDER/pause exists nothing new is opened, and each child says when its last connection has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

HEADER = struct.Struct(
    "<IIIIIIB15s"
)  # magic, seed, up, down, cut, pause in us, mode, tag of the client
HELLO = struct.Struct("<I15s")
MAGIC = 0x4B4F5350
MODES = (
    "duplex",  # both send at once and close at the same time
    "client-first",  # half-close by the client, then the server sends
    "server-first",  # half-close by the server, then the client sends
    "rounds",  # requests and answers, then the client closes
    "client-aborts",
    "server-aborts",
    "client-leaves",  # closes with bytes unread
)
WEIGHTS = (4, 3, 3, 4, 2, 2, 1)
BROKEN_ON_PURPOSE = frozenset(MODES[4:])
STALL_S = 90  # without a byte of progress: a defect, whatever the link does
BLOCK = random.Random(20).randbytes(1_000_003)  # a prime length: no power of two is a period


def content(seed: int, at: int, size: int) -> bytes:
    """Bytes `at` and on of the stream `seed`."""
    start = (seed * 7919 + at) % len(BLOCK)
    part = BLOCK[start : start + size]
    while len(part) < size:
        part += BLOCK[: size - len(part)]
    return part


class Wrong(Exception):
    """Bytes that nobody sent, or too many of them. Never excused."""


class Short(Exception):
    """The stream ended early: only where the other end was killed, or leaves on purpose."""


class Stall(Exception):
    """No progress for STALL_S."""


class Flow:
    """One end of a connection."""

    def __init__(self, sock: socket.socket, seed: int, sends: int, gets: int, rng: random.Random):
        self.sock, self.rng = sock, rng
        self.seed_out, self.seed_in = seed, seed
        self.sends, self.gets = sends, gets
        self.sent = self.got = 0

    def prepare(self, blocking: bool, client: bool) -> None:
        """Blocking: asleep in the call itself; otherwise in poll. The two ends of a flow have two streams."""
        self.seed_out, self.seed_in = (
            (self.seed_out, self.seed_in + 1) if client else (self.seed_out + 1, self.seed_in)
        )
        keep_alive(self.sock)
        if blocking:
            self.sock.settimeout(None)
            limit = struct.pack("@ll", STALL_S, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        else:
            self.sock.settimeout(STALL_S)

    def put(self, upto: int) -> None:
        while self.sent < upto:
            size = min(upto - self.sent, self.rng.choice((1, 100, 1460, 9000, 65536)))
            self.sent += self.sock.send(content(self.seed_out, self.sent, size))

    def get(self, upto: int) -> bool:
        """Up to so many bytes in all; False at the end of the stream."""
        while self.got < upto:
            size = min(upto - self.got, self.rng.choice((7, 1460, 20000, 65536)))
            part = self.sock.recv(size)
            if not part:
                return False
            if part != content(self.seed_in, self.got, len(part)):
                raise Wrong(f"wrong bytes in the {len(part)} behind {self.got}")
            self.got += len(part)
        return True

    def get_all(self) -> None:
        if not self.get(self.gets):
            raise Short(f"end after {self.got} of {self.gets} bytes")

    def get_end(self) -> None:
        self.get_all()
        if part := self.sock.recv(100):
            raise Wrong(f"{len(part)} bytes more than {self.gets}")

    def both(self, upto: int, upto_in: int) -> None:
        """Send and receive at once, as poll says."""
        poll = select.poll()
        timeout = self.sock.gettimeout()
        self.sock.setblocking(False)
        while self.sent < upto or self.got < upto_in:
            mask = (select.POLLOUT if self.sent < upto else 0) | (
                select.POLLIN if self.got < upto_in else 0
            )
            poll.register(self.sock, mask)
            ready = poll.poll(STALL_S * 1000)
            if not ready:
                raise Stall
            try:
                if ready[0][1] & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    size = min(max(upto_in - self.got, 1), 65536)
                    part = self.sock.recv(size)
                    if not part:
                        raise Short(f"end after {self.got} of {self.gets} bytes")
                    if part != content(self.seed_in, self.got, len(part)):
                        raise Wrong(f"wrong bytes in the {len(part)} behind {self.got}")
                    self.got += len(part)
                if ready[0][1] & select.POLLOUT and self.sent < upto:
                    size = min(upto - self.sent, self.rng.choice((1, 1460, 65536)))
                    self.sent += self.sock.send(content(self.seed_out, self.sent, size))
            except BlockingIOError:
                continue
        self.sock.settimeout(timeout)

    def abort(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def act(self, mode: str, client: bool, cut: int, pause_us: int) -> None:
        """What this end does in a connection of this mode."""
        if mode == "duplex":
            self.both(self.sends, self.gets)
            self.sock.shutdown(socket.SHUT_WR)
            self.get_end()
        elif mode in ("client-first", "server-first"):
            if client == (mode == "client-first"):
                self.put(self.sends)
                self.sock.shutdown(socket.SHUT_WR)
                self.get_end()
            else:
                self.get_end()
                time.sleep(pause_us / 1e6)
                self.put(self.sends)
        elif mode == "rounds":
            for n in range(1, 5):
                if client:
                    self.put(self.sends * n // 4)
                self.get(self.gets * n // 4)
                if not client:
                    self.put(self.sends * n // 4)
                time.sleep(pause_us / 4e6)
            if client:
                self.sock.shutdown(socket.SHUT_WR)
            self.get_end()
        elif (mode == "client-aborts") == client and mode != "client-leaves":
            self.both(self.sends * cut // 100, self.gets * cut // 100)
            self.abort()
        elif mode == "client-leaves" and client:
            self.put(self.sends)
            self.get(self.gets * cut // 100)
        else:  # the end that sees the other go away
            with contextlib.suppress(Short):
                self.both(self.sends, self.gets)
                self.get_end()


def keep_alive(sock: socket.socket) -> None:
    """A RST that the link has lost must not leave an end waiting."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 8)):
        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Child:
    """A process with a listener and its clients."""

    def __init__(self, place: str, port: int, number: int, life: int, threads: int, seed: int):
        self.place, self.tag = place, f"{place}.{number}.{life}"
        self.port, self.threads, self.seed = port + number, threads, seed
        self.lock = threading.Lock()
        self.active = 0
        self.folder = Path()
        self.targets: list[tuple[str, int, int]] = []

    def say(self, **fields: object) -> None:
        line = json.dumps({"tag": self.tag, **fields}) + "\n"
        os.write(
            1, line.encode()
        )  # at once: below PIPE_BUF, so lines of several processes stay whole

    def count(self, by: int) -> None:
        with self.lock:
            self.active += by

    @property
    def paused(self) -> bool:
        return (self.folder / "pause").exists()

    def run(self, folder: Path, targets: list[tuple[str, int, int]]) -> None:
        self.folder, self.targets = folder, targets
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", self.port))
        listener.listen(16)
        self.say(what="ready")
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
        for n in range(self.threads):
            threading.Thread(target=self.clients, args=(n,), daemon=True).start()
        told = ""
        while True:
            time.sleep(0.1)
            try:
                epoch = (self.folder / "pause").read_text()
            except OSError:
                epoch = ""
            if epoch and epoch != told and self.active == 0:
                time.sleep(0.3)  # a client that has just not seen the file
                if self.active == 0:
                    self.say(what="idle", epoch=epoch)
                    told = epoch

    # ---- server

    def serve(self, listener: socket.socket) -> None:
        poll = select.epoll()
        listener.setblocking(False)
        poll.register(listener, select.EPOLLIN)
        while True:
            poll.poll()
            try:
                sock, (source, _) = listener.accept()
            except OSError:
                continue
            self.count(1)
            threading.Thread(target=self.serve_one, args=(sock, source), daemon=True).start()

    def serve_one(self, sock: socket.socket, source: str) -> None:
        begun, row = time.time(), dict(what="served", mode="?", id=0, other="", to=source)
        flow = None
        try:
            with sock:
                row["at"] = sock.getsockname()[0]
                keep_alive(sock)
                sock.settimeout(STALL_S)
                magic, seed, up, down, cut, pause, mode, tag = HEADER.unpack(
                    exactly(sock, HEADER.size)
                )
                if magic != MAGIC:
                    raise Wrong(f"header with magic {magic:#x}")
                row.update(mode=MODES[mode], id=seed, other=tag.rstrip(b"\0").decode())
                sock.sendall(HELLO.pack(MAGIC, self.tag.encode()))
                rng = random.Random(seed ^ 1)
                flow = Flow(sock, seed, down, up, rng)
                flow.prepare(rng.random() < 0.5, client=False)
                flow.act(MODES[mode], False, cut, pause)
            row["end"] = "ok"
        except Wrong as error:
            row["end"] = f"WRONG {error}"
        except (TimeoutError, Stall, BlockingIOError) as error:
            row["end"] = f"stall {type(error).__name__} {error}"
        except OSError as error:
            row["end"] = f"errno {error.errno} {error.strerror}"
        except Short as error:
            row["end"] = f"short {error}"
        self.report(row, flow, begun)

    # ---- client

    def clients(self, number: int) -> None:
        rng = random.Random(f"{self.seed} {self.tag} {number}")
        while True:
            time.sleep(rng.expovariate(8))
            self.count(1)
            if self.paused:
                self.count(-1)
                continue
            self.connect_one(rng)

    def connect_one(self, rng: random.Random) -> None:
        address, port, processes = rng.choice(self.targets)
        port += rng.randrange(processes)
        seed = rng.getrandbits(32)
        mode = rng.choices(range(len(MODES)), WEIGHTS)[0]
        up, down = (size(rng) for _ in range(2))
        cut, pause = rng.randrange(1, 100), rng.choice((0, 0, 1000, 100_000))
        begun, flow = time.time(), None
        row = dict(what="client", mode=MODES[mode], id=seed, other="", to=address)
        try:
            with socket.socket() as sock:
                if rng.random() < 0.3:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if rng.random() < 0.2:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
                sock.settimeout(STALL_S)
                sock.connect((address, port))
                keep_alive(sock)
                head = HEADER.pack(MAGIC, seed, up, down, cut, pause, mode, self.tag.encode())
                sock.sendall(head)
                magic, tag = HELLO.unpack(exactly(sock, HELLO.size))
                if magic != MAGIC:
                    raise Wrong(f"hello with magic {magic:#x}")
                row["other"] = tag.rstrip(b"\0").decode()
                flow = Flow(sock, seed, up, down, rng)
                flow.prepare(rng.random() < 0.5, client=True)
                flow.act(MODES[mode], True, cut, pause)
            row["end"] = "ok"
        except Wrong as error:
            row["end"] = f"WRONG {error}"
        except (TimeoutError, Stall, BlockingIOError) as error:
            row["end"] = f"stall {type(error).__name__} {error}"
        except OSError as error:
            row["end"] = f"errno {error.errno} {error.strerror}"
        except Short as error:
            row["end"] = f"short {error}"
        self.report(row, flow, begun)

    def report(self, row: dict[str, object], flow: Flow | None, begun: float) -> None:
        if flow:
            row.update(sent=flow.sent, got=flow.got)
        self.say(**row, begun=begun, ended=time.time())
        self.count(-1)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise Short(f"end after {len(data)} bytes of a header")
        data += part
    return data


def size(rng: random.Random) -> int:
    """Bytes of a direction: nothing, a few, around a segment, up to a quarter MiB."""
    return rng.choice(
        (0, 1, rng.randrange(100), rng.randrange(1400, 1520), int(2 ** rng.uniform(6, 18)))
    )


def main(argv: list[str]) -> None:
    place, port, processes, threads, seed = argv[0], *map(int, argv[1:5])
    folder, kill_s = Path(argv[5]), float(argv[6])
    targets = [(a, int(p), int(n)) for a, p, n in (t.split(":") for t in argv[7:])]
    libc, rng = ctypes.CDLL(None), random.Random(f"{seed} {place}")
    children: dict[int, tuple[int, int]] = {}

    def start(number: int, life: int) -> None:
        parent = os.getpid()
        if (pid := os.fork()) == 0:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() == parent:
                Child(place, port, number, life, threads, seed).run(folder, targets)
            os._exit(1)
        children[pid] = (number, life)

    for number in range(processes):
        start(number, 0)
    due = time.monotonic() + (rng.expovariate(1 / kill_s) if kill_s else 1e9)
    while True:
        time.sleep(0.05)
        if time.monotonic() > due and not (folder / "pause").exists():
            due = time.monotonic() + rng.expovariate(1 / kill_s)
            victim = rng.choice(sorted(children))
            number, life = children[victim]
            line = {"what": "kill", "tag": f"{place}.{number}.{life}", "time": time.time()}
            os.write(1, (json.dumps(line) + "\n").encode())
            os.kill(victim, signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            number, life = children.pop(pid)
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                line = {
                    "what": "died",
                    "tag": f"{place}.{number}.{life}",
                    "status": status,
                    "time": time.time(),
                }
                os.write(1, (json.dumps(line) + "\n").encode())
                time.sleep(0.2)
            start(number, life + 1)


if __name__ == "__main__":
    main(sys.argv[1:])
