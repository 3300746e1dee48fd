/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket, bind, listen, connect, accept and their kin. A TCP socket starts as the kernel's; the first
 * call that gives it an address decides where it lives, and a socket that becomes ours takes the
 * place of the kernel's behind the same descriptor.
 */
#include <netinet/in.h>
#include <string.h>

#include "lib.h"
#include "../options.h"

NK_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);
	bool tcp = (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM && protocol != IPPROTO_SCTP;

	if (fd >= 0 && nk_enabled() && !nk_foreign_child()) {
		nk_fd_forget(fd);
		nk_fd_set(fd, tcp ? NK_FD_UNDECIDED : NK_FD_OTHER);
	}
	return fd;
}

/* ---- moving a socket between the kernel and us ---------------------------------------------------------- */

static int replace(int fd, int by)
{
	int flags = REAL(fcntl)(fd, F_GETFL), fdflags = REAL(fcntl)(fd, F_GETFD), err = 0;

	REAL(fcntl)(by, F_SETFL, flags & (O_NONBLOCK | O_ASYNC));
	if (REAL(dup3)(by, fd, fdflags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		err = -errno;
	REAL(close)(by);
	return err;
}

static int migrate(int fd, int family, struct nk_ref *ref)
{
	struct nk_request req = {.op = NK_REQ_NEW, .arg = (uint64_t)family};
	struct nk_reply rep;
	int by, err;

	nk_opts_from_kernel(fd, &req.data.opts);
	err = nk_rpc(&req, &rep, &by);
	if (err)
		return err;
	nk_ep_leaving(fd);
	err = replace(fd, by);
	if (err) {
		nk_ep_moved_to_kernel(fd);
		return err;
	}
	*ref = (struct nk_ref){&nk.shm->socks[rep.idx], rep.idx, rep.gen};
	nk_fd_set(fd, nk_fd_value(*ref));
	nk_ep_moved_here(fd);
	return 0;
}

/* A socket of ours, bound to any address or not at all, turns out to belong to loopback: back to the kernel. */
static int give_back(int fd, struct nk_ref ref)
{
	struct nk_sock *s = ref.s;
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);
	int by = REAL(socket)((int)s->family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), err;

	if (by < 0)
		return -errno;
	nk_opts_to_kernel(by, &s->opts);
	nk_addr_out(s->family, s->local, (struct sockaddr *)&local, &len);
	if (s->local.port && REAL(bind)(by, (struct sockaddr *)&local, len)) {
		err = -errno;
		REAL(close)(by);
		return err;
	}
	nk_ep_leaving(fd);
	err = replace(fd, by);
	if (!err)
		nk_fd_set(fd, NK_FD_OTHER);
	nk_ep_moved_to_kernel(fd);
	return err;
}

static int fail(int err)
{
	errno = -err;
	return -1;
}

/* May this descriptor of the kernel become ours? */
static bool candidate(int fd, int *family)
{
	uint64_t value = nk_fd_get(fd);

	if (!nk_enabled() || value == NK_FD_HIDDEN || !nk_kernel_tcp(fd, family))
		return false;
	return nk_kernel_undecided(fd);
}

static void stays_kernel(int fd)
{
	if (nk_fd_get(fd) == NK_FD_UNDECIDED)
		nk_fd_set(fd, NK_FD_OTHER);
}

/* ---- bind, listen, connect --------------------------------------------------------------------------------- */

static int bind_ours(struct nk_ref ref, struct nk_endpoint ep)
{
	struct nk_request req = {
		.op = NK_REQ_BIND, .idx = ref.idx, .gen = ref.gen, .arg = (uint64_t)ep.ip << 32 | ep.port};
	struct nk_reply rep;

	return nk_rpc(&req, &rep, NULL);
}

NK_EXPORT int bind(int fd, __CONST_SOCKADDR_ARG addr_, socklen_t len)
{
	const struct sockaddr *addr = addr_.__sockaddr__;
	struct nk_ref ref = nk_ref_of(fd);
	int family = AF_INET, v6only = 0, err;
	socklen_t optlen = sizeof(v6only);
	struct nk_endpoint ep;
	enum nk_place place;

	if (!ref.s && !candidate(fd, &family))
		return REAL(bind)(fd, addr_, len);
	err = nk_attach();
	if (err)
		return fail(err);
	if (ref.s) {
		family = (int)ref.s->family;
		v6only = ref.s->opts.value[NK_SO_V6ONLY];
	} else if (family == AF_INET6) {
		REAL(getsockopt)(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &optlen);
	}
	if (addr && len >= sizeof(sa_family_t) && addr->sa_family != family)
		return REAL(bind)(fd, addr_, len); /* the kernel knows the errno */
	if (ref.s && (ref.s->local.port || nk_get(&ref.s->conn.state) != NK_CONN_NEW))
		return fail(-EINVAL); /* bound already */
	place = nk_place_bind(addr, len, v6only, &ep);
	if (place == NK_PLACE_KERNEL) {
		if (ref.s && (err = give_back(fd, ref)))
			return fail(err);
		stays_kernel(fd);
		return REAL(bind)(fd, addr_, len);
	}
	if (place == NK_PLACE_NOWHERE)
		return fail(-EADDRNOTAVAIL);
	if (!ref.s && (err = migrate(fd, family, &ref)))
		return fail(err);
	err = bind_ours(ref, ep);
	return err ? fail(err) : 0;
}

/* Sleep until `state` is left. 0, or a negative errno. */
static int wait_state(struct nk_ref ref, uint32_t state, int64_t timeo_us)
{
	int64_t end = timeo_us ? nk_now_us() + timeo_us : 0;

	for (;;) {
		uint32_t seq = nk_get_acq(&ref.s->seq);
		int err;

		if (nk_dead())
			return -nk_dead();
		if (nk_get_acq(&ref.s->conn.state) != state || nk_get(&ref.s->gen) != ref.gen)
			return 0;
		err = nk_wait(ref.s, seq, end);
		if (err)
			return err;
	}
}

NK_EXPORT int listen(int fd, int backlog)
{
	struct nk_ref ref = nk_ref_of(fd);
	struct nk_request req = {.op = NK_REQ_LISTEN};
	struct nk_reply rep;
	int family, err;

	if (!ref.s && !candidate(fd, &family))
		return REAL(listen)(fd, backlog);
	if (!ref.s && ((err = nk_attach()) || (err = migrate(fd, family, &ref))))
		return fail(err);
	req.idx = ref.idx;
	req.gen = ref.gen;
	req.arg = backlog < 0 || backlog > 4096 ? 4096 : (uint64_t)backlog;
	err = nk_rpc(&req, &rep, NULL);
	if (err)
		return fail(err);
	do
		err = wait_state(ref, NK_CONN_LISTEN_WAIT, 0);
	while (err == -EINTR); /* the card answers within its own time, not a peer's */
	if (err)
		return fail(err);
	if (nk_get(&ref.s->conn.state) != NK_CONN_LISTENING) {
		err = (int)nk_swap(&ref.s->conn.err, 0);
		return fail(err ? -err : -EADDRINUSE);
	}
	return 0;
}

static int connect_result(struct nk_ref ref)
{
	int err;

	if (nk_get(&ref.s->conn.state) == NK_CONN_ESTABLISHED) {
		nk_put(&ref.s->connect_told, 1);
		return 0;
	}
	err = (int)nk_swap(&ref.s->conn.err, 0);
	return err ? -err : -ECONNABORTED;
}

static int connect_wait(int fd, struct nk_ref ref)
{
	int err;

	if (nk_nonblocking(fd, 0))
		return -EINPROGRESS;
	err = wait_state(ref, NK_CONN_CONNECTING, ref.s->opts.sndtimeo_us);
	if (err == -EAGAIN)
		return -EINPROGRESS;
	return err ? err : connect_result(ref);
}

static int connect_ours(int fd, struct nk_ref ref, struct nk_endpoint ep)
{
	struct nk_request req = {.op = NK_REQ_CONNECT, .arg = (uint64_t)ep.ip << 32 | ep.port};
	struct nk_reply rep;
	int err;

	if (nk_dead())
		return -nk_dead();
	switch (nk_get_acq(&ref.s->conn.state)) {
	case NK_CONN_CONNECTING:
		return nk_nonblocking(fd, 0) ? -EALREADY : connect_wait(fd, ref);
	case NK_CONN_ESTABLISHED:
		return nk_swap(&ref.s->connect_told, 1) ? -EISCONN : 0;
	case NK_CONN_DEAD:
		if (nk_get(&ref.s->conn.err) && !(nk_get(&ref.s->conn.flags) & NK_CF_CONNECTED))
			return connect_result(ref);
		break;
	case NK_CONN_NEW:
		break;
	default:
		return -EISCONN;
	}
	req.idx = ref.idx;
	req.gen = ref.gen;
	err = nk_rpc(&req, &rep, NULL);
	if (err)
		return err;
	ref = (struct nk_ref){&nk.shm->socks[rep.idx], rep.idx, rep.gen};
	nk_fd_set(fd, nk_fd_value(ref));
	return connect_wait(fd, ref);
}

NK_EXPORT int connect(int fd, __CONST_SOCKADDR_ARG addr_, socklen_t len)
{
	const struct sockaddr *addr = addr_.__sockaddr__;
	struct nk_ref ref = nk_ref_of(fd);
	struct nk_endpoint ep;
	int family, err;

	if (!ref.s && !candidate(fd, &family))
		return REAL(connect)(fd, addr_, len);
	if (nk_place_connect(addr, len, &ep) == NK_PLACE_KERNEL ||
	    (!ref.s && family == AF_INET && addr->sa_family != AF_INET)) {
		if (ref.s && nk_get(&ref.s->conn.state) != NK_CONN_NEW)
			return fail(-EISCONN);
		if (ref.s && (err = give_back(fd, ref)))
			return fail(err);
		stays_kernel(fd);
		return REAL(connect)(fd, addr_, len);
	}
	if (!ref.s && ((err = nk_attach()) || (err = migrate(fd, family, &ref))))
		return fail(err);
	err = connect_ours(fd, ref, ep);
	return err ? fail(err) : 0;
}

/* ---- accept ------------------------------------------------------------------------------------------------- */

static int accept_fetch(struct nk_ref listener, struct nk_ref *conn)
{
	struct nk_request req = {.op = NK_REQ_ACCEPT, .idx = listener.idx, .gen = listener.gen};
	struct nk_reply rep;
	int fd, err, probe = REAL(fcntl)(0, F_DUPFD_CLOEXEC, 0);

	/* Without a free number the connection would be lost on the way: look before it leaves the queue. */
	if (probe < 0 && errno == EMFILE)
		return -EMFILE;
	if (probe >= 0)
		REAL(close)(probe);
	err = nk_rpc(&req, &rep, &fd);
	if (err)
		return err;
	*conn = (struct nk_ref){&nk.shm->socks[rep.idx], rep.idx, rep.gen};
	return fd;
}

static int accept_ours(int fd, struct nk_ref ref, struct sockaddr *addr, socklen_t *len, int flags)
{
	int64_t end = ref.s->opts.rcvtimeo_us ? nk_now_us() + ref.s->opts.rcvtimeo_us : 0;
	struct nk_ref conn;
	int got;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	for (;;) {
		uint32_t seq = nk_get_acq(&ref.s->seq);
		int err;

		if (nk_dead())
			return -nk_dead();
		if (nk_get(&ref.s->gen) != ref.gen)
			return -EBADF;
		if (nk_get_acq(&ref.s->conn.state) != NK_CONN_LISTENING)
			return -EINVAL;
		if (nk_get_acq(&ref.s->acc_ready)) {
			got = accept_fetch(ref, &conn);
			if (got != -EAGAIN)
				break;
			continue; /* another process was faster */
		}
		if (nk_nonblocking(fd, 0))
			return -EAGAIN;
		err = nk_wait(ref.s, seq, end);
		if (err)
			return err;
	}
	if (got < 0)
		return got;
	if (!(flags & SOCK_CLOEXEC))
		REAL(fcntl)(got, F_SETFD, 0);
	if (flags & SOCK_NONBLOCK)
		REAL(fcntl)(got, F_SETFL, O_NONBLOCK);
	nk_fd_set(got, nk_fd_value(conn));
	nk_addr_out(conn.s->family, conn.s->remote, addr, len);
	return got;
}

NK_EXPORT int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *__restrict len, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);
	int got;

	if (!ref.s) {
		got = REAL(accept4)(fd, addr, len, flags);
		if (got >= 0 && nk_enabled())
			nk_fd_forget(got);
		return got;
	}
	got = accept_ours(fd, ref, addr.__sockaddr__, len, flags);
	return got < 0 ? fail(got) : got;
}

NK_EXPORT int accept(int fd, __SOCKADDR_ARG addr, socklen_t *__restrict len)
{
	return accept4(fd, addr, len, 0);
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

NK_EXPORT int shutdown(int fd, int how)
{
	struct nk_ref ref = nk_ref_of(fd);
	struct nk_request req = {.op = NK_REQ_SHUTDOWN};
	struct nk_reply rep;
	int err;

	if (!ref.s)
		return REAL(shutdown)(fd, how);
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return fail(-EINVAL);
	req.idx = ref.idx;
	req.gen = ref.gen;
	req.arg = (uint64_t)how;
	err = nk_rpc(&req, &rep, NULL);
	return err ? fail(err) : 0;
}

NK_EXPORT int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *__restrict len)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(getsockname)(fd, addr, len);
	if (!addr.__sockaddr__ || !len)
		return fail(-EFAULT);
	if ((int)*len < 0)
		return fail(-EINVAL);
	nk_addr_out(ref.s->family, ref.s->local, addr.__sockaddr__, len);
	return 0;
}

NK_EXPORT int getpeername(int fd, __SOCKADDR_ARG addr, socklen_t *__restrict len)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(getpeername)(fd, addr, len);
	if (nk_get(&ref.s->conn.state) != NK_CONN_ESTABLISHED)
		return fail(-ENOTCONN);
	if (!addr.__sockaddr__ || !len)
		return fail(-EFAULT);
	if ((int)*len < 0)
		return fail(-EINVAL);
	nk_addr_out(ref.s->family, ref.s->remote, addr.__sockaddr__, len);
	return 0;
}
