/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that nk-guestd and all processes of one tenant share: socket table, send-queue producer,
 * one record a process. Who writes which field is said beside it; guestd = nk-guestd, app = libnkpreload.
 */
#ifndef NK_SHM_H
#define NK_SHM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "nk_conn.h"

#define NK_SHM_MAGIC 0x4d53484bu
#define NK_SHM_VERSION 1u
#define NK_MAX_PROCS 256u
#define NK_PROC_WORDS (NK_MAX_PROCS / 64u)

/* Integer socket options whose value is kept; options.c says which level and name each one is. */
#define NK_SO_COUNT 40

struct nk_opts {
	int32_t value[NK_SO_COUNT];
	int32_t linger_on, linger_sec;
	int64_t rcvtimeo_us, sndtimeo_us; /* 0: none */
};

struct nk_endpoint {
	uint32_t ip; /* as a number */
	uint16_t port;
	uint16_t reserved;
};

struct nk_sock {
	/* -- guestd writes (rx_head, tx_tail and err inside conn: app) -- */
	struct nk_conn conn;
	uint32_t gen;      /* changes whenever the entry gets another owner */
	uint32_t closing;  /* under sq.lock: no app may post for this entry any more */
	uint64_t ino;      /* inode of the app's end of the socketpair, 0: none */
	uint32_t in_seq;   /* edges for input and output: count what epoll calls a wake-up */
	uint32_t out_seq;
	uint32_t seq;      /* futex word of blocking calls */
	uint32_t acc_ready; /* connections in the accept queue */
	uint32_t backlog;
	uint32_t family;   /* AF_INET, or AF_INET6 for a socket that shows IPv4-mapped addresses */
	struct nk_endpoint local, remote;
	uint64_t rx_ring, tx_ring; /* byte offsets into the region, fixed for the entry */

	/* -- app writes -- */
	uint32_t waiters __attribute__((aligned(64))); /* threads in futex_wait on seq */
	uint32_t nospace;  /* somebody wants to hear of room in the TX ring; guestd clears */
	uint64_t interest[NK_PROC_WORDS]; /* processes that poll this socket */
	uint32_t rx_owed;  /* under rx_lock: consumed, not yet credited */
	uint32_t tx_posted; /* under sq.lock: what of tx_tail the card has been told */
	uint32_t connect_told; /* connect() has reported success once */
	struct nk_opts opts;
	pthread_mutex_t rx_lock, tx_lock; /* robust, process-shared, error-checking */
} __attribute__((aligned(64)));

struct nk_proc {
	uint32_t sleepers; /* app: threads between 'about to look' and 'woken' */
	uint32_t pid;      /* guestd */
} __attribute__((aligned(64)));

struct nk_sq {
	pthread_mutex_t lock; /* robust, process-shared, error-checking */
	uint32_t tail;        /* free-running; the doorbell says the same a moment later */
	/* What the owner of the lock is doing: lets the next owner finish it if this one is killed. */
	uint32_t intent_tail, intent_sock, intent_posted;
	uint64_t nqes;        /* posted, for statistics */
	uint64_t full;        /* times that the ring had no room */
};

struct nk_shm {
	uint32_t magic, version;
	uint32_t nsock;
	uint32_t ip, prefix, mtu;
	uint32_t rx_log2, tx_log2;
	uint32_t cc; /* congestion control, NK_CC_ */
	uint32_t queue_set;
	uint32_t sq_log2;
	uint64_t sq_offset, status_offset; /* in the region */
	uint64_t region_bytes;
	uint64_t db_offset, db_bytes; /* of the mapping of the doorbell pages in the BAR's fd */
	uint32_t db_page;             /* offset of queue set 0's page in that mapping */
	uint32_t dead;                /* guestd: the device is gone; an errno */
	struct nk_sq sq __attribute__((aligned(64)));
	struct nk_proc procs[NK_MAX_PROCS];
	struct nk_sock socks[];
};

static inline size_t nk_shm_bytes(uint32_t nsock)
{
	return sizeof(struct nk_shm) + (size_t)nsock * sizeof(struct nk_sock);
}

/* Initialise one lock of the shared memory. */
int nk_shm_lock_init(pthread_mutex_t *lock);

/*
 * Wake everybody who may wait for a change of `sock` by futex. Waiters on wake eventfds are guestd's
 * to wake, which alone holds those descriptors.
 */
void nk_sock_bump(struct nk_sock *sock);

#endif
