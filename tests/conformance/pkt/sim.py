# SPDX-License-Identifier: Apache-2.0
"""Scripts on nk_core in the simulator: a cocotb test a script, all in one run. Time is virtual.

Loaded by cocotb. NK_SCRIPTS names a file with the scripts' paths, one a line; each one's verdict goes
as a line of JSON to the file that NK_VERDICTS names.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cocotb
from common.hostmem import Memory, Shim
from common.stream import params, rng, start_clock
from common.tenant import Tenant
from netkernel.abi import PF, VF

from pkt.lang import load
from pkt.play import SOCKETS, Player, vf_writes

CLOCKS_LIMIT = 1_500_000  # of one script
PAGES = 1024


class SimCard:
    """nk_core with one VF, a tenant, and a wire that hands frames on at once."""

    settle_us = 2000

    def __init__(self, dut: Any) -> None:
        start_clock(dut)
        self.shim = Shim(dut, params()["W"], rng("shim"))
        self.shim.now = 1_000_000
        self.on_frame: Callable[[bytes, int], None] = lambda frame, at: None
        self.tenant: Tenant = None  # type: ignore[assignment]
        self.crash: BaseException | None = None
        self._dirty = False
        self.shim.on_frame = self._frame
        self.shim.on_write = self._written
        self.shim.step = self._step
        # The card's clock has 32 bits: never more than a quarter of an hour at a time.
        self.shim.next_event = lambda: self.shim.now + (1 if self._dirty else 900_000_000)
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        """The shim's loop. What it finds wrong fails the script that waits, with its exchange."""
        try:
            await self.shim._run()
        except Exception as problem:
            self.crash = problem
            while True:  # whoever waits must look; the simulation goes no further
                self.shim.changed.set()
                await cocotb.triggers.Timer(100, "ns")

    def _written(self, func: int, offset: int, n: int) -> None:
        self._dirty = True

    def _step(self, now: int) -> bool:
        if not self._dirty:
            return False
        self._dirty = False
        if self.tenant is not None:
            self.tenant.poll()
        self.shim.changed.set()
        return True

    def _frame(self, frame: bytes) -> None:
        self.on_frame(frame, self.shim.now)
        self.shim.changed.set()

    @property
    def now(self) -> int:
        return self.shim.now

    def tolerance(self, us: int) -> int:
        return 500 + us // 100

    def send(self, frame: bytes) -> None:
        self.shim.rx_queue.append(frame)

    async def wait(self, cond: Callable[[], Any], until: int) -> bool:
        import heapq

        shim = self.shim
        heapq.heappush(shim.deadlines, until)
        while not (met := cond()) and shim.now < until:
            if shim.clocks > CLOCKS_LIMIT:
                raise AssertionError(f"the card is busy for {shim.clocks} clocks")
            shim.changed.clear()
            await shim.changed.wait()
            if self.crash:
                raise self.crash
        return bool(met)

    async def fresh(self, writes: list[tuple[int, int]], mtu: int) -> None:
        shim = self.shim
        await shim.reset()
        keys = rng("key")
        for i in range(4):
            await shim.write(0, PF.HASH_KEY + 4 * i, keys.getrandbits(32))
        for addr, value in writes:
            await shim.write(0, addr, value)
        for reg, value in vf_writes(mtu):
            await shim.write(0, PF.VF_BASE + reg, value)
        memory = Memory(keys.getrandbits(28) << 16, PAGES, fill=0xEE)
        shim.memory[1] = memory
        self.tenant = Tenant(shim, 0, memory, max_sockets=SOCKETS)
        self.tenant.reset()
        for addr, value in self.tenant.register_writes():
            await shim.write(1, addr, value)
        status = await shim.read(1, VF.STATUS)
        assert status & 7 == 3, f"VF status {status:#x}"

    async def pf_read(self, addr: int) -> int:
        return await self.shim.read(0, addr)


def tell(name: str, problem: str, seconds: float) -> None:
    with open(os.environ["NK_VERDICTS"], "a", encoding="utf-8") as out:
        verdict = {"script": name, "problem": problem, "seconds": seconds}
        out.write(json.dumps(verdict) + "\n")


def make(path: Path) -> Any:
    async def play(dut: Any) -> None:
        begin, problem, player = time.monotonic(), "", None
        try:
            player = Player(load(path), SimCard(dut))
            await player.run()
        except AssertionError as failure:
            problem = str(failure)
            if player is not None and player.log and player.log[-1] not in problem:
                problem += "\n  the exchange, in ms:\n" + "\n".join(player.exchange())
        except Exception:
            problem = traceback.format_exc()
        tell(str(path), problem, time.monotonic() - begin)
        assert not problem, problem

    play.__name__ = play.__qualname__ = f"{path.parent.name}__{path.stem}".replace("-", "_")
    return cocotb.test()(play)


for _path in Path(os.environ["NK_SCRIPTS"]).read_text(encoding="utf-8").splitlines():
    _test = make(Path(_path))
    globals()[_test.name if hasattr(_test, "name") else _path] = _test
