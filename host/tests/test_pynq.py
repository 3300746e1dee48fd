# SPDX-License-Identifier: Apache-2.0
"""The pynq backend through pynq's own MMIO, on a pynq Device that keeps registers in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from netkernel import abi
from netkernel.coreengine.card import Card
from netkernel.device.pynq_backend import PynqDevice
from netkernel.errors import AbiMismatch, BadRequest, NotSupported, TwinGone

BASE = 0x4000_0000


@pytest.fixture(scope="module")
def device_class() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynq's own, while it loads
        from pynq.pl_server.device import Device

        class BoardInMemory(Device):
            """A board whose fabric holds one NetKernel function."""

            _probe_priority_ = 4242

            @classmethod
            def _probe_(cls) -> list[Any]:
                return []

            def __init__(self) -> None:
                super().__init__("netkernel-test")
                self.capabilities = {"REGISTER_RW": True}
                self.registers: dict[int, int] = {}

            def read_registers(self, address: int, length: int) -> bytes:
                assert length == 4
                return self.registers.get(address - BASE, 0).to_bytes(4, "little")

            def write_registers(self, address: int, data: Any) -> None:
                self.registers[address - BASE] = int.from_bytes(bytes(data), "little")

    return BoardInMemory


@pytest.fixture
def board(device_class: Any) -> Iterator[Any]:
    made = device_class()
    made.registers |= {
        abi.VF.MAGIC: abi.MAGIC,
        abi.VF.ABI_VERSION: abi.ABI_VERSION,
        abi.VF.CAPS: 1 | 2 << 8 | 8 << 16 | 6 << 24,
        abi.VF.FUNCTION: 0x100,
    }
    return made


def test_registers_through_pynq(board: Any) -> None:
    with PynqDevice(BASE, device=board) as device:
        assert device.identity.is_pf
        assert (device.identity.vfs, device.identity.flows) == (2, 64)
        device.bar_write(abi.PF.RTO_MIN_US, 0xDEAD_BEEF)
        assert board.registers[abi.PF.RTO_MIN_US] == 0xDEAD_BEEF
        assert device.bar_read(abi.PF.RTO_MIN_US) == 0xDEAD_BEEF
        with pytest.raises(BadRequest):
            device.bar_read(2)
    with pytest.raises(TwinGone):
        device.bar_read(0)


def test_coreengine_card_over_pynq(board: Any) -> None:
    board.registers[abi.PF.NOW_US] = 77
    board.registers[abi.PF.STATS + 8 * abi.COUNTERS["tx_frames"]] = 5
    with PynqDevice(BASE, device=board) as device:
        card = Card(device)
        assert card.info().now_us == 77
        assert card.counters()["tx_frames"] == 5


def test_what_a_board_cannot_do(board: Any) -> None:
    with PynqDevice(BASE, device=board) as device:
        for call in (
            lambda: device.dma_map(0, 0, 0, 4096),
            lambda: device.dma_unmap(0, 4096),
            lambda: device.set_irq_eventfds([1]),
            device.doorbells,
            device.reset,
        ):
            with pytest.raises(NotSupported):
                call()
        device.set_irq_eventfds([])


def test_wrong_bitstream(board: Any) -> None:
    board.registers[abi.VF.MAGIC] = 0
    with pytest.raises(AbiMismatch):
        PynqDevice(BASE, device=board)
