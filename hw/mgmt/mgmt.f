# SPDX-License-Identifier: Apache-2.0
# Files of hw/mgmt, relative to this list.
+incdir+../abi/gen
rtl/nk_vf_reset.v
rtl/nk_pf_params.v
rtl/nk_nsm_regs.v
rtl/nk_opcode_counters.v
rtl/nk_vf_table.v
rtl/nk_db_qreg.v
rtl/nk_regs.v
