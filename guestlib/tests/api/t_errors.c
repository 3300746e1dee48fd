/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, each with the errno that the kernel's TCP gives. */
#include "api.h"

static volatile sig_atomic_t pipes, alarms;

static void count_signal(int sig)
{
	if (sig == SIGPIPE)
		pipes++;
	else
		alarms++;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = count_signal, .sa_flags = flags};

	CHECK(sigaction(sig, &sa, NULL) == 0);
}

static int fresh(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	return fd;
}

static int try_connect(int fd, const char *ip, uint16_t port)
{
	struct sockaddr_in sa = at(ip, port);

	return connect(fd, (struct sockaddr *)&sa, sizeof(sa));
}

static uint16_t unused_port(void)
{
	uint16_t port = 0;

	close(listener(PEER_KERNEL, &port, 1));
	return port;
}

TEST(connect_refused)
{
	uint16_t port = 0;
	int fd = fresh(), err, l;
	socklen_t len = sizeof(err);

	CHECK_ERR(try_connect(fd, PEER, unused_port()), ECONNREFUSED);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0);
	CHECK_ERR(try_connect(fd, PEER, unused_port()), ECONNREFUSED);
	/* The same socket may try again, with success. */
	l = listener(PEER_KERNEL, &port, 1);
	CHECK(try_connect(fd, PEER, port) == 0);
	CHECK_ERR(try_connect(fd, PEER, port), EISCONN);
	close(l);
}

TEST(connect_timeout) { CHECK_ERR(try_connect(fresh(), BLACKHOLE, 80), ETIMEDOUT); }
TEST(connect_unreachable) { CHECK_ERR(try_connect(fresh(), UNREACHABLE, 80), EHOSTUNREACH); }

TEST(connect_nonblocking)
{
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 1), fd = fresh(), err = -1;
	struct pollfd p = {.events = POLLOUT};
	socklen_t len = sizeof(err);

	set_nonblock(fd, true);
	CHECK_ERR(try_connect(fd, PEER, port), EINPROGRESS);
	CHECK(is_ours(fd) && (fcntl(fd, F_GETFL) & O_NONBLOCK));
	p.fd = fd;
	CHECK(poll(&p, 1, 2000) == 1 && p.revents == POLLOUT);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0);
	CHECK(try_connect(fd, PEER, port) == 0);
	CHECK_ERR(try_connect(fd, PEER, port), EISCONN);
	close(fd);
	fd = fresh();
	set_nonblock(fd, true);
	CHECK_ERR(try_connect(fd, BLACKHOLE, 9), EINPROGRESS);
	CHECK_ERR(try_connect(fd, BLACKHOLE, 9), EALREADY);
	CHECK_ERR(recv(fd, &err, 1, 0), EAGAIN);
	CHECK_ERR(send(fd, &err, 1, 0), EAGAIN);
	p.fd = fd;
	CHECK(poll(&p, 1, 20) == 0);
	CHECK(poll(&p, 1, 2000) == 1 && (p.revents & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP));
	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == ETIMEDOUT);
	close(fd);
	fd = fresh();
	set_nonblock(fd, true);
	CHECK_ERR(try_connect(fd, PEER, unused_port()), EINPROGRESS);
	p.fd = fd;
	CHECK(poll(&p, 1, 2000) == 1 && (p.revents & POLLERR));
	CHECK_ERR(try_connect(fd, PEER, port), ECONNREFUSED);
	CHECK_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	close(l);
}

TEST(not_connected)
{
	uint16_t port = 0;
	char c;
	int l = listener(VF, &port, 4), fd = fresh();
	struct sockaddr_in sa = at(VF, 0);
	socklen_t len = sizeof(sa);

	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && is_ours(fd));
	CHECK_ERR(recv(fd, &c, 1, 0), ENOTCONN);
	CHECK_ERR(send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
	CHECK_ERR(shutdown(fd, SHUT_WR), ENOTCONN);
	CHECK_ERR(getpeername(fd, (struct sockaddr *)&sa, &len), ENOTCONN);
	CHECK_ERR(accept(fd, NULL, NULL), EINVAL);
	CHECK_ERR(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), EINVAL);
	CHECK_ERR(recv(l, &c, 1, 0), ENOTCONN);
	CHECK_ERR(shutdown(l, 7), EINVAL);
	set_nonblock(l, true);
	CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
	CHECK_ERR(accept4(l, NULL, NULL, 0x1234), EINVAL);
	CHECK_ERR(try_connect(l, PEER, 80), EISCONN);
	CHECK_ERR(close(12345), EBADF);
	CHECK_ERR(recv(12345, &c, 1, 0), EBADF);
	close(fd);
	CHECK_ERR(recv(fd, &c, 1, 0), EBADF);
}

TEST(address_in_use)
{
	uint16_t port = 0;
	int l = listener(VF, &port, 4), fd = fresh(), k, c;
	struct sockaddr_in sa = at("0.0.0.0", port), other = at("192.0.2.7", port);

	CHECK_ERR(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), EADDRINUSE);
	CHECK_ERR(bind(fd, (struct sockaddr *)&other, sizeof(other)), EADDRNOTAVAIL);
	/* A server that closes can start again at once on its port, given SO_REUSEADDR. */
	k = dial(VF_KERNEL, port);
	c = accept(l, NULL, NULL);
	close(l);
	close(listener(VF, &port, 4));
	close(c);
	close(k);
}

TEST(broken_pipe)
{
	char buf[8];
	int a, k;

	handle(SIGPIPE, 0);
	pair_active(&a, &k);
	CHECK(shutdown(a, SHUT_WR) == 0);
	CHECK_ERR(write(a, "x", 1), EPIPE);
	CHECK(pipes == 1);
	CHECK_ERR(send(a, "x", 1, MSG_NOSIGNAL), EPIPE);
	CHECK(pipes == 1);
	(void)buf;
}

static void reset_by_peer(int a, int k)
{
	struct linger lin = {1, 0};
	char buf[8];

	send_all(k, "data", 4);
	CHECK(recv(a, buf, 2, 0) == 2);
	CHECK(setsockopt(k, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	close(k);
	pause_ms(60);
	CHECK(recv(a, buf, 8, 0) == 2); /* what had come is there */
	CHECK_ERR(recv(a, buf, 8, 0), ECONNRESET);
	CHECK(recv(a, buf, 8, 0) == 0);
	CHECK_ERR(send(a, "x", 1, MSG_NOSIGNAL), EPIPE);
}

TEST(peer_reset)
{
	int a, k;

	pair_active(&a, &k);
	reset_by_peer(a, k);
	pair_passive(&a, &k);
	reset_by_peer(a, k);
}

TEST(reset_by_linger_and_unread)
{
	struct linger lin = {1, 0};
	socklen_t len = sizeof(lin);
	char c;
	int a, k;

	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	lin.l_onoff = 0;
	CHECK(getsockopt(a, SOL_SOCKET, SO_LINGER, &lin, &len) == 0 && lin.l_onoff == 1 && lin.l_linger == 0);
	close(a);
	CHECK_ERR(recv(k, &c, 1, 0), ECONNRESET);
	close(k);
	pair_active(&a, &k);
	send_all(k, "unread", 6);
	CHECK(recv(a, &c, 1, 0) == 1);
	close(a);
	CHECK_ERR(recv(k, &c, 1, 0), ECONNRESET); /* RFC 2525, as Linux does */
	close(k);
}

TEST(receive_timeout)
{
	struct timeval tv = {0, 60000};
	uint16_t port = 0;
	int64_t start = ms_now();
	char c;
	int a, k, l = listener(VF, &port, 1);

	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	CHECK_ERR(recv(a, &c, 1, 0), EAGAIN);
	CHECK(ms_now() - start >= 60 && ms_now() - start < 1000);
	CHECK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
}

TEST(send_timeout)
{
	static char junk[65536];
	struct timeval tv = {0, 60000};
	int a, k, fd = fresh();
	ssize_t n;

	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
	while ((n = send(a, junk, sizeof(junk), 0)) > 0)
		;
	CHECK(errno == EAGAIN);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
	CHECK_ERR(try_connect(fd, BLACKHOLE, 80), EINPROGRESS);
}

static void *interrupt(void *arg)
{
	pthread_t target = *(pthread_t *)arg;

	pause_ms(40);
	pthread_kill(target, SIGUSR1);
	return NULL;
}

TEST(interrupted)
{
	struct timeval tv = {5, 0};
	pthread_t self = pthread_self(), t;
	char c;
	int a, k;

	pair_active(&a, &k);
	handle(SIGUSR1, 0);
	pthread_create(&t, NULL, interrupt, &self);
	CHECK_ERR(recv(a, &c, 1, 0), EINTR);
	CHECK(alarms == 1);
	pthread_join(t, NULL);
	/* With SA_RESTART and no time limit the call goes on. */
	handle(SIGUSR1, SA_RESTART);
	pthread_create(&t, NULL, interrupt, &self);
	if (fork() == 0) {
		pause_ms(120);
		send_all(k, "y", 1);
		_exit(0);
	}
	CHECK(recv(a, &c, 1, 0) == 1 && c == 'y' && alarms == 2);
	pthread_join(t, NULL);
	wait(NULL);
	/* With a time limit it ends in EINTR, as in the kernel. */
	CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	pthread_create(&t, NULL, interrupt, &self);
	CHECK_ERR(recv(a, &c, 1, 0), EINTR);
	pthread_join(t, NULL);
}

static void *blocked_reader(void *arg)
{
	char c;

	recv(*(int *)arg, &c, 1, 0);
	return NULL;
}

TEST(cancelled)
{
	pthread_t t;
	void *ret;
	int a, k;

	pair_active(&a, &k);
	pthread_create(&t, NULL, blocked_reader, &a);
	pause_ms(40);
	CHECK(pthread_cancel(t) == 0 && pthread_join(t, &ret) == 0 && ret == PTHREAD_CANCELED);
	CHECK(send(a, "x", 1, 0) == 1);
}

/* No ids left: an error after a bounded wait, and success again when ids come back. */
TEST(sockets_run_out)
{
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 128), fds[64], n = 0;

	while (n < 64) {
		int fd = fresh();

		if (try_connect(fd, PEER, port)) {
			CHECK(errno == ENOBUFS);
			close(fd);
			break;
		}
		fds[n++] = fd;
	}
	CHECK(n == 8); /* the VF of this test has 8 */
	close(fds[0]);
	fds[0] = dial(PEER, port);
	close(l);
}

/* The device dies (softnsm closes the lease): every kind of wait ends with an error. */
static void *wait_recv(void *arg)
{
	char c;

	CHECK_ERR(recv(*(int *)arg, &c, 1, 0), ENETDOWN);
	return NULL;
}

static void *wait_accept(void *arg)
{
	CHECK_ERR(accept(*(int *)arg, NULL, NULL), ENETDOWN);
	return NULL;
}

static void *wait_poll(void *arg)
{
	struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};

	CHECK(poll(&p, 1, -1) == 1 && (p.revents & POLLERR));
	return NULL;
}

static void *wait_epoll(void *arg)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int ep = epoll_create1(0);

	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, *(int *)arg, &ev) == 0);
	CHECK(epoll_wait(ep, &ev, 1, -1) == 1 && (ev.events & EPOLLERR));
	return NULL;
}

static void *wait_send(void *arg)
{
	static char junk[65536];

	while (send(*(int *)arg, junk, sizeof(junk), MSG_NOSIGNAL) > 0)
		;
	CHECK(errno == ENETDOWN);
	return NULL;
}

static void *wait_connect(void *arg)
{
	(void)arg;
	CHECK_ERR(try_connect(fresh(), BLACKHOLE, 80), ENETDOWN);
	return NULL;
}

/* All kinds of wait at once, then the blow; each must end with an error, and new calls fail. */
static void waits_end(void (*strike)(void))
{
	void *(*waits[])(void *) = {wait_recv, wait_accept, wait_poll, wait_epoll, wait_send, wait_connect};
	pthread_t t[6];
	uint16_t port = 0;
	int a, k, l = listener(VF, &port, 4);
	struct sockaddr_in sa = at(VF, 0);

	pair_active(&a, &k);
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, waits[i], i == 1 ? &l : &a);
	pause_ms(100);
	strike();
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	CHECK_ERR(try_connect(fresh(), PEER, 80), ENETDOWN);
	CHECK_ERR(bind(fresh(), (struct sockaddr *)&sa, sizeof(sa)), ENETDOWN);
	CHECK_ERR(send(a, "x", 1, MSG_NOSIGNAL), ENETDOWN);
	close(a);
	/* The kernel's sockets live on. */
	port = 0;
	k = listener(PEER_KERNEL, &port, 1);
	close(dial(PEER_KERNEL, port));
	puts("survived");
}

static void strike_nothing(void) {}
TEST(device_dies) { waits_end(strike_nothing); } /* softnsm --die-after-ms ends the lease */

static void kill_supervisor(void)
{
	CHECK(kill(getppid(), SIGKILL) == 0);
}
TEST(supervisor_killed) { waits_end(kill_supervisor); }

static void kill_owner(void)
{
	char path[64];
	int pid, killed = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", getppid(), getppid());
	f = fopen(path, "r");
	CHECK(f);
	while (fscanf(f, "%d", &pid) == 1)
		if (pid != getpid()) {
			kill(pid, SIGKILL);
			killed++;
		}
	fclose(f);
	CHECK(killed == 1);
}
TEST(owner_killed) { waits_end(kill_owner); }

/* softnsm --evil MODE lies once about the first live socket: that one may fail, the next must not. */
TEST(liar)
{
	static char buf[100000];
	struct timeval tv = {0, 300000};
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 4), a = fresh(), k;

	signal(SIGPIPE, SIG_IGN);
	if (try_connect(a, PEER, port) == 0) {
		k = accept(l, NULL, NULL);
		CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
		send(k, buf, 1000, MSG_NOSIGNAL);
		send(a, buf, 1000, MSG_NOSIGNAL);
		while (recv(a, buf, sizeof(buf), 0) > 0)
			;
		close(k);
	}
	close(a);
	for (int i = 0; i < 40; i++) {
		pair_active(&a, &k);
		send_all(a, "ok", 2);
		CHECK(recv(k, buf, 2, MSG_WAITALL) == 2);
		send_all(k, "ok", 2);
		CHECK(recv(a, buf, 2, MSG_WAITALL) == 2);
		close(a);
		close(k);
	}
}
