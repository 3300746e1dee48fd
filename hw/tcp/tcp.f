# SPDX-License-Identifier: Apache-2.0
# Files of hw/tcp, relative to this list.
+incdir+rtl
+incdir+../abi/gen
rtl/nk_cc_newreno.v
rtl/nk_flow_hash.v
rtl/nk_flow_lists.v
rtl/nk_place.v
rtl/nk_tcp_engine.v
rtl/nk_tcp_exec.v
rtl/nk_tcp_flush.v
rtl/nk_tcp_isn.v
rtl/nk_tcp_ntf.v
rtl/nk_tcp_ooo.v
rtl/nk_tcp_op.v
rtl/nk_tcp_post.v
rtl/nk_tcp_rtt.v
rtl/nk_tcp_rx_ack.v
rtl/nk_tcp_rx_data.v
rtl/nk_tcp_sched.v
rtl/nk_tcp_timers.v
rtl/nk_tcp_tmr.v
rtl/nk_tcp_tx.v
rtl/nk_tcp_txsel.v
rtl/nk_tcp_words.v
