/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of libnkpreload to nk-guestd: one struct each way over a SOCK_SEQPACKET connection a
 * process, file descriptors by SCM_RIGHTS. Both ends are built from one source, so no versioning
 * beyond NK_PROTO_MAGIC.
 */
#ifndef NK_PROTO_H
#define NK_PROTO_H

#include <stdint.h>

#include "shm.h"

#define NK_PROTO_MAGIC 0x4e4b5031u
#define NK_ENV_SOCKET "NK_GUEST"       /* abstract name of guestd's socket */
#define NK_ENV_TOKEN "NK_GUEST_TOKEN"  /* 32 hex digits: who knows them belongs to the tenant */
#define NK_TOKEN_LEN 32

enum nk_req_op {
	NK_REQ_HELLO = 1, /* data.token; reply idx = process number, fds: shm, region, bar, wake eventfd */
	NK_REQ_NEW,       /* data.opts, arg = family; reply idx, gen, fd: the socket */
	NK_REQ_BIND,      /* arg = ip << 32 | port; reply arg = port */
	NK_REQ_LISTEN,    /* arg = backlog; result follows in the socket's state */
	NK_REQ_CONNECT,   /* arg = ip << 32 | port; result follows; reply idx, gen may differ */
	NK_REQ_ACCEPT,    /* reply idx, gen, fd: the connection; -EAGAIN if none */
	NK_REQ_SHUTDOWN,  /* arg = SHUT_RD, SHUT_WR, SHUT_RDWR */
	NK_REQ_OPTION,    /* arg = NK_SO_ index of an option in the table that has changed */
	NK_REQ_LINGER,    /* after close(): reply arg = 1 if the socket is closing, 0 if others still hold it */
	NK_REQ_INFO,      /* reply arg[0..2] = op_data, data_ptr, size of the completion */
};

struct nk_request {
	uint32_t magic;
	uint32_t op;
	uint32_t seq; /* returned */
	uint32_t idx, gen;
	uint64_t arg;
	union {
		struct nk_opts opts;
		char token[NK_TOKEN_LEN];
	} data;
};

struct nk_reply {
	uint32_t seq;
	int32_t err; /* 0 or a negative errno */
	uint32_t idx, gen;
	uint64_t arg[3];
};

#endif
