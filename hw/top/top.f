# SPDX-License-Identifier: Apache-2.0
# Files of hw/top, relative to this list.
+incdir+../abi/gen
rtl/nk_core.v
