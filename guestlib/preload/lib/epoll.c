/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll sets that hold our sockets beside the kernel's descriptors. The set's own kernel descriptor
 * stays what the program sees; the process's wake eventfd is in it, edge-triggered, under a tag that
 * no program can use. Registrations of our sockets live here, with the edges each has reported.
 */
#include <stdlib.h>
#include <string.h>

#include "lib.h"

struct reg {
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
	struct reg *regs;
	uint32_t n, cap, ours;
	uint32_t epoch;  /* of the wake fd that is in the set */
	uint32_t start;  /* where the next collection begins: no socket starves */
	bool kernel_first;
	struct nk_ep *next;
};

static struct nk_ep *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

/* Addresses inside this library: not data that a program registers. */
static char wake_tag, owner_tag;

static bool is_tag(const struct epoll_event *ev)
{
	return ev->data.u64 == (uint64_t)(uintptr_t)&wake_tag || ev->data.u64 == (uint64_t)(uintptr_t)&owner_tag;
}

/* ---- sets ------------------------------------------------------------------------------------------------ */

bool nk_is_ep(int fd)
{
	struct nk_fdent *ent = nk_fdent(fd, false);

	return ent && nk_get(&ent->ep);
}

static struct nk_ep *find(int epfd)
{
	struct nk_fdent *ent = nk_fdent(epfd, false);

	return ent ? nk_get_acq(&ent->ep) : NULL;
}

static struct nk_ep *find_or_make(int epfd)
{
	struct nk_fdent *ent = nk_fdent(epfd, true);
	struct nk_ep *ep = find(epfd);

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
static int join(struct nk_ep *ep)
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
	struct nk_ep *ep = find(from);
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

static struct reg *reg_find(struct nk_ep *ep, int fd)
{
	for (uint32_t i = 0; i < ep->n; i++)
		if (ep->regs[i].fd == fd)
			return &ep->regs[i];
	return NULL;
}

static struct reg *reg_add(struct nk_ep *ep, int fd, const struct epoll_event *ev, bool ours)
{
	struct reg *reg;

	if (ep->n == ep->cap) {
		uint32_t cap = ep->cap ? ep->cap * 2 : 16;
		struct reg *more = realloc(ep->regs, cap * sizeof(*more));

		if (!more)
			return NULL;
		ep->regs = more;
		ep->cap = cap;
	}
	reg = &ep->regs[ep->n++];
	*reg = (struct reg){.fd = fd, .events = ev->events, .data = ev->data.u64, .ours = ours, .fresh = true};
	ep->ours += ours;
	return reg;
}

static void reg_drop(struct nk_ep *ep, struct reg *reg)
{
	ep->ours -= reg->ours;
	*reg = ep->regs[--ep->n];
}

static void reg_set(struct reg *reg, const struct epoll_event *ev)
{
	reg->events = ev->events;
	reg->data = ev->data.u64;
	reg->fresh = true;
	reg->disarmed = false;
}

static int ctl_ours(struct nk_ep *ep, int op, int fd, struct nk_ref ref, const struct epoll_event *ev)
{
	struct reg *reg;
	int err = 0;

	pthread_mutex_lock(&ep->lock);
	reg = reg_find(ep, fd);
	if (op == EPOLL_CTL_ADD) {
		if (reg)
			err = EEXIST;
		else if (!reg_add(ep, fd, ev, true))
			err = ENOMEM;
	} else if (!reg) {
		err = ENOENT;
	} else if (op == EPOLL_CTL_MOD) {
		if ((reg->events | ev->events) & EPOLLEXCLUSIVE)
			err = EINVAL;
		else
			reg_set(reg, ev);
	} else if (op == EPOLL_CTL_DEL) {
		reg_drop(ep, reg);
	} else {
		err = EINVAL;
	}
	pthread_mutex_unlock(&ep->lock);
	if (err)
		return errno = err, -1;
	if (op != EPOLL_CTL_DEL) {
		nk_interest(ref.s);
		nk_fence();
		/* Ready already: whoever sleeps in the set must hear of it, and guestd will not say it again. */
		if (nk_get(&nk.shm->procs[nk.proc].sleepers) &&
		    (nk_poll_mask(ref, ev->events) & (ev->events | EPOLLERR | EPOLLHUP)))
			nk_kick();
	}
	return 0;
}

/* The kernel did it; note it, in case the socket becomes ours. */
static void note_undecided(struct nk_ep *ep, int op, int fd, const struct epoll_event *ev)
{
	struct reg *reg;

	pthread_mutex_lock(&ep->lock);
	reg = reg_find(ep, fd);
	if (op == EPOLL_CTL_DEL && reg)
		reg_drop(ep, reg);
	else if (op == EPOLL_CTL_MOD && reg)
		reg_set(reg, ev);
	else if (op == EPOLL_CTL_ADD && !reg)
		reg_add(ep, fd, ev, false);
	pthread_mutex_unlock(&ep->lock);
}

NK_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct nk_ref ref = nk_ref_of(fd);
	struct nk_ep *ep;
	int err;

	if (!ref.s) {
		int got = REAL(epoll_ctl)(epfd, op, fd, ev);

		if (got == 0 && nk_fd_get(fd) == NK_FD_UNDECIDED && (ep = find_or_make(epfd)))
			note_undecided(ep, op, fd, ev);
		return got;
	}
	if (!ev && op != EPOLL_CTL_DEL)
		return errno = EFAULT, -1;
	ep = find_or_make(epfd);
	if (!ep)
		return errno = ENOMEM, -1;
	err = join(ep); /* says EBADF or EINVAL if epfd is no epoll set */
	if (err) {
		errno = -err;
		return -1;
	}
	return ctl_ours(ep, op, fd, ref, ev);
}

/* ---- sockets that come and go ----------------------------------------------------------------------------------- */

void nk_ep_fd_closing(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = reg_find(ep, fd);
		if (reg)
			reg_drop(ep, reg);
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

/* Before the descriptor changes hands: the kernel forgets it, for it would keep the old socket. */
void nk_ep_leaving(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = reg_find(ep, fd);
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
		struct reg *reg;
		bool found;

		pthread_mutex_lock(&ep->lock);
		reg = reg_find(ep, fd);
		found = reg != NULL;
		if (reg && !reg->ours) {
			reg->ours = true;
			ep->ours++;
			reg->fresh = true;
		}
		pthread_mutex_unlock(&ep->lock);
		if (found && ref.s) {
			nk_interest(ref.s);
			join(ep);
		}
	}
}

void nk_ep_moved_to_kernel(int fd)
{
	pthread_mutex_lock(&all_lock);
	for (struct nk_ep *ep = all; ep; ep = ep->next) {
		struct reg *reg;

		pthread_mutex_lock(&ep->lock);
		reg = reg_find(ep, fd);
		if (reg) {
			struct epoll_event ev = {.events = reg->events, .data.u64 = reg->data};

			REAL(epoll_ctl)(ep->fd, EPOLL_CTL_ADD, fd, &ev);
			reg_drop(ep, reg);
		}
		pthread_mutex_unlock(&ep->lock);
	}
	pthread_mutex_unlock(&all_lock);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

/* Readiness that `reg` has to report now, 0 if none; `take` marks it reported. */
static uint32_t reg_ready(struct reg *reg, bool take)
{
	struct nk_ref ref = nk_ref_of(reg->fd);
	uint32_t in, out, mask;
	bool edge;

	if (!ref.s || reg->disarmed)
		return 0;
	/* The edges before the state: a change in between is seen now and, harmlessly, reported again. */
	in = nk_get_acq(&ref.s->in_seq);
	out = nk_get_acq(&ref.s->out_seq);
	mask = nk_poll_mask(ref, reg->events) & (reg->events | EPOLLERR | EPOLLHUP);
	edge = reg->fresh || (in != reg->in_seen && (reg->events & (EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLPRI))) ||
	       (out != reg->out_seen && (reg->events & (EPOLLOUT | EPOLLWRNORM))) ||
	       ((in != reg->in_seen || out != reg->out_seen) && (mask & (EPOLLERR | EPOLLHUP)));
	if ((reg->events & EPOLLET) && !edge)
		return 0;
	if (take) {
		reg->in_seen = in;
		reg->out_seen = out;
		reg->fresh = false;
		if (mask && (reg->events & EPOLLONESHOT))
			reg->disarmed = true;
	}
	return mask;
}

static int collect(struct nk_ep *ep, struct epoll_event *events, int max)
{
	int got = 0;

	pthread_mutex_lock(&ep->lock);
	for (uint32_t k = 0; k < ep->n && got < max; k++) {
		struct reg *reg = &ep->regs[(ep->start + k) % ep->n];
		uint32_t mask = reg->ours ? reg_ready(reg, true) : 0;

		if (!mask)
			continue;
		events[got].events = mask;
		events[got].data.u64 = reg->data;
		got++;
		if (got == max)
			ep->start = (ep->start + k + 1) % ep->n;
	}
	pthread_mutex_unlock(&ep->lock);
	return got;
}

bool nk_ep_ready(int epfd, bool *has_ours)
{
	struct nk_ep *ep = find(epfd);
	bool ready = false;

	*has_ours = false;
	if (!ep)
		return false;
	pthread_mutex_lock(&ep->lock);
	*has_ours = ep->ours != 0;
	for (uint32_t i = 0; i < ep->n && !ready; i++)
		ready = ep->regs[i].ours && reg_ready(&ep->regs[i], false);
	pthread_mutex_unlock(&ep->lock);
	return ready;
}

/* The kernel's events, without the tags that are for us. */
static int kernel_wait(int epfd, struct epoll_event *events, int max, int ms, const sigset_t *mask)
{
	int got = REAL(epoll_pwait)(epfd, events, max, ms, mask), kept = 0;

	for (int i = 0; i < got; i++) {
		if (is_tag(&events[i])) {
			if (events[i].data.u64 == (uint64_t)(uintptr_t)&owner_tag)
				nk_check_owner();
			continue;
		}
		events[kept++] = events[i];
	}
	return got < 0 ? got : kept;
}

static int both(struct nk_ep *ep, int epfd, struct epoll_event *events, int max, const sigset_t *mask)
{
	bool kernel_first = (ep->kernel_first = !ep->kernel_first);
	int first, second = 0;

	/* Either may fill the array: they take turns at going first. */
	first = kernel_first ? kernel_wait(epfd, events, max, 0, mask) : collect(ep, events, max);
	if (first < 0)
		return first;
	if (first < max)
		second = kernel_first ? collect(ep, events + first, max - first)
				      : kernel_wait(epfd, events + first, max - first, 0, mask);
	return second < 0 ? (first ? first : second) : first + second;
}

static int ms_left(int64_t end_us)
{
	int64_t left = end_us < 0 ? -1 : (end_us - nk_now_us() + 999) / 1000;

	if (end_us < 0)
		return -1;
	return left < 0 ? 0 : left > 86400000 ? 86400000 : (int)left;
}

/* end_us: absolute, -1 for ever, 0 look only. */
static int wait_mixed(int epfd, struct epoll_event *events, int max, int64_t end_us, const sigset_t *mask)
{
	for (;;) {
		struct nk_ep *ep = find(epfd);
		int got, err;

		if (!ep || !nk_get(&ep->epoch)) {
			/* None of ours ever, until another thread joins the set to us and kicks. */
			got = kernel_wait(epfd, events, max, end_us ? ms_left(end_us) : 0, mask);
		} else {
			err = join(ep);
			if (err)
				return errno = -err, -1;
			/* Declare, look, sleep: a change after the look finds us declared and makes an edge. */
			nk_sleep_begin();
			got = both(ep, epfd, events, max, mask);
			if (got == 0 && end_us) {
				got = kernel_wait(epfd, events, max, ms_left(end_us), mask);
				if (got >= 0 && got < max)
					got += collect(ep, events + got, max - got);
			}
			nk_sleep_end();
		}
		if (got || end_us == 0 || (end_us > 0 && nk_now_us() >= end_us))
			return got;
	}
}

NK_EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	if (!nk_enabled() || max <= 0 || !events)
		return REAL(epoll_pwait)(epfd, events, max, timeout, mask);
	return wait_mixed(epfd, events, max, timeout < 0 ? -1 : timeout == 0 ? 0 : nk_now_us() + (int64_t)timeout * 1000,
			  mask);
}

NK_EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	return epoll_pwait(epfd, events, max, timeout, NULL);
}

NK_EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
			   const sigset_t *mask)
{
	int64_t end = -1;

	if (!nk_enabled() || max <= 0 || !events || !nk_is_ep(epfd))
		return REAL(epoll_pwait2)(epfd, events, max, timeout, mask);
	if (timeout && timeout->tv_sec < INT32_MAX) {
		end = (int64_t)timeout->tv_sec * 1000000 + (timeout->tv_nsec + 999) / 1000;
		end = end ? end + nk_now_us() : 0;
	}
	return wait_mixed(epfd, events, max, end, mask);
}
