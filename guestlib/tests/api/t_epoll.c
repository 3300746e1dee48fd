/* SPDX-License-Identifier: Apache-2.0 */
/* epoll: level, edge, one-shot; sets that mix our sockets with the kernel's; sockets added before connect. */
#include "api.h"

#include <sys/eventfd.h>

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};

	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
}

/* Waits for exactly one event and checks it. */
static void expect(int ep, uint32_t events, uint64_t data)
{
	struct epoll_event ev[4];
	int n = epoll_wait(ep, ev, 4, 3000);

	if (n != 1 || ev[0].events != events || ev[0].data.u64 != data)
		fprintf(stderr, "got %d events, first 0x%x data %llu; expected 0x%x data %llu\n", n, n > 0 ? ev[0].events : 0,
			n > 0 ? (unsigned long long)ev[0].data.u64 : 0, events, (unsigned long long)data);
	CHECK(n == 1 && ev[0].events == events && ev[0].data.u64 == data);
}

static void expect_none(int ep, int ms)
{
	struct epoll_event ev[4];

	CHECK(epoll_wait(ep, ev, 4, ms) == 0);
}

TEST(epoll_level)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int a, k, ep = epoll_create1(EPOLL_CLOEXEC), p[2];
	char buf[8];

	pair_active(&a, &k);
	CHECK(pipe(p) == 0);
	add(ep, a, EPOLLIN, 11);
	add(ep, p[0], EPOLLIN, 22);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ev), EEXIST);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_MOD, k, &ev), ENOENT);
	expect_none(ep, 0);
	expect_none(ep, 30);
	send_all(k, "abc", 3);
	expect(ep, EPOLLIN, 11);
	expect(ep, EPOLLIN, 11); /* level */
	CHECK(recv(a, buf, 1, 0) == 1);
	expect(ep, EPOLLIN, 11);
	CHECK(recv(a, buf, 8, 0) == 2);
	expect_none(ep, 10);
	CHECK(write(p[1], "x", 1) == 1);
	expect(ep, EPOLLIN, 22);
	send_all(k, "d", 1);
	pause_ms(30);
	struct epoll_event two[2];
	CHECK(epoll_wait(ep, two, 2, -1) == 2 && two[0].data.u64 + two[1].data.u64 == 33);
	CHECK(epoll_wait(ep, two, 1, -1) == 1); /* neither starves the other */
	uint64_t first = two[0].data.u64;
	CHECK(epoll_wait(ep, two, 1, -1) == 1 && two[0].data.u64 != first);
	ev = (struct epoll_event){.events = EPOLLOUT, .data.u64 = 44};
	CHECK(read(p[0], buf, 1) == 1 && epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev) == 0);
	expect(ep, EPOLLOUT, 44);
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, a, NULL) == 0);
	CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_DEL, a, NULL), ENOENT);
	expect_none(ep, 10);
	add(ep, a, EPOLLIN | EPOLLRDHUP, 55);
	CHECK(recv(a, buf, 8, 0) == 1);
	shutdown(k, SHUT_WR);
	expect(ep, EPOLLIN | EPOLLRDHUP, 55);
	shutdown(a, SHUT_WR);
	expect(ep, EPOLLIN | EPOLLRDHUP | EPOLLHUP, 55);
	close(a); /* leaves the set */
	expect_none(ep, 10);
	CHECK_ERR(epoll_ctl(p[0], EPOLL_CTL_ADD, k, &ev), EINVAL);
}

TEST(epoll_edge)
{
	static char junk[300000];
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = 1};
	int a, k, ep = epoll_create1(0);
	char buf[64];
	ssize_t n;

	pair_active(&a, &k);
	set_nonblock(a, true);
	add(ep, a, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1);
	expect(ep, EPOLLOUT, 1);
	expect_none(ep, 10);
	send_all(k, "abc", 3);
	expect(ep, EPOLLIN | EPOLLOUT, 1);
	expect_none(ep, 10); /* no new edge, though data stands there */
	CHECK(recv(a, buf, 1, 0) == 1);
	expect_none(ep, 10);
	send_all(k, "de", 2);
	expect(ep, EPOLLIN | EPOLLOUT, 1);
	CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev) == 0); /* MOD arms again */
	expect(ep, EPOLLIN | EPOLLOUT, 1);
	CHECK(recv(a, buf, 64, 0) == 4);
	while ((n = send(a, junk, sizeof(junk), 0)) > 0)
		;
	CHECK(errno == EAGAIN);
	/* Room comes back: one edge. */
	for (;;) {
		struct pollfd p = {.fd = k, .events = POLLIN};

		if (poll(&p, 1, 50) == 0)
			break;
		CHECK(recv(k, junk, sizeof(junk), 0) > 0);
	}
	expect(ep, EPOLLOUT, 1);
	shutdown(k, SHUT_WR);
	expect(ep, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 1);
	expect_none(ep, 10);
	close(k);
}

TEST(epoll_edge_write_resumes)
{
	/* Edge-triggered writer against a slow reader: no edge may be lost. */
	enum { TOTAL = 6 << 20 };
	uint8_t *data = malloc(TOTAL), *got = malloc(TOTAL);
	int a, k, ep = epoll_create1(0), st;
	size_t done = 0;
	pid_t pid;

	fill(data, TOTAL, 5);
	pair_active(&a, &k);
	pid = fork();
	if (pid == 0) {
		size_t have = 0;
		ssize_t n;

		close(a);
		while ((n = recv(k, got + have, have % 7 ? 40000 : 7000, 0)) > 0) {
			have += (size_t)n;
			if (have % 5 == 0)
				pause_ms(1);
		}
		_exit(have != TOTAL || memcmp(data, got, TOTAL) != 0);
	}
	close(k);
	set_nonblock(a, true);
	add(ep, a, EPOLLOUT | EPOLLET, 9);
	while (done < TOTAL) {
		struct epoll_event ev;
		ssize_t n;

		CHECK(epoll_wait(ep, &ev, 1, 5000) == 1);
		while (done < TOTAL && (n = send(a, data + done, TOTAL - done, 0)) > 0)
			done += (size_t)n;
		CHECK(done == TOTAL || errno == EAGAIN);
	}
	close(a);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
}

TEST(epoll_oneshot)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 3};
	int a, k, ep = epoll_create1(0);

	pair_active(&a, &k);
	add(ep, a, EPOLLIN | EPOLLONESHOT, 3);
	send_all(k, "a", 1);
	expect(ep, EPOLLIN, 3);
	expect_none(ep, 20);
	send_all(k, "b", 1);
	expect_none(ep, 20);
	CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev) == 0);
	expect(ep, EPOLLIN, 3);
}

TEST(epoll_before_connect)
{
	/* A descriptor registered while it was the kernel's keeps its registration when it becomes ours. */
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 4), ep = epoll_create1(0), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), k;
	struct sockaddr_in sa = at(PEER, port);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 78};

	add(ep, fd, EPOLLOUT | EPOLLIN | EPOLLET, 77);
	CHECK_ERR(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), EINPROGRESS);
	for (int i = 0; i < 2; i++) {
		struct epoll_event got;

		CHECK(epoll_wait(ep, &got, 1, 3000) == 1 && got.data.u64 == 77);
		if (got.events == EPOLLOUT)
			break;
		CHECK(i == 0); /* the kernel may have shown HUP of the unconnected socket first */
	}
	k = accept(l, NULL, NULL);
	CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev) == 0);
	send_all(k, "x", 1);
	expect(ep, EPOLLIN, 78);
	CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL) == 0);
	/* The other way: it stays with the kernel. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	add(ep, fd, EPOLLOUT, 79);
	sa = at(PEER_KERNEL, port);
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && !is_ours(fd));
	expect(ep, EPOLLOUT, 79);
}

TEST(epoll_listener_and_any)
{
	uint16_t port = 0;
	int l = listener("0.0.0.0", &port, 8), ep = epoll_create1(0), k[3];

	set_nonblock(l, true);
	add(ep, l, EPOLLIN | EPOLLEXCLUSIVE, 5);
	expect_none(ep, 0);
	for (int i = 0; i < 3; i++)
		k[i] = dial(VF_KERNEL, port);
	for (int i = 0; i < 3; i++) {
		expect(ep, EPOLLIN, 5);
		close(accept(l, NULL, NULL));
	}
	expect_none(ep, 10);
	CHECK_ERR(accept(l, NULL, NULL), EAGAIN);
	close(k[0]);
}

struct waiter {
	int ep, wake;
};

static void *wake_later(void *arg)
{
	struct waiter *w = arg;

	pause_ms(30);
	CHECK(eventfd_write(w->wake, 1) == 0);
	return NULL;
}

TEST(epoll_added_while_waiting)
{
	/* A thread sleeps in a set without any of ours; another adds one that is ready already. */
	int a, k, ep = epoll_create1(0), wake = eventfd(0, 0);
	struct waiter w = {ep, wake};
	struct epoll_event ev;
	pthread_t t;

	pair_active(&a, &k);
	send_all(k, "x", 1);
	add(ep, wake, EPOLLIN, 1);
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	pthread_create(&t, NULL, wake_later, &w);
	CHECK(epoll_wait(ep, &ev, 1, -1) == 1 && ev.data.u64 == 1);
	pthread_join(t, NULL);
	eventfd_t value;
	CHECK(eventfd_read(wake, &value) == 0);
	struct epoll_event reg = {.events = EPOLLIN, .data.u64 = 2};
	pid_t unused = 0;
	(void)unused;
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, a, &reg) == 0);
	expect(ep, EPOLLIN, 2);
}

struct adder {
	int ep, fd;
};

static void *add_later(void *arg)
{
	struct adder *w = arg;

	pause_ms(40);
	add(w->ep, w->fd, EPOLLIN, 2);
	return NULL;
}

TEST(epoll_added_by_thread)
{
	int a, k, ep = epoll_create1(0);
	struct adder w = {ep, 0};
	struct epoll_event ev;
	pthread_t t;

	pair_active(&a, &k);
	send_all(k, "x", 1);
	pause_ms(20);
	w.fd = a;
	pthread_create(&t, NULL, add_later, &w);
	CHECK(epoll_wait(ep, &ev, 1, 5000) == 1 && ev.data.u64 == 2 && ev.events == EPOLLIN);
	pthread_join(t, NULL);
}

TEST(epoll_nested)
{
	/* An epoll set inside poll and inside another set shows our sockets' readiness. */
	int a, k, inner = epoll_create1(0);
	struct pollfd p = {.fd = inner, .events = POLLIN};

	pair_active(&a, &k);
	add(inner, a, EPOLLIN, 1);
	while (poll(&p, 1, 0) == 1) /* a wake edge may stand there: the set itself knows better */
		expect_none(inner, 0);
	send_all(k, "x", 1);
	CHECK(poll(&p, 1, 2000) == 1 && p.revents == POLLIN);
	expect(inner, EPOLLIN, 1);
}

/* Ping-pong through epoll with a kernel event beside it: a lost wake-up hangs, the alarm kills. */
static void *peer_loop(void *arg)
{
	int fd = *(int *)arg;
	char c;

	while (recv(fd, &c, 1, 0) == 1)
		send_all(fd, &c, 1);
	return NULL;
}

static void pingpong(uint32_t extra)
{
	int a[3], k[3], ep = epoll_create1(0), left = 0;
	pthread_t t[3];
	char c;

	for (int i = 0; i < 3; i++) {
		pair_active(&a[i], &k[i]);
		set_nonblock(a[i], true);
		add(ep, a[i], EPOLLIN | extra, (uint64_t)i);
		pthread_create(&t[i], NULL, peer_loop, &k[i]);
		CHECK(send(a[i], "p", 1, 0) == 1);
	}
	while (left < 3000) {
		struct epoll_event ev[3];
		int n = epoll_wait(ep, ev, 3, 5000);

		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			int fd = a[ev[i].data.u64];

			while (recv(fd, &c, 1, 0) == 1) {
				CHECK(send(fd, "p", 1, 0) == 1);
				left++;
			}
			CHECK(errno == EAGAIN);
		}
	}
	for (int i = 0; i < 3; i++) {
		close(a[i]);
		pthread_join(t[i], NULL);
	}
}

TEST(epoll_pingpong_level) { pingpong(0); }
TEST(epoll_pingpong_edge) { pingpong(EPOLLET); }

/* Several threads wait on one set, one-shot: each event goes to one thread. */
static int shared_ep;
static int served;

static void *server_thread(void *arg)
{
	(void)arg;
	for (;;) {
		struct epoll_event ev;
		char c;
		int n = epoll_wait(shared_ep, &ev, 1, 500), fd;

		if (n == 0)
			return NULL;
		CHECK(n == 1);
		fd = (int)ev.data.u64;
		CHECK(recv(fd, &c, 1, MSG_DONTWAIT) == 1);
		CHECK(send(fd, &c, 1, 0) == 1);
		__atomic_fetch_add(&served, 1, __ATOMIC_SEQ_CST);
		ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.u64 = (uint64_t)fd};
		CHECK(epoll_ctl(shared_ep, EPOLL_CTL_MOD, fd, &ev) == 0);
	}
}

TEST(epoll_threads)
{
	int a[6], k[6];
	pthread_t t[3];
	char c;

	shared_ep = epoll_create1(0);
	for (int i = 0; i < 6; i++) {
		pair_active(&a[i], &k[i]);
		add(shared_ep, a[i], EPOLLIN | EPOLLONESHOT, (uint64_t)a[i]);
	}
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, server_thread, NULL);
	for (int r = 0; r < 200; r++) {
		for (int i = 0; i < 6; i++)
			send_all(k[i], "x", 1);
		for (int i = 0; i < 6; i++)
			CHECK(recv(k[i], &c, 1, 0) == 1);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CHECK(served == 1200);
}
