/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop of the process that owns the rings, and the end of its life. */
#include "loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guestd.h"

#define EVENTS 64
#define DRAIN_US 5000000u

uint64_t gd_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static int watch(struct gd *gd, int fd, enum gd_tag tag, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = GD_TAG(tag, 0)};

	return fd < 0 ? 0 : epoll_ctl(gd->ep, EPOLL_CTL_ADD, fd, &ev);
}

/* CoreEngine says nothing on a lease but its end. */
static void on_lease(struct gd *gd)
{
	char junk[256];
	ssize_t n = recv(gd->lease_fd, junk, sizeof(junk), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (n < 0 && errno == ENOTSOCK && read(gd->lease_fd, junk, sizeof(junk)) > 0)
		return;
	epoll_ctl(gd->ep, EPOLL_CTL_DEL, gd->lease_fd, NULL);
	gd_device_dead(gd, ENETDOWN, "CoreEngine or the card's twin ended the lease");
}

/* 'D': the program has exited. 'Q', or the supervisor's death: leave now. */
static bool on_boss(struct gd *gd)
{
	char c;
	ssize_t n = recv(gd->boss_fd, &c, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n == 1 && c == 'D') {
		gd->program_gone = true;
		return true;
	}
	if (n == 0)
		gd_device_dead(gd, ENETDOWN, "nk-guestd was killed");
	return false;
}

static bool on_ready(struct gd *gd, const struct epoll_event *ev)
{
	uint32_t n = (uint32_t)ev->data.u64;
	uint64_t count;

	switch ((enum gd_tag)(ev->data.u64 >> 32)) {
	case GD_TAG_IRQ:
		(void)!read(gd->irq_fd, &count, sizeof(count));
		break;
	case GD_TAG_CLIENT:
		if (ev->events & EPOLLIN)
			gd_rpc_serve(gd, n);
		else if (gd->clients[n].fd >= 0)
			gd_client_gone(gd, n);
		break;
	case GD_TAG_SOCK:
		if (gd->priv[n].fd >= 0 && (ev->events & EPOLLHUP))
			gd_sock_detach(gd, n, false);
		break;
	case GD_TAG_LISTEN:
		gd_rpc_accept_client(gd);
		break;
	case GD_TAG_LEASE:
		on_lease(gd);
		break;
	case GD_TAG_BOSS:
		return on_boss(gd);
	}
	return true;
}

/* While draining, ask the card how far the last closes have come. */
static void ask_states(struct gd *gd)
{
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		if (nk_get(&gd->shm->socks[i].conn.state) == NK_CONN_CLOSING && !gd->priv[i].info_posted &&
		    gd->priv[i].flow_state != NK_FS_TIME_WAIT && gd->priv[i].pend == GD_PEND_NONE) {
			gd->priv[i].info_posted = true;
			gd_job_post(gd, NK_OP_INFO, i, 0, 0, 0);
		}
}

static int timeout_ms(const struct gd *gd)
{
	if (gd->pending)
		return 1;
	if (gd->draining)
		return 5;
	return gd_rpc_waiting(gd) ? 10 : -1;
}

int gd_loop(struct gd *gd)
{
	struct epoll_event events[EVENTS];
	uint64_t drain_end = 0;
	bool stay = true;

	if (watch(gd, gd->listen_fd, GD_TAG_LISTEN, EPOLLIN) || watch(gd, gd->irq_fd, GD_TAG_IRQ, EPOLLIN) ||
	    watch(gd, gd->lease_fd, GD_TAG_LEASE, EPOLLIN | EPOLLRDHUP) ||
	    watch(gd, gd->boss_fd, GD_TAG_BOSS, EPOLLIN | EPOLLRDHUP))
		return -1;
	while (stay) {
		int n;

		if (!nk_get(&gd->shm->dead))
			gd_dev_poll(gd);
		n = epoll_wait(gd->ep, events, EVENTS, timeout_ms(gd));
		for (int i = 0; i < n && stay; i++)
			stay = on_ready(gd, &events[i]);
		if (nk_get(&gd->shm->dead)) {
			gd->pending = 0;
			if (gd->program_gone)
				break;
		}
		gd_pending_run(gd);
		if (gd->freed) {
			gd->freed = false;
			gd_credits_fill_all(gd);
		}
		gd_rpc_retry(gd);
		if (gd->program_gone && gd_held_sockets(gd) == 0) {
			if (!gd->draining)
				drain_end = gd_now_us() + DRAIN_US;
			gd->draining = true;
			if (gd_busy_sockets(gd) == 0 || gd_now_us() > drain_end)
				break;
			ask_states(gd);
		} else {
			gd->draining = false;
		}
	}
	return 0;
}

void gd_stats_write(const struct gd *gd, FILE *out)
{
	uint32_t states[NK_CONN_CLOSING + 1] = {0};

	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		if (nk_get(&gd->shm->socks[i].conn.state) <= NK_CONN_CLOSING)
			states[nk_get(&gd->shm->socks[i].conn.state)]++;
	fprintf(out,
		"{\"sockets\": %u, \"free\": %u, \"closing\": %u, \"held\": %u, \"events\": %" PRIu64
		", \"completions\": %" PRIu64 ", \"violations\": %" PRIu64 ", \"errors\": %" PRIu64
		", \"recycled\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"connected\": %" PRIu64
		", \"sends\": %" PRIu64 ", \"send_full\": %" PRIu64 "}\n",
		gd->shm->nsock, states[NK_CONN_FREE], states[NK_CONN_CLOSING], gd_held_sockets(gd),
		gd->count.nqe_events, gd->count.completions, gd->count.violations, gd->count.socket_errors,
		gd->count.recycled, gd->count.accepted, gd->count.connected, gd->shm->sq.nqes, gd->shm->sq.full);
}
