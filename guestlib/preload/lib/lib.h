/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of libnkpreload share. Every wrapper decides per descriptor once (fdtable.c) and
 * hands what is not ours to libc.
 */
#ifndef NK_LIB_H
#define NK_LIB_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "nk_atomic.h"
#include "nk_ring.h"
#include "../proto.h"
#include "../shm.h"
#include "real.h"

#define NK_EXPORT __attribute__((visibility("default")))

struct nk_lib {
	struct nk_shm *shm; /* NULL until this program first meets a socket of ours */
	uint8_t *region;
	char *db_page;
	struct nk_ring sq;
	const struct nk_status_block *status;
	int ctl, wake;      /* of this process; -1: not registered */
	uint32_t proc;
	uint32_t epoch;     /* changes with each registration, so that epoll sets learn of a new wake fd */
	pid_t pid;
};
extern struct nk_lib nk;

/* A socket of ours and the generation under which the descriptor knows it. */
struct nk_ref {
	struct nk_sock *s; /* NULL: not ours */
	uint32_t idx, gen;
};

/* ---- init.c ----------------------------------------------------------------------------------- */
bool nk_enabled(void);          /* started by nk-guestd */
int nk_attach(void);            /* this process is registered and mapped: 0, or a negative errno */
int nk_rpc(struct nk_request *req, struct nk_reply *rep, int *fd); /* 0 or a negative errno */
int nk_dead(void);              /* errno of a dead device, or 0 */
void nk_check_owner(void);      /* after the control connection hung up */
int nk_fd_hide(int fd, int *where); /* keep a descriptor of our own in *where, out of the program's way */
void nk_fd_unhide(int *where);      /* and close it */
void nk_fd_vacate(int fd);          /* the program wants this very number: ours moves */
bool nk_foreign_child(void);    /* a vfork child: shares our memory, must not change our books */
void nk_forked(void);           /* in a child after fork */

/* ---- fdtable.c -------------------------------------------------------------------------------- */
enum nk_fd_kind { NK_FD_UNKNOWN = 0, NK_FD_OTHER = 1, NK_FD_UNDECIDED = 2, NK_FD_HIDDEN = 3, NK_FD_OURS = 16 };
struct nk_ep;
struct nk_fdent {
	uint64_t value; /* nk_fd_kind, or gen << 32 | NK_FD_OURS + idx */
	struct nk_ep *ep;
};
struct nk_fdent *nk_fdent(int fd, bool create);
struct nk_ref nk_fd_slow(int fd, uint64_t value);
void nk_fd_set(int fd, uint64_t value);
uint64_t nk_fd_get(int fd);
void nk_fd_copy(int from, int to);
void nk_fd_forget(int fd); /* the number is about to be closed or reused: drop epoll entries too */
void nk_fd_forget_range(unsigned int first, unsigned int last);
static inline uint64_t nk_fd_value(struct nk_ref ref)
{
	return (uint64_t)ref.gen << 32 | (NK_FD_OURS + ref.idx);
}

extern struct nk_fdent *nk_fd_chunks[];
#define NK_FD_CHUNK_LOG2 8
#define NK_FD_CHUNKS 4096

static inline struct nk_ref nk_ref_of(int fd)
{
	struct nk_fdent *chunk;
	uint64_t value = NK_FD_UNKNOWN;

	if (fd < 0 || fd >> NK_FD_CHUNK_LOG2 >= NK_FD_CHUNKS)
		return (struct nk_ref){NULL, 0, 0};
	chunk = nk_get_acq(&nk_fd_chunks[fd >> NK_FD_CHUNK_LOG2]);
	if (chunk)
		value = nk_get(&chunk[fd & ((1 << NK_FD_CHUNK_LOG2) - 1)].value);
	if (value == NK_FD_OTHER || value == NK_FD_UNDECIDED)
		return (struct nk_ref){NULL, 0, 0};
	if (value >= NK_FD_OURS) {
		uint32_t idx = (uint32_t)value - NK_FD_OURS;
		struct nk_sock *s = &nk.shm->socks[idx];

		if (nk_get(&s->gen) == (uint32_t)(value >> 32))
			return (struct nk_ref){s, idx, (uint32_t)(value >> 32)};
	}
	return nk_fd_slow(fd, value);
}

/* ---- data.c: bytes in and out ----------------------------------------------------------------- */
ssize_t nk_recv_iov(int fd, struct nk_ref ref, const struct iovec *iov, int iovcnt, int flags);
ssize_t nk_send_iov(int fd, struct nk_ref ref, const struct iovec *iov, int iovcnt, int flags);
ssize_t nk_send_file(int fd, struct nk_ref ref, int in_fd, off_t *offset, size_t count);
bool nk_nonblocking(int fd, int flags);

/* ---- wait.c: sleeping, and what poll sees ------------------------------------------------------- */
/* Sleep until seq differs from `seq`; timeout_us 0: no limit. 0, -EINTR or -EAGAIN (time is up). */
int nk_wait(struct nk_sock *s, uint32_t seq, int64_t deadline_us);
int64_t nk_now_us(void);
uint32_t nk_poll_mask(struct nk_ref ref, uint32_t wanted);
void nk_interest(struct nk_sock *s);
/* Around a kernel sleep in which guestd shall write our wake eventfd. */
void nk_sleep_begin(void);
void nk_sleep_end(void);
void nk_kick(void); /* wake our own sleepers */

/* ---- sq.c: the send queue ----------------------------------------------------------------------- */
int nk_lock(pthread_mutex_t *lock); /* 0, 1: its last owner died (consistent now), or a negative errno */
int nk_post_send(struct nk_ref ref, uint32_t bytes, uint32_t tx_tail);
int nk_post_credit(struct nk_ref ref, uint32_t bytes);

/* ---- poll.c */
void nk_poll_fork_child(void);

/* ---- options.c ---------------------------------------------------------------------------------- */
void nk_opts_from_kernel(int fd, struct nk_opts *opts);
void nk_opts_to_kernel(int fd, const struct nk_opts *opts);

/* ---- addr.c ------------------------------------------------------------------------------------- */
enum nk_place { NK_PLACE_KERNEL, NK_PLACE_OURS, NK_PLACE_NOWHERE };
enum nk_place nk_place_bind(const struct sockaddr *addr, socklen_t len, bool v6only, struct nk_endpoint *ep);
enum nk_place nk_place_connect(const struct sockaddr *addr, socklen_t len, struct nk_endpoint *ep);
void nk_addr_out(uint32_t family, struct nk_endpoint ep, struct sockaddr *addr, socklen_t *len);
bool nk_kernel_tcp(int fd, int *family);
bool nk_kernel_undecided(int fd);

/* ---- epoll.c ------------------------------------------------------------------------------------ */
void nk_ep_fd_closing(int fd);   /* drop registrations of fd */
void nk_ep_moved_here(int fd);   /* a kernel socket became ours: re-register */
void nk_ep_leaving(int fd);      /* before the swap, take it out of the kernel's sets */
void nk_ep_moved_to_kernel(int fd);
void nk_ep_close(struct nk_fdent *ent);
void nk_ep_dup(int from, int to);
bool nk_ep_ready(int epfd, bool *has_ours);
bool nk_is_ep(int fd);           /* an epoll descriptor that has, or had, sockets of ours in it */
void nk_ep_fork_prepare(void);
void nk_ep_fork_done(bool child);

#endif
