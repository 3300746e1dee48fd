// SPDX-License-Identifier: Apache-2.0
// A received segment as one word: the fields of seg_* (docs/interfaces.md, docs/pipeline.md); its byte lane stands above them.
`ifndef NK_TCP_SEG_VH
`define NK_TCP_SEG_VH
`define SEG_VF 7:0
`define SEG_SMAC 55:8
`define SEG_RIP 87:56
`define SEG_RPORT 103:88
`define SEG_LPORT 119:104
`define SEG_SEQ 151:120
`define SEG_ACK 183:152
`define SEG_FLAGS 192:184
`define SEG_WND 208:193
`define SEG_MSS 224:209
`define SEG_WS 228:225
`define SEG_WSV 229
`define SEG_LEN 245:230
`define SEG_ECN 247:246
`define SEG_TSV 248
`define SEG_TSVAL 280:249
`define SEG_TSECR 312:281
`define SEG_SACKOK 313
`define SEG_SACKN 316:314
`define SEG_SACK 572:317
`define SEG_W 573   // without the lane

// A tenant's operation as one word: the fields of op_*, then LOK: the listener of an ACCEPT listens; INS, INS_OK, INS_HIT: second pass of
// CONNECT or LISTEN, and how the insertion went; UNCREDIT: a closing listener gives this credit back; LDONE: it has no more; QUIET: no answer.
`define OPW_CODE 7:0
`define OPW_QS 15:8
`define OPW_SOCKET 31:16
`define OPW_DATA 95:32
`define OPW_PTR 159:96
`define OPW_SIZE 191:160
`define OPW_LOK 192
`define OPW_INS 193
`define OPW_INS_OK 194
`define OPW_INS_HIT 195
`define OPW_UNCREDIT 196
`define OPW_LDONE 197
`define OPW_QUIET 198
`define OPW_SEND 199
`define OPW_W 200

// A flow's own segment on its way out, as nk_tcp_tx made it.
`define OUT_SEQ 31:0
`define OUT_ACK 63:32
`define OUT_LEN 79:64
`define OUT_FLAGS 88:80
`define OUT_WND 104:89
`define OUT_MSS 120:105
`define OUT_WSV 121
`define OUT_WS 125:122
`define OUT_SACKOK 126
`define OUT_TSV 127
`define OUT_TSVAL 159:128
`define OUT_TSECR 191:160
`define OUT_ECN 193:192
`define OUT_SACKN 196:194
`define OUT_SACK 452:197
`define OUT_W 453

// Classes of passes.
`define NK_EV_RX    3'd0
`define NK_EV_OP    3'd1
`define NK_EV_TMR   3'd2
`define NK_EV_TX    3'd3   // turn of a flow in the transmit list
`define NK_EV_NTF   3'd4   // the same in an event list
`define NK_EV_FLUSH 3'd5
`define NK_EV_RAW   3'd6   // no flow: drop the payload, perhaps answer
`define NK_EV_PTB   3'd7   // ICMP fragmentation needed: RIP, RPORT, LPORT, SEQ, and the MTU in MSS

// Answers without a flow.
`define NK_RAW_NONE   2'd0
`define NK_RAW_RST    2'd1
`define NK_RAW_COOKIE 2'd2   // SYN-ACK whose sequence number is a SYN cookie
`endif
