// SPDX-License-Identifier: Apache-2.0
// Constants shared by the protocol logic: timer kinds, segment flags, sequence comparison.
`ifndef NK_TCP_DEFS_VH
`define NK_TCP_DEFS_VH

// What the flow's one long timer (RTX_T) is for.
`define NK_RTX_RTO      4'd0
`define NK_RTX_PERSIST  4'd1
`define NK_RTX_TIMEWAIT 4'd2
`define NK_RTX_FINWAIT2 4'd3
`define NK_RTX_NEIGH    4'd4
`define NK_RTX_TLP      4'd5   // tail loss probe (RFC 8985, 7)
`define NK_RTX_REO      4'd6   // reordering window (RFC 8985, 6)
`define NK_RTX_KEEP     4'd7   // keep-alive
`define NK_RTX_CORK     4'd8   // a corked remainder has waited long enough

// Bits of seg_flags and txd_flags.
`define NK_TF_FIN 0
`define NK_TF_SYN 1
`define NK_TF_RST 2
`define NK_TF_PSH 3
`define NK_TF_ACK 4
`define NK_TF_ECE 6
`define NK_TF_CWR 7

// ECN field of the IPv4 header (RFC 3168).
`define NK_ECN_NOT  2'd0
`define NK_ECN_ECT0 2'd2
`define NK_ECN_CE   2'd3

// What nk_tcp_txsel found to send.
`define NK_TX_NONE   4'd0
`define NK_TX_SYN    4'd1
`define NK_TX_REXMIT 4'd2   // lost bytes again
`define NK_TX_PROBE  4'd3   // one byte into a shut window
`define NK_TX_DATA   4'd4   // for the first time
`define NK_TX_ACK    4'd5
`define NK_TX_TLP    4'd6   // the last segment once more, or new data beyond cwnd
`define NK_TX_KEEP   4'd7   // keep-alive: an ACK for snd_una - 1

// Profile flags, as in the NSM registers' CTRL, bits 15:8.
`define NK_PF_SACK 0
`define NK_PF_TS   1
`define NK_PF_ECN  2
`define NK_PF_WS   3
`define NK_PF_TLP  4

// Sequence numbers live on a circle (RFC 9293, 3.4). The arguments must be plain names or bracketed.
`define SEQ_LT(a, b) (((a) - (b)) >> 31 != 32'd0)
`define SEQ_GT(a, b) (((b) - (a)) >> 31 != 32'd0)
`define SEQ_LE(a, b) (((b) - (a)) >> 31 == 32'd0)
`define SEQ_GE(a, b) (((a) - (b)) >> 31 == 32'd0)
`endif
