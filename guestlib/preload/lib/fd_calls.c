/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about descriptors: close, dup, fcntl, ioctl. They keep the table in step with the kernel's. */
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "lib.h"

#define nothing_to_do() (!nk_enabled() || nk_foreign_child())

/*
 * close() with SO_LINGER and a time: the descriptor is gone, the bytes are on their way. Wait until the
 * peer has them all, the connection is over, or the time is up; they are sent to the end in any case.
 */
static void linger(struct nk_ref ref, int64_t seconds)
{
	struct nk_request req = {.op = NK_REQ_LINGER, .idx = ref.idx, .gen = ref.gen};
	struct nk_reply rep;
	int64_t end = nk_now_us() + seconds * 1000000;
	int saved = errno, err = nk_rpc(&req, &rep, NULL);

	while (!err && rep.arg[0]) {
		uint32_t seq = nk_get_acq(&ref.s->seq);

		if (nk_dead() || nk_get(&ref.s->gen) != ref.gen ||
		    nk_get_acq(&ref.s->conn.tx_head) == nk_get(&ref.s->conn.tx_tail))
			break;
		err = nk_wait(ref.s, seq, end);
	}
	errno = saved;
}

NK_EXPORT int close(int fd)
{
	struct nk_ref ref = {NULL, 0, 0};
	int64_t lingers = 0;
	int err;

	if (nothing_to_do())
		return REAL(close)(fd);
	if (nk_fd_get(fd) >= NK_FD_OURS)
		ref = nk_ref_of(fd);
	/* Read now: the entry may get another owner as soon as the descriptor is gone. */
	if (ref.s && ref.s->opts.linger_on)
		lingers = ref.s->opts.linger_sec;
	if (nk_fd_get(fd) == NK_FD_HIDDEN) {
		errno = EBADF; /* as the program sees it, there is none */
		return -1;
	}
	nk_fd_forget(fd);
	err = REAL(close)(fd);
	if (!err && lingers > 0)
		linger(ref, lingers);
	return err;
}

NK_EXPORT int fclose(FILE *f)
{
	int fd = f ? fileno(f) : -1;

	if (fd >= 0 && !nothing_to_do())
		nk_fd_forget(fd);
	return REAL(fclose)(f);
}

/* Close what lies between our own descriptors. */
static int close_around(unsigned int first, unsigned int last)
{
	struct rlimit lim = {.rlim_cur = 1 << 20};
	unsigned int top, from = first;

	getrlimit(RLIMIT_NOFILE, &lim);
	top = lim.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned int)lim.rlim_cur;
	for (unsigned int fd = first; fd <= last && fd < top; fd++) {
		if (nk_fd_get((int)fd) != NK_FD_HIDDEN)
			continue;
		if (fd > from && REAL(close_range)(from, fd - 1, 0))
			return -1;
		from = fd + 1;
	}
	return from <= last ? REAL(close_range)(from, last, 0) : 0;
}

NK_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	if ((flags & (int)CLOSE_RANGE_CLOEXEC) || first > last || nothing_to_do())
		return REAL(close_range)(first, last, flags);
	nk_fd_forget_range(first, last);
	return close_around(first, last);
}

NK_EXPORT void closefrom(int low)
{
	if (nothing_to_do())
		REAL(closefrom)(low);
	else
		(void)close_range(low < 0 ? 0 : (unsigned int)low, ~0u, 0);
}

static int duplicated(int from, int to)
{
	if (to >= 0 && !nothing_to_do()) {
		nk_fd_forget(to);
		nk_fd_copy(from, to);
	}
	return to;
}

NK_EXPORT int dup(int fd)
{
	return duplicated(fd, REAL(dup)(fd));
}

NK_EXPORT int dup3(int from, int to, int flags)
{
	int got;

	if (nothing_to_do())
		return REAL(dup3)(from, to, flags);
	nk_fd_vacate(to);
	got = REAL(dup3)(from, to, flags);
	return duplicated(from, got);
}

NK_EXPORT int dup2(int from, int to)
{
	if (from == to || nothing_to_do())
		return REAL(dup2)(from, to);
	nk_fd_vacate(to);
	return duplicated(from, REAL(dup2)(from, to));
}

static int fcntl_any(int fd, int cmd, void *arg)
{
	int got = REAL(fcntl)(fd, cmd, arg);

	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? duplicated(fd, got) : got;
}

NK_EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}

NK_EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}

static int ioctl_ours(int fd, struct nk_sock *s, unsigned long request, void *arg)
{
	uint32_t state = nk_get(&s->conn.state);
	bool listening = state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT;

	switch (request) {
	case SIOCINQ: /* FIONREAD */
	case SIOCOUTQ: /* TIOCOUTQ */
	case SIOCOUTQNSD:
		if (listening)
			return errno = EINVAL, -1;
		if (request == SIOCINQ)
			*(int *)arg = (int)nk_conn_rx_avail(&s->conn);
		else if (request == SIOCOUTQ)
			*(int *)arg = (int)(s->conn.tx_size - nk_conn_tx_room(&s->conn));
		else
			*(int *)arg = 0; /* the card sends on its own account */
		return 0;
	case SIOCATMARK:
		*(int *)arg = 0;
		return 0;
	default:
		/* O_NONBLOCK and the like live with the descriptor; interfaces are the kernel's. */
		return REAL(ioctl)(fd, request, arg);
	}
}

NK_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct nk_ref ref = nk_ref_of(fd);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return ref.s ? ioctl_ours(fd, ref.s, request, arg) : REAL(ioctl)(fd, request, arg);
}
