# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the twin's tests; what they are made of is in stub_card.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from stub_card import library, narrow_library, seed, stub, stub_card

__all__ = ["library", "narrow_library", "seed", "stub", "stub_card"]
