/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors across dup, fork, exec, messages and death. */
#include "api.h"

#include <linux/close_range.h>
#include <spawn.h>
#include <sys/syscall.h>

extern char **environ;

static void talk(int a, int k)
{
	char buf[8];

	CHECK(send(a, "hey", 3, 0) == 3 && recv(k, buf, 8, 0) == 3);
	send_all(k, "you", 3);
	CHECK(recv(a, buf, 3, MSG_WAITALL) == 3);
}

TEST(dup_family)
{
	int a, k, b, c, d, p[2];
	char ch;

	pair_active(&a, &k);
	b = dup(a);
	CHECK(dup2(a, 50) == 50 && dup3(a, 51, O_CLOEXEC) == 51 && (fcntl(51, F_GETFD) & FD_CLOEXEC));
	c = fcntl(a, F_DUPFD, 100);
	d = fcntl(a, F_DUPFD_CLOEXEC, 200);
	CHECK(b > 0 && c >= 100 && d >= 200 && is_ours(b) && is_ours(c) && is_ours(d));
	talk(b, k);
	talk(50, k);
	talk(51, k);
	talk(c, k);
	talk(d, k);
	close(a);
	talk(b, k);
	close(b);
	close(50);
	close(51);
	close(c);
	CHECK(pipe(p) == 0);
	CHECK(dup2(p[0], d) == d); /* the last reference goes by dup2 */
	CHECK(recv(k, &ch, 1, 0) == 0);
	CHECK(write(p[1], "!", 1) == 1 && read(d, &ch, 1) == 1 && ch == '!');
}

TEST(close_everything)
{
	/* Daemons close all descriptors they do not know; ours must survive, and theirs be closed. */
	struct pollfd p = {.events = POLLIN};
	int a, k;
	char c;

	pair_active(&a, &k);
	p.fd = a;
	CHECK(poll(&p, 1, 10) == 0); /* the wake set exists now */
	CHECK(dup2(a, 3) == 3 && dup2(k, 4) == 4);
	for (int fd = 5; fd < 1024; fd++)
		close(fd);
	talk(3, 4);
	CHECK(close_range(5, ~0u, 0) == 0);
	talk(3, 4);
	closefrom(5);
	p.fd = 3;
	CHECK(poll(&p, 1, 10) == 0);
	talk(3, 4);
	CHECK(close_range(3, 3, 0) == 0);
	CHECK(recv(4, &c, 1, 0) == 0);
	CHECK_ERR(send(3, &c, 1, 0), EBADF);
	/* The program takes the very numbers that ours hide under. */
	pair_active(&a, &k);
	for (int fd = 950; fd < 1000; fd++)
		CHECK(dup2(k, fd) == fd);
	talk(a, 970);
	p.fd = a;
	CHECK(poll(&p, 1, 10) == 0);
	close(dial(PEER_KERNEL, (uint16_t)({ uint16_t port = 0; listener(PEER_KERNEL, &port, 1); port; })));
	pair_active(&a, &k);
	talk(a, k);
}

TEST(fork_shares)
{
	int a, k, st;
	char buf[8];
	pid_t pid;

	pair_active(&a, &k);
	pid = fork();
	if (pid == 0) {
		close(k);
		CHECK(recv(a, buf, 8, 0) == 2);
		CHECK(send(a, "child", 5, 0) == 5);
		close(a);
		_exit(0);
	}
	send_all(k, "go", 2);
	CHECK(recv(k, buf, 5, MSG_WAITALL) == 5);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	talk(a, k); /* the child's close did not end it */
	pid = fork();
	if (pid == 0) {
		struct pollfd p = {.fd = a, .events = POLLIN};

		CHECK(poll(&p, 1, 5000) == 1 && recv(a, buf, 8, 0) == 2);
		close(dial(PEER_KERNEL, (uint16_t)({ uint16_t port = 0; listener(PEER_KERNEL, &port, 1); port; })));
		pair_active(&a, &k); /* and opens one of its own */
		talk(a, k);
		_exit(0);
	}
	pause_ms(20);
	send_all(k, "go", 2);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	close(a);
	CHECK(recv(k, buf, 8, 0) == 0);
}

TEST(prefork_server)
{
	uint16_t port = 0;
	int l = listener("0.0.0.0", &port, 32);
	pid_t pids[3];
	int seen[3] = {0};

	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int ep = epoll_create1(0);
			struct epoll_event ev = {.events = EPOLLIN};

			set_nonblock(l, true);
			CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev) == 0);
			for (;;) {
				char c = (char)('0' + i);
				int n = epoll_wait(ep, &ev, 1, -1), s;

				CHECK(n == 1);
				s = accept(l, NULL, NULL);
				if (s < 0) {
					CHECK(errno == EAGAIN);
					continue;
				}
				CHECK(send(s, &c, 1, 0) == 1);
				pause_ms(2);
				close(s);
			}
		}
	}
	close(l);
	for (int r = 0; r < 60; r++) {
		char c;
		int k = dial(VF_KERNEL, port);

		CHECK(recv(k, &c, 1, 0) == 1);
		seen[c - '0']++;
		CHECK(recv(k, &c, 1, 0) == 0);
		close(k);
	}
	CHECK(seen[0] + seen[1] + seen[2] == 60);
	for (int i = 0; i < 3; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

TEST(exec_inherits)
{
	char *argv[] = {(char *)"api", (char *)"--child", NULL};
	char buf[8];
	int a, k, st;
	pid_t pid;

	pair_active(&a, &k);
	pid = fork();
	if (pid == 0) {
		CHECK(dup2(a, 7) == 7);
		execv("/proc/self/exe", argv);
		_exit(99);
	}
	close(a);
	send_all(k, "hello", 5);
	CHECK(recv(k, buf, 8, MSG_WAITALL) == 5 && memcmp(buf, "world", 5) == 0);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
}

TEST(spawn_and_vfork)
{
	char *argv[] = {(char *)"true", NULL};
	struct epoll_event ev = {.events = EPOLLOUT};
	int a, k, st, ep = epoll_create1(EPOLL_CLOEXEC);
	pid_t pid;

	pair_active(&a, &k);
	CHECK(posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0 && waitpid(pid, &st, 0) == pid && st == 0);
	talk(a, k);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ev) == 0 && write(1, "", 0) == 0);
	pid = vfork();
	if (pid == 0) {
		/* Runs on our memory: must not touch our books. */
		close_range(3, ~0u, 0);
		dup2(1, a);
		execvp("true", argv);
		_exit(99);
	}
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	talk(a, k);
	CHECK(epoll_wait(ep, &ev, 1, 1000) == 1 && ev.events == EPOLLOUT);
}

TEST(raw_clone_child)
{
	int a, k, st;
	pid_t pid;

	pair_active(&a, &k);
	pid = (pid_t)syscall(SYS_fork); /* libc does not know */
	if (pid == 0) {
		struct pollfd p = {.fd = a, .events = POLLIN};

		close(k);
		_exit(poll(&p, 1, 3000) == 1 && p.revents == POLLIN ? 0 : 1);
	}
	pause_ms(30);
	send_all(k, "x", 1);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
}

static void pass_fd(int via, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 'f';
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK(sendmsg(via, &msg, 0) == 1);
}

static int take_fd(int via)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int fd;

	CHECK(recvmsg(via, &msg, 0) == 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

TEST(pass_by_message)
{
	int sv[2], a, k, st;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	pid = fork(); /* before the connection exists */
	if (pid == 0) {
		char buf[8];
		int fd, p[2];

		close(sv[0]);
		/* The number that it will get is known as a pipe's, closed behind the library's back. */
		CHECK(pipe(p) == 0 && write(p[1], "x", 1) == 1 && read(p[0], buf, 1) == 1);
		syscall(SYS_close, p[0]);
		syscall(SYS_close, p[1]);
		fd = take_fd(sv[1]);
		CHECK(is_ours(fd) && recv(fd, buf, 8, 0) == 4 && send(fd, "back", 4, 0) == 4);
		_exit(0);
	}
	close(sv[1]);
	pair_active(&a, &k);
	pass_fd(sv[0], a);
	close(a);
	send_all(k, "over", 4);
	char buf[8];
	CHECK(recv(k, buf, 8, 0) == 4 && memcmp(buf, "back", 4) == 0);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	CHECK(recv(k, buf, 8, 0) == 0);
}

TEST(killed_program)
{
	int sv[2], k[3];
	char c;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	pid = fork();
	if (pid == 0) {
		uint16_t port = 0;
		int a, kk;

		listener(VF, &port, 8);
		for (int i = 0; i < 3; i++) {
			pair_active(&a, &kk);
			pass_fd(sv[1], kk);
		}
		CHECK(write(sv[1], "r", 1) == 1);
		recv(a, &c, 1, 0); /* dies in here */
		_exit(1);
	}
	for (int i = 0; i < 3; i++)
		k[i] = take_fd(sv[0]);
	CHECK(read(sv[0], &c, 1) == 1);
	pause_ms(20);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	for (int i = 0; i < 3; i++)
		CHECK(recv(k[i], &c, 1, 0) == 0); /* the kernel closed for it, guestd heard */
}

/* A process killed while it sends, again and again: the shared queue and the locks survive. */
TEST(killed_while_sending)
{
	int a, k;

	for (int round = 0; round < 15; round++) {
		static char junk[65536];
		pid_t pid;

		pair_active(&a, &k);
		pid = fork();
		if (pid == 0) {
			close(k);
			for (;;)
				send(a, junk, 100, MSG_DONTWAIT);
		}
		close(a);
		int64_t end = ms_now() + 10 + round % 4;
		while (ms_now() < end)
			recv(k, junk, sizeof(junk), MSG_DONTWAIT);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (recv(k, junk, sizeof(junk), 0) > 0)
			;
		close(k);
	}
	pair_active(&a, &k);
	talk(a, k);
}

TEST(many_connections)
{
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 64);
	char c;

	for (int i = 0; i < 300; i++) {
		int a = dial(PEER, port), k = accept(l, NULL, NULL);

		CHECK(send(a, "x", 1, 0) == 1 && recv(k, &c, 1, 0) == 1);
		if (i % 3 == 0) { /* who closes first decides who waits in TIME_WAIT */
			close(k);
			CHECK(recv(a, &c, 1, 0) == 0);
			close(a);
		} else {
			close(a);
			CHECK(recv(k, &c, 1, 0) == 0);
			close(k);
		}
	}
}

TEST(many_accepts)
{
	uint16_t port = 0;
	int l = listener(VF, &port, 64);
	char c;

	for (int i = 0; i < 200; i++) {
		int k = dial(VF_KERNEL, port), a = accept(l, NULL, NULL);

		CHECK(a >= 0 && send(k, "x", 1, 0) == 1 && recv(a, &c, 1, 0) == 1);
		close(a);
		CHECK(recv(k, &c, 1, 0) == 0);
		close(k);
	}
}

/* A thread per connection, all at once, through one listener. */
static uint16_t crowd_port;
static void *crowd_client(void *arg)
{
	char c;
	int k = dial(VF_KERNEL, crowd_port);

	(void)arg;
	CHECK(recv(k, &c, 1, 0) == 1 && c == 'w');
	send_all(k, "b", 1);
	CHECK(recv(k, &c, 1, 0) == 0);
	close(k);
	return NULL;
}

TEST(crowd)
{
	pthread_t t[40];
	int l = listener(VF, &crowd_port, 64), a[40];
	char c;

	for (int i = 0; i < 40; i++)
		pthread_create(&t[i], NULL, crowd_client, NULL);
	for (int i = 0; i < 12; i++) {
		a[i] = accept(l, NULL, NULL);
		CHECK(a[i] >= 0);
	}
	for (int i = 0; i < 40; i++) {
		if (i >= 12)
			a[i % 12] = accept(l, NULL, NULL);
		CHECK(a[i % 12] >= 0 && send(a[i % 12], "w", 1, 0) == 1 && recv(a[i % 12], &c, 1, 0) == 1);
		close(a[i % 12]);
	}
	for (int i = 0; i < 40; i++)
		pthread_join(t[i], NULL);
	close(l);
}
