/* SPDX-License-Identifier: Apache-2.0 */
/* read and write in all their forms, the checked ones of _FORTIFY_SOURCE too. */
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>

#include "lib.h"

#define ONE(buf, n) (&(struct iovec){(void *)(uintptr_t)(buf), (n) > SSIZE_MAX ? SSIZE_MAX : (n)})

static int bad_iov(int count)
{
	if (count >= 0 && count <= IOV_MAX)
		return 0;
	errno = EINVAL;
	return 1;
}

/* ---- in ------------------------------------------------------------------------------------------------- */

NK_EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? nk_recv_iov(fd, ref, ONE(buf, n), 1, 0) : REAL(read)(fd, buf, n);
}

NK_EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(readv)(fd, iov, count);
	return bad_iov(count) ? -1 : nk_recv_iov(fd, ref, iov, count, 0);
}

NK_EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? nk_recv_iov(fd, ref, ONE(buf, n), 1, flags) : REAL(recv)(fd, buf, n, flags);
}

NK_EXPORT ssize_t recvfrom(int fd, void *__restrict buf, size_t n, int flags, __SOCKADDR_ARG addr,
			   socklen_t *__restrict len)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(recvfrom)(fd, buf, n, flags, addr, len);
	if (addr.__sockaddr__ && len)
		*len = 0; /* as TCP does */
	return nk_recv_iov(fd, ref, ONE(buf, n), 1, flags);
}

/* Descriptors that arrive in a message may be ours, whatever the cache says of their numbers. */
static void fds_arrived(struct msghdr *msg)
{
	for (struct cmsghdr *c = msg->msg_controllen ? CMSG_FIRSTHDR(msg) : NULL; c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			nk_fd_forget(fd);
		}
	}
}

static ssize_t recvmsg_ours(int fd, struct nk_ref ref, struct msghdr *msg, int flags)
{
	ssize_t n;

	if (msg->msg_iovlen > IOV_MAX)
		return errno = EMSGSIZE, -1;
	n = nk_recv_iov(fd, ref, msg->msg_iov, (int)msg->msg_iovlen, flags);
	if (n >= 0) {
		msg->msg_namelen = 0;
		msg->msg_controllen = 0;
		msg->msg_flags = 0;
	}
	return n;
}

NK_EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);
	ssize_t n;

	if (ref.s)
		return recvmsg_ours(fd, ref, msg, flags);
	n = REAL(recvmsg)(fd, msg, flags);
	if (n >= 0 && nk_enabled() && msg->msg_control)
		fds_arrived(msg);
	return n;
}

NK_EXPORT int recvmmsg(int fd, struct mmsghdr *vec, unsigned int count, int flags, struct timespec *timeout)
{
	struct nk_ref ref = nk_ref_of(fd);
	unsigned int done = 0;

	if (!ref.s) {
		int got = REAL(recvmmsg)(fd, vec, count, flags, timeout);

		for (int i = 0; i < got && nk_enabled(); i++)
			if (vec[i].msg_hdr.msg_control)
				fds_arrived(&vec[i].msg_hdr);
		return got;
	}
	while (done < count) {
		int more = done && (flags & MSG_WAITFORONE) ? MSG_DONTWAIT : 0;
		ssize_t n = recvmsg_ours(fd, ref, &vec[done].msg_hdr, (flags & ~MSG_WAITFORONE) | more);

		if (n < 0)
			return done ? (int)done : -1;
		vec[done++].msg_len = (unsigned int)n;
		if (n == 0)
			break;
	}
	return (int)done;
}

NK_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(preadv2)(fd, iov, count, offset, flags);
	if (offset != -1)
		return errno = ESPIPE, -1;
	return bad_iov(count) ? -1 : nk_recv_iov(fd, ref, iov, count, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

/* ---- out -------------------------------------------------------------------------------------------------- */

NK_EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? nk_send_iov(fd, ref, ONE(buf, n), 1, 0) : REAL(write)(fd, buf, n);
}

NK_EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(writev)(fd, iov, count);
	return bad_iov(count) ? -1 : nk_send_iov(fd, ref, iov, count, 0);
}

NK_EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? nk_send_iov(fd, ref, ONE(buf, n), 1, flags) : REAL(send)(fd, buf, n, flags);
}

NK_EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? nk_send_iov(fd, ref, ONE(buf, n), 1, flags) : REAL(sendto)(fd, buf, n, flags, addr, len);
}

static ssize_t sendmsg_ours(int fd, struct nk_ref ref, const struct msghdr *msg, int flags)
{
	if (msg->msg_iovlen > IOV_MAX)
		return errno = EMSGSIZE, -1;
	return nk_send_iov(fd, ref, msg->msg_iov, (int)msg->msg_iovlen, flags);
}

NK_EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	return ref.s ? sendmsg_ours(fd, ref, msg, flags) : REAL(sendmsg)(fd, msg, flags);
}

NK_EXPORT int sendmmsg(int fd, struct mmsghdr *vec, unsigned int count, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(sendmmsg)(fd, vec, count, flags);
	for (unsigned int i = 0; i < count; i++) {
		ssize_t n = sendmsg_ours(fd, ref, &vec[i].msg_hdr, flags);

		if (n < 0)
			return i ? (int)i : -1;
		vec[i].msg_len = (unsigned int)n;
	}
	return (int)count;
}

NK_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	struct nk_ref ref = nk_ref_of(fd);

	if (!ref.s)
		return REAL(pwritev2)(fd, iov, count, offset, flags);
	if (offset != -1)
		return errno = ESPIPE, -1;
	return bad_iov(count) ? -1 : nk_send_iov(fd, ref, iov, count, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

NK_EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
	struct nk_ref ref = nk_ref_of(out);

	if (ref.s)
		return nk_send_file(out, ref, in, offset, count);
	if (nk_ref_of(in).s)
		return errno = EINVAL, -1;
	return REAL(sendfile)(out, in, offset, count);
}

NK_EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t count)
{
	return sendfile(out, in, offset, count);
}

/* The kernel answers EINVAL for descriptors that cannot splice, and programs fall back to read and write. */
NK_EXPORT ssize_t splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned int flags)
{
	if (nk_ref_of(in).s || nk_ref_of(out).s)
		return errno = EINVAL, -1;
	return REAL(splice)(in, in_off, out, out_off, n, flags);
}

NK_EXPORT ssize_t tee(int in, int out, size_t n, unsigned int flags)
{
	if (nk_ref_of(in).s || nk_ref_of(out).s)
		return errno = EINVAL, -1;
	return REAL(tee)(in, out, n, flags);
}

NK_EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned int flags)
{
	if (nk_ref_of(fd).s)
		return errno = EBADF, -1;
	return REAL(vmsplice)(fd, iov, count, flags);
}

/* ---- what _FORTIFY_SOURCE calls instead ------------------------------------------------------------------------ */

void __chk_fail(void) __attribute__((noreturn));
NK_EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
NK_EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
NK_EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, __SOCKADDR_ARG addr,
				 socklen_t *len);

ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		__chk_fail();
	return read(fd, buf, n);
}

ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	if (n > room)
		__chk_fail();
	return recv(fd, buf, n, flags);
}

ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, __SOCKADDR_ARG addr, socklen_t *len)
{
	if (n > room)
		__chk_fail();
	return recvfrom(fd, buf, n, flags, addr, len);
}
