# SPDX-License-Identifier: Apache-2.0
"""nk-hw, the operator's command."""

from netkernel.cli.app import app, main

__all__ = ["app", "main"]
