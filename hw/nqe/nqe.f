# SPDX-License-Identifier: Apache-2.0
# Files of hw/nqe, relative to this list.
+incdir+../abi/gen
rtl/nk_nqe_regs.v
rtl/nk_nqe_rings.v
rtl/nk_nqe_fetch.v
rtl/nk_nqe_unpack.v
rtl/nk_nqe_tap.v
rtl/nk_nqe_check.v
rtl/nk_nqe_exec.v
rtl/nk_nqe_writer.v
rtl/nk_nqe_dmaw.v
rtl/nk_irq.v
rtl/nk_nqe.v
