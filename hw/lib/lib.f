# SPDX-License-Identifier: Apache-2.0
# Files of hw/lib, relative to this list.
rtl/nk_skid.v
rtl/nk_fifo.v
rtl/nk_arb_rr.v
rtl/nk_ram_1w1r.v
rtl/nk_dma_rd_arb.v
rtl/nk_dma_wr_arb.v
rtl/nk_stat_counters.v
rtl/nk_stat_ram.v
rtl/nk_halfsiphash.v
rtl/nk_ram_1rw1r.v
rtl/nk_halfsiphash_pipe.v
rtl/nk_vf_stats.v
rtl/nk_qs_stats.v
rtl/nk_buckets.v
