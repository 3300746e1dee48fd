# SPDX-License-Identifier: Apache-2.0
"""Print the sum of several pytest runs from their junit files.

Exit code 1 when a test failed or none ran.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree


def count(path: Path) -> tuple[int, int, int, float]:
    """Passed, failed, skipped, seconds of one junit file."""
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    total = sum(int(s.get("tests", 0)) for s in suites)
    failed = sum(int(s.get("failures", 0)) + int(s.get("errors", 0)) for s in suites)
    skipped = sum(int(s.get("skipped", 0)) for s in suites)
    return total - failed - skipped, failed, skipped, sum(float(s.get("time", 0)) for s in suites)


def main(folder: str) -> int:
    sums = [0, 0, 0]
    for path in sorted(Path(folder).glob("*.xml")):
        *counts, seconds = count(path)
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        passed, failed, skipped = counts
        print(f"{path.stem:6} {passed} passed, {failed} failed, {skipped} skipped, {seconds:.0f} s")
    print(f"total: {sums[0]} passed, {sums[1]} failed, {sums[2]} skipped")
    return int(sums[1] > 0 or sums[0] == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
