# SPDX-License-Identifier: Apache-2.0
"""libnktwin.so for Python. Each call is one call of the C interface (src/nktwin.h), which cffi
reads as it is; errors become OSError. Every method may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import cffi

from netkernel.errors import BuildFailed

HEADER: Final = Path(__file__).resolve().parent / "src" / "nktwin.h"

START_US: Final = 1_000_000
MMIO_TIMEOUT_MS: Final = 2000  # the model takes and answers in well under a millisecond


def _cdef() -> str:
    text = HEADER.read_text(encoding="utf-8")
    return text.split("cdef-begin", 1)[1].split("*/", 1)[1].split("/* cdef-end */", 1)[0]


@dataclass(frozen=True)
class CardInfo:
    """What a library was built for. width in bits, frame_max in bytes."""

    width: int
    vfs: int
    queue_sets: int
    flows: int
    build_id: int
    frame_max: int


@dataclass(frozen=True)
class LinkConfig:
    """One direction of the link model; nktwin.h gives the meaning of each field."""

    loss: float = 0.0
    burst_loss: float = 0.0
    burst_frames: float = 4.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate_mbps: float = 0.0
    delay_us: int = 0
    jitter_us: int = 0
    queue_bytes: int = 256 * 1024
    seed: int = 0

    def changed(self, **values: float) -> LinkConfig:
        return replace(self, **values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TracedNqe:
    """An NQE that passed the card. seq counts those of its VF from 1; time_us is Unix time."""

    seq: int
    time_us: int
    vf: int
    queue_set: int
    queue: int
    nqe: bytes


def _untyped(value: object) -> Any:
    return value


def _struct_dict(struct: Any, ffi: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name, _ in ffi.typeof(struct[0]).fields}


class TwinLibrary:
    """One loaded libnktwin.so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # cffi's types know nothing of what a cdef declares.
        self.ffi: Any = _untyped(cffi.FFI())
        self.ffi.cdef(_cdef())
        try:
            self.lib: Any = self.ffi.dlopen(str(path))
        except OSError as error:
            raise BuildFailed(
                f"cannot load {path}: {error}", "Remove its folder and build again."
            ) from error
        info = self.ffi.new("nktwin_info *")
        self.lib.nktwin_get_info(info)
        self.info = CardInfo(**_struct_dict(info, self.ffi))

    def link_struct(self, config: LinkConfig) -> Any:
        """nklink_config of `config`; ValueError if a field is out of its range."""
        struct = self.ffi.new("nklink_config *")
        for field in fields(config):
            try:
                setattr(struct, field.name, getattr(config, field.name))
            except (OverflowError, TypeError) as error:
                raise ValueError(
                    f"{field.name} = {getattr(config, field.name)!r} is not possible"
                ) from error
        if self.lib.nklink_check(struct) < 0:
            raise ValueError(f"{self._wrong_field(config)} is out of its range")
        return struct

    def _wrong_field(self, config: LinkConfig) -> str:
        """The first field that alone would be refused."""
        for field in fields(config):
            struct = self.ffi.new("nklink_config *", asdict(LinkConfig()))
            setattr(struct, field.name, getattr(config, field.name))
            if self.lib.nklink_check(struct) < 0:
                return f"{field.name} = {getattr(config, field.name)}"
        return f"queue_bytes = {config.queue_bytes}"  # too small for one frame, which a rate makes matter

    def link_config(self, struct: Any) -> LinkConfig:
        return LinkConfig(**_struct_dict(struct, self.ffi))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class LinkModel:
    """The link model by itself, for tests: time is given by the caller."""

    def __init__(self, library: TwinLibrary, config: LinkConfig) -> None:
        self._library = library
        self._lib = library.lib
        self._link = self._lib.nklink_create(library.link_struct(config))
        if self._link == library.ffi.NULL:
            raise MemoryError

    def close(self) -> None:
        if self._link is not None:
            self._lib.nklink_destroy(self._link)
            self._link = None

    def set(self, config: LinkConfig) -> None:
        _check(self._lib.nklink_set(self._link, self._library.link_struct(config)))

    def push(self, frame: bytes, now_us: int) -> None:
        _check(self._lib.nklink_push(self._link, frame, len(frame), now_us))

    def pop(self, now_us: int) -> bytes | None:
        room = self._library.info.frame_max
        buffer = self._library.ffi.new("uint8_t[]", room)
        got = _check(self._lib.nklink_pop(self._link, buffer, room, now_us))
        return bytes(self._library.ffi.buffer(buffer, got)) if got else None

    def counters(self) -> dict[str, int]:
        struct = self._library.ffi.new("nklink_counters *")
        self._lib.nklink_get_counters(self._link, struct)
        return _struct_dict(struct, self._library.ffi)


class Card:
    """A running card. func: 0 is the PF, n + 1 is VF n."""

    def __init__(
        self,
        library: TwinLibrary,
        *,
        seed: int = 0,
        read_latency: int = 4,
        spin_us: int = 80,
        poll_us: int = 150,
        lazy_poll_us: int = 1000,
        guard_us: int = 50_000,
        start_us: int = START_US,
    ) -> None:
        self.library = library
        self.info = library.info
        self.seed = seed
        self._ffi = library.ffi
        self._lib = library.lib
        config = self._ffi.new("nktwin_config *")
        config.seed = seed
        config.read_latency = read_latency
        config.spin_us = spin_us
        config.poll_us = poll_us
        config.lazy_poll_us = lazy_poll_us
        config.guard_us = guard_us
        config.start_us = start_us
        self._card = self._lib.nktwin_create(config)
        if self._card == self._ffi.NULL:
            raise MemoryError
        self._thread: threading.Thread | None = None
        self.ended: int | None = None  # what nktwin_run() returned

    # ---- life

    def start(self, on_end: Callable[[int], None] = lambda _: None) -> None:
        """Runs the simulation in a thread of its own. on_end is called there with 0 or -errno."""

        def run() -> None:
            self.ended = int(self._lib.nktwin_run(self._card))
            on_end(self.ended)

        self._thread = threading.Thread(target=run, name="nk_core", daemon=True)
        self._thread.start()
        while self.ended is None and not self.status()["running"]:
            pass  # a few microseconds; status() waits for the simulation thread

    def stop(self) -> None:
        """Ends the simulation; every register read that still waits fails."""
        if self._thread is not None:
            self._lib.nktwin_stop(self._card)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        self.stop()
        if self._card is not None:
            self._lib.nktwin_destroy(self._card)
            self._card = None

    def watchdog(self) -> None:
        self._lib.nktwin_watchdog(self._card)

    # ---- registers and doorbells

    def mmio_write(
        self, func: int, addr: int, value: int, timeout_ms: int = MMIO_TIMEOUT_MS
    ) -> None:
        """Returns when the card has taken it; at once with timeout_ms 0. Served in order."""
        _check(self._lib.nktwin_mmio_write(self._card, func, addr, value, timeout_ms))

    def mmio_read(self, func: int, addr: int, timeout_ms: int = MMIO_TIMEOUT_MS) -> int:
        return self.mmio_read_block(func, addr, 1, timeout_ms)[0]

    def mmio_read_block(
        self, func: int, addr: int, count: int, timeout_ms: int = MMIO_TIMEOUT_MS
    ) -> list[int]:
        values = self._ffi.new("uint32_t[]", count)
        _check(self._lib.nktwin_mmio_read(self._card, func, addr, values, count, timeout_ms))
        return list(values)

    def set_doorbells(self, func: int, fd: int, offset: int = 0, pages: int = 0) -> None:
        _check(self._lib.nktwin_set_doorbells(self._card, func, fd, offset, pages))

    def doorbell_write(self, func: int, offset: int, value: int) -> None:
        _check(self._lib.nktwin_doorbell_write(self._card, func, offset, value))

    def doorbell_read(self, func: int, offset: int) -> int:
        value = self._ffi.new("uint32_t *")
        _check(self._lib.nktwin_doorbell_read(self._card, func, offset, value))
        return int(value[0])

    # ---- DMA and interrupts

    def dma_map(self, func: int, iova: int, size: int, fd: int, offset: int, prot: int) -> None:
        _check(self._lib.nktwin_dma_map(self._card, func, iova, size, fd, offset, prot))

    def dma_unmap(self, func: int, iova: int, size: int) -> int:
        return _check(self._lib.nktwin_dma_unmap(self._card, func, iova, size))

    def dma_unmap_all(self, func: int) -> int:
        return _check(self._lib.nktwin_dma_unmap_all(self._card, func))

    def set_bus_master(self, func: int, on: bool) -> None:
        _check(self._lib.nktwin_set_bus_master(self._card, func, on))

    def set_irq(self, func: int, vector: int, fd: int) -> None:
        _check(self._lib.nktwin_set_irq(self._card, func, vector, fd))

    def mask_irq(self, func: int, vector: int, masked: bool) -> None:
        _check(self._lib.nktwin_mask_irq(self._card, func, vector, masked))

    def trigger_irq(self, func: int, vector: int) -> None:
        _check(self._lib.nktwin_trigger_irq(self._card, func, vector))

    # ---- wire, traces, figures

    def set_wire(self, fd: int) -> None:
        _check(self._lib.nktwin_set_wire(self._card, fd))

    def link(self, direction: int) -> tuple[LinkConfig, dict[str, int]]:
        """Configuration and counters; direction 0 is towards the card, 1 from it."""
        config = self._ffi.new("nklink_config *")
        counters = self._ffi.new("nklink_counters *")
        _check(self._lib.nktwin_link_get(self._card, direction, config, counters))
        return self.library.link_config(config), _struct_dict(counters, self._ffi)

    def set_link(self, direction: int, config: LinkConfig) -> None:
        _check(self._lib.nktwin_link_set(self._card, direction, self.library.link_struct(config)))

    def trace_pcap(self, path: Path | None) -> None:
        """Writes every frame at the MAC to a new pcap file, until None is given."""
        if path is None:
            _check(self._lib.nktwin_set_pcap(self._card, -1))
            return
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with path.open("wb") as file:
            _check(self._lib.nktwin_set_pcap(self._card, file.fileno()))

    def trace_nqes(self, vf: int, after: int, count: int) -> list[TracedNqe]:
        """NQEs of a VF with a seq above `after`, oldest first."""
        entries = self._ffi.new("nktwin_nqe[]", max(count, 1))
        got = _check(self._lib.nktwin_trace_read(self._card, vf, after, entries, count))
        return [
            TracedNqe(e.seq, e.time_us, e.vf, e.queue_set, e.queue, bytes(self._ffi.buffer(e.nqe)))
            for e in entries[0:got]
        ]

    def status(self) -> dict[str, Any]:
        """The figures of nktwin_status."""
        struct = self._ffi.new("nktwin_status *")
        _check(self._lib.nktwin_get_status(self._card, struct))
        return _struct_dict(struct, self._ffi)
