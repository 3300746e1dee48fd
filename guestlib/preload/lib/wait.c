/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeping without losing a wake-up, and the readiness that poll, select and epoll report. */
#include "lib.h"
#include "../options.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int64_t nk_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/*
 * The caller read `seq`, then found that it must wait. guestd changes the state, then seq, then looks
 * at `waiters`: it either sees us there, or we find seq changed. A futex without a time limit is
 * restarted by the kernel after a SA_RESTART handler, one with a limit ends in EINTR: just what the
 * kernel's own sockets do with and without SO_RCVTIMEO.
 */
int nk_wait(struct nk_sock *s, uint32_t seq, int64_t deadline_us)
{
	struct timespec ts, *limit = NULL;
	int type, err = 0;

	if (deadline_us) {
		int64_t left = deadline_us - nk_now_us();

		if (left <= 0)
			return -EAGAIN;
		ts.tv_sec = left / 1000000;
		ts.tv_nsec = left % 1000000 * 1000;
		limit = &ts;
	}
	nk_add(&s->waiters, 1);
	/* As in libc's blocking calls, pthread_cancel may end the wait; no lock is held here. */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	if (!nk_dead() && syscall(SYS_futex, &s->seq, FUTEX_WAIT, seq, limit, NULL, 0))
		err = errno;
	pthread_setcanceltype(type, NULL);
	nk_sub(&s->waiters, 1);
	if (err == EINTR)
		return -EINTR;
	return err == ETIMEDOUT ? -EAGAIN : 0;
}

void nk_interest(struct nk_sock *s)
{
	uint64_t bit = 1ull << (nk.proc % 64);

	if (!(nk_get(&s->interest[nk.proc / 64]) & bit))
		nk_or(&s->interest[nk.proc / 64], bit);
}

void nk_sleep_begin(void)
{
	nk_add(&nk.shm->procs[nk.proc].sleepers, 1);
	nk_fence();
}

void nk_sleep_end(void)
{
	nk_sub(&nk.shm->procs[nk.proc].sleepers, 1);
}

void nk_kick(void)
{
	const uint64_t one = 1;

	nk_fence();
	if (nk.wake >= 0)
		(void)!REAL(write)(nk.wake, &one, sizeof(one));
}

static uint32_t mask_output(struct nk_sock *s, uint32_t flags, uint32_t wanted)
{
	uint32_t third = s->conn.tx_size / 3;

	if (flags & NK_CF_WR_SHUT)
		return EPOLLOUT | EPOLLWRNORM;
	if (nk_conn_tx_room(&s->conn) < third) {
		if (!(wanted & (EPOLLOUT | EPOLLWRNORM)))
			return 0;
		nk_put(&s->nospace, 1);
		nk_fence();
		if (nk_conn_tx_room(&s->conn) < third)
			return 0;
	}
	return EPOLLOUT | EPOLLWRNORM;
}

static uint32_t mask_connected(struct nk_sock *s, uint32_t state, uint32_t flags, uint32_t wanted)
{
	bool dead = state == NK_CONN_DEAD;
	bool rd_shut = dead || (flags & (NK_CF_RX_EOF | NK_CF_RD_SHUT));
	uint32_t avail = nk_conn_rx_avail(&s->conn), mask = 0;
	uint32_t low = (uint32_t)s->opts.value[NK_SO_RCVLOWAT];

	/* No more than the ring can ever hold, or nobody would be woken. */
	if (low < 1 || low > s->conn.rx_size / 2)
		low = low < 1 ? 1 : s->conn.rx_size / 2;
	if (rd_shut)
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (avail >= low)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (dead || (rd_shut && (flags & NK_CF_WR_SHUT)))
		mask |= EPOLLHUP;
	if (dead)
		mask |= EPOLLOUT | EPOLLWRNORM;
	else
		mask |= mask_output(s, flags, wanted);
	if (nk_get(&s->conn.err))
		mask |= EPOLLERR;
	return mask;
}

/* What tcp_poll in the kernel reports, from our state. */
uint32_t nk_poll_mask(struct nk_ref ref, uint32_t wanted)
{
	struct nk_sock *s = ref.s;
	uint32_t state = nk_get_acq(&s->conn.state), flags = nk_get(&s->conn.flags);

	if (nk_dead())
		return EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
	switch (state) {
	case NK_CONN_LISTEN_WAIT:
	case NK_CONN_CONNECTING:
		return 0;
	case NK_CONN_LISTENING:
		return nk_get(&s->acc_ready) ? EPOLLIN | EPOLLRDNORM : 0;
	case NK_CONN_ESTABLISHED:
	case NK_CONN_DEAD:
		return mask_connected(s, state, flags, wanted);
	default: /* TCP_CLOSE */
		return EPOLLHUP | EPOLLOUT | EPOLLWRNORM;
	}
}
