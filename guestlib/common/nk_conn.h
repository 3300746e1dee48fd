/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State machine of one socket as its owner sees it: which card events and completions are legal in
 * which state, what they change, and what the owner must do next. Pure: no system calls, no memory but
 * the record. Compiled for user space and for the kernel.
 *
 *            SOCKET+CONNECT posted           CONNECTED
 *   NEW ───────────────────────▶ CONNECTING ──────────▶ ESTABLISHED ──RESET, TIMEOUT──▶ DEAD
 *    │ SOCKET+LISTEN posted       │ RESET, TIMEOUT, refused op ──────────────────────────▲
 *    ├──────────▶ LISTEN_WAIT ──completion──▶ LISTENING
 *    └ SOCKET+ACCEPT posted ▶ CREDIT ──ACCEPTED──▶ ESTABLISHED
 *   any ──owner closes──▶ CLOSING ──CLOSED──▶ FREE
 */
#ifndef NK_CONN_H
#define NK_CONN_H

#include "nk_abi.h"

enum nk_conn_state {
	NK_CONN_FREE = 0,
	NK_CONN_NEW,         /* owned by a program, unknown to the card */
	NK_CONN_LISTEN_WAIT, /* LISTEN posted, completion not here yet */
	NK_CONN_LISTENING,
	NK_CONN_CREDIT,     /* waits for a peer as accept credit of a listener */
	NK_CONN_CONNECTING, /* CONNECT posted */
	NK_CONN_ESTABLISHED,
	NK_CONN_DEAD,    /* the connection is gone; `err` tells why until a call has reported it */
	NK_CONN_CLOSING, /* no program holds it; the card does until CLOSED */
};

/* flags */
#define NK_CF_RX_EOF 0x01u   /* the peer sent FIN and all its data was announced */
#define NK_CF_WR_SHUT 0x02u  /* shutdown(SHUT_WR) */
#define NK_CF_RD_SHUT 0x04u  /* shutdown(SHUT_RD) */
#define NK_CF_ON_CARD 0x08u  /* SOCKET was posted and CLOSED has not come: the card may touch the rings */
#define NK_CF_CONNECTED 0x10u /* was established once */
#define NK_CF_ABORTED 0x20u  /* ABORT was posted */
#define NK_CF_DOUBT 0x40u    /* CLOSED came unasked: believed only when the answer to ABORT agrees */

/*
 * Byte counters run freely modulo 2^32. The owner writes rx_tail and tx_head from card events, the
 * program's side writes rx_head and tx_tail.
 */
struct nk_conn {
	uint32_t state;
	uint32_t flags;
	uint32_t err; /* pending errno, 0: none */
	uint32_t mss;
	uint32_t rx_size, tx_size; /* bytes, powers of two */
	uint32_t rx_tail, tx_head;
	uint32_t rx_head, tx_tail;
};

/* What an event asks of the owner. */
#define NK_DO_WAKE_IN 0x01u  /* readers, pollers for input */
#define NK_DO_WAKE_OUT 0x02u /* writers, connecters */
#define NK_DO_ABORT 0x04u    /* post ABORT for this socket */
#define NK_DO_CLOSE 0x08u    /* post CLOSE for this socket */
#define NK_DO_FREE 0x10u     /* id and rings are free again */
#define NK_DO_ACCEPTED 0x20u /* append to its listener's accept queue */
#define NK_DO_LISTENING 0x40u
#define NK_DO_VIOLATION 0x80u /* the card broke the protocol: count it */

void nk_conn_init(struct nk_conn *conn, uint32_t rx_size, uint32_t tx_size);

/* Bytes that may be read, and room that may be written; clipped to the ring whatever the counters say. */
uint32_t nk_conn_rx_avail(const struct nk_conn *conn);
uint32_t nk_conn_tx_room(const struct nk_conn *conn);

/* An NQE of the receive ring for this socket. Returns NK_DO_ bits. */
unsigned int nk_conn_event(struct nk_conn *conn, const struct nk_nqe *nqe);

/* The completion of job `op` for this socket. Returns NK_DO_ bits. */
unsigned int nk_conn_complete(struct nk_conn *conn, uint8_t op, uint8_t status);

/* The completion of a send-queue NQE that the card refused. */
unsigned int nk_conn_send_refused(struct nk_conn *conn, uint8_t status);

/* The connection ends with `err`, whatever the card thinks. */
unsigned int nk_conn_kill(struct nk_conn *conn, int err);

/*
 * The last program let go of the socket. Returns NK_DO_CLOSE, NK_DO_ABORT or NK_DO_FREE. `reset`: end
 * it with RST (unread data as RFC 2525 asks, or SO_LINGER 0).
 */
unsigned int nk_conn_release(struct nk_conn *conn, int reset);

/* Closing, and nothing of it but TIME_WAIT can be left: first to go when socket ids run short. */
int nk_conn_is_spent(const struct nk_conn *conn);

#endif
