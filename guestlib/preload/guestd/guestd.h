/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of nk-guestd share: the device, the private half of the socket table, the clients. */
#ifndef NK_GUESTD_H
#define NK_GUESTD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "nk_atomic.h"
#include "nk_conn.h"
#include "nk_ring.h"
#include "../proto.h"
#include "../shm.h"

#define NK_NONE 0xffffffffu

/* ---- layout.c: what CoreEngine says about the VF --------------------------------------------- */
struct gd_queue {
	uint64_t offset;
	uint32_t log2;
};

struct gd_layout {
	uint32_t vf, ip, prefix, mtu, max_sockets, nqs;
	uint64_t db_offset, db_stride, region_bytes, heap_offset, heap_bytes;
	uint32_t rx_log2, tx_log2;
	uint32_t cc; /* NK_CC_ of the VF's NSM profile, as the lease began */
	struct gd_queue job, completion, send, receive;
	uint64_t status_offset;
};

/* Read `key=value` lines from `fd` and check them. 0, or -1 with one sentence in `why`. */
int gd_layout_read(int fd, struct gd_layout *layout, char *why, size_t why_len);

/* ---- dev.c: rings, doorbells ------------------------------------------------------------------ */
struct gd_job { /* posted, or waiting to be */
	uint8_t op;
	uint32_t idx, gen;
	uint64_t op_data, data_ptr;
	uint32_t size;
};

/*
 * Where the rings and doorbells are. Tests put plain memory behind it; the loop only sees these
 * pointers and the two operations.
 */
struct gd_dev {
	struct nk_ring job, completion, send, receive;
	const struct nk_status_block *status;
	void (*doorbell)(struct gd_dev *dev, uint32_t ofs, uint32_t value); /* NK_DB_*_OFS */
	void *db_page;
	uint8_t queue_set;

	uint32_t job_tail, job_done, completion_head, receive_head, arm;
	struct gd_job *inflight; /* by job index modulo the ring */
	uint32_t inflight_max;
	struct gd_job *backlog; /* jobs that found no room, a circular array */
	uint32_t backlog_head, backlog_count, backlog_size;
};

/* ---- private half of the socket table -------------------------------------------------------- */
#define GD_CARD_OPTIONS 8
/* In order of strength: a stronger one takes the place of a weaker one, whose work it does. */
enum gd_pending { GD_PEND_NONE, GD_PEND_UNCORK, GD_PEND_SHUTDOWN, GD_PEND_CLOSE, GD_PEND_ABORT };

struct gd_sock {
	int fd;              /* our end of the socketpair, -1: no program holds the socket */
	uint32_t listener, listener_gen; /* of a credit or a queued connection */
	uint32_t next;       /* accept queue */
	uint32_t acc_head, acc_tail, credits; /* of a listener */
	bool port_held;
	bool bound;          /* by bind(), as opposed to an ephemeral port */
	bool shutdown_done;
	bool queued;         /* in its listener's accept queue */
	uint8_t abort_posted;
	enum gd_pending pend; /* operation that waits until the card has fetched earlier sends */
	bool pend_marked;     /* snapshot taken */
	uint32_t pend_tail;
	uint64_t closing_since; /* CLOCK_MONOTONIC, microseconds */
	uint8_t flow_state;     /* from INFO: FREE until asked */
	bool info_posted;
	uint32_t told[GD_CARD_OPTIONS]; /* options.c: what the card was told */
};

struct gd_client {
	int fd, wake;
	uint32_t proc;
	pid_t pid;
	bool greeted;
	bool waiting;        /* `req` has no answer yet */
	bool for_card;       /* ... for want of a completion; else it is tried again */
	struct nk_request req;
	uint64_t deadline;
};

struct gd {
	struct gd_layout layout;
	struct gd_dev dev;
	struct nk_shm *shm;
	struct gd_sock *priv;
	uint32_t *free_ring; /* FIFO of free entries: an id rests as long as possible */
	uint32_t free_head, free_count;
	struct gd_client clients[NK_MAX_PROCS];
	int shm_fd, region_fd, bar_fd, irq_fd, lease_fd, boss_fd, listen_fd, ep;
	char token[NK_TOKEN_LEN + 1];
	uint32_t pending; /* sockets with pend != NONE */
	uint32_t ephemeral;
	bool draining, freed;
	bool program_gone;
	struct {
		uint64_t violations, socket_errors, nqe_events, completions, recycled, accepted, connected;
		uint64_t stray_bytes;
	} count;
	bool verbose;
};

uint64_t gd_now_us(void);

/* setup.c */
int gd_fail(const char *what); /* one sentence on stderr; -1 */
int gd_map_device(struct gd *gd, uint8_t **region, void **db_page);
int gd_make_shm(struct gd *gd);
int gd_make_listener(struct gd *gd);

/* dev.c */
int gd_dev_init(struct gd *gd, uint8_t *region, void *db_page);
void gd_job_post(struct gd *gd, uint8_t op, uint32_t idx, uint64_t op_data, uint64_t data_ptr, uint32_t size);
void gd_jobs_flush(struct gd *gd);
/* Handle everything that stands in completion and receive ring, tell the card, arm the interrupt. */
void gd_dev_poll(struct gd *gd);

/* events.c */
void gd_on_completion(struct gd *gd, const struct gd_job *job, const struct nk_nqe *nqe);
void gd_on_send_refused(struct gd *gd, const struct nk_nqe *nqe);
void gd_on_event(struct gd *gd, const struct nk_nqe *nqe);
void gd_notify(struct gd *gd, uint32_t idx, unsigned int wake);
void gd_device_dead(struct gd *gd, int err, const char *why);

/* ports.c */
int gd_port_bind(struct gd *gd, uint32_t idx, uint16_t port);        /* 0 or -errno; sets local.port */
int gd_port_ephemeral(struct gd *gd, uint32_t idx);
int gd_port_may_listen(const struct gd *gd, uint32_t idx);
void gd_port_release(struct gd *gd, uint32_t idx);

/* lifecycle.c */
void gd_table_init(struct gd *gd);
uint32_t gd_sock_alloc(struct gd *gd); /* NK_NONE: none free */
void gd_sock_free(struct gd *gd, uint32_t idx);
int gd_sock_attach(struct gd *gd, uint32_t idx, int *app_fd); /* make the socketpair */
void gd_sock_detach(struct gd *gd, uint32_t idx, bool reset); /* no program holds it any more */
void gd_card_socket(struct gd *gd, uint32_t idx);
void gd_order(struct gd *gd, uint32_t idx, enum gd_pending what);
void gd_pending_run(struct gd *gd);
void gd_listen(struct gd *gd, uint32_t idx);
void gd_credits_fill(struct gd *gd, uint32_t listener);
void gd_credits_fill_all(struct gd *gd);
void gd_recycle(struct gd *gd, uint32_t want);
void gd_act(struct gd *gd, uint32_t idx, unsigned int todo);
uint32_t gd_busy_sockets(const struct gd *gd);
uint32_t gd_held_sockets(const struct gd *gd);

/* options.c */
void gd_options_fresh(struct gd *gd, uint32_t idx); /* SOCKET was posted */
void gd_options_post(struct gd *gd, uint32_t idx);  /* SETOPT for what the card does not know */
/* A program changed option `so` (NK_SO_). */
enum gd_told { GD_TOLD, GD_TOLD_WAIT /* for the completion */, GD_TOLD_LATER /* ask again */ };
enum gd_told gd_option_changed(struct gd *gd, uint32_t idx, uint64_t so);

/* rpc.c */
void gd_rpc_accept_client(struct gd *gd);
void gd_rpc_serve(struct gd *gd, uint32_t client);
void gd_rpc_retry(struct gd *gd); /* after entries became free, and by time */
/* The completion of a job for a request that waits for it. */
void gd_rpc_job_done(struct gd *gd, const struct gd_job *job, const struct nk_nqe *nqe);
void gd_client_gone(struct gd *gd, uint32_t client);
bool gd_rpc_waiting(const struct gd *gd);

/* loop.c */
int gd_loop(struct gd *gd);
void gd_stats_write(const struct gd *gd, FILE *out);

#endif
