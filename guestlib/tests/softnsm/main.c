/* SPDX-License-Identifier: Apache-2.0 */
/* softnsm [options] -- PROGRAM ARGS: makes a VF, starts nk-guestd on it with PROGRAM, plays the card. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nk_atomic.h"
#include "softnsm.h"

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static uint32_t parse_net(const char *text)
{
	unsigned int a, b, c;

	if (sscanf(text, "%u.%u.%u", &a, &b, &c) != 3 || a != 127 || b > 255 || c > 255)
		exit(2);
	return a << 24 | b << 16 | c << 8;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"sockets", 1, NULL, 's'}, {"rx-log2", 1, NULL, 'r'}, {"tx-log2", 1, NULL, 't'}, {"queue-log2", 1, NULL, 'q'},
		{"time-wait-ms", 1, NULL, 'w'}, {"syn-timeout-ms", 1, NULL, 'y'}, {"chunk", 1, NULL, 'c'},
		{"evil", 1, NULL, 'e'}, {"stats", 1, NULL, 'S'}, {"guestd", 1, NULL, 'g'}, {"guestd-stats", 1, NULL, 'G'},
		{"die-after-ms", 1, NULL, 'd'}, {"net", 1, NULL, 'n'}, {"verbose", 0, NULL, 'v'}, {"seed", 1, NULL, 'x'}, {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1)
		switch (c) {
		case 's': o->sockets = (uint32_t)atoi(optarg); break;
		case 'r': o->rx_log2 = (uint32_t)atoi(optarg); break;
		case 't': o->tx_log2 = (uint32_t)atoi(optarg); break;
		case 'q': o->queue_log2 = (uint32_t)atoi(optarg); break;
		case 'w': o->time_wait_ms = (uint32_t)atoi(optarg); break;
		case 'y': o->syn_timeout_ms = (uint32_t)atoi(optarg); break;
		case 'c': o->chunk = (uint32_t)atoi(optarg); break;
		case 'e': o->evil = optarg; break;
		case 'S': o->stats = optarg; break;
		case 'g': o->guestd = optarg; break;
		case 'G': o->guestd_stats = optarg; break;
		case 'd': o->die_after_ms = (uint32_t)atoi(optarg); break;
		case 'n': o->net = parse_net(optarg); break;
		case 'v': o->verbose = true; break;
		case 'x': o->seed = (uint32_t)atoi(optarg); break;
		default: exit(2);
		}
	if (optind >= argc || !o->guestd) {
		fprintf(stderr, "usage: softnsm --guestd PATH [options] -- PROGRAM [ARGS]\n");
		exit(2);
	}
}

static uint8_t *shared(const char *name, uint64_t bytes, int *fd)
{
	uint8_t *mem;

	*fd = memfd_create(name, 0);
	if (*fd < 0 || ftruncate(*fd, (off_t)bytes))
		abort();
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (mem == MAP_FAILED)
		abort();
	return mem;
}

static int make_layout(struct nsm *nsm)
{
	const struct options *o = &nsm->opt;
	uint64_t ring = ((uint64_t)sizeof(struct nk_nqe) << o->queue_log2), at = NK_LIM_PAGE, ofs[4];
	const char *names[4] = {"job", "completion", "send", "receive"};
	struct nk_ring *rings[4] = {&nsm->job, &nsm->completion, &nsm->send, &nsm->receive};
	FILE *out;
	int fd = memfd_create("layout", 0);

	ring = (ring + NK_LIM_PAGE - 1) & ~(uint64_t)(NK_LIM_PAGE - 1);
	for (int i = 0; i < 4; i++, at += ring)
		ofs[i] = at;
	nsm->heap_offset = at;
	nsm->heap_bytes = (uint64_t)o->sockets * ((1ull << o->rx_log2) + (1ull << o->tx_log2));
	nsm->region_bytes = at + nsm->heap_bytes;
	out = fdopen(dup(fd), "w");
	fprintf(out, "vf=0\nip=10.99.0.2\nprefix=24\nmtu=1500\nmax_sockets=%u\nnqs=1\ndb_offset=%u\ndb_stride=4096\n"
		"region_bytes=%" PRIu64 "\nheap_offset=%" PRIu64 "\nheap_bytes=%" PRIu64 "\nrx_log2=%u\ntx_log2=%u\n"
		"cc=%u\nqs0_status_offset=0\n",
		o->sockets, NK_VF_DB_BASE, nsm->region_bytes, nsm->heap_offset, nsm->heap_bytes, o->rx_log2, o->tx_log2,
		(unsigned int)NK_CC_CUBIC);
	for (int i = 0; i < 4; i++) {
		fprintf(out, "qs0_%s_offset=%" PRIu64 "\nqs0_%s_log2=%u\n", names[i], ofs[i], names[i], o->queue_log2);
		rings[i]->log2 = o->queue_log2;
	}
	fclose(out);
	return fd;
}

static pid_t start_guestd(struct nsm *nsm, int layout, int bar, int region, int lease, char **program)
{
	char text[6][16], net[16];
	char *args[64] = {(char *)(uintptr_t)nsm->opt.guestd};
	int n = 1, fds[] = {layout, bar, region, nsm->irq, lease};
	const char *names[] = {"--layout-fd", "--bar-fd", "--region-fd", "--irq-fd", "--lease-fd"};
	pid_t pid = fork();

	if (pid)
		return pid;
	close(nsm->lease);
	snprintf(net, sizeof(net), "127.%u.%u", nsm->opt.net >> 16 & 255, nsm->opt.net >> 8 & 255);
	setenv("NK_TEST_NET", net, 1);
	for (int i = 0; i < 5; i++) {
		snprintf(text[i], sizeof(text[i]), "%d", fds[i]);
		args[n++] = (char *)(uintptr_t)names[i];
		args[n++] = text[i];
	}
	if (nsm->opt.guestd_stats) {
		args[n++] = (char *)(uintptr_t)"--stats";
		args[n++] = (char *)(uintptr_t)nsm->opt.guestd_stats;
	}
	if (nsm->opt.verbose)
		args[n++] = (char *)(uintptr_t)"--verbose";
	args[n++] = (char *)(uintptr_t)"--";
	while (*program && n < 63)
		args[n++] = *program++;
	execv(nsm->opt.guestd, args);
	perror(nsm->opt.guestd);
	_exit(125);
}

static void write_stats(const struct nsm *nsm)
{
	FILE *out = fopen(nsm->opt.stats, "w");
	uint32_t used = 0, waiting = 0;

	if (!out)
		return;
	for (uint32_t i = 0; i < nsm->opt.sockets; i++) {
		used += nsm->flows[i].state != NK_FS_FREE;
		waiting += nsm->flows[i].state == NK_FS_TIME_WAIT || nsm->flows[i].state == NK_FS_FIN_WAIT2;
	}
	fprintf(out, "{\"used\": %u, \"waiting\": %u, \"jobs\": %" PRIu64 ", \"sends\": %" PRIu64 ", \"events\": %" PRIu64
		", \"opened\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"aborted\": %" PRIu64 ", \"irqs\": %" PRIu64
		", \"rx_bytes\": %" PRIu64 ", \"tx_bytes\": %" PRIu64 ", \"credit_overflow\": %" PRIu64
		", \"doorbell_errors\": %" PRIu64 ", \"data_after_close\": %" PRIu64 ", \"bare_listeners\": %" PRIu64
		", \"statuses\": {",
		used, waiting, nsm->count.jobs, nsm->count.sends, nsm->count.events, nsm->count.opened, nsm->count.closed,
		nsm->count.aborted, nsm->count.irqs, nsm->count.rx_bytes, nsm->count.tx_bytes, nsm->count.credit_overflow,
		nsm->count.doorbell_errors, nsm->count.data_after_close,
		nsm->count.bare_listeners);
#define STATUS(name, value, err) \
	fprintf(out, "%s\"" #name "\": %" PRIu64, value ? ", " : "", nsm->count.statuses[value]);
	NK_STATUS_TABLE(STATUS)
	fprintf(out, "}, \"states\": [");
	for (uint32_t i = 0, n = 0; i < nsm->opt.sockets; i++)
		if (nsm->flows[i].state != NK_FS_FREE)
			fprintf(out, "%s%u", n++ ? ", " : "", nsm->flows[i].state);
	fprintf(out, "], \"setopts\": [");
	for (uint32_t i = 0; i < nsm->setopts && i < SETOPT_LOG; i++)
		fprintf(out, "%s[%u, %u, %u]", i ? ", " : "", nsm->setopt_log[i].socket, nsm->setopt_log[i].option,
			nsm->setopt_log[i].value);
	fprintf(out, "]}\n");
	fclose(out);
}

static volatile sig_atomic_t die_now;
static pid_t guestd_pid;

static void on_signal(int sig)
{
	if (sig == SIGUSR2)
		die_now = 1;
	else
		kill(guestd_pid, sig);
}

static void play(struct nsm *nsm, uint64_t die_at, int *status)
{
	int idle = 0;

	for (;;) {
		nsm->activity = false;
		card_flush(nsm);
		card_fetch(nsm);
		flow_network(nsm, idle < 50 ? 0 : 200);
		card_irq(nsm);
		idle = nsm->activity ? 0 : idle + 1;
		if (nsm->lease >= 0 && (die_now || (die_at && now_us() >= die_at))) {
			close(nsm->lease);
			nsm->lease = -1;
			die_at = 0;
		}
		if (waitpid(guestd_pid, status, WNOHANG) == guestd_pid)
			return;
	}
}

int main(int argc, char **argv)
{
	static struct nsm nsm = {.opt = {.sockets = 32, .rx_log2 = 16, .tx_log2 = 16, .queue_log2 = 8, .time_wait_ms = 100,
					 .syn_timeout_ms = 400, .chunk = 1u << 20, .seed = 1}};
	int layout, bar, region, lease[2], status = 0;
	uint64_t base[4];

	parse(argc, argv, &nsm.opt);
	srandom(nsm.opt.seed);
	if (!nsm.opt.net) /* runs beside each other do not meet */
		nsm.opt.net = 127u << 24 | (16u + ((uint32_t)getpid() >> 8 & 0x7f)) << 16 | ((uint32_t)getpid() & 0xff) << 8;
	layout = make_layout(&nsm);
	nsm.region = shared("region", nsm.region_bytes, &region);
	nsm.bar = shared("bar", NK_LIM_BAR0_SIZE, &bar);
	base[0] = NK_LIM_PAGE;
	for (int i = 1; i < 4; i++)
		base[i] = base[i - 1] + (nsm.heap_offset - NK_LIM_PAGE) / 4;
	nsm.job.slots = (struct nk_nqe *)(void *)(nsm.region + base[0]);
	nsm.completion.slots = (struct nk_nqe *)(void *)(nsm.region + base[1]);
	nsm.send.slots = (struct nk_nqe *)(void *)(nsm.region + base[2]);
	nsm.receive.slots = (struct nk_nqe *)(void *)(nsm.region + base[3]);
	nsm.status = (struct nk_status_block *)(void *)nsm.region;
	nsm.irq = eventfd(0, EFD_NONBLOCK);
	nsm.ep = epoll_create1(EPOLL_CLOEXEC);
	nsm.flows = calloc(nsm.opt.sockets, sizeof(*nsm.flows));
	for (uint32_t i = 0; i < nsm.opt.sockets; i++)
		nsm.flows[i].fd = -1;
	nsm.evil_left = 1;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, lease))
		abort();
	nsm.lease = lease[0];
	signal(SIGPIPE, SIG_IGN);
	guestd_pid = start_guestd(&nsm, layout, bar, region, lease[1], argv + optind);
	close(lease[1]);
	close(layout);
	close(bar);
	close(region);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGHUP, on_signal);
	signal(SIGUSR2, on_signal);
	play(&nsm, nsm.opt.die_after_ms ? now_us() + nsm.opt.die_after_ms * 1000u : 0, &status);
	if (nsm.opt.stats)
		write_stats(&nsm);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
