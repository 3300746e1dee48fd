/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the socket calls as a program makes them. One program holds both ends: its sockets towards
 * 10.99.0.x are GuestLib's, those on loopback the kernel's, and the software NSM joins them
 * (10.99.0.1:P is the kernel's 127.a.b.1:P; the VF's 10.99.0.2:P is reached at 127.a.b.2:P).
 */
#ifndef API_H
#define API_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define VF "10.99.0.2"
#define PEER "10.99.0.1"
#define VF_KERNEL kernel_ip(2)
#define PEER_KERNEL kernel_ip(1)
#define BLACKHOLE "10.99.0.250"
#define UNREACHABLE "10.99.0.251"

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: %s: failed (errno %d: %s)\n", __FILE__, __LINE__, #cond, errno, strerror(errno)); \
			_exit(1); \
		} \
	} while (0)
#define CHECK_ERR(call, err) \
	do { \
		errno = 0; \
		long r_ = (long)(call); \
		if (r_ != -1 || errno != (err)) { \
			fprintf(stderr, "%s:%d: %s = %ld, errno %d (%s), expected errno %d (%s)\n", __FILE__, __LINE__, #call, r_, \
				errno, strerror(errno), err, strerror(err)); \
			_exit(1); \
		} \
	} while (0)

struct test {
	const char *name;
	void (*run)(void);
};
/* Tests register themselves. */
void add_test(const char *name, void (*run)(void));
#define TEST(id) \
	static void id(void); \
	__attribute__((constructor)) static void register_##id(void) { add_test(#id, id); } \
	static void id(void)

const char *kernel_ip(int host); /* of this run: NK_TEST_NET.host */
struct sockaddr_in at(const char *ip, uint16_t port);
/* A listener on ip; *port 0: any, filled in. */
int listener(const char *ip, uint16_t *port, int backlog);
int dial(const char *ip, uint16_t port);
/* A connected pair: ours and the kernel's end; ours opened actively, or accepted. */
void pair_active(int *ours, int *kernel);
void pair_passive(int *ours, int *kernel);
void fill(uint8_t *buf, size_t n, uint32_t seed);
bool filled(const uint8_t *buf, size_t n, uint32_t seed, size_t offset);
void send_all(int fd, const void *buf, size_t n);
void recv_all(int fd, void *buf, size_t n);
int64_t ms_now(void);
void pause_ms(int ms);
bool is_ours(int fd); /* by what the kernel sees: one of our sockets is an AF_UNIX one to it */
void set_nonblock(int fd, bool on);

#endif
