/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the socket table from allocation to CLOSED: who owns id and rings at every moment. */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guestd.h"
#include "loop.h"

#define CREDITS_MAX 64u
#define FIN_WAIT_GRACE_US 1000000u /* a closed socket that sent all but waits for its peer's FIN */

void gd_table_init(struct gd *gd)
{
	struct nk_shm *shm = gd->shm;
	uint64_t rx = 1ull << shm->rx_log2, tx = 1ull << shm->tx_log2;

	for (uint32_t i = 0; i < shm->nsock; i++) {
		struct nk_sock *sock = &shm->socks[i];

		sock->gen = 1;
		sock->rx_ring = gd->layout.heap_offset + i * (rx + tx);
		sock->tx_ring = sock->rx_ring + rx;
		nk_shm_lock_init(&sock->rx_lock);
		nk_shm_lock_init(&sock->tx_lock);
		gd->priv[i].fd = -1;
		gd->free_ring[i] = i;
	}
	gd->free_count = shm->nsock;
}

/* A lock whose last owner died is made usable again; one that is held belongs to a thread not gone yet. */
static bool lock_is_idle(pthread_mutex_t *lock)
{
	int err = pthread_mutex_trylock(lock);

	if (err == EOWNERDEAD)
		err = pthread_mutex_consistent(lock);
	if (err)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}

uint32_t gd_sock_alloc(struct gd *gd)
{
	for (uint32_t tries = gd->free_count; tries; tries--) {
		uint32_t idx = gd->free_ring[gd->free_head];
		struct nk_sock *sock = &gd->shm->socks[idx];
		struct gd_sock *priv = &gd->priv[idx];

		gd->free_head = (gd->free_head + 1) % gd->shm->nsock;
		if (!lock_is_idle(&sock->rx_lock) || !lock_is_idle(&sock->tx_lock)) {
			gd->free_ring[(gd->free_head + gd->free_count - 1) % gd->shm->nsock] = idx;
			continue;
		}
		gd->free_count--;
		memset(priv, 0, sizeof(*priv));
		priv->fd = -1;
		priv->listener = priv->next = priv->acc_head = priv->acc_tail = NK_NONE;
		sock->closing = 0;
		sock->acc_ready = sock->backlog = 0;
		sock->nospace = sock->rx_owed = sock->tx_posted = sock->connect_told = 0;
		sock->local = sock->remote = (struct nk_endpoint){0, 0, 0};
		for (uint32_t w = 0; w < NK_PROC_WORDS; w++)
			nk_put(&sock->interest[w], 0);
		nk_conn_init(&sock->conn, 1u << gd->shm->rx_log2, 1u << gd->shm->tx_log2);
		return idx;
	}
	return NK_NONE;
}

void gd_sock_free(struct gd *gd, uint32_t idx)
{
	struct nk_sock *sock = &gd->shm->socks[idx];
	struct gd_sock *priv = &gd->priv[idx];

	if (nk_get(&sock->conn.state) == NK_CONN_CREDIT && priv->listener != NK_NONE &&
	    gd->shm->socks[priv->listener].gen == priv->listener_gen && gd->priv[priv->listener].credits)
		gd->priv[priv->listener].credits--;
	gd_port_release(gd, idx);
	if (priv->pend != GD_PEND_NONE) {
		priv->pend = GD_PEND_NONE;
		gd->pending--;
	}
	nk_put(&sock->ino, 0);
	nk_add(&sock->gen, 1);
	nk_put_rel(&sock->conn.state, NK_CONN_FREE);
	nk_sock_bump(sock);
	gd->free_ring[(gd->free_head + gd->free_count++) % gd->shm->nsock] = idx;
	gd->freed = true;
}

int gd_sock_attach(struct gd *gd, uint32_t idx, int *app_fd)
{
	struct epoll_event ev = {.events = 0, .data.u64 = GD_TAG(GD_TAG_SOCK, idx)}; /* EPOLLHUP comes unasked */
	struct stat st;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	/* A program that writes past the wrappers gets EPIPE instead of filling a buffer that nobody reads. */
	if (fstat(pair[1], &st) || shutdown(pair[0], SHUT_RD) || epoll_ctl(gd->ep, EPOLL_CTL_ADD, pair[0], &ev)) {
		int err = -errno;

		close(pair[0]);
		close(pair[1]);
		return err;
	}
	gd->priv[idx].fd = pair[0];
	nk_put_rel(&gd->shm->socks[idx].ino, st.st_ino);
	*app_fd = pair[1];
	return 0;
}

void gd_card_socket(struct gd *gd, uint32_t idx)
{
	struct nk_sock *sock = &gd->shm->socks[idx];

	nk_or(&sock->conn.flags, NK_CF_ON_CARD);
	gd_job_post(gd, NK_OP_SOCKET, idx, sock->tx_ring, sock->rx_ring,
		    nk_ring_sizes_pack((uint8_t)gd->shm->rx_log2, (uint8_t)gd->shm->tx_log2));
	gd_options_fresh(gd, idx);
}

static void drop_accept_queue(struct gd *gd, uint32_t listener)
{
	struct gd_sock *lp = &gd->priv[listener];

	while (lp->acc_head != NK_NONE) {
		uint32_t idx = lp->acc_head;

		lp->acc_head = gd->priv[idx].next;
		gd->priv[idx].queued = false;
		gd_sock_detach(gd, idx, true);
	}
	lp->acc_tail = NK_NONE;
	nk_put(&gd->shm->socks[listener].acc_ready, 0);
}

void gd_sock_detach(struct gd *gd, uint32_t idx, bool reset)
{
	struct nk_sock *sock = &gd->shm->socks[idx];
	struct gd_sock *priv = &gd->priv[idx];
	uint32_t state = nk_get(&sock->conn.state);
	bool unread = nk_conn_rx_avail(&sock->conn) != 0;
	unsigned int todo;

	if (priv->fd >= 0)
		close(priv->fd);
	priv->fd = -1;
	nk_put(&sock->ino, 0);
	priv->closing_since = gd_now_us();
	if (sock->opts.linger_on && sock->opts.linger_sec == 0)
		reset = true;
	drop_accept_queue(gd, idx);
	todo = nk_conn_release(&sock->conn, reset || unread);
	if (state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT || state == NK_CONN_NEW)
		gd_port_release(gd, idx);
	if (nk_get(&gd->shm->dead))
		todo = NK_DO_FREE;
	if (todo == NK_DO_CLOSE && (state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT)) {
		/* It has sent nothing that CLOSE could overtake, and its port may be listened on again at once. */
		gd_job_post(gd, NK_OP_CLOSE, idx, 0, 0, 0);
		return;
	}
	gd_act(gd, idx, todo);
}

/* -- operations that must not overtake the send queue ------------------------------------------ */

/*
 * Job and send queue are two queues. SHUTDOWN, CLOSE, ABORT and the end of a cork are posted only when the card has
 * fetched every send NQE that stood before them, so that no data is lost behind a FIN and no late
 * CREDIT or SEND meets the entry's next owner. `closing` under the lock stops later posts.
 */
static bool mark(struct gd *gd, uint32_t idx)
{
	struct nk_sq *sq = &gd->shm->sq;
	struct gd_sock *priv = &gd->priv[idx];
	int err = pthread_mutex_trylock(&sq->lock);

	if (err == EOWNERDEAD) {
		pthread_mutex_consistent(&sq->lock);
		err = 0;
	}
	if (err)
		return false;
	if (priv->pend >= GD_PEND_CLOSE)
		gd->shm->socks[idx].closing = 1;
	priv->pend_tail = sq->tail;
	priv->pend_marked = true;
	/* Its writer may have died between the index and the doorbell. */
	gd->dev.doorbell(&gd->dev, NK_DB_SEND_TAIL_OFS, sq->tail);
	pthread_mutex_unlock(&sq->lock);
	return true;
}

static bool try_pending(struct gd *gd, uint32_t idx)
{
	struct gd_sock *priv = &gd->priv[idx];
	uint8_t op;

	if (!priv->pend_marked && !mark(gd, idx))
		return false;
	if ((int32_t)(nk_get_acq(&gd->dev.status->send_head) - priv->pend_tail) < 0)
		return false;
	if (priv->pend == GD_PEND_UNCORK) {
		priv->pend = GD_PEND_NONE;
		gd->pending--;
		gd_options_post(gd, idx);
		return true;
	}
	op = priv->pend == GD_PEND_SHUTDOWN ? NK_OP_SHUTDOWN : priv->pend == GD_PEND_CLOSE ? NK_OP_CLOSE : NK_OP_ABORT;
	if (op == NK_OP_ABORT) {
		nk_or(&gd->shm->socks[idx].conn.flags, NK_CF_ABORTED);
		priv->abort_posted = 1;
	}
	priv->pend = GD_PEND_NONE;
	gd->pending--;
	gd_job_post(gd, op, idx, 0, 0, 0);
	return true;
}

void gd_order(struct gd *gd, uint32_t idx, enum gd_pending what)
{
	struct gd_sock *priv = &gd->priv[idx];

	if (nk_get(&gd->shm->dead) || priv->pend >= what || priv->abort_posted)
		return;
	if (priv->pend == GD_PEND_NONE)
		gd->pending++;
	priv->pend = what;
	priv->pend_marked = false;
	try_pending(gd, idx);
}

void gd_pending_run(struct gd *gd)
{
	for (uint32_t i = 0; gd->pending && i < gd->shm->nsock; i++)
		if (gd->priv[i].pend != GD_PEND_NONE)
			try_pending(gd, i);
}

/* -- accept credits ----------------------------------------------------------------------------- */

static uint32_t credit_target(const struct gd *gd, uint32_t listener)
{
	uint32_t target = gd->shm->socks[listener].backlog + 1; /* as Linux counts it */
	uint32_t share = gd->shm->nsock / 4 < 4 ? 4 : gd->shm->nsock / 4;

	if (target > CREDITS_MAX)
		target = CREDITS_MAX;
	return target < share ? target : share;
}

void gd_credits_fill(struct gd *gd, uint32_t listener)
{
	struct nk_sock *ls = &gd->shm->socks[listener];
	struct gd_sock *lp = &gd->priv[listener];
	uint32_t target = credit_target(gd, listener), reserve = gd->shm->nsock / 8, state = nk_get(&ls->conn.state);

	if ((state != NK_CONN_LISTENING && state != NK_CONN_LISTEN_WAIT) || nk_get(&gd->shm->dead))
		return;
	while (lp->credits + nk_get(&ls->acc_ready) < target) {
		/* Active opens keep a few ids, but a listener always has at least one. */
		uint32_t idx = gd->free_count > reserve || lp->credits == 0 ? gd_sock_alloc(gd) : NK_NONE;

		if (idx == NK_NONE) {
			if (lp->credits == 0)
				gd_recycle(gd, 1);
			return;
		}
		gd->priv[idx].listener = listener;
		gd->priv[idx].listener_gen = ls->gen;
		gd->shm->socks[idx].opts = ls->opts;
		gd->shm->socks[idx].family = ls->family;
		nk_put(&gd->shm->socks[idx].conn.state, NK_CONN_CREDIT);
		gd_card_socket(gd, idx);
		gd_options_post(gd, idx);
		gd_job_post(gd, NK_OP_ACCEPT, listener, idx, 0, 0);
		lp->credits++;
	}
}

/* LISTEN and the first credits are one batch: a SYN does not find a listener without credits. */
void gd_listen(struct gd *gd, uint32_t idx)
{
	struct nk_sock *sock = &gd->shm->socks[idx];

	nk_put_rel(&sock->conn.state, NK_CONN_LISTEN_WAIT);
	gd_card_socket(gd, idx);
	gd_job_post(gd, NK_OP_LISTEN, idx, nk_addr_pack(0, 0, sock->local.port), 0, 0);
	gd_credits_fill(gd, idx);
}

void gd_credits_fill_all(struct gd *gd)
{
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		if (nk_get(&gd->shm->socks[i].conn.state) == NK_CONN_LISTENING)
			gd_credits_fill(gd, i);
}

/* -- when ids run short -------------------------------------------------------------------------- */

static bool may_go(const struct gd *gd, uint32_t idx, uint64_t now)
{
	const struct gd_sock *priv = &gd->priv[idx];
	const struct nk_sock *sock = &gd->shm->socks[idx];

	if (priv->flow_state == NK_FS_TIME_WAIT || nk_conn_is_spent(&sock->conn))
		return true;
	return (priv->flow_state == NK_FS_FIN_WAIT2 || nk_get(&sock->conn.tx_head) == nk_get(&sock->conn.tx_tail)) &&
	       now - priv->closing_since > FIN_WAIT_GRACE_US;
}

/* End the oldest closed sockets early, so that about `want` entries become free; ask for the state of the rest. */
void gd_recycle(struct gd *gd, uint32_t want)
{
	uint64_t now = gd_now_us();
	uint32_t on_way = 0;

	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		on_way += nk_get(&gd->shm->socks[i].conn.state) == NK_CONN_CLOSING &&
			  (gd->priv[i].abort_posted || gd->priv[i].pend == GD_PEND_ABORT);
	while (on_way < want) {
		uint32_t oldest = NK_NONE;

		for (uint32_t i = 0; i < gd->shm->nsock; i++) {
			struct gd_sock *priv = &gd->priv[i];

			if (nk_get(&gd->shm->socks[i].conn.state) != NK_CONN_CLOSING || priv->abort_posted ||
			    priv->pend != GD_PEND_NONE)
				continue;
			if (!may_go(gd, i, now)) {
				if (!priv->info_posted && (nk_get(&gd->shm->socks[i].conn.flags) & NK_CF_ON_CARD)) {
					priv->info_posted = true;
					gd_job_post(gd, NK_OP_INFO, i, 0, 0, 0);
				}
				continue;
			}
			if (oldest == NK_NONE || priv->closing_since < gd->priv[oldest].closing_since)
				oldest = i;
		}
		if (oldest == NK_NONE)
			return;
		gd->count.recycled++;
		gd_order(gd, oldest, GD_PEND_ABORT);
		on_way++;
	}
}

/* Sockets that still have something to bring to their peer; while draining, asks the card for their state. */
uint32_t gd_busy_sockets(const struct gd *gd)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; i < gd->shm->nsock; i++) {
		const struct gd_sock *priv = &gd->priv[i];

		if (nk_get(&gd->shm->socks[i].conn.state) != NK_CONN_CLOSING)
			continue;
		if (priv->flow_state == NK_FS_TIME_WAIT || (priv->flow_state == NK_FS_FIN_WAIT2 && !priv->abort_posted))
			continue;
		busy++;
	}
	return busy;
}

uint32_t gd_held_sockets(const struct gd *gd)
{
	uint32_t held = 0;

	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		held += gd->priv[i].fd >= 0;
	return held;
}
