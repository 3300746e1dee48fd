/* SPDX-License-Identifier: Apache-2.0 */
/* The software NSM's flows: every operation checked against the flow's state, kernel TCP underneath. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nk_atomic.h"
#include "softnsm.h"

static struct sockaddr_in kernel_addr(const struct nsm *nsm, uint32_t ip, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(nsm->opt.net | (ip & 0xff)), .sin_port = htons(port)};
}

static uint32_t tenant_ip(struct sockaddr_in *sa)
{
	return (VF_IP & 0xffffff00u) | (ntohl(sa->sin_addr.s_addr) & 0xff);
}

static void watch(struct nsm *nsm, struct flow *f)
{
	uint32_t want = 0;
	struct epoll_event ev;

	if (f->fd < 0)
		return;
	if (f->state == NK_FS_SYN_SENT || (f->tx_head != f->tx_tail && !f->fin_sent))
		want |= EPOLLOUT;
	if (f->state == NK_FS_LISTEN ? f->credit_head != NONE
				     : f->state != NK_FS_SYN_SENT && !f->peer_fin && f->window && card_room(nsm))
		want |= EPOLLIN;
	if (want == f->epoll)
		return;
	ev = (struct epoll_event){.events = want, .data.u32 = (uint32_t)(f - nsm->flows)};
	epoll_ctl(nsm->ep, f->epoll ? (want ? EPOLL_CTL_MOD : EPOLL_CTL_DEL) : EPOLL_CTL_ADD, f->fd, &ev);
	f->epoll = want;
}

static void drop_fd(struct flow *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->epoll = 0;
}

static void set_free(struct nsm *nsm, struct flow *f)
{
	drop_fd(f);
	f->state = NK_FS_FREE;
	f->deadline = 0;
	nsm->count.closed++;
	card_event(nsm, NK_OP_CLOSED, (uint32_t)(f - nsm->flows), 0, 0, 0);
}

static void abort_flow(struct nsm *nsm, struct flow *f)
{
	struct linger lin = {1, 0};

	if (f->fd >= 0)
		setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin));
	nsm->count.aborted++;
	set_free(nsm, f);
}

/* Connection over by itself: dead until the tenant closes. */
static void die(struct nsm *nsm, struct flow *f, uint8_t op, uint8_t status)
{
	uint32_t id = (uint32_t)(f - nsm->flows);

	drop_fd(f);
	f->deadline = 0;
	if (f->closing) {
		set_free(nsm, f);
		return;
	}
	f->state = NK_FS_DEAD;
	card_event(nsm, op, id, 0, 0, status);
}

static void after_fin(struct nsm *nsm, struct flow *f)
{
	if (f->fin_sent && f->peer_fin && f->closing && f->state != NK_FS_TIME_WAIT) {
		bool we_first = f->state == NK_FS_FIN_WAIT2 || f->state == NK_FS_FIN_WAIT1;

		drop_fd(f);
		f->state = NK_FS_TIME_WAIT;
		f->deadline = now_us() + (we_first ? (uint64_t)nsm->opt.time_wait_ms * 1000 : 1);
	}
}

static void send_fin(struct nsm *nsm, struct flow *f)
{
	if (!f->fin_wanted || f->fin_sent || f->tx_head != f->tx_tail || f->fd < 0)
		return;
	shutdown(f->fd, SHUT_WR);
	f->fin_sent = true;
	f->state = f->peer_fin ? NK_FS_LAST_ACK : NK_FS_FIN_WAIT2;
	after_fin(nsm, f);
}

static void transmit(struct nsm *nsm, struct flow *f)
{
	uint32_t id = (uint32_t)(f - nsm->flows), sent = 0;

	while (f->tx_head != f->tx_tail) {
		uint32_t at = f->tx_head & (f->tx_size - 1), n = f->tx_tail - f->tx_head;
		ssize_t w;

		if (n > f->tx_size - at)
			n = f->tx_size - at;
		w = send(f->fd, nsm->region + f->tx_ring + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (w < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			die(nsm, f, NK_OP_RESET, NK_ST_PEER_RESET);
			return;
		}
		if (w <= 0)
			break;
		f->tx_head += (uint32_t)w;
		sent += (uint32_t)w;
	}
	nsm->count.tx_bytes += sent;
	if (sent)
		card_event(nsm, NK_OP_SENT, id, 0, sent, 0);
	send_fin(nsm, f);
}

static void receive(struct nsm *nsm, struct flow *f)
{
	uint32_t id = (uint32_t)(f - nsm->flows), at = f->rx_tail & (f->rx_size - 1);
	uint32_t n = f->window < nsm->opt.chunk ? f->window : nsm->opt.chunk, first = f->rx_size - at;
	struct iovec iov[2];
	ssize_t r;

	if (first > n)
		first = n;
	iov[0] = (struct iovec){nsm->region + f->rx_ring + at, first};
	iov[1] = (struct iovec){nsm->region + f->rx_ring, n - first};
	r = readv(f->fd, iov, 2);
	if (r > 0) {
		f->rx_tail += (uint32_t)r;
		f->window -= (uint32_t)r;
		nsm->count.rx_bytes += (uint64_t)r;
		nsm->count.data_after_close += f->closing;
		card_event(nsm, NK_OP_DATA, id, 0, (uint32_t)r, 0);
	} else if (r == 0) {
		f->peer_fin = true;
		if (f->state == NK_FS_ESTABLISHED)
			f->state = NK_FS_CLOSE_WAIT;
		card_event(nsm, NK_OP_PEER_CLOSED, id, 0, 0, 0);
		after_fin(nsm, f);
	} else if (errno != EAGAIN && errno != EINTR) {
		die(nsm, f, NK_OP_RESET, NK_ST_PEER_RESET);
	}
}

static void connected(struct nsm *nsm, struct flow *f)
{
	uint32_t id = (uint32_t)(f - nsm->flows);
	struct sockaddr_in peer;
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		die(nsm, f, err == ETIMEDOUT ? NK_OP_TIMEOUT : NK_OP_RESET,
		    err == ECONNREFUSED ? NK_ST_REFUSED : NK_ST_UNREACHABLE);
		return;
	}
	len = sizeof(peer);
	getpeername(f->fd, (struct sockaddr *)&peer, &len);
	f->state = NK_FS_ESTABLISHED;
	card_event(nsm, NK_OP_CONNECTED, id, nk_addr_pack(tenant_ip(&peer), ntohs(peer.sin_port), f->port), MSS, 0);
}

static void apply(const struct flow *f, int option)
{
	static const struct {
		int level, name, factor;
	} real[OPTIONS] = {
		[NK_OPT_NODELAY] = {IPPROTO_TCP, TCP_NODELAY, 1},	[NK_OPT_CORK] = {IPPROTO_TCP, TCP_CORK, 1},
		[NK_OPT_KEEPALIVE] = {SOL_SOCKET, SO_KEEPALIVE, 1},	[NK_OPT_KEEPIDLE] = {IPPROTO_TCP, TCP_KEEPIDLE, 1},
		[NK_OPT_KEEPINTVL] = {IPPROTO_TCP, TCP_KEEPINTVL, 1}, [NK_OPT_KEEPCNT] = {IPPROTO_TCP, TCP_KEEPCNT, 1},
		[NK_OPT_USER_TIMEOUT] = {IPPROTO_TCP, TCP_USER_TIMEOUT, 1000},
		[NK_OPT_QUICKACK] = {IPPROTO_TCP, TCP_QUICKACK, 1},
	};
	int value = (int)f->option[option] * real[option].factor;

	setsockopt(f->fd, real[option].level, real[option].name, &value, sizeof(value));
}

/* Small kernel buffers: a stalled peer is felt in the tenant's ring, as on a card that buffers nothing. */
static void prepare(const struct flow *f)
{
	int bytes = 32768;

	setsockopt(f->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	for (int option = 1; option < OPTIONS; option++)
		apply(f, option);
}

static void take_connection(struct nsm *nsm, struct flow *l)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	uint32_t id = l->credit_head;
	struct flow *f = &nsm->flows[id];
	int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	l->credit_head = f->next;
	f->fd = fd;
	prepare(f);
	f->state = NK_FS_ESTABLISHED;
	card_event(nsm, NK_OP_ACCEPTED, id, nk_addr_pack(tenant_ip(&peer), ntohs(peer.sin_port), l->port),
		   (uint32_t)(l - nsm->flows), 0);
}

/* ---- operations --------------------------------------------------------------------------------------- */

static bool ring_ok(const struct nsm *nsm, uint64_t offset, uint32_t log2)
{
	return offset % NK_LIM_PAGE == 0 && offset < nsm->region_bytes && (1ull << log2) <= nsm->region_bytes - offset;
}

static uint8_t op_socket(struct nsm *nsm, struct flow *f, const struct nk_nqe *nqe)
{
	uint8_t rx = nk_ring_sizes_rx_log2(nqe->size), tx = nk_ring_sizes_tx_log2(nqe->size);

	if (f->state != NK_FS_FREE)
		return NK_ST_BAD_STATE;
	if (rx < NK_LIM_RING_LOG2_MIN || rx > NK_LIM_RING_LOG2_MAX || tx < NK_LIM_RING_LOG2_MIN || tx > NK_LIM_RING_LOG2_MAX)
		return NK_ST_BAD_SIZE;
	if (!ring_ok(nsm, nqe->data_ptr, rx) || !ring_ok(nsm, nqe->op_data, tx))
		return NK_ST_BAD_PTR;
	*f = (struct flow){.state = NK_FS_IDLE, .fd = -1, .rx_ring = nqe->data_ptr, .tx_ring = nqe->op_data,
			   .rx_size = 1u << rx, .tx_size = 1u << tx, .window = 1u << rx, .credit_head = NONE,
			   .credit_tail = NONE, .next = NONE, .listener = NONE,
			   .option = {[NK_OPT_KEEPIDLE] = 7200, [NK_OPT_KEEPINTVL] = 75, [NK_OPT_KEEPCNT] = 9,
				      [NK_OPT_QUICKACK] = 1}};
	nsm->count.opened++;
	return NK_ST_OK;
}

static uint8_t op_listen(struct nsm *nsm, struct flow *f, const struct nk_nqe *nqe)
{
	uint16_t port = nk_addr_local_port(nqe->op_data);
	struct sockaddr_in sa = kernel_addr(nsm, VF_IP, port);
	int one = 1;

	if (f->state != NK_FS_IDLE)
		return NK_ST_BAD_STATE;
	for (uint32_t i = 0; i < nsm->opt.sockets; i++)
		if (nsm->flows[i].state == NK_FS_LISTEN && nsm->flows[i].port == port)
			return NK_ST_ADDR_IN_USE;
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(f->fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(f->fd, 256)) {
		drop_fd(f);
		return NK_ST_ADDR_IN_USE;
	}
	f->state = NK_FS_LISTEN;
	f->port = port;
	return NK_ST_OK;
}

static uint8_t op_connect(struct nsm *nsm, struct flow *f, const struct nk_nqe *nqe)
{
	uint32_t ip = nk_addr_remote_ip(nqe->op_data);
	struct sockaddr_in to = kernel_addr(nsm, ip, nk_addr_remote_port(nqe->op_data));
	struct sockaddr_in from = kernel_addr(nsm, VF_IP, nk_addr_local_port(nqe->op_data));
	int one = 1;

	if (f->state != NK_FS_IDLE)
		return NK_ST_BAD_STATE;
	if (ip == 0 || ip == 0xffffffffu || to.sin_port == 0)
		return NK_ST_BAD_ADDR;
	f->port = nk_addr_local_port(nqe->op_data);
	f->state = NK_FS_SYN_SENT;
	if (ip == IP_BLACKHOLE || ip == IP_UNREACHABLE) {
		f->deadline = now_us() + (ip == IP_BLACKHOLE ? nsm->opt.syn_timeout_ms * 1000u : 20000u);
		f->listener = ip; /* which of the two, for the deadline */
		return NK_ST_OK;
	}
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	prepare(f);
	if (bind(f->fd, (struct sockaddr *)&from, sizeof(from)) ||
	    (connect(f->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)) {
		int err = errno;

		drop_fd(f);
		if (err == EADDRINUSE || err == EADDRNOTAVAIL) {
			f->state = NK_FS_IDLE;
			return NK_ST_ADDR_IN_USE;
		}
		die(nsm, f, NK_OP_RESET, err == ECONNREFUSED ? NK_ST_REFUSED : NK_ST_UNREACHABLE);
	}
	return NK_ST_OK;
}

static uint8_t op_accept(struct nsm *nsm, struct flow *l, const struct nk_nqe *nqe)
{
	uint32_t id = (uint32_t)nqe->op_data;
	struct flow *f;

	if (l->state != NK_FS_LISTEN)
		return NK_ST_BAD_STATE;
	if (id >= nsm->opt.sockets)
		return NK_ST_BAD_SOCKET;
	f = &nsm->flows[id];
	if (f->state != NK_FS_IDLE)
		return NK_ST_BAD_STATE;
	f->state = NK_FS_CREDIT;
	f->listener = (uint32_t)(l - nsm->flows);
	f->next = NONE;
	if (l->credit_head == NONE)
		l->credit_head = id;
	else
		nsm->flows[l->credit_tail].next = id;
	l->credit_tail = id;
	l->had_credit = true;
	return NK_ST_OK;
}

static uint8_t op_setopt(struct nsm *nsm, struct flow *f, const struct nk_nqe *nqe)
{
	static const uint32_t most[OPTIONS] = {
		[NK_OPT_NODELAY] = 1,	   [NK_OPT_CORK] = 1,	 [NK_OPT_KEEPALIVE] = 1,      [NK_OPT_KEEPIDLE] = 16383,
		[NK_OPT_KEEPINTVL] = 255, [NK_OPT_KEEPCNT] = 15, [NK_OPT_USER_TIMEOUT] = 1023, [NK_OPT_QUICKACK] = 1,
	};
	uint32_t option = (uint8_t)nqe->op_data, value = (uint32_t)(nqe->op_data >> 32);

	if (f->state == NK_FS_FREE)
		return NK_ST_BAD_STATE;
	if (option == 0 || option >= OPTIONS)
		return NK_ST_BAD_OP;
	if (value > most[option] || (value == 0 && option >= NK_OPT_KEEPIDLE && option <= NK_OPT_KEEPCNT))
		return NK_ST_BAD_SIZE;
	if (nsm->setopts < SETOPT_LOG) {
		nsm->setopt_log[nsm->setopts].socket = nqe->socket;
		nsm->setopt_log[nsm->setopts].option = option;
		nsm->setopt_log[nsm->setopts].value = value;
	}
	nsm->setopts++;
	f->option[option] = value;
	if (f->fd >= 0 && f->state != NK_FS_LISTEN)
		apply(f, (int)option);
	return NK_ST_OK;
}

static uint8_t op_close(struct nsm *nsm, struct flow *f)
{
	if (f->state == NK_FS_FREE || f->closing)
		return NK_ST_BAD_STATE;
	f->closing = true;
	switch (f->state) {
	case NK_FS_LISTEN:
		while (f->credit_head != NONE) {
			struct flow *c = &nsm->flows[f->credit_head];

			f->credit_head = c->next;
			set_free(nsm, c);
		}
		set_free(nsm, f);
		break;
	case NK_FS_IDLE:
	case NK_FS_CREDIT:
	case NK_FS_DEAD:
	case NK_FS_SYN_SENT:
		set_free(nsm, f);
		break;
	default:
		f->fin_wanted = true;
		if (f->state == NK_FS_ESTABLISHED)
			f->state = NK_FS_FIN_WAIT1;
		else if (f->state == NK_FS_CLOSE_WAIT)
			f->state = NK_FS_LAST_ACK;
		send_fin(nsm, f);
		after_fin(nsm, f);
	}
	return NK_ST_OK;
}

static uint8_t op_shutdown(struct nsm *nsm, struct flow *f)
{
	if (f->state != NK_FS_ESTABLISHED && f->state != NK_FS_CLOSE_WAIT)
		return NK_ST_BAD_STATE;
	f->fin_wanted = true;
	send_fin(nsm, f);
	return NK_ST_OK;
}

uint8_t flow_job(struct nsm *nsm, const struct nk_nqe *nqe, struct nk_nqe *answer)
{
	struct flow *f = &nsm->flows[nqe->socket];
	uint8_t status = NK_ST_OK;

	switch (nqe->op) {
	case NK_OP_SOCKET:
		return op_socket(nsm, f, nqe);
	case NK_OP_LISTEN:
		status = op_listen(nsm, f, nqe);
		break;
	case NK_OP_CONNECT:
		status = op_connect(nsm, f, nqe);
		break;
	case NK_OP_ACCEPT:
		status = op_accept(nsm, f, nqe);
		break;
	case NK_OP_SHUTDOWN:
		status = op_shutdown(nsm, f);
		break;
	case NK_OP_CLOSE:
		status = op_close(nsm, f);
		break;
	case NK_OP_ABORT:
		if (f->state == NK_FS_FREE)
			return NK_ST_BAD_STATE;
		abort_flow(nsm, f);
		break;
	case NK_OP_SETOPT:
		return op_setopt(nsm, f, nqe);
	case NK_OP_INFO:
		if (f->state == NK_FS_FREE)
			return NK_ST_BAD_STATE;
		answer->op_data = 1234u | (uint64_t)(10 * MSS) << 32;
		answer->data_ptr = 321u | (uint64_t)0x7fffffffu << 32;
		answer->size = 7u | (uint32_t)f->state << 16 | (MSS / 4) << 20;
		return NK_ST_OK;
	default:
		return NK_ST_BAD_OP;
	}
	watch(nsm, f);
	return status;
}

uint8_t flow_send(struct nsm *nsm, const struct nk_nqe *nqe)
{
	struct flow *f = &nsm->flows[nqe->socket];

	if (nqe->op != NK_OP_SEND && nqe->op != NK_OP_CREDIT)
		return NK_ST_BAD_OP;
	if (f->state < NK_FS_ESTABLISHED || f->state > NK_FS_LAST_ACK)
		return NK_ST_BAD_STATE;
	if (nqe->op == NK_OP_CREDIT) {
		if (nqe->size > f->rx_size - f->window) {
			nsm->count.credit_overflow++;
			return NK_ST_BAD_SIZE;
		}
		f->window += nqe->size;
	} else {
		if (f->fin_wanted)
			return NK_ST_BAD_STATE;
		if (nqe->size == 0 || nqe->size > f->tx_size - (f->tx_tail - f->tx_head))
			return NK_ST_BAD_SIZE;
		f->tx_tail += nqe->size;
		transmit(nsm, f);
	}
	watch(nsm, f);
	return NK_ST_OK;
}

/* ---- the network ---------------------------------------------------------------------------------------- */

static void on_deadline(struct nsm *nsm, struct flow *f)
{
	f->deadline = 0;
	if (f->state == NK_FS_TIME_WAIT)
		set_free(nsm, f);
	else if (f->state == NK_FS_SYN_SENT && f->listener == IP_UNREACHABLE)
		die(nsm, f, NK_OP_RESET, NK_ST_UNREACHABLE);
	else if (f->state == NK_FS_SYN_SENT)
		die(nsm, f, NK_OP_TIMEOUT, NK_ST_TIMED_OUT);
}

void flow_network(struct nsm *nsm, int timeout_us)
{
	struct epoll_event ev[64];
	struct timespec ts = {0, timeout_us * 1000L};
	uint64_t now = now_us();
	int n;

	for (uint32_t i = 0; i < nsm->opt.sockets; i++) {
		struct flow *f = &nsm->flows[i];

		if (f->deadline && now >= f->deadline)
			on_deadline(nsm, f);
		if (f->state != NK_FS_FREE)
			watch(nsm, f);
	}
	n = epoll_pwait2(nsm->ep, ev, 64, &ts, NULL);
	for (int i = 0; i < n; i++) {
		struct flow *f = &nsm->flows[ev[i].data.u32];

		if (f->fd < 0)
			continue;
		nsm->activity = true;
		if (f->state == NK_FS_LISTEN)
			take_connection(nsm, f);
		else if (f->state == NK_FS_SYN_SENT)
			connected(nsm, f);
		else {
			if ((ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && (f->epoll & EPOLLIN))
				receive(nsm, f);
			if (f->fd >= 0 && (ev[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && (f->epoll & EPOLLOUT))
				transmit(nsm, f);
		}
		watch(nsm, f);
	}
}
