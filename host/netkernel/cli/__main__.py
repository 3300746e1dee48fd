# SPDX-License-Identifier: Apache-2.0
"""`python -m netkernel.cli` is `nk-hw`."""

from netkernel.cli import main

main()
