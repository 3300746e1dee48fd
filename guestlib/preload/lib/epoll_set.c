/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll sets that hold our sockets beside the kernel's descriptors. The set's own kernel descriptor
 * stays what the program sees; the process's wake eventfd is in it, edge-triggered, under a tag that
 * no program can use. Registrations of our sockets live here, with the edges each has reported.
 */
#include <stdlib.h>
#include <string.h>

#include "epoll.h"

static struct nk_ep *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

/* Addresses inside this library: not data that a program registers. */
static char wake_tag, owner_tag;

enum nk_ep_tag nk_ep_tag_of(const struct epoll_event *ev)
{
	if (ev->data.u64 == (uint64_t)(uintptr_t)&wake_tag)
		return NK_EP_WAKE;
	return ev->data.u64 == (uint64_t)(uintptr_t)&owner_tag ? NK_EP_OWNER : NK_EP_NOT_OURS;
}

/* ---- sets ------------------------------------------------------------------------------------------------ */

bool nk_is_ep(int fd)
{
	struct nk_fdent *ent = nk_fdent(fd, false);

	return ent && nk_get(&ent->ep);
}

struct nk_ep *nk_ep_find(int epfd)
{
	struct nk_fdent *ent = nk_fdent(epfd, false);

	return ent ? nk_get_acq(&ent->ep) : NULL;
}

struct nk_ep *nk_ep_find_or_make(int epfd)
{
	struct nk_fdent *ent = nk_fdent(epfd, true);
	struct nk_ep *ep = nk_ep_find(epfd);

	if (ep || !ent)
		return ep;
	pthread_mutex_lock(&all_lock);
	ep = ent->ep;
	if (!ep && (ep = calloc(1, sizeof(*ep)))) {
		pthread_mutex_init(&ep->lock, NULL);
		ep->refs = 1;
		ep->fd = epfd;
		ep->next = all;
		all = ep;
		nk_put_rel(&ent->ep, ep);
	}
	pthread_mutex_unlock(&all_lock);
	return ep;
}

/* Our wake eventfd is in the set, and our process is the one that guestd wakes. Called without locks. */
int nk_ep_join(struct nk_ep *ep)
{
	struct epoll_event wake = {.events = EPOLLIN | EPOLLET, .data.u64 = (uint64_t)(uintptr_t)&wake_tag};
	struct epoll_event owner = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = (uint64_t)(uintptr_t)&owner_tag};
	int err = nk_attach();

	if (err)
		return err;
	if (nk_get(&ep->epoch) == nk.epoch)
		return 0;
	if (REAL(epoll_ctl)(ep->fd, EPOLL_CTL_ADD, nk.wake, &wake) && errno != EEXIST)
		return -errno;
	if (REAL(epoll_ctl)(ep->fd, EPOLL_CTL_ADD, nk.ctl, &owner) && errno != EEXIST)
		return -errno;
	pthread_mutex_lock(&ep->lock);
	for (uint32_t i = 0; i < ep->n; i++) {
		struct nk_ref ref = ep->regs[i].ours ? nk_ref_of(ep->regs[i].fd) : (struct nk_ref){NULL, 0, 0};

		if (ref.s)
			nk_interest(ref.s);
	}
	nk_put(&ep->epoch, nk.epoch);
	pthread_mutex_unlock(&ep->lock);
	/* A thread that sleeps in this set since before it had sockets of ours looks again. */
	nk_kick();
	return 0;
}

void nk_ep_close(struct nk_fdent *ent)
{
	struct nk_ep *ep, **link;

	pthread_mutex_lock(&all_lock);
	ep = ent->ep;
	nk_put(&ent->ep, NULL);
	if (ep && --ep->refs == 0) {
		for (link = &all; *link != ep; link = &(*link)->next)
			;
		*link = ep->next;
		/* A thread may still sleep in the set: its record stays, a few bytes, empty. */
		pthread_mutex_lock(&ep->lock);
		free(ep->regs);
		ep->regs = NULL;
		ep->n = ep->cap = ep->ours = 0;
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

void nk_ep_dup(int from, int to)
{
	struct nk_ep *ep = nk_ep_find(from);
	struct nk_fdent *ent = ep ? nk_fdent(to, true) : NULL;

	if (!ent)
		return;
	pthread_mutex_lock(&all_lock);
	ep->refs++;
	nk_put(&ent->ep, ep);
	pthread_mutex_unlock(&all_lock);
}

void nk_ep_fork_prepare(void)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next)
		pthread_mutex_lock(&ep->lock);
}

void nk_ep_fork_done(bool child)
{
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		if (child)
			pthread_mutex_init(&ep->lock, NULL);
		else
			pthread_mutex_unlock(&ep->lock);
	}
	if (child)
		pthread_mutex_init(&all_lock, NULL);
	else
		pthread_mutex_unlock(&all_lock);
}

/* ---- registrations, with the set's lock held ------------------------------------------------------------------ */

struct nk_reg *nk_reg_find(struct nk_ep *ep, int fd)
{
	for (uint32_t i = 0; i < ep->n; i++)
		if (ep->regs[i].fd == fd)
			return &ep->regs[i];
	return NULL;
}

struct nk_reg *nk_reg_add(struct nk_ep *ep, int fd, const struct epoll_event *ev, bool ours)
{
	struct nk_reg *reg;

	if (ep->n == ep->cap) {
		uint32_t cap = ep->cap ? ep->cap * 2 : 16;
		struct nk_reg *more = realloc(ep->regs, cap * sizeof(*more));

		if (!more)
			return NULL;
		ep->regs = more;
		ep->cap = cap;
	}
	reg = &ep->regs[ep->n++];
	*reg = (struct nk_reg){.fd = fd, .events = ev->events, .data = ev->data.u64, .ours = ours, .fresh = true};
	ep->ours += ours;
	return reg;
}

void nk_reg_drop(struct nk_ep *ep, struct nk_reg *reg)
{
	ep->ours -= reg->ours;
	*reg = ep->regs[--ep->n];
}

void nk_reg_set(struct nk_reg *reg, const struct epoll_event *ev)
{
	reg->events = ev->events;
	reg->data = ev->data.u64;
	reg->fresh = true;
	reg->disarmed = false;
}

/* ---- sockets that come and go ----------------------------------------------------------------------------------- */

void nk_ep_fd_closing(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct nk_reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = nk_reg_find(ep, fd);
		if (reg)
			nk_reg_drop(ep, reg);
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

/* Before the descriptor changes hands: the kernel forgets it, for it would keep the old socket. */
void nk_ep_leaving(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct nk_reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = nk_reg_find(ep, fd);
		if (reg && !reg->ours)
			REAL(epoll_ctl)(ep->fd, EPOLL_CTL_DEL, fd, NULL);
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

void nk_ep_moved_here(int fd)
{
	struct nk_ref ref = nk_ref_of(fd);

	for (struct nk_ep *ep = nk_get_acq(&all); ep; ep = ep->next) {
		struct nk_reg *reg;
		bool found;

		pthread_mutex_lock(&ep->lock);
		reg = nk_reg_find(ep, fd);
		found = reg != NULL;
		if (reg && !reg->ours) {
			reg->ours = true;
			ep->ours++;
			reg->fresh = true;
		}
		pthread_mutex_unlock(&ep->lock);
		if (found && ref.s) {
			nk_interest(ref.s);
			nk_ep_join(ep);
		}
	}
}

void nk_ep_moved_to_kernel(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct nk_reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = nk_reg_find(ep, fd);
		if (reg) {
			struct epoll_event ev = {.events = reg->events, .data.u64 = reg->data};

			REAL(epoll_ctl)(ep->fd, EPOLL_CTL_ADD, fd, &ev);
			nk_reg_drop(ep, reg);
		}
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}
