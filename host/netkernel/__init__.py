# SPDX-License-Identifier: Apache-2.0
"""NetKernel-HW on the host: devices, CoreEngine, the twin, and the operator's command."""

__version__ = "0.1.0"
