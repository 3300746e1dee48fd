/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll and select over sets that mix our descriptors with the kernel's. While a thread sleeps in the
 * kernel it also waits on an epoll set of its own that holds, edge-triggered, the process's wake
 * eventfd: an edge is per set, so threads cannot eat each other's wake-ups.
 */
#include <alloca.h>
#include <stdlib.h>
#include <string.h>

#include "lib.h"

#define ON_STACK 256

/* libc's header says that poll only writes to fds, and gcc then takes our reading of it for a mistake. */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

NK_STATIC_ASSERT(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP &&
			 POLLRDHUP == EPOLLRDHUP && POLLRDNORM == EPOLLRDNORM && POLLWRNORM == EPOLLWRNORM,
		 "poll and epoll bits are the same");

/* ---- wake sets: a pool, so that a thread needs no destructor ------------------------------------------------- */

#define POOL 64
static struct {
	int fd; /* 0 in a fresh slot and -1 after a fork both mean: to be made */
	uint32_t busy, epoch;
} pool[POOL];

static int wake_set_make(uint32_t i)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, hup = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u32 = 1};
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return -1;
	if (REAL(epoll_ctl)(fd, EPOLL_CTL_ADD, nk.wake, &ev) || REAL(epoll_ctl)(fd, EPOLL_CTL_ADD, nk.ctl, &hup)) {
		REAL(close)(fd);
		return -1;
	}
	nk_fd_hide(fd, &pool[i].fd);
	pool[i].epoch = nk.epoch;
	return 0;
}

static int wake_set_get(void)
{
	for (uint32_t i = 0; i < POOL; i++) {
		if (nk_get(&pool[i].busy) || nk_swap(&pool[i].busy, 1))
			continue;
		if (pool[i].fd > 0 && pool[i].epoch != nk.epoch)
			nk_fd_unhide(&pool[i].fd);
		if (pool[i].fd > 0 || wake_set_make(i) == 0)
			return (int)i;
		nk_put_rel(&pool[i].busy, 0);
		break;
	}
	return -1;
}

static void wake_set_put(int i)
{
	nk_put_rel(&pool[i].busy, 0);
}

/* Swallow edges that came before we look at the sockets. */
static void wake_set_drain(int i)
{
	struct epoll_event ev[2];
	int n = REAL(epoll_wait)(pool[i].fd, ev, 2, 0);

	while (n-- > 0)
		if (ev[n].data.u32 == 1)
			nk_check_owner();
}

void nk_poll_fork_child(void)
{
	for (uint32_t i = 0; i < POOL; i++)
		pool[i].busy = 0;
}

/* ---- the core ----------------------------------------------------------------------------------------------------- */

struct work {
	struct pollfd *fds;    /* the caller's */
	struct pollfd *kernel; /* the kernel's share: our entries are -1, one more for the wake set */
	nfds_t n;
};

static bool mine(int fd)
{
	bool ours = false;

	if (nk_ref_of(fd).s)
		return true;
	if (nk_is_ep(fd))
		(void)nk_ep_ready(fd, &ours);
	return ours;
}

/* Readiness of our entries into `fds`; how many have any. */
static int look(struct work *w, bool declare)
{
	int ready = 0;

	for (nfds_t i = 0; i < w->n; i++) {
		struct pollfd *p = &w->fds[i];
		struct nk_ref ref = nk_ref_of(p->fd);
		bool ours = false;

		p->revents = 0;
		if (ref.s) {
			if (declare)
				nk_interest(ref.s);
			p->revents = (short)(nk_poll_mask(ref, (uint32_t)p->events) & ((uint32_t)p->events | POLLERR | POLLHUP));
		} else if (w->kernel[i].fd >= 0 && nk_is_ep(p->fd) && nk_ep_ready(p->fd, &ours)) {
			p->revents = p->events & POLLIN; /* an epoll set with ready sockets of ours */
		}
		ready += p->revents != 0;
	}
	return ready;
}

static int merge(struct work *w)
{
	int ready = 0;

	for (nfds_t i = 0; i < w->n; i++) {
		if (w->kernel[i].fd >= 0)
			w->fds[i].revents |= w->kernel[i].revents;
		ready += w->fds[i].revents != 0;
	}
	return ready;
}

static int sleep_in_kernel(struct work *w, nfds_t n, int64_t end_us, const sigset_t *mask)
{
	struct timespec ts = {0, 0}, *limit = NULL;

	if (end_us >= 0) {
		int64_t left = end_us ? end_us - nk_now_us() : 0;

		if (left < 0)
			left = 0;
		ts = (struct timespec){left / 1000000, left % 1000000 * 1000};
		limit = &ts;
	}
	return REAL(ppoll)(w->kernel, n, limit, mask);
}

/* end_us: absolute, -1 for ever, 0 look only. */
static int poll_loop(struct work *w, int64_t end_us, const sigset_t *mask, int set)
{
	for (;;) {
		int err, got;

		/* Drain, declare, look, sleep: a change after the look finds us declared and makes a new edge. */
		wake_set_drain(set);
		nk_sleep_begin();
		w->kernel[w->n] = (struct pollfd){.fd = pool[set].fd, .events = POLLIN};
		if (look(w, true) || end_us == 0)
			err = sleep_in_kernel(w, w->n, 0, mask);
		else
			err = sleep_in_kernel(w, w->n + 1, end_us, mask);
		nk_sleep_end();
		if (err < 0)
			return -1;
		look(w, false);
		got = merge(w);
		if (got || end_us == 0 || (end_us > 0 && nk_now_us() >= end_us))
			return got;
	}
}

static int poll_mixed(struct pollfd *fds, nfds_t n, int64_t end_us, const sigset_t *mask)
{
	struct work w = {fds, NULL, n};
	struct pollfd *heap = NULL;
	int got, saved, set = -1, err = nk_attach();

	if (err)
		return errno = -err, -1;
	if (n < ON_STACK)
		w.kernel = alloca((n + 1) * sizeof(*w.kernel));
	else
		w.kernel = heap = malloc((n + 1) * sizeof(*heap));
	set = w.kernel ? wake_set_get() : -1;
	if (set < 0) {
		free(heap);
		return errno = ENOMEM, -1;
	}
	memcpy(w.kernel, fds, n * sizeof(*fds));
	for (nfds_t i = 0; i < n; i++)
		if (nk_ref_of(fds[i].fd).s)
			w.kernel[i].fd = -1;
	got = poll_loop(&w, end_us, mask, set);
	saved = errno;
	wake_set_put(set);
	free(heap);
	errno = saved;
	return got;
}

static bool any_mine(const struct pollfd *fds, nfds_t n)
{
	if (nk_enabled() && fds)
		for (nfds_t i = 0; i < n; i++)
			if (mine(fds[i].fd))
				return true;
	return false;
}

static int64_t end_of(const struct timespec *timeout)
{
	if (!timeout)
		return -1;
	if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
		return 0;
	if (timeout->tv_sec > INT32_MAX)
		return -1;
	return nk_now_us() + (int64_t)timeout->tv_sec * 1000000 + (timeout->tv_nsec + 999) / 1000;
}

NK_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (!any_mine(fds, n))
		return REAL(poll)(fds, n, timeout);
	return poll_mixed(fds, n, timeout < 0 ? -1 : timeout == 0 ? 0 : nk_now_us() + (int64_t)timeout * 1000, NULL);
}

NK_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	if (!any_mine(fds, n))
		return REAL(ppoll)(fds, n, timeout, mask);
	return poll_mixed(fds, n, end_of(timeout), mask);
}

/* ---- select --------------------------------------------------------------------------------------------------------- */

#define WORD_BITS (8 * (int)sizeof(unsigned long))

static bool in_set(const fd_set *set, int fd)
{
	return set && (((const unsigned long *)(const void *)set)[fd / WORD_BITS] >> (fd % WORD_BITS) & 1);
}

static void set_bit(fd_set *set, int fd)
{
	((unsigned long *)(void *)set)[fd / WORD_BITS] |= 1ul << (fd % WORD_BITS);
}

static void clear(fd_set *set, int n)
{
	if (set)
		memset(set, 0, (size_t)((n + WORD_BITS - 1) / WORD_BITS) * sizeof(unsigned long));
}

static bool select_any_mine(int n, const fd_set *r, const fd_set *w, const fd_set *e)
{
	if (!nk_enabled() || n < 0)
		return false;
	for (int fd = 0; fd < n; fd++)
		if ((in_set(r, fd) || in_set(w, fd) || in_set(e, fd)) && mine(fd))
			return true;
	return false;
}

static int to_poll(int n, const fd_set *r, const fd_set *w, const fd_set *e, struct pollfd *out)
{
	int count = 0;

	for (int fd = 0; fd < n; fd++) {
		short events = 0;

		if (in_set(r, fd))
			events |= POLLIN | POLLRDNORM | POLLRDBAND;
		if (in_set(w, fd))
			events |= POLLOUT | POLLWRNORM | POLLWRBAND;
		if (in_set(e, fd))
			events |= POLLPRI;
		if (events)
			out[count++] = (struct pollfd){.fd = fd, .events = events};
	}
	return count;
}

/* What select counts as readable, writable, exceptional: as in the kernel's select.c. */
static int from_poll(const struct pollfd *fds, int count, fd_set *r, fd_set *w, fd_set *e)
{
	int bits = 0;

	for (int i = 0; i < count; i++) {
		short ev = fds[i].events, got = fds[i].revents;

		if ((ev & POLLIN) && (got & (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR))) {
			set_bit(r, fds[i].fd);
			bits++;
		}
		if ((ev & POLLOUT) && (got & (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR))) {
			set_bit(w, fds[i].fd);
			bits++;
		}
		if ((ev & POLLPRI) && (got & POLLPRI)) {
			set_bit(e, fds[i].fd);
			bits++;
		}
	}
	return bits;
}

static int select_mixed(int n, fd_set *r, fd_set *w, fd_set *e, int64_t end_us, const sigset_t *mask)
{
	struct pollfd *fds = n < 1024 ? alloca(((size_t)n + 1) * sizeof(*fds)) : malloc(((size_t)n + 1) * sizeof(*fds));
	int count, got, saved;

	if (!fds)
		return errno = ENOMEM, -1;
	count = to_poll(n, r, w, e, fds);
	got = poll_mixed(fds, (nfds_t)count, end_us, mask);
	for (int i = 0; i < count && got > 0; i++)
		if (fds[i].revents & POLLNVAL) {
			errno = EBADF;
			got = -1;
		}
	if (got >= 0) {
		clear(r, n);
		clear(w, n);
		clear(e, n);
		got = from_poll(fds, count, r, w, e);
	}
	saved = errno;
	if (n >= 1024)
		free(fds);
	errno = saved;
	return got;
}

NK_EXPORT int select(int n, fd_set *__restrict r, fd_set *__restrict w, fd_set *__restrict e,
		     struct timeval *__restrict timeout)
{
	int64_t end = -1, left;
	int got;

	if (!select_any_mine(n, r, w, e))
		return REAL(select)(n, r, w, e, timeout);
	if (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0))
		return errno = EINVAL, -1;
	if (timeout && timeout->tv_sec <= INT32_MAX)
		end = (int64_t)timeout->tv_sec * 1000000 + timeout->tv_usec;
	if (end > 0)
		end += nk_now_us();
	got = select_mixed(n, r, w, e, end, NULL);
	if (timeout && end >= 0) { /* Linux tells how much was left */
		left = end ? end - nk_now_us() : 0;
		if (left < 0)
			left = 0;
		*timeout = (struct timeval){left / 1000000, left % 1000000};
	}
	return got;
}

NK_EXPORT int pselect(int n, fd_set *__restrict r, fd_set *__restrict w, fd_set *__restrict e,
		      const struct timespec *__restrict timeout, const sigset_t *__restrict mask)
{
	if (!select_any_mine(n, r, w, e))
		return REAL(pselect)(n, r, w, e, timeout, mask);
	return select_mixed(n, r, w, e, end_of(timeout), mask);
}

/* ---- what _FORTIFY_SOURCE calls instead --------------------------------------------------------------------------------- */

void __chk_fail(void) __attribute__((noreturn));
NK_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
NK_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room);

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return poll(fds, n, timeout);
}

int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return ppoll(fds, n, timeout, mask);
}
