/* SPDX-License-Identifier: Apache-2.0 */
/* api NAME...: runs the named tests; api --list names them; api --child ...: what exec tests start. */
#include "api.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define MAX_TESTS 128
static struct test tests[MAX_TESTS];
static int ntests;

void add_test(const char *name, void (*run)(void))
{
	tests[ntests++] = (struct test){name, run};
}

static char kernel_ips[3][32];

__attribute__((constructor)) static void name_hosts(void)
{
	const char *net = getenv("NK_TEST_NET");

	for (int host = 1; host <= 2; host++)
		snprintf(kernel_ips[host], sizeof(kernel_ips[0]), "%s.%d", net ? net : "127.0.0", host);
}

const char *kernel_ip(int host)
{
	return kernel_ips[host];
}

struct sockaddr_in at(const char *ip, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, ip, &sa.sin_addr);
	return sa;
}

int listener(const char *ip, uint16_t *port, int backlog)
{
	struct sockaddr_in sa = at(ip, *port);
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	CHECK(listen(fd, backlog) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

int dial(const char *ip, uint16_t port)
{
	struct sockaddr_in sa = at(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

void pair_active(int *ours, int *kernel)
{
	uint16_t port = 0;
	int l = listener(PEER_KERNEL, &port, 16);

	*ours = dial(PEER, port);
	*kernel = accept(l, NULL, NULL);
	CHECK(*kernel >= 0 && is_ours(*ours) && !is_ours(*kernel));
	close(l);
}

void pair_passive(int *ours, int *kernel)
{
	uint16_t port = 0;
	int l = listener(VF, &port, 16);

	*kernel = dial(VF_KERNEL, port);
	*ours = accept(l, NULL, NULL);
	CHECK(*ours >= 0 && is_ours(*ours) && is_ours(l) && !is_ours(*kernel));
	close(l);
}

static uint8_t byte_at(uint32_t seed, size_t i)
{
	uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;

	return (uint8_t)(x >> 24 ^ x >> 11 ^ i >> 8);
}

void fill(uint8_t *buf, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(seed, i);
}

bool filled(const uint8_t *buf, size_t n, uint32_t seed, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != byte_at(seed, offset + i))
			return false;
	return true;
}

void send_all(int fd, const void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t w = send(fd, (const char *)buf + done, n - done, MSG_NOSIGNAL);

		CHECK(w > 0);
		done += (size_t)w;
	}
}

void recv_all(int fd, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = recv(fd, (char *)buf + done, n - done, 0);

		CHECK(r > 0);
		done += (size_t)r;
	}
}

int64_t ms_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void pause_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

bool is_ours(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	CHECK(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0);
	return domain == AF_UNIX;
}

void set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	CHECK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0);
}

/* The program that exec tests become: descriptor 7 is a connection, inherited. */
static int child(void)
{
	char buf[16];
	ssize_t n = read(7, buf, sizeof(buf));

	CHECK(n == 5 && memcmp(buf, "hello", 5) == 0);
	CHECK(write(7, "world", 5) == 5);
	return 0;
}

int main(int argc, char **argv)
{
	int ran = 0;

	if (argc > 1 && strcmp(argv[1], "--child") == 0)
		return child();
	for (int i = 0; i < ntests; i++) {
		if (argc > 1 && strcmp(argv[1], "--list") == 0) {
			puts(tests[i].name);
			ran++;
		}
		for (int a = 1; a < argc; a++)
			if (strcmp(argv[a], tests[i].name) == 0) {
				alarm(20);
				tests[i].run();
				ran++;
			}
	}
	return ran ? 0 : 2;
}
