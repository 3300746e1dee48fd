/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the tenant's processes: see proto.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guestd.h"
#include "loop.h"

#define WAIT_FOR_ID_US 2000000u
#define RETRY_LATER 1 /* not an errno: the request stays with its client */

/* Never blocks: a client that does not read its replies is cut off. */
static void reply(struct gd *gd, uint32_t client, struct nk_reply *rep, const int *fds, int nfds)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {rep, sizeof(*rep)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, (size_t)nfds * sizeof(int));
	}
	rep->seq = gd->clients[client].req.seq;
	if (sendmsg(gd->clients[client].fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		gd_client_gone(gd, client);
}

static int do_hello(struct gd *gd, uint32_t client, struct nk_reply *rep)
{
	struct gd_client *c = &gd->clients[client];
	unsigned char diff = 0;

	for (int i = 0; i < NK_TOKEN_LEN; i++)
		diff |= (unsigned char)(c->req.data.token[i] ^ gd->token[i]);
	if (diff)
		return -EPERM;
	if (c->wake < 0)
		c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0)
		return -errno;
	c->greeted = true;
	nk_put(&gd->shm->procs[client].pid, (uint32_t)c->pid);
	nk_put(&gd->shm->procs[client].sleepers, 0);
	rep->idx = client;
	return 0;
}

static uint32_t alloc_or_recycle(struct gd *gd)
{
	uint32_t idx = gd_sock_alloc(gd);

	if (gd->free_count < gd->shm->nsock / 8)
		gd_recycle(gd, gd->shm->nsock / 8 - gd->free_count);
	if (idx == NK_NONE)
		gd_recycle(gd, 1);
	return idx;
}

static int do_new(struct gd *gd, const struct nk_request *req, struct nk_reply *rep, int *fd)
{
	uint32_t idx = alloc_or_recycle(gd);
	int err;

	if (idx == NK_NONE)
		return RETRY_LATER;
	gd->shm->socks[idx].opts = req->data.opts;
	gd->shm->socks[idx].family = (uint32_t)req->arg;
	err = gd_sock_attach(gd, idx, fd);
	if (err) {
		gd_sock_free(gd, idx);
		return err;
	}
	rep->idx = idx;
	rep->gen = gd->shm->socks[idx].gen;
	return 0;
}

static int do_bind(struct gd *gd, const struct nk_request *req, struct nk_reply *rep)
{
	struct nk_sock *sock = &gd->shm->socks[req->idx];
	int err;

	if (nk_get(&sock->conn.state) != NK_CONN_NEW || gd->priv[req->idx].bound)
		return -EINVAL;
	err = gd_port_bind(gd, req->idx, (uint16_t)req->arg);
	if (err)
		return err;
	sock->local.ip = (uint32_t)(req->arg >> 32);
	gd->priv[req->idx].bound = true;
	rep->arg[0] = sock->local.port;
	return 0;
}

static int do_listen(struct gd *gd, const struct nk_request *req)
{
	struct nk_sock *sock = &gd->shm->socks[req->idx];
	uint32_t state = nk_get(&sock->conn.state);
	int err;

	sock->backlog = (uint32_t)req->arg;
	if (state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT) {
		gd_credits_fill(gd, req->idx);
		return 0;
	}
	if (state != NK_CONN_NEW)
		return -EINVAL;
	err = gd->priv[req->idx].port_held ? gd_port_may_listen(gd, req->idx) : gd_port_ephemeral(gd, req->idx);
	if (err)
		return err;
	gd_listen(gd, req->idx);
	return 0;
}

/* A socket whose connection failed tries again: a new entry takes its place behind the same descriptor. */
static int take_over(struct gd *gd, uint32_t old, uint32_t *out)
{
	struct nk_sock *from = &gd->shm->socks[old], *to;
	uint32_t idx = alloc_or_recycle(gd);
	struct epoll_event ev = {.events = 0, .data.u64 = GD_TAG(GD_TAG_SOCK, idx)};

	if (idx == NK_NONE)
		return RETRY_LATER;
	to = &gd->shm->socks[idx];
	to->opts = from->opts;
	to->family = from->family;
	for (uint32_t w = 0; w < NK_PROC_WORDS; w++)
		nk_put(&to->interest[w], nk_get(&from->interest[w]));
	gd->priv[idx].fd = gd->priv[old].fd;
	gd->priv[old].fd = -1;
	nk_put(&to->ino, nk_swap(&from->ino, 0));
	nk_add(&from->gen, 1);
	epoll_ctl(gd->ep, EPOLL_CTL_MOD, gd->priv[idx].fd, &ev);
	if (gd->priv[old].bound) {
		to->local = from->local;
		gd->priv[idx].bound = gd->priv[idx].port_held = true;
	}
	gd_sock_detach(gd, old, false);
	*out = idx;
	return 0;
}

static int do_connect(struct gd *gd, const struct nk_request *req, struct nk_reply *rep)
{
	uint32_t idx = req->idx;
	struct nk_sock *sock = &gd->shm->socks[idx];
	int err;

	if (nk_get(&sock->conn.state) == NK_CONN_DEAD) {
		err = take_over(gd, req->idx, &idx);
		if (err)
			return err;
		sock = &gd->shm->socks[idx];
	}
	if (nk_get(&sock->conn.state) != NK_CONN_NEW)
		return -EISCONN;
	err = gd->priv[idx].port_held ? 0 : gd_port_ephemeral(gd, idx);
	if (err)
		return err;
	sock->local.ip = gd->shm->ip;
	sock->remote = (struct nk_endpoint){(uint32_t)(req->arg >> 32), (uint16_t)req->arg, 0};
	nk_put_rel(&sock->conn.state, NK_CONN_CONNECTING);
	gd_card_socket(gd, idx);
	gd_options_post(gd, idx);
	gd_job_post(gd, NK_OP_CONNECT, idx, nk_addr_pack(sock->remote.ip, sock->remote.port, sock->local.port), 0, 0);
	rep->idx = idx;
	rep->gen = sock->gen;
	return 0;
}

static int do_accept(struct gd *gd, const struct nk_request *req, struct nk_reply *rep, int *fd)
{
	struct nk_sock *ls = &gd->shm->socks[req->idx];
	struct gd_sock *lp = &gd->priv[req->idx];
	uint32_t idx = lp->acc_head;
	int err;

	if (nk_get(&ls->conn.state) != NK_CONN_LISTENING)
		return -EINVAL;
	if (idx == NK_NONE)
		return -EAGAIN;
	err = gd_sock_attach(gd, idx, fd);
	if (err)
		return err;
	lp->acc_head = gd->priv[idx].next;
	if (lp->acc_head == NK_NONE)
		lp->acc_tail = NK_NONE;
	gd->priv[idx].queued = false;
	gd->priv[idx].listener = NK_NONE;
	nk_sub(&ls->acc_ready, 1);
	gd_credits_fill(gd, req->idx);
	rep->idx = idx;
	rep->gen = gd->shm->socks[idx].gen;
	return 0;
}

static int do_shutdown(struct gd *gd, const struct nk_request *req)
{
	struct nk_sock *sock = &gd->shm->socks[req->idx];
	uint32_t state = nk_get(&sock->conn.state), flags = 0;

	if (req->arg > SHUT_RDWR)
		return -EINVAL;
	if (state == NK_CONN_LISTENING && req->arg != SHUT_WR) {
		/* The fd lives on, the listener does not: accept now answers EINVAL, as Linux has it. */
		while (gd->priv[req->idx].acc_head != NK_NONE) {
			uint32_t child = gd->priv[req->idx].acc_head;

			gd->priv[req->idx].acc_head = gd->priv[child].next;
			gd_sock_detach(gd, child, true);
		}
		nk_put(&sock->acc_ready, 0);
		gd_port_release(gd, req->idx);
		nk_conn_kill(&sock->conn, 0);
		gd_order(gd, req->idx, GD_PEND_CLOSE);
		gd_notify(gd, req->idx, NK_DO_WAKE_IN | NK_DO_WAKE_OUT);
		return 0;
	}
	if (state != NK_CONN_ESTABLISHED)
		return -ENOTCONN;
	if (req->arg != SHUT_WR)
		flags |= NK_CF_RD_SHUT;
	if (req->arg != SHUT_RD)
		flags |= NK_CF_WR_SHUT;
	flags = nk_or(&sock->conn.flags, flags);
	if (req->arg != SHUT_RD && !(flags & NK_CF_WR_SHUT))
		gd_order(gd, req->idx, GD_PEND_SHUTDOWN);
	gd_notify(gd, req->idx, NK_DO_WAKE_IN | NK_DO_WAKE_OUT);
	return 0;
}

static int do_info(struct gd *gd, uint32_t client)
{
	const struct nk_request *req = &gd->clients[client].req;

	if (!(nk_get(&gd->shm->socks[req->idx].conn.flags) & NK_CF_ON_CARD))
		return -ENOTCONN;
	gd_job_post(gd, NK_OP_INFO, req->idx, 0, 0, 0);
	gd->clients[client].for_card = true;
	return RETRY_LATER;
}

static int do_option(struct gd *gd, uint32_t client)
{
	const struct nk_request *req = &gd->clients[client].req;
	enum gd_told told = gd_option_changed(gd, req->idx, req->arg);

	gd->clients[client].for_card = told == GD_TOLD_WAIT;
	return told == GD_TOLD ? 0 : RETRY_LATER;
}

/*
 * close() of a socket that lingers: 1 if that was its last descriptor, so that there is something to
 * wait for. What the program closed before it asked us is closed, though its event may not be here yet.
 */
static int do_linger(struct gd *gd, const struct nk_request *req, struct nk_reply *rep)
{
	struct pollfd p = {.fd = gd->priv[req->idx].fd};

	if (p.fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
		gd_sock_detach(gd, req->idx, false);
	rep->arg[0] = gd->priv[req->idx].fd < 0;
	return 0;
}

static int dispatch(struct gd *gd, uint32_t client, struct nk_reply *rep, int *fds, int *nfds)
{
	const struct nk_request *req = &gd->clients[client].req;
	int err = -EINVAL;

	if (req->op == NK_REQ_HELLO) {
		err = do_hello(gd, client, rep);
		fds[0] = gd->shm_fd;
		fds[1] = gd->region_fd;
		fds[2] = gd->bar_fd;
		fds[3] = gd->clients[client].wake;
		*nfds = err ? 0 : 4;
		return err;
	}
	if (!gd->clients[client].greeted)
		return -EPERM;
	if (nk_get(&gd->shm->dead))
		return -(int)nk_get(&gd->shm->dead);
	if (req->op == NK_REQ_NEW) {
		err = do_new(gd, req, rep, fds);
		*nfds = err == 0;
		return err;
	}
	if (req->idx >= gd->shm->nsock || gd->shm->socks[req->idx].gen != req->gen)
		return -EBADF;
	switch (req->op) {
	case NK_REQ_BIND:
		return do_bind(gd, req, rep);
	case NK_REQ_LISTEN:
		return do_listen(gd, req);
	case NK_REQ_CONNECT:
		return do_connect(gd, req, rep);
	case NK_REQ_ACCEPT:
		err = do_accept(gd, req, rep, fds);
		*nfds = err == 0;
		return err;
	case NK_REQ_SHUTDOWN:
		return do_shutdown(gd, req);
	case NK_REQ_INFO:
		return do_info(gd, client);
	case NK_REQ_OPTION:
		return do_option(gd, client);
	case NK_REQ_LINGER:
		return do_linger(gd, req, rep);
	default:
		return err;
	}
}

static bool answers(const struct gd_job *job, const struct nk_request *req)
{
	if (job->idx != req->idx || job->gen != req->gen)
		return false;
	if (job->op == NK_OP_SETOPT) /* the cork is what is waited for, not the end of the one before */
		return req->op == NK_REQ_OPTION && job->op_data == (NK_OPT_CORK | 1ull << 32);
	return job->op == NK_OP_INFO && req->op == NK_REQ_INFO;
}

static void run_request(struct gd *gd, uint32_t client)
{
	struct gd_client *c = &gd->clients[client];
	struct nk_reply rep = {0};
	int fds[4] = {-1, -1, -1, -1}, nfds = 0, err;

	c->for_card = false;
	err = dispatch(gd, client, &rep, fds, &nfds);
	if (err == RETRY_LATER) {
		if (!c->waiting)
			c->deadline = gd_now_us() + WAIT_FOR_ID_US;
		c->waiting = true;
		return;
	}
	c->waiting = false;
	rep.err = err;
	reply(gd, client, &rep, fds, nfds);
	if (nfds == 1)
		close(fds[0]); /* the program's end is the program's alone */
}

void gd_rpc_retry(struct gd *gd)
{
	uint64_t now = gd_now_us();

	for (uint32_t i = 0; i < NK_MAX_PROCS; i++) {
		struct gd_client *c = &gd->clients[i];
		struct nk_reply rep = {0};

		if (c->fd < 0 || !c->waiting)
			continue;
		if (nk_get(&gd->shm->dead))
			rep.err = -(int)nk_get(&gd->shm->dead);
		else if (now >= c->deadline)
			rep.err = -ENOBUFS;
		if (rep.err) {
			c->waiting = false;
			reply(gd, i, &rep, NULL, 0);
		} else if (!c->for_card) {
			run_request(gd, i);
		}
	}
}

void gd_rpc_job_done(struct gd *gd, const struct gd_job *job, const struct nk_nqe *nqe)
{
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++) {
		struct gd_client *c = &gd->clients[i];
		struct nk_reply rep = {.arg = {nqe->op_data, nqe->data_ptr, nqe->size}};

		if (c->fd < 0 || !c->waiting || !c->for_card || !answers(job, &c->req))
			continue;
		c->waiting = false;
		rep.err = -nk_status_errno(nk_cookie_status(nqe->cookie));
		reply(gd, i, &rep, NULL, 0);
	}
}

bool gd_rpc_waiting(const struct gd *gd)
{
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++)
		if (gd->clients[i].fd >= 0 && gd->clients[i].waiting)
			return true;
	return false;
}

void gd_client_gone(struct gd *gd, uint32_t client)
{
	struct gd_client *c = &gd->clients[client];

	close(c->fd);
	if (c->wake >= 0)
		close(c->wake);
	*c = (struct gd_client){.fd = -1, .wake = -1};
	nk_put(&gd->shm->procs[client].pid, 0);
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		nk_and(&gd->shm->socks[i].interest[client / 64], ~(1ull << (client % 64)));
	nk_put(&gd->shm->procs[client].sleepers, 0);
}

void gd_rpc_accept_client(struct gd *gd)
{
	int fd = accept4(gd->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event ev = {.events = EPOLLIN};
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	uint32_t i;

	if (fd < 0)
		return;
	for (i = 0; i < NK_MAX_PROCS && gd->clients[i].fd >= 0; i++)
		;
	ev.data.u64 = GD_TAG(GD_TAG_CLIENT, i);
	if (i == NK_MAX_PROCS || epoll_ctl(gd->ep, EPOLL_CTL_ADD, fd, &ev)) {
		fprintf(stderr, "nk-guestd: a process was turned away: %u are served already\n", i);
		close(fd);
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	gd->clients[i] = (struct gd_client){.fd = fd, .wake = -1, .proc = i, .pid = cred.pid};
}

void gd_rpc_serve(struct gd *gd, uint32_t client)
{
	struct gd_client *c = &gd->clients[client];
	struct nk_request req;
	ssize_t n;

	if (c->fd < 0)
		return;
	n = recv(c->fd, &req, sizeof(req), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof(req) || req.magic != NK_PROTO_MAGIC) {
		gd_client_gone(gd, client);
		return;
	}
	/* One thread of the process gave up on an answer and asks anew: the late answer is dropped by its seq. */
	c->waiting = false;
	c->req = req;
	run_request(gd, client);
}
