/* SPDX-License-Identifier: Apache-2.0 */
/* poll and select over our sockets and the kernel's. */
#include "api.h"

#include <sys/select.h>

static void *later(void *arg)
{
	int *fds = arg; /* { descriptor, ms } */

	pause_ms(fds[1]);
	CHECK(write(fds[0], "z", 1) == 1);
	return NULL;
}

TEST(poll_mixed)
{
	struct pollfd p[3];
	int a, k, pipe_fds[2], job[2];
	pthread_t t;
	char c;
	int64_t start;

	pair_active(&a, &k);
	CHECK(pipe(pipe_fds) == 0);
	p[0] = (struct pollfd){.fd = pipe_fds[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = a, .events = POLLIN};
	p[2] = (struct pollfd){.fd = -5, .events = POLLIN};
	start = ms_now();
	CHECK(poll(p, 3, 50) == 0 && ms_now() - start >= 50);
	CHECK(poll(p, 3, 0) == 0);
	for (int round = 0; round < 6; round++) {
		job[0] = round % 2 ? pipe_fds[1] : k;
		job[1] = 15;
		pthread_create(&t, NULL, later, job);
		CHECK(poll(p, 3, 5000) == 1);
		CHECK(p[round % 2 ? 0 : 1].revents == POLLIN && p[round % 2 ? 1 : 0].revents == 0 && p[2].revents == 0);
		CHECK(read(round % 2 ? pipe_fds[0] : a, &c, 1) == 1);
		pthread_join(t, NULL);
	}
	p[1].events = POLLIN | POLLOUT;
	CHECK(poll(p, 3, -1) == 1 && p[1].revents == POLLOUT);
	send_all(k, "q", 1);
	CHECK(write(pipe_fds[1], "w", 1) == 1);
	pause_ms(30);
	CHECK(poll(p, 3, -1) == 2 && p[1].revents == (POLLIN | POLLOUT) && p[0].revents == POLLIN);
	shutdown(k, SHUT_WR);
	p[1].events = POLLRDHUP;
	CHECK(poll(&p[1], 1, 2000) == 1 && p[1].revents == POLLRDHUP);
	p[2] = (struct pollfd){.fd = 900, .events = POLLIN};
	CHECK(poll(p, 3, 0) >= 1 && p[2].revents == POLLNVAL);
	close(k);
	close(a);
}

TEST(poll_accept_and_write_space)
{
	static char junk[100000];
	uint16_t port = 0;
	int l = listener(VF, &port, 8), k, a;
	struct pollfd p = {.fd = l, .events = POLLIN};
	struct timespec ts = {0, 20000000};
	sigset_t none;
	size_t total = 0, got = 0;

	sigemptyset(&none);
	CHECK(ppoll(&p, 1, &ts, &none) == 0);
	k = dial(VF_KERNEL, port);
	CHECK(ppoll(&p, 1, NULL, &none) == 1 && p.revents == POLLIN);
	a = accept(l, NULL, NULL);
	CHECK(poll(&p, 1, 0) == 0);
	set_nonblock(a, true);
	for (;;) {
		ssize_t n = send(a, junk, sizeof(junk), 0);

		if (n < 0) {
			CHECK(errno == EAGAIN);
			p = (struct pollfd){.fd = a, .events = POLLOUT};
			if (poll(&p, 1, 100) == 0)
				break;
			continue;
		}
		total += (size_t)n;
	}
	while (got < total && poll(&p, 1, 0) == 0) {
		ssize_t n = recv(k, junk, sizeof(junk), 0);

		CHECK(n > 0);
		got += (size_t)n;
		if (got < total)
			continue;
		CHECK(poll(&p, 1, 5000) == 1);
	}
	CHECK(p.revents == POLLOUT && total > 100000);
	CHECK(send(a, junk, 1000, 0) == 1000);
}

TEST(select_mixed)
{
	struct timeval tv = {0, 40000};
	int a, k, pipe_fds[2], job[2], top;
	fd_set r, w;
	pthread_t t;
	char c;

	pair_active(&a, &k);
	CHECK(pipe(pipe_fds) == 0);
	top = (a > pipe_fds[0] ? a : pipe_fds[0]) + 1;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(a, &r);
	FD_SET(pipe_fds[0], &r);
	CHECK(select(top, &r, NULL, NULL, &tv) == 0 && !FD_ISSET(a, &r) && tv.tv_sec == 0 && tv.tv_usec == 0);
	FD_SET(a, &r);
	FD_SET(a, &w);
	FD_SET(pipe_fds[0], &r);
	CHECK(select(top, &r, &w, NULL, NULL) == 1 && FD_ISSET(a, &w) && !FD_ISSET(a, &r));
	FD_ZERO(&r);
	FD_SET(a, &r);
	FD_SET(pipe_fds[0], &r);
	job[0] = k;
	job[1] = 20;
	pthread_create(&t, NULL, later, job);
	tv = (struct timeval){5, 0};
	CHECK(select(top, &r, NULL, NULL, &tv) == 1 && FD_ISSET(a, &r) && !FD_ISSET(pipe_fds[0], &r) && tv.tv_sec == 4);
	pthread_join(t, NULL);
	CHECK(read(a, &c, 1) == 1);
	FD_ZERO(&r);
	FD_SET(a, &r);
	FD_SET(900, &r);
	CHECK_ERR(select(901, &r, NULL, NULL, NULL), EBADF);
	FD_ZERO(&r);
	FD_SET(a, &r);
	CHECK(pselect(top, &r, NULL, NULL, &(struct timespec){0, 1000000}, NULL) == 0);
	close(k);
	FD_SET(a, &r);
	CHECK(select(top, &r, NULL, NULL, NULL) == 1 && FD_ISSET(a, &r) && read(a, &c, 1) == 0);
}

static volatile sig_atomic_t hits;
static void on_usr1(int sig)
{
	(void)sig;
	hits++;
}

static void *poke(void *arg)
{
	pause_ms(40);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

TEST(poll_interrupted)
{
	struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
	pthread_t self = pthread_self(), t;
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {.events = POLLIN};
	sigset_t block, old;
	int a, k, ep = epoll_create1(0);

	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	pair_active(&a, &k);
	p.fd = a;
	pthread_create(&t, NULL, poke, &self);
	CHECK_ERR(poll(&p, 1, 5000), EINTR);
	pthread_join(t, NULL);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ev) == 0);
	pthread_create(&t, NULL, poke, &self);
	CHECK_ERR(epoll_wait(ep, &ev, 1, 5000), EINTR);
	pthread_join(t, NULL);
	/* ppoll and epoll_pwait let a blocked signal in just for the wait. */
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	CHECK(pthread_sigmask(SIG_BLOCK, &block, &old) == 0);
	pthread_kill(self, SIGUSR1);
	CHECK(hits == 2 && poll(&p, 1, 10) == 0 && hits == 2);
	CHECK_ERR(ppoll(&p, 1, NULL, &old), EINTR);
	CHECK(hits == 3);
	pthread_kill(self, SIGUSR1);
	CHECK_ERR(epoll_pwait(ep, &ev, 1, -1, &old), EINTR);
	CHECK(hits == 4);
}

/* Two threads poll two sockets of one process: no thread eats the other's wake-up. */
static void *ponger(void *arg)
{
	int fd = *(int *)arg;
	char c;

	for (int i = 0; i < 400; i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		CHECK(poll(&p, 1, 5000) == 1);
		CHECK(recv(fd, &c, 1, MSG_DONTWAIT) == 1);
		CHECK(send(fd, &c, 1, 0) == 1);
	}
	return NULL;
}

TEST(poll_threads)
{
	int a[4], k[4];
	pthread_t t[4];
	char c = 0;

	for (int i = 0; i < 4; i++) {
		pair_active(&a[i], &k[i]);
		pthread_create(&t[i], NULL, ponger, &a[i]);
	}
	for (int r = 0; r < 400; r++) {
		for (int i = 0; i < 4; i++)
			CHECK(send(k[(i + r) % 4], &c, 1, 0) == 1);
		for (int i = 0; i < 4; i++)
			CHECK(recv(k[i], &c, 1, 0) == 1);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}
