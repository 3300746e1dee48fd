# SPDX-License-Identifier: Apache-2.0
"""Independent models that judge the RTL: frames, a TCP host."""
