/* SPDX-License-Identifier: Apache-2.0 */
/* libc's own versions of what we wrap. */
#ifndef NK_REAL_H
#define NK_REAL_H

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define NK_REAL_TABLE(X) \
	X(socket) X(bind) X(listen) X(accept) X(accept4) X(connect) X(shutdown) \
	X(getsockname) X(getpeername) X(getsockopt) X(setsockopt) \
	X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) X(recvmmsg) \
	X(write) X(writev) X(send) X(sendto) X(sendmsg) X(sendmmsg) \
	X(preadv2) X(pwritev2) \
	X(sendfile) X(sendfile64) X(splice) X(tee) X(vmsplice) \
	X(close) X(close_range) X(closefrom) X(fclose) X(dup) X(dup2) X(dup3) X(fcntl) X(fcntl64) X(ioctl) \
	X(poll) X(ppoll) X(select) X(pselect) \
	X(epoll_ctl) X(epoll_wait) X(epoll_pwait) X(epoll_pwait2)

struct nk_real {
#define NK_REAL_FIELD(name) __typeof__(&name) name;
	NK_REAL_TABLE(NK_REAL_FIELD)
#undef NK_REAL_FIELD
};
extern struct nk_real nk_real_calls;
void nk_real_init(void);

/* Wrappers can run before our constructor: another library's constructor may do I/O. */
static inline const struct nk_real *nk_real_get(void)
{
	if (__builtin_expect(!nk_real_calls.epoll_pwait2, 0))
		nk_real_init();
	return &nk_real_calls;
}
#define REAL(name) (nk_real_get()->name)

#endif
