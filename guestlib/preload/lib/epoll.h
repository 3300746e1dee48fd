/* SPDX-License-Identifier: Apache-2.0 */
/* Epoll sets that hold sockets of ours: shared by epoll_set.c (who is in them) and epoll.c (the calls). */
#ifndef NK_EPOLL_H
#define NK_EPOLL_H

#include "lib.h"

struct nk_reg {
	int fd;
	uint32_t events;
	uint64_t data;
	uint32_t in_seen, out_seen;
	bool ours;     /* else: a kernel TCP socket that may still become ours; the kernel reports it */
	bool fresh;    /* added or modified: counts as an edge */
	bool disarmed; /* EPOLLONESHOT has fired */
};

struct nk_ep {
	pthread_mutex_t lock;
	int refs, fd; /* fd: a number of the set, for calls into the kernel */
	struct nk_reg *regs;
	uint32_t n, cap, ours;
	uint32_t epoch;  /* of the wake fd that is in the set */
	uint32_t start;  /* where the next collection begins: no socket starves */
	bool kernel_first;
	struct nk_ep *next;
};

/* Our own entries in the kernel's set: tags that no program registers. */
enum nk_ep_tag { NK_EP_NOT_OURS, NK_EP_WAKE, NK_EP_OWNER };
enum nk_ep_tag nk_ep_tag_of(const struct epoll_event *ev);

struct nk_ep *nk_ep_find(int epfd);
struct nk_ep *nk_ep_find_or_make(int epfd);
int nk_ep_join(struct nk_ep *ep); /* the process's wake eventfd is in the set: 0 or a negative errno */

/* With the set's lock held. */
struct nk_reg *nk_reg_find(struct nk_ep *ep, int fd);
struct nk_reg *nk_reg_add(struct nk_ep *ep, int fd, const struct epoll_event *ev, bool ours);
void nk_reg_drop(struct nk_ep *ep, struct nk_reg *reg);
void nk_reg_set(struct nk_reg *reg, const struct epoll_event *ev);

#endif
