/* SPDX-License-Identifier: Apache-2.0 */
/* What the card says, applied to the socket table, and everybody woken whom it concerns. */
#include <stdio.h>
#include <unistd.h>

#include "guestd.h"

static void wake_pollers(struct gd *gd, struct nk_sock *sock)
{
	const uint64_t one = 1;

	for (uint32_t word = 0; word < NK_PROC_WORDS; word++) {
		uint64_t bits = nk_get(&sock->interest[word]);

		while (bits) {
			uint32_t proc = word * 64 + (uint32_t)__builtin_ctzll(bits);

			bits &= bits - 1;
			if (nk_get(&gd->shm->procs[proc].sleepers) && gd->clients[proc].wake >= 0)
				(void)!write(gd->clients[proc].wake, &one, sizeof(one));
		}
	}
}

void gd_notify(struct gd *gd, uint32_t idx, unsigned int wake)
{
	struct nk_sock *sock = &gd->shm->socks[idx];

	if (wake & NK_DO_WAKE_IN)
		nk_add(&sock->in_seq, 1);
	if (wake & NK_DO_WAKE_OUT)
		nk_add(&sock->out_seq, 1);
	/* The new state is visible before we look who sleeps; a sleeper does it the other way round. */
	nk_sock_bump(sock);
	nk_fence();
	wake_pollers(gd, sock);
}

/* The first connection may be here before the answer to LISTEN: they come by different rings. */
static bool accepts(const struct nk_sock *listener)
{
	uint32_t state = nk_get(&listener->conn.state);

	return state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT;
}

static void enqueue_accepted(struct gd *gd, uint32_t idx, const struct nk_nqe *nqe)
{
	struct nk_sock *sock = &gd->shm->socks[idx];
	struct gd_sock *priv = &gd->priv[idx];
	uint32_t listener = priv->listener;
	struct nk_sock *ls;
	struct gd_sock *lp;

	if (nqe->size != listener)
		gd->count.violations++;
	if (nqe->size != listener || gd->shm->socks[listener].gen != priv->listener_gen ||
	    !accepts(&gd->shm->socks[listener])) {
		gd_sock_detach(gd, idx, true);
		return;
	}
	ls = &gd->shm->socks[listener];
	lp = &gd->priv[listener];
	sock->remote = (struct nk_endpoint){nk_addr_remote_ip(nqe->op_data), nk_addr_remote_port(nqe->op_data), 0};
	sock->local = (struct nk_endpoint){gd->shm->ip, ls->local.port, 0};
	/* As in Linux, a connection takes its listener's options when it is established. */
	sock->opts = ls->opts;
	gd_options_post(gd, idx);
	gd_port_bind(gd, idx, 0);
	priv->next = NK_NONE;
	priv->queued = true;
	if (lp->acc_head == NK_NONE)
		lp->acc_head = idx;
	else
		gd->priv[lp->acc_tail].next = idx;
	lp->acc_tail = idx;
	if (lp->credits)
		lp->credits--;
	gd->count.accepted++;
	nk_add(&ls->acc_ready, 1);
	gd_notify(gd, listener, NK_DO_WAKE_IN);
	gd_credits_fill(gd, listener);
}

/* Room in the TX ring interests only those who ran out of it, and only once it is worth a wake-up. */
static unsigned int filter_sent(struct nk_sock *sock, unsigned int todo)
{
	nk_fence();
	if (!nk_get(&sock->nospace) || nk_conn_tx_room(&sock->conn) < sock->conn.tx_size / 3)
		return todo & ~NK_DO_WAKE_OUT;
	nk_put(&sock->nospace, 0);
	return todo;
}

void gd_act(struct gd *gd, uint32_t idx, unsigned int todo)
{
	if (todo & NK_DO_VIOLATION)
		gd->count.violations++;
	if (todo & (NK_DO_WAKE_IN | NK_DO_WAKE_OUT))
		gd_notify(gd, idx, todo);
	if (todo & NK_DO_FREE) {
		gd_sock_free(gd, idx);
		return;
	}
	if (todo & NK_DO_ABORT)
		gd_order(gd, idx, GD_PEND_ABORT);
	else if (todo & NK_DO_CLOSE)
		gd_order(gd, idx, GD_PEND_CLOSE);
	if (todo & NK_DO_LISTENING)
		gd_credits_fill(gd, idx);
}

void gd_on_event(struct gd *gd, const struct nk_nqe *nqe)
{
	uint32_t idx = nqe->socket;
	struct nk_sock *sock;
	unsigned int todo;

	if (idx >= gd->shm->nsock) {
		gd->count.violations++;
		return;
	}
	sock = &gd->shm->socks[idx];
	if (nk_get(&sock->conn.state) == NK_CONN_FREE) {
		gd->count.violations++;
		return;
	}
	todo = nk_conn_event(&sock->conn, nqe);
	if (nqe->op == NK_OP_CONNECTED && (todo & NK_DO_WAKE_OUT))
		gd->count.connected++;
	if (nqe->op == NK_OP_SENT) {
		todo = filter_sent(sock, todo);
		if (nk_get(&sock->conn.state) == NK_CONN_CLOSING && nk_get(&sock->conn.tx_head) == nk_get(&sock->conn.tx_tail))
			nk_sock_bump(sock); /* a close() that lingers */
	}
	if (todo & NK_DO_ACCEPTED)
		enqueue_accepted(gd, idx, nqe);
	else
		gd_act(gd, idx, todo);
}

/* A credit's listener did not come about, or is gone: the credit has a socket on the card all the same. */
static void credit_refused(struct gd *gd, const struct gd_job *job, uint8_t status)
{
	uint32_t credit = (uint32_t)job->op_data;
	struct gd_sock *priv = &gd->priv[credit];

	if (nk_get(&gd->shm->socks[credit].conn.state) != NK_CONN_CREDIT || priv->listener != job->idx ||
	    priv->listener_gen != job->gen)
		return;
	if (gd->shm->socks[job->idx].gen == job->gen && gd->priv[job->idx].credits)
		gd->priv[job->idx].credits--;
	gd_act(gd, credit, nk_conn_complete(&gd->shm->socks[credit].conn, NK_OP_ACCEPT, status));
}

void gd_on_completion(struct gd *gd, const struct gd_job *job, const struct nk_nqe *nqe)
{
	struct nk_sock *sock = &gd->shm->socks[job->idx];
	uint8_t status = nk_cookie_status(nqe->cookie);
	bool live = sock->gen == job->gen && nk_get(&sock->conn.state) != NK_CONN_FREE;

	if (job->op == NK_OP_SETOPT)
		gd_rpc_job_done(gd, job, nqe);
	if (job->op == NK_OP_INFO) {
		gd_rpc_job_done(gd, job, nqe);
		if (live) {
			gd->priv[job->idx].info_posted = false;
			if (status == NK_ST_OK)
				gd->priv[job->idx].flow_state = (uint8_t)(nqe->size >> 16 & 0xf);
		}
		return;
	}
	if (status != NK_ST_OK)
		gd->count.socket_errors++;
	if (job->op == NK_OP_ACCEPT) {
		if (status != NK_ST_OK)
			credit_refused(gd, job, status);
		return;
	}
	if (!live)
		return; /* the entry has another owner by now */
	if (gd->verbose && status != NK_ST_OK)
		fprintf(stderr, "nk-guestd: socket %u: op 0x%02x answered with status %u\n", job->idx, job->op, status);
	gd_act(gd, job->idx, nk_conn_complete(&sock->conn, job->op, status));
}

void gd_on_send_refused(struct gd *gd, const struct nk_nqe *nqe)
{
	struct nk_sock *sock;

	gd->count.socket_errors++;
	if (nqe->socket >= gd->shm->nsock) {
		gd->count.violations++;
		return;
	}
	sock = &gd->shm->socks[nqe->socket];
	/* The poster's generation travels in the cookie: a late answer must not hit the entry's next owner. */
	if (nk_cookie_value(nqe->cookie) != (sock->gen & 0xffffffu))
		return;
	gd_act(gd, nqe->socket, nk_conn_send_refused(&sock->conn, nk_cookie_status(nqe->cookie)));
}

void gd_device_dead(struct gd *gd, int err, const char *why)
{
	const uint64_t one = 1;

	if (nk_get(&gd->shm->dead))
		return;
	fprintf(stderr, "nk-guestd: the NetKernel device is gone (%s); every socket on it now fails with an error\n", why);
	nk_put_rel(&gd->shm->dead, (uint32_t)err);
	nk_fence();
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		gd_notify(gd, i, NK_DO_WAKE_IN | NK_DO_WAKE_OUT);
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++)
		if (gd->clients[i].fd >= 0 && gd->clients[i].wake >= 0)
			(void)!write(gd->clients[i].wake, &one, sizeof(one));
	gd_rpc_retry(gd);
}
