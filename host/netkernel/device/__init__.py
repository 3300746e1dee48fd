# SPDX-License-Identifier: Apache-2.0
"""One interface to a NetKernel function, whatever it sits behind: vfio-user, VFIO or pynq."""

from netkernel.device.base import Device, Doorbells, Identity
from netkernel.device.vfio import VfioDevice
from netkernel.device.vfio_user import VfioUserDevice

__all__ = ["Device", "Doorbells", "Identity", "VfioDevice", "VfioUserDevice"]
