/* SPDX-License-Identifier: Apache-2.0 */
/* A process and nk-guestd: registration at first need, requests, fork. */
#include "lib.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>

struct nk_lib nk = {.ctl = -1, .wake = -1};

static struct {
	char name[96], token[NK_TOKEN_LEN + 1];
	int known;                /* 0: environment not read yet, 1: started by nk-guestd, -1: not */
	unsigned char *fork_mark; /* a page that the kernel wipes in a forked child; not in a vfork child */
	pthread_mutex_t lock;     /* one request at a time */
	uint32_t seq;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Descriptors of our own, by the variable that holds each: closed in a forked child, moved by vacate. */
#define HIDDEN_MAX 96
static int *hidden[HIDDEN_MAX];

bool nk_enabled(void)
{
	const char *name, *token;

	if (self.known)
		return self.known > 0;
	name = getenv(NK_ENV_SOCKET);
	token = getenv(NK_ENV_TOKEN);
	if (name && token && strlen(name) < sizeof(self.name) && strlen(token) == NK_TOKEN_LEN) {
		strcpy(self.name, name);
		strcpy(self.token, token);
		self.known = 1;
	} else {
		self.known = -1;
	}
	return self.known > 0;
}

int nk_dead(void)
{
	return nk.shm ? (int)nk_get(&nk.shm->dead) : 0;
}

/* ---- descriptors of our own --------------------------------------------------------------------- */

int nk_fd_hide(int fd, int *where)
{
	struct rlimit lim;
	int base = 960, high;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < 1024)
		base = lim.rlim_cur > 40 ? (int)lim.rlim_cur - 32 : 3;
	high = REAL(fcntl)(fd, F_DUPFD_CLOEXEC, base);
	if (high >= 0) {
		nk_fd_forget(fd);
		REAL(close)(fd);
		fd = high;
	}
	nk_fd_set(fd, NK_FD_HIDDEN);
	for (uint32_t i = 0; i < HIDDEN_MAX; i++) {
		int *none = NULL;

		if (nk_get(&hidden[i]) == where ||
		    __atomic_compare_exchange_n(&hidden[i], &none, where, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
	}
	nk_put_rel(where, fd);
	return fd;
}

void nk_fd_unhide(int *where)
{
	int fd = *where;

	for (uint32_t i = 0; i < HIDDEN_MAX; i++)
		if (nk_get(&hidden[i]) == where)
			nk_put(&hidden[i], NULL);
	nk_put(where, -1);
	nk_fd_set(fd, NK_FD_UNKNOWN);
	REAL(close)(fd);
}

void nk_fd_vacate(int fd)
{
	if (nk_fd_get(fd) != NK_FD_HIDDEN)
		return;
	for (uint32_t i = 0; i < HIDDEN_MAX; i++) {
		int *where = nk_get(&hidden[i]), moved;

		if (!where || nk_get(where) != fd)
			continue;
		moved = REAL(fcntl)(fd, F_DUPFD_CLOEXEC, fd + 1);
		if (moved < 0)
			return;
		nk_fd_set(moved, NK_FD_HIDDEN);
		nk_put_rel(where, moved);
		nk_fd_set(fd, NK_FD_UNKNOWN);
		REAL(close)(fd);
	}
}

/* ---- fork ------------------------------------------------------------------------------------------ */

static bool mark_intact(void)
{
	return self.fork_mark && nk_get(self.fork_mark);
}

bool nk_foreign_child(void)
{
	if (!nk.pid || getpid() == nk.pid)
		return false;
	if (mark_intact())
		return true;
	nk_forked(); /* a fork that libc does not know of */
	return false;
}

void nk_forked(void)
{
	for (uint32_t i = 0; i < HIDDEN_MAX; i++)
		if (hidden[i])
			nk_fd_unhide(hidden[i]);
	nk.pid = getpid();
	nk_poll_fork_child();
	pthread_mutex_init(&self.lock, NULL);
	if (self.fork_mark)
		nk_put(self.fork_mark, 1);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&self.lock);
	nk_ep_fork_prepare();
}

static void fork_parent(void)
{
	nk_ep_fork_done(false);
	pthread_mutex_unlock(&self.lock);
}

static void fork_child(void)
{
	nk_ep_fork_done(true);
	nk_forked();
}

/* ---- requests --------------------------------------------------------------------------------------- */

static int connect_guestd(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(self.name);
	int fd = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path + 1, self.name, len);
	if (REAL(connect)(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len))) {
		REAL(close)(fd);
		return -ENETDOWN;
	}
	return fd;
}

static int take_fds(struct msghdr *msg, int *fds, int max)
{
	int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int got;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		got = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (int i = 0; i < got; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(fd));
			nk_fd_forget(fd);
			if (n < max)
				fds[n++] = fd;
			else
				REAL(close)(fd);
		}
	}
	return n;
}

/* Send one request and read its reply, with signals blocked and the lock held. Descriptors into `fds`. */
static int transact(int ctl, struct nk_request *req, struct nk_reply *rep, int *fds, int max, int *nfds)
{
	char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {rep, sizeof(*rep)};
	ssize_t n;

	req->magic = NK_PROTO_MAGIC;
	req->seq = ++self.seq;
	do
		n = REAL(send)(ctl, req, sizeof(*req), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -ENETDOWN;
	for (;;) {
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

		n = REAL(recvmsg)(ctl, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(*rep))
			return -ENETDOWN;
		*nfds = take_fds(&msg, fds, max);
		if (rep->seq == req->seq)
			return rep->err == 0 && *nfds < max && (msg.msg_flags & MSG_CTRUNC) ? -EMFILE : rep->err;
		while (*nfds > 0)
			REAL(close)(fds[--*nfds]);
	}
}

static int map_all(const int *fds)
{
	struct nk_shm head, *shm;
	uint8_t *region;
	char *db;

	if (pread(fds[0], &head, sizeof(head), 0) != (ssize_t)sizeof(head) || head.magic != NK_SHM_MAGIC ||
	    head.version != NK_SHM_VERSION)
		return -EPROTO;
	shm = mmap(NULL, nk_shm_bytes(head.nsock), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	region = mmap(NULL, head.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	db = mmap(NULL, head.db_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], (off_t)head.db_offset);
	if (shm == MAP_FAILED || region == MAP_FAILED || db == MAP_FAILED)
		return -ENOMEM;
	nk.region = region;
	nk.db_page = db + head.db_page;
	nk.sq = (struct nk_ring){(struct nk_nqe *)(void *)(region + head.sq_offset), head.sq_log2};
	nk.status = (const struct nk_status_block *)(void *)(region + head.status_offset);
	nk_put_rel(&nk.shm, shm);
	return 0;
}

static int register_process(void)
{
	struct nk_request req = {.op = NK_REQ_HELLO};
	struct nk_reply rep;
	int fds[4], nfds = 0, ctl = connect_guestd(), err;

	if (ctl < 0)
		return ctl;
	memcpy(req.data.token, self.token, NK_TOKEN_LEN);
	err = transact(ctl, &req, &rep, fds, 4, &nfds);
	if (!err && nfds != 4)
		err = -EMFILE;
	if (!err && !nk.shm)
		err = map_all(fds);
	for (int i = 0; i < nfds && i < 3; i++)
		REAL(close)(fds[i]);
	if (err) {
		if (nfds == 4)
			REAL(close)(fds[3]);
		REAL(close)(ctl);
		return err;
	}
	nk_fd_hide(fds[3], &nk.wake);
	nk.proc = rep.idx;
	nk.epoch++;
	nk.pid = getpid();
	nk_fd_hide(ctl, &nk.ctl);
	return 0;
}

static int locked(int (*fn)(struct nk_request *, struct nk_reply *, int *), struct nk_request *req,
		  struct nk_reply *rep, int *fd)
{
	sigset_t all, old;
	int err, saved = errno, state;

	/* A handler that ran in the middle of an exchange could call us again, or jump away. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_mutex_lock(&self.lock);
	err = fn(req, rep, fd);
	pthread_mutex_unlock(&self.lock);
	pthread_setcancelstate(state, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return err;
}

static int attach(struct nk_request *req, struct nk_reply *rep, int *fd)
{
	(void)req, (void)rep, (void)fd;
	if (nk.ctl >= 0 && !mark_intact() && self.fork_mark)
		nk_forked();
	return nk.ctl >= 0 ? 0 : register_process();
}

int nk_attach(void)
{
	if (nk_get_acq(&nk.ctl) >= 0 && mark_intact())
		return 0;
	return nk_enabled() ? locked(attach, NULL, NULL, NULL) : -ENETDOWN;
}

static int request(struct nk_request *req, struct nk_reply *rep, int *fd)
{
	int nfds = 0, got = -1, err = attach(NULL, NULL, NULL);

	if (!err)
		err = transact(nk.ctl, req, rep, &got, fd ? 1 : 0, &nfds);
	if (fd)
		*fd = nfds ? got : -1;
	if (!err && fd && !nfds)
		err = -EMFILE;
	return err;
}

int nk_rpc(struct nk_request *req, struct nk_reply *rep, int *fd)
{
	int err = nk_enabled() ? locked(request, req, rep, fd) : -ENETDOWN;

	if (err == -ENETDOWN)
		nk_check_owner();
	return err;
}

void nk_check_owner(void)
{
	char c;
	int saved = errno;

	if (nk.shm && nk.ctl >= 0 && REAL(recv)(nk.ctl, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0 && !nk_dead()) {
		nk_put_rel(&nk.shm->dead, ENETDOWN);
		for (uint32_t i = 0; i < nk.shm->nsock; i++)
			nk_sock_bump(&nk.shm->socks[i]);
	}
	errno = saved;
}

__attribute__((constructor)) static void start(void)
{
	nk_real_get();
	if (!nk_enabled())
		return;
	nk.pid = getpid();
	self.fork_mark = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (self.fork_mark == MAP_FAILED || madvise(self.fork_mark, 4096, MADV_WIPEONFORK))
		self.fork_mark = NULL;
	if (self.fork_mark)
		nk_put(self.fork_mark, 1);
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
