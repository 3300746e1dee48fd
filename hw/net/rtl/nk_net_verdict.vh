// SPDX-License-Identifier: Apache-2.0
// Purpose: what nk_net_judge says of a frame.

`define NK_NV_RUNT       4'd0
`define NK_NV_FILTER     4'd1
`define NK_NV_PROTO      4'd2
`define NK_NV_IP_HEADER  4'd3
`define NK_NV_FRAGMENT   4'd4
`define NK_NV_TCP_HEADER 4'd5
`define NK_NV_TCP_CSUM   4'd6
`define NK_NV_ICMP       4'd7
// An ARP frame for a VF; one that can only renew what is known.
`define NK_NV_ARP        4'd8
`define NK_NV_ARP_OTHER  4'd9
// A right echo request, 'fragmentation needed', segment.
`define NK_NV_ECHO       4'd10
`define NK_NV_PTB        4'd11
`define NK_NV_TCP        4'd12
