// SPDX-License-Identifier: Apache-2.0
// Constants shared by the protocol logic: timer kinds, segment flags, sequence comparison.
`ifndef NK_TCP_DEFS_VH
`define NK_TCP_DEFS_VH

// What the flow's one long timer (RTX_T) is for.
`define NK_RTX_RTO      3'd0
`define NK_RTX_PERSIST  3'd1
`define NK_RTX_TIMEWAIT 3'd2
`define NK_RTX_FINWAIT2 3'd3
`define NK_RTX_NEIGH    3'd4

// Bits of seg_flags and txd_flags.
`define NK_TF_FIN 0
`define NK_TF_SYN 1
`define NK_TF_RST 2
`define NK_TF_PSH 3
`define NK_TF_ACK 4

// What nk_tcp_txsel found to send.
`define NK_TX_NONE   3'd0
`define NK_TX_SYN    3'd1
`define NK_TX_REXMIT 3'd2
`define NK_TX_PROBE  3'd3
`define NK_TX_DATA   3'd4
`define NK_TX_ACK    3'd5

// Sequence numbers live on a circle (RFC 9293, 3.4). The arguments must be plain names or bracketed.
`define SEQ_LT(a, b) (((a) - (b)) >> 31 != 32'd0)
`define SEQ_GT(a, b) (((b) - (a)) >> 31 != 32'd0)
`define SEQ_LE(a, b) (((b) - (a)) >> 31 == 32'd0)
`define SEQ_GE(a, b) (((a) - (b)) >> 31 == 32'd0)
`endif
