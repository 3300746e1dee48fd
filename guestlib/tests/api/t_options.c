/* SPDX-License-Identifier: Apache-2.0 */
/* Socket options, and which sockets stay with the kernel. */
#include "api.h"

#include <sys/stat.h>

static int get_int(int fd, int level, int name)
{
	int value = -12345;
	socklen_t len = sizeof(value);

	CHECK(getsockopt(fd, level, name, &value, &len) == 0 && len == sizeof(value));
	return value;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

TEST(options_follow)
{
	/* Set while the socket was the kernel's, still there when it is ours; and what the kernel normalises. */
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 1), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), twin;
	struct sockaddr_in sa = at(PEER, port);
	struct timeval tv = {3, 500000}, got;
	struct linger lin = {1, 7}, lgot;
	socklen_t len = sizeof(got);

	twin = socket(AF_INET, SOCK_STREAM, 0);
	for (int i = 0; i < 2; i++) {
		int s = i ? twin : fd;

		CHECK(set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && set_int(s, IPPROTO_TCP, TCP_NODELAY, 1) == 0);
		CHECK(set_int(s, SOL_SOCKET, SO_SNDBUF, 50000) == 0 && set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 77) == 0);
		CHECK(set_int(s, IPPROTO_IP, IP_TOS, 0x10) == 0);
		CHECK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
		CHECK(setsockopt(s, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	}
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && is_ours(fd));
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(get_int(fd, SOL_SOCKET, SO_KEEPALIVE) == 1 && get_int(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
	CHECK(get_int(fd, SOL_SOCKET, SO_SNDBUF) == get_int(twin, SOL_SOCKET, SO_SNDBUF));
	CHECK(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 77 && get_int(fd, IPPROTO_IP, IP_TOS) == 0x10);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &got, &len) == 0 && got.tv_sec == 3 && got.tv_usec == 500000);
	len = sizeof(lgot);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &lgot, &len) == 0 && lgot.l_onoff && lgot.l_linger == 7);
	/* Set afterwards. */
	CHECK(set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 88) == 0 && get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 88);
	CHECK(set_int(fd, SOL_SOCKET, SO_RCVBUF, 1) == 0 && set_int(twin, SOL_SOCKET, SO_RCVBUF, 1) == 0);
	CHECK(get_int(fd, SOL_SOCKET, SO_RCVBUF) == get_int(twin, SOL_SOCKET, SO_RCVBUF));
	close(l);
}

TEST(options_read_only_and_errors)
{
	uint16_t port = 0;
	int a, k, l = listener(VF, &port, 2);
	struct tcp_info info;
	socklen_t len = sizeof(info);
	char name[16] = {0};

	pair_active(&a, &k);
	CHECK(get_int(a, SOL_SOCKET, SO_TYPE) == SOCK_STREAM && get_int(a, SOL_SOCKET, SO_DOMAIN) == AF_INET);
	CHECK(get_int(a, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP && get_int(a, SOL_SOCKET, SO_ERROR) == 0);
	CHECK(get_int(a, SOL_SOCKET, SO_ACCEPTCONN) == 0 && get_int(l, SOL_SOCKET, SO_ACCEPTCONN) == 1);
	CHECK(get_int(a, IPPROTO_TCP, TCP_MAXSEG) == 1460);
	CHECK(getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_ESTABLISHED);
	CHECK(info.tcpi_rtt == 1234 && info.tcpi_rttvar == 321 && info.tcpi_snd_cwnd == 10 && info.tcpi_total_retrans == 7);
	len = sizeof(info);
	CHECK(getsockopt(l, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_LISTEN);
	len = sizeof(name);
	CHECK(getsockopt(a, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && strcmp(name, "cubic") == 0);
	CHECK(setsockopt(a, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0);
	CHECK_ERR(setsockopt(a, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), ENOENT);
	CHECK_ERR(set_int(a, SOL_SOCKET, 9999, 1), ENOPROTOOPT);
	CHECK_ERR(set_int(a, IPPROTO_TCP, 9999, 1), ENOPROTOOPT);
	CHECK_ERR(setsockopt(a, SOL_SOCKET, SO_KEEPALIVE, "x", 1), EINVAL);
	CHECK_ERR(set_int(a, IPPROTO_TCP, TCP_KEEPIDLE, -1), EINVAL);
	CHECK_ERR(set_int(a, IPPROTO_TCP, TCP_REPAIR, 1), ENOPROTOOPT);
	len = sizeof(int);
	CHECK_ERR(getsockopt(a, SOL_SOCKET, 9999, name, &len), ENOPROTOOPT);
	struct stat st;
	CHECK(fstat(a, &st) == 0 && S_ISSOCK(st.st_mode));
}

/* What of these the card got is looked at by test_api.py: the softnsm keeps a log. */
TEST(options_to_card)
{
	uint16_t port = 0, back = 0;
	int l = listener(PEER_KERNEL, &port, 4), s, k, a, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in sa = at(PEER, port);
	char c;

	/* Before connect: in the kernel's hands still. Milliseconds become seconds, and never fewer. */
	CHECK(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1001) == 0);
	CHECK(set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 600) == 0);
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && is_ours(fd));
	k = accept(l, NULL, NULL);
	/* Afterwards; the second time is no news, but for QUICKACK. */
	for (int i = 0; i < 2; i++) {
		CHECK(set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30) == 0);
		CHECK(set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 127) == 0 && set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 1) == 0);
	}
	CHECK(set_int(fd, IPPROTO_TCP, TCP_NODELAY, 0) == 0 && set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0) == 0);
	CHECK(get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 600 && get_int(fd, IPPROTO_TCP, TCP_KEEPCNT) == 127);
	CHECK(get_int(fd, IPPROTO_TCP, TCP_NODELAY) == 0 && get_int(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
	close(k);
	CHECK(recv(fd, &c, 1, 0) == 0);
	close(fd);
	/* A listener: its credits have what it had, a connection what it has. */
	s = socket(AF_INET, SOCK_STREAM, 0);
	sa = at(VF, 0);
	CHECK(set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && bind(s, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	CHECK(listen(s, 0) == 0);
	CHECK(set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 44) == 0);
	socklen_t len = sizeof(sa);
	CHECK(getsockname(s, (struct sockaddr *)&sa, &len) == 0);
	back = ntohs(sa.sin_port);
	k = dial(VF_KERNEL, back);
	a = accept(s, NULL, NULL);
	CHECK(get_int(a, SOL_SOCKET, SO_KEEPALIVE) == 1 && get_int(a, IPPROTO_TCP, TCP_KEEPIDLE) == 44);
	CHECK(set_int(a, IPPROTO_TCP, TCP_KEEPIDLE, 45) == 0 && get_int(s, IPPROTO_TCP, TCP_KEEPIDLE) == 44);
	close(k);
	CHECK(recv(a, &c, 1, 0) == 0);
	close(a);
	close(s);
	close(l);
}

TEST(cork)
{
	int a, k;
	struct pollfd p = {.events = POLLIN};
	char buf[16];

	pair_active(&a, &k);
	p.fd = k;
	for (int i = 0; i < 20; i++) {
		/* The cork is in before setsockopt returns: no send overtakes it. */
		CHECK(set_int(a, IPPROTO_TCP, TCP_CORK, 1) == 0 && get_int(a, IPPROTO_TCP, TCP_CORK) == 1);
		send_all(a, "head", 4);
		CHECK(poll(&p, 1, 15) == 0); /* Linux ends a cork after 200 ms */
		send_all(a, "tail", 4);
		CHECK(set_int(a, IPPROTO_TCP, TCP_CORK, 0) == 0);
		/* Nor does its end overtake the tail: both come in one piece. */
		CHECK(poll(&p, 1, 5000) == 1 && recv(k, buf, sizeof(buf), 0) == 8);
	}
	close(a);
	close(k);
}

static int64_t timed_close(int fd)
{
	int64_t start = ms_now();

	CHECK(close(fd) == 0);
	return ms_now() - start;
}

static void *read_later(void *arg)
{
	int fd = *(int *)arg;
	char buf[65536];

	pause_ms(300);
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	return NULL;
}

/* More than the peer takes without reading. */
static void stuff(int fd)
{
	char buf[65536] = {0};
	int n = 0;

	set_nonblock(fd, true);
	for (int idle = 0; idle < 10; n++)
		if (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) < 0) {
			CHECK(errno == EAGAIN);
			pause_ms(10);
			idle++;
		}
	set_nonblock(fd, false);
}

TEST(linger)
{
	struct linger lin = {1, 1};
	int a, k, other;
	pthread_t reader;

	/* Nobody reads: the time runs out. */
	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	stuff(a);
	other = dup(a);
	CHECK(timed_close(other) < 500); /* not the last descriptor */
	int64_t took = timed_close(a);
	CHECK(took >= 900 && took < 3000);
	/* What was sent goes on its way all the same. */
	read_later(&k);
	close(k);
	/* Somebody reads: close() returns once it is all there. */
	pair_passive(&a, &k);
	lin.l_linger = 15;
	CHECK(setsockopt(a, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	stuff(a);
	CHECK(pthread_create(&reader, NULL, read_later, &k) == 0);
	took = timed_close(a);
	CHECK(took >= 200 && took < 10000);
	pthread_join(reader, NULL);
	close(k);
	/* Nothing to wait for; a peer that is gone; not connected. */
	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	CHECK(timed_close(a) < 1000);
	close(k);
	pair_active(&a, &k);
	CHECK(setsockopt(a, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	stuff(a);
	lin.l_linger = 0;
	CHECK(setsockopt(k, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	close(k);
	CHECK(timed_close(a) < 1000);
}

TEST(low_water_mark)
{
	int a, k, n = 0;
	struct pollfd p = {.events = POLLIN};
	char buf[16];

	pair_active(&a, &k);
	p.fd = a;
	CHECK(set_int(a, SOL_SOCKET, SO_RCVLOWAT, 4) == 0);
	send_all(k, "ab", 2);
	CHECK(poll(&p, 1, 40) == 0);
	send_all(k, "cd", 2);
	CHECK(poll(&p, 1, 2000) == 1);
	CHECK(recv(a, buf, 16, 0) == 4);
	(void)n;
}

TEST(loopback_stays)
{
	uint16_t port = 0, port2 = 0;
	int l = listener(PEER_KERNEL, &port, 4), fd = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0), k;
	struct sockaddr_in any = at("0.0.0.0", 0), to, self = at(VF, 0);
	socklen_t len = sizeof(self);
	char c;

	to = at(PEER_KERNEL, port);
	CHECK(!is_ours(l));
	CHECK(bind(u, (struct sockaddr *)&any, sizeof(any)) == 0 && !is_ours(u));
	/* Bound to any address first, then it turns out to be loopback; the kernel may use that port already. */
	for (int i = 0; i < 5; i++) {
		CHECK(set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
		CHECK(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 && is_ours(fd));
		CHECK(getsockname(fd, (struct sockaddr *)&self, &len) == 0);
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			break;
		CHECK(errno == EADDRINUSE && is_ours(fd));
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
	}
	CHECK(!is_ours(fd));
	CHECK(get_int(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
	any = self;
	len = sizeof(self);
	CHECK(getsockname(fd, (struct sockaddr *)&self, &len) == 0 && self.sin_port == any.sin_port);
	k = accept(l, NULL, NULL);
	CHECK(send(fd, "x", 1, 0) == 1 && recv(k, &c, 1, 0) == 1);
	/* The VF's own address is not loopback. */
	int s = listener(VF, &port2, 4), me = dial(VF, port2), in = accept(s, NULL, NULL);
	CHECK(is_ours(me) && is_ours(in) && send(me, "y", 1, 0) == 1 && recv(in, &c, 1, 0) == 1 && c == 'y');
}

TEST(mapped_ipv6)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0), l, k, a;
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6}, got;
	socklen_t len = sizeof(got);
	uint16_t port = 0;

	if (fd < 0)
		return; /* a host without IPv6 */
	CHECK(set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) == 0);
	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && is_ours(fd) && listen(fd, 4) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&got, &len) == 0 && got.sin6_family == AF_INET6 && len == sizeof(got));
	k = dial(VF_KERNEL, ntohs(got.sin6_port));
	len = sizeof(got);
	a = accept(fd, (struct sockaddr *)&got, &len);
	CHECK(a >= 0 && len == sizeof(got) && IN6_IS_ADDR_V4MAPPED(&got.sin6_addr));
	CHECK(get_int(a, SOL_SOCKET, SO_DOMAIN) == AF_INET6);
	l = listener(PEER_KERNEL, &port, 1);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK(inet_pton(AF_INET6, "::ffff:" PEER, &sa.sin6_addr) == 1);
	sa.sin6_port = htons(port);
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && is_ours(fd));
	len = sizeof(got);
	CHECK(getpeername(fd, (struct sockaddr *)&got, &len) == 0 && memcmp(&got.sin6_addr, &sa.sin6_addr, 16) == 0);
	close(k);
	close(l);
}
