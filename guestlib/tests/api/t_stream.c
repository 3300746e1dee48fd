/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes through every call that moves them. */
#include "api.h"

#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/sockios.h>

TEST(echo_active)
{
	char buf[32];
	int a, k;

	pair_active(&a, &k);
	CHECK(write(a, "ping", 4) == 4);
	CHECK(read(k, buf, sizeof(buf)) == 4 && memcmp(buf, "ping", 4) == 0);
	CHECK(write(k, "pong!", 5) == 5);
	CHECK(read(a, buf, sizeof(buf)) == 5 && memcmp(buf, "pong!", 5) == 0);
	close(k);
	CHECK(read(a, buf, sizeof(buf)) == 0);
	CHECK(read(a, buf, sizeof(buf)) == 0);
	close(a);
}

TEST(echo_passive)
{
	char buf[32];
	int a, k;

	pair_passive(&a, &k);
	CHECK(write(k, "ping", 4) == 4);
	CHECK(read(a, buf, sizeof(buf)) == 4 && memcmp(buf, "ping", 4) == 0);
	CHECK(write(a, "pong!", 5) == 5);
	CHECK(read(k, buf, sizeof(buf)) == 5);
	close(a);
	CHECK(read(k, buf, sizeof(buf)) == 0);
	close(k);
}

TEST(addresses)
{
	struct sockaddr_in sa, peer;
	socklen_t len = sizeof(sa);
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 4), a = dial(PEER, port), k;

	CHECK(getpeername(a, (struct sockaddr *)&sa, &len) == 0 && len == sizeof(sa));
	CHECK(sa.sin_addr.s_addr == inet_addr(PEER) && ntohs(sa.sin_port) == port);
	len = sizeof(sa);
	CHECK(getsockname(a, (struct sockaddr *)&sa, &len) == 0);
	CHECK(sa.sin_addr.s_addr == inet_addr(VF) && sa.sin_port != 0);
	len = sizeof(peer);
	k = accept(l, (struct sockaddr *)&peer, &len);
	CHECK(peer.sin_port == sa.sin_port && peer.sin_addr.s_addr == inet_addr(VF_KERNEL));
	len = 4; /* truncated, and the true length told */
	CHECK(getsockname(a, (struct sockaddr *)&peer, &len) == 0 && len == sizeof(peer));
	close(k);
	close(a);
	close(l);
	port = 0;
	l = listener("0.0.0.0", &port, 4);
	len = sizeof(sa);
	CHECK(getsockname(l, (struct sockaddr *)&sa, &len) == 0 && sa.sin_addr.s_addr == 0);
	k = dial(VF_KERNEL, port);
	len = sizeof(peer);
	a = accept4(l, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(a >= 0 && peer.sin_family == AF_INET && len == sizeof(peer) && (fcntl(a, F_GETFL) & O_NONBLOCK) &&
	      (fcntl(a, F_GETFD) & FD_CLOEXEC));
	len = sizeof(sa);
	CHECK(getsockname(a, (struct sockaddr *)&sa, &len) == 0 && sa.sin_addr.s_addr == inet_addr(VF) &&
	      ntohs(sa.sin_port) == port);
}

/* Every pair of calls once, with what each leaves in its arguments. */
TEST(call_variants)
{
	char buf[64], part[8];
	struct iovec out[3] = {{(char *)"ab", 2}, {(char *)"", 0}, {(char *)"cde", 3}}, in[2] = {{part, 3}, {buf, 60}};
	struct msghdr msg = {.msg_iov = out, .msg_iovlen = 3};
	struct mmsghdr mm[2];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int a, k;

	pair_active(&a, &k);
	CHECK(send(a, "1", 1, 0) == 1 && sendto(a, "2", 1, 0, NULL, 0) == 1 && writev(a, out, 3) == 5);
	CHECK(sendmsg(a, &msg, MSG_NOSIGNAL) == 5);
	memset(mm, 0, sizeof(mm));
	mm[0].msg_hdr = mm[1].msg_hdr = msg;
	CHECK(sendmmsg(a, mm, 2, 0) == 2 && mm[0].msg_len == 5 && mm[1].msg_len == 5);
	CHECK(pwritev2(a, out, 3, -1, 0) == 5);
	recv_all(k, buf, 27);
	CHECK(memcmp(buf, "12abcdeabcdeabcdeabcdeabcde", 27) == 0);

	send_all(k, "0123456789abcdefghijklmnopqrstuvwxyz", 36);
	while (ioctl(a, FIONREAD, &len) == 0 && len < 36)
		pause_ms(1);
	CHECK(recv(a, buf, 2, 0) == 2 && memcmp(buf, "01", 2) == 0);
	len = sizeof(from);
	CHECK(recvfrom(a, buf, 2, 0, (struct sockaddr *)&from, &len) == 2 && memcmp(buf, "23", 2) == 0 && len == 0);
	in[1].iov_len = 2;
	CHECK(readv(a, in, 2) == 5 && memcmp(part, "456", 3) == 0 && memcmp(buf, "78", 2) == 0);
	msg = (struct msghdr){.msg_iov = in, .msg_iovlen = 2, .msg_flags = 99};
	CHECK(recvmsg(a, &msg, 0) == 5 && memcmp(part, "9ab", 3) == 0 && msg.msg_flags == 0 && msg.msg_namelen == 0);
	memset(mm, 0, sizeof(mm));
	mm[0].msg_hdr.msg_iov = mm[1].msg_hdr.msg_iov = in;
	mm[0].msg_hdr.msg_iovlen = mm[1].msg_hdr.msg_iovlen = 1;
	CHECK(recvmmsg(a, mm, 2, MSG_WAITFORONE, NULL) == 2 && mm[1].msg_len == 3 && memcmp(part, "hij", 3) == 0);
	CHECK(preadv2(a, in, 1, -1, 0) == 3 && memcmp(part, "klm", 3) == 0);
	CHECK_ERR(preadv2(a, in, 1, 5, 0), ESPIPE);
	volatile int negative = -1;
	CHECK_ERR(readv(a, in, negative), EINVAL);
	CHECK(recv(a, buf, 0, 0) == 0 && send(a, buf, 0, 0) == 0);
	CHECK(recv(a, NULL, 4, MSG_TRUNC) == 4); /* TCP: thrown away */
	CHECK(recv(a, buf, 64, 0) == 9 && memcmp(buf, "rstuvwxyz", 9) == 0);
	CHECK_ERR(lseek(a, 0, SEEK_SET), ESPIPE);
	close(k);
	close(a);
}

TEST(recv_flags)
{
	char buf[64];
	int a, k, n = 0;

	pair_active(&a, &k);
	CHECK_ERR(recv(a, buf, 4, MSG_DONTWAIT), EAGAIN);
	CHECK_ERR(recv(a, buf, 4, MSG_OOB), EINVAL);
	send_all(k, "abcdef", 6);
	CHECK(recv(a, buf, 3, MSG_PEEK) == 3 && memcmp(buf, "abc", 3) == 0);
	while (ioctl(a, FIONREAD, &n) == 0 && n < 6)
		pause_ms(1);
	CHECK(recv(a, buf, 64, MSG_PEEK) == 6);
	CHECK(recv(a, buf, 64, 0) == 6);
	if (fork() == 0) {
		pause_ms(30);
		send_all(k, "12", 2);
		pause_ms(30);
		send_all(k, "345", 3);
		_exit(0);
	}
	CHECK(recv(a, buf, 5, MSG_WAITALL) == 5 && memcmp(buf, "12345", 5) == 0);
	wait(NULL);
	send_all(k, "xy", 2);
	close(k);
	CHECK(recv(a, buf, 10, MSG_WAITALL) == 2); /* what came before the end */
	CHECK(recv(a, buf, 10, MSG_WAITALL) == 0);
	close(a);
}

TEST(sendfile_call)
{
	const size_t size = 700000;
	uint8_t *data = malloc(size), *got = malloc(size);
	char name[] = "/tmp/nk-api-XXXXXX";
	off_t off = 1000;
	int f = mkstemp(name), a, k, st;
	size_t done = 1000;
	pid_t pid;

	unlink(name);
	fill(data, size, 7);
	CHECK(write(f, data, size) == (ssize_t)size);
	pair_active(&a, &k);
	pid = fork();
	if (pid == 0) {
		recv_all(k, got, size - 1000);
		_exit(memcmp(got, data + 1000, size - 1000) != 0);
	}
	while (done < size) {
		ssize_t n = sendfile(a, f, &off, size - done);

		CHECK(n > 0);
		done += (size_t)n;
		CHECK(off == (off_t)done);
	}
	CHECK(sendfile(a, f, &off, 10) == 0);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	CHECK(lseek(f, 0, SEEK_CUR) == (off_t)size && lseek(f, 0, SEEK_SET) == 0);
	CHECK(sendfile(a, f, NULL, 10) == 10 && lseek(f, 0, SEEK_CUR) == 10);
	recv_all(k, got, 10);
	CHECK(memcmp(got, data, 10) == 0);
	CHECK_ERR(sendfile(k, a, NULL, 10), EINVAL);
	CHECK_ERR(splice(a, NULL, f, NULL, 10, 0), EINVAL);
}

struct bulk {
	int fd;
	size_t size, step;
	uint32_t seed;
};

static void *bulk_send(void *arg)
{
	struct bulk *b = arg;
	uint8_t *buf = malloc(b->size);

	fill(buf, b->size, b->seed);
	for (size_t done = 0; done < b->size;) {
		size_t n = b->size - done < b->step ? b->size - done : b->step;

		send_all(b->fd, buf + done, n);
		done += n;
	}
	CHECK(shutdown(b->fd, SHUT_WR) == 0);
	free(buf);
	return NULL;
}

static void *bulk_recv(void *arg)
{
	struct bulk *b = arg;
	uint8_t *buf = malloc(b->step);
	size_t done = 0;
	ssize_t n;

	while ((n = recv(b->fd, buf, b->step, 0)) > 0) {
		CHECK(filled(buf, (size_t)n, b->seed, done));
		done += (size_t)n;
	}
	CHECK(n == 0 && done == b->size);
	free(buf);
	return NULL;
}

static void bulk_both(int n, size_t size, size_t step_ours, size_t step_kernel)
{
	struct bulk b[64][4];
	pthread_t t[64][4];

	for (int i = 0; i < n; i++) {
		int a, k;

		if (i % 2)
			pair_active(&a, &k);
		else
			pair_passive(&a, &k);
		b[i][0] = (struct bulk){a, size, step_ours, (uint32_t)i * 2};
		b[i][1] = (struct bulk){k, size, step_kernel, (uint32_t)i * 2};
		b[i][2] = (struct bulk){k, size, step_kernel, (uint32_t)i * 2 + 1};
		b[i][3] = (struct bulk){a, size, step_ours, (uint32_t)i * 2 + 1};
		for (int j = 0; j < 4; j++)
			CHECK(pthread_create(&t[i][j], NULL, j % 2 ? bulk_recv : bulk_send, &b[i][j]) == 0);
	}
	for (int i = 0; i < n; i++) {
		for (int j = 0; j < 4; j++)
			pthread_join(t[i][j], NULL);
		close(b[i][0].fd);
		close(b[i][1].fd);
	}
}

TEST(bulk_one) { bulk_both(1, 12 << 20, 100000, 65536); }
TEST(bulk_odd_sizes) { bulk_both(1, 700001, 997, 12345); }
TEST(bulk_many) { bulk_both(10, 1 << 20, 30000, 8192); }

TEST(half_close)
{
	char buf[16];
	int a, k;

	pair_active(&a, &k);
	CHECK(send(a, "bye", 3, 0) == 3 && shutdown(a, SHUT_WR) == 0);
	CHECK(shutdown(a, SHUT_WR) == 0); /* again: no error */
	CHECK(recv(k, buf, sizeof(buf), 0) == 3 && recv(k, buf, sizeof(buf), 0) == 0);
	CHECK_ERR(send(a, "x", 1, MSG_NOSIGNAL), EPIPE);
	send_all(k, "more", 4);
	CHECK(recv(a, buf, sizeof(buf), 0) == 4);
	close(k);
	CHECK(recv(a, buf, sizeof(buf), 0) == 0);
	close(a);
	pair_passive(&a, &k);
	CHECK(shutdown(k, SHUT_WR) == 0);
	CHECK(recv(a, buf, sizeof(buf), 0) == 0);
	CHECK(send(a, "late", 4, 0) == 4 && recv(k, buf, sizeof(buf), 0) == 4);
	CHECK(shutdown(a, SHUT_RD) == 0 && shutdown(a, SHUT_RDWR) == 0);
	CHECK(recv(k, buf, sizeof(buf), 0) == 0);
	close(a);
	close(k);
}

/* Data handed to send() just before close() arrives, whatever queue the close takes. */
TEST(send_then_close)
{
	static uint8_t data[40000], got[40000];

	fill(data, sizeof(data), 3);
	for (int i = 0; i < 60; i++) {
		size_t n = (size_t)(i * 667 % 40000) + 1, done = 0;
		ssize_t r;
		int a, k;

		pair_active(&a, &k);
		send_all(a, data, n);
		close(a);
		while ((r = recv(k, got + done, sizeof(got) - done, 0)) > 0)
			done += (size_t)r;
		CHECK(r == 0 && done == n && memcmp(got, data, n) == 0);
		close(k);
	}
}

TEST(outq_and_inq)
{
	static char junk[200000];
	int a, k, n = -1;

	pair_active(&a, &k);
	set_nonblock(a, true);
	while (send(a, junk, sizeof(junk), 0) > 0)
		;
	CHECK(errno == EAGAIN);
	CHECK(ioctl(a, SIOCOUTQ, &n) == 0 && n >= 0);
	CHECK(ioctl(a, SIOCATMARK, &n) == 0 && n == 0);
	n = 1;
	CHECK(ioctl(a, FIONBIO, &n) == 0 && (fcntl(a, F_GETFL) & O_NONBLOCK));
	n = 0;
	CHECK(ioctl(a, FIONBIO, &n) == 0 && !(fcntl(a, F_GETFL) & O_NONBLOCK));
}
