# SPDX-License-Identifier: Apache-2.0
# Files of hw/net, relative to this list.
+incdir+../abi/gen
+incdir+rtl
rtl/nk_net_sum.v
rtl/nk_net_stage.v
rtl/nk_tcp_options.v
rtl/nk_net_judge.v
rtl/nk_net_rx.v
rtl/nk_neigh.v
rtl/nk_arp.v
rtl/nk_icmp_echo.v
rtl/nk_net_tx_opt.v
rtl/nk_net_tx_hdr.v
rtl/nk_net_tx_emit.v
rtl/nk_net_tx.v
rtl/nk_net_tx_arb.v
rtl/nk_net_loop.v
rtl/nk_net_rx_mux.v
rtl/nk_net.v
