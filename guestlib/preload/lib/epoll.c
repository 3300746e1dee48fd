/* SPDX-License-Identifier: Apache-2.0 */
/* epoll_ctl and epoll_wait over sets that mix our sockets with the kernel's descriptors: see epoll_set.c. */
#include "epoll.h"

static int ctl_ours(struct nk_ep *ep, int op, int fd, struct nk_ref ref, const struct epoll_event *ev)
{
	struct nk_reg *reg;
	int err = 0;

	pthread_mutex_lock(&ep->lock);
	reg = nk_reg_find(ep, fd);
	if (op == EPOLL_CTL_ADD) {
		if (reg)
			err = EEXIST;
		else if (!nk_reg_add(ep, fd, ev, true))
			err = ENOMEM;
	} else if (!reg) {
		err = ENOENT;
	} else if (op == EPOLL_CTL_MOD) {
		if ((reg->events | ev->events) & EPOLLEXCLUSIVE)
			err = EINVAL;
		else
			nk_reg_set(reg, ev);
	} else if (op == EPOLL_CTL_DEL) {
		nk_reg_drop(ep, reg);
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
	struct nk_reg *reg;

	pthread_mutex_lock(&ep->lock);
	reg = nk_reg_find(ep, fd);
	if (op == EPOLL_CTL_DEL && reg)
		nk_reg_drop(ep, reg);
	else if (op == EPOLL_CTL_MOD && reg)
		nk_reg_set(reg, ev);
	else if (op == EPOLL_CTL_ADD && !reg)
		nk_reg_add(ep, fd, ev, false);
	pthread_mutex_unlock(&ep->lock);
}

NK_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct nk_ref ref = nk_ref_of(fd);
	struct nk_ep *ep;
	int err;

	if (!ref.s) {
		int got = REAL(epoll_ctl)(epfd, op, fd, ev);

		if (got == 0 && nk_fd_get(fd) == NK_FD_UNDECIDED && (ep = nk_ep_find_or_make(epfd)))
			note_undecided(ep, op, fd, ev);
		return got;
	}
	if (!ev && op != EPOLL_CTL_DEL)
		return errno = EFAULT, -1;
	ep = nk_ep_find_or_make(epfd);
	if (!ep)
		return errno = ENOMEM, -1;
	err = nk_ep_join(ep); /* says EBADF or EINVAL if epfd is no epoll set */
	if (err) {
		errno = -err;
		return -1;
	}
	return ctl_ours(ep, op, fd, ref, ev);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

/* Readiness that `reg` has to report now, 0 if none; `take` marks it reported. */
static uint32_t reg_ready(struct nk_reg *reg, bool take)
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
		struct nk_reg *reg = &ep->regs[(ep->start + k) % ep->n];
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
	struct nk_ep *ep = nk_ep_find(epfd);
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
		enum nk_ep_tag tag = nk_ep_tag_of(&events[i]);

		if (tag == NK_EP_OWNER)
			nk_check_owner();
		else if (tag == NK_EP_NOT_OURS)
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
		struct nk_ep *ep = nk_ep_find(epfd);
		int got, err;

		if (!ep || !nk_get(&ep->epoch)) {
			/* None of ours ever, until another thread joins the set to us and kicks. */
			got = kernel_wait(epfd, events, max, end_us ? ms_left(end_us) : 0, mask);
		} else {
			err = nk_ep_join(ep);
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
