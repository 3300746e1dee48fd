# SPDX-License-Identifier: Apache-2.0
"""CoreEngine: the daemon that configures VFs and lends them to processes, and its client."""

from netkernel.coreengine.client import CoreEngineClient, Lease
from netkernel.coreengine.daemon import CoreEngine
from netkernel.coreengine.slot import Slot, TwinSlot, VfioSlot, find_slot

__all__ = ["CoreEngine", "CoreEngineClient", "Lease", "Slot", "TwinSlot", "VfioSlot", "find_slot"]
