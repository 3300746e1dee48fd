# SPDX-License-Identifier: Apache-2.0
"""Conformance scripts in packetdrill's manner: the language (lang), what plays it (play), where (sim, twin)."""
