# SPDX-License-Identifier: Apache-2.0
"""What every RTL test shares: the runner, stream drivers, seeds."""
