/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nk-guestd: gives one VF to the process tree of PROGRAM. Two processes: this one starts PROGRAM,
 * forwards signals and answers for the exit code; its child owns the rings (loop.c). Each notices the
 * other's death and then marks the device dead, so that no program waits for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guestd.h"

#define EXIT_SETUP 125 /* as env(1), nohup(1): the launcher itself failed */

struct args {
	int layout_fd;
	const char *stats, *library;
	char **program;
};

static const char usage[] =
	"usage: nk-guestd --layout-fd N --bar-fd N --region-fd N --irq-fd N [--irq-fd N ...] [--lease-fd N]\n"
	"                 [--library PATH] [--stats FILE] [--verbose] -- PROGRAM [ARGS...]\n"
	"Runs PROGRAM with its TCP sockets on a NetKernel VF. Started by `nk-hw run`.\n"
	"Exit code: that of PROGRAM (128+N when signal N ended it), 125 if nk-guestd could not start it,\n"
	"126 if PROGRAM cannot be executed, 127 if it was not found.\n";

static int fail(const char *what)
{
	fprintf(stderr, "nk-guestd: %s\n", what);
	return -1;
}

static int parse_args(int argc, char **argv, struct gd *gd, struct args *args)
{
	static const struct option options[] = {
		{"layout-fd", required_argument, NULL, 'l'}, {"bar-fd", required_argument, NULL, 'b'},
		{"region-fd", required_argument, NULL, 'r'}, {"irq-fd", required_argument, NULL, 'i'},
		{"lease-fd", required_argument, NULL, 'e'},  {"library", required_argument, NULL, 'L'},
		{"stats", required_argument, NULL, 's'},     {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},            {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1)
		switch (c) {
		case 'l': args->layout_fd = atoi(optarg); break;
		case 'b': gd->bar_fd = atoi(optarg); break;
		case 'r': gd->region_fd = atoi(optarg); break;
		case 'i': /* the first queue set's; the others are for a later version */
			if (gd->irq_fd < 0)
				gd->irq_fd = atoi(optarg);
			break;
		case 'e': gd->lease_fd = atoi(optarg); break;
		case 'L': args->library = optarg; break;
		case 's': args->stats = optarg; break;
		case 'v': gd->verbose = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); return -1;
		}
	args->program = argv + optind;
	if (optind >= argc || args->layout_fd < 0 || gd->bar_fd < 0 || gd->region_fd < 0 || gd->irq_fd < 0) {
		fputs(usage, stderr);
		return -1;
	}
	return 0;
}

static void keep_from_program(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int map_device(struct gd *gd, uint8_t **region, void **db_page)
{
	const struct gd_layout *l = &gd->layout;
	char *db;

	*region = mmap(NULL, l->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, gd->region_fd, 0);
	if (*region == MAP_FAILED)
		return fail("cannot map the VF's memory region");
	db = mmap(NULL, l->db_stride, PROT_READ | PROT_WRITE, MAP_SHARED, gd->bar_fd,
		  (off_t)(l->db_offset & ~(uint64_t)(NK_LIM_PAGE - 1)));
	if (db == MAP_FAILED)
		return fail("cannot map the VF's doorbell page");
	*db_page = db + l->db_offset % NK_LIM_PAGE;
	return 0;
}

static int make_shm(struct gd *gd)
{
	const struct gd_layout *l = &gd->layout;
	uint64_t pair = (1ull << l->rx_log2) + (1ull << l->tx_log2);
	uint32_t nsock = l->heap_bytes / pair < l->max_sockets ? (uint32_t)(l->heap_bytes / pair) : l->max_sockets;
	struct nk_shm *shm;

	gd->shm_fd = memfd_create("netkernel-sockets", MFD_CLOEXEC);
	if (gd->shm_fd < 0 || ftruncate(gd->shm_fd, (off_t)nk_shm_bytes(nsock)))
		return fail("cannot create the socket table");
	shm = mmap(NULL, nk_shm_bytes(nsock), PROT_READ | PROT_WRITE, MAP_SHARED, gd->shm_fd, 0);
	if (shm == MAP_FAILED)
		return fail("cannot map the socket table");
	shm->version = NK_SHM_VERSION;
	shm->nsock = nsock;
	shm->ip = l->ip;
	shm->prefix = l->prefix;
	shm->mtu = l->mtu;
	shm->rx_log2 = l->rx_log2;
	shm->tx_log2 = l->tx_log2;
	shm->sq_log2 = l->send.log2;
	shm->sq_offset = l->send.offset;
	shm->status_offset = l->status_offset;
	shm->region_bytes = l->region_bytes;
	shm->db_offset = l->db_offset & ~(uint64_t)(NK_LIM_PAGE - 1);
	shm->db_page = (uint32_t)(l->db_offset % NK_LIM_PAGE);
	shm->db_bytes = l->db_stride;
	shm->magic = NK_SHM_MAGIC;
	gd->shm = shm;
	gd->priv = calloc(nsock, sizeof(*gd->priv));
	gd->free_ring = calloc(nsock, sizeof(*gd->free_ring));
	if (!gd->priv || !gd->free_ring || nk_shm_lock_init(&shm->sq.lock))
		return fail("out of memory");
	gd_table_init(gd);
	return 0;
}

static void random_hex(char *out, size_t digits)
{
	unsigned char raw[32];

	if (getrandom(raw, digits / 2, 0) != (ssize_t)(digits / 2))
		abort();
	for (size_t i = 0; i < digits / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

/* An abstract name needs no file system: it works in a chroot, and vanishes with us. */
static int make_listener(struct gd *gd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char name[64], tail[17];

	random_hex(tail, 16);
	snprintf(name, sizeof(name), "netkernel-guest-%s", tail);
	memcpy(addr.sun_path + 1, name, strlen(name));
	gd->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (gd->listen_fd < 0 ||
	    bind(gd->listen_fd, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) ||
	    listen(gd->listen_fd, 128))
		return fail("cannot listen for the program's processes");
	random_hex(gd->token, NK_TOKEN_LEN);
	setenv(NK_ENV_SOCKET, name, 1);
	setenv(NK_ENV_TOKEN, gd->token, 1);
	return 0;
}

/* libnkpreload.so stands beside this binary, unless the caller says otherwise. */
static int set_preload(const char *library)
{
	char self[PATH_MAX], path[PATH_MAX + 32], value[2 * PATH_MAX + 64];
	const char *old = getenv("LD_PRELOAD");

	if (!library) {
		ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

		if (n <= 0)
			return fail("cannot find my own folder");
		self[n] = 0;
		*strrchr(self, '/') = 0;
		snprintf(path, sizeof(path), "%s/libnkpreload.so", self);
		library = path;
	}
	if (access(library, R_OK)) {
		fprintf(stderr, "nk-guestd: %s is missing; build it with `make -C guestlib`\n", library);
		return -1;
	}
	snprintf(value, sizeof(value), "%s%s%s", library, old && *old ? ":" : "", old && *old ? old : "");
	return setenv("LD_PRELOAD", value, 1);
}

/* -- the process that owns the rings ------------------------------------------------------------ */

static int run_owner(struct gd *gd, const struct args *args)
{
	const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTOU};
	struct rlimit files;
	uint8_t *region;
	void *db_page;
	sigset_t none;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN); /* from the terminal they reach us too, and are meant for the program */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (map_device(gd, &region, &db_page) || gd_dev_init(gd, region, db_page))
		return EXIT_SETUP;
	gd->ep = epoll_create1(EPOLL_CLOEXEC);
	if (gd->ep < 0)
		return EXIT_SETUP;
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++)
		gd->clients[i].fd = gd->clients[i].wake = -1;
	getrandom(&gd->ephemeral, sizeof(gd->ephemeral), 0);
	if (send(gd->boss_fd, "R", 1, MSG_NOSIGNAL) != 1 || gd_loop(gd))
		return EXIT_SETUP;
	if (args->stats) {
		FILE *out = fopen(args->stats, "w");

		if (out) {
			gd_stats_write(gd, out);
			fclose(out);
		}
	}
	if (gd->verbose)
		gd_stats_write(gd, stderr);
	return 0;
}

/* -- the supervisor ------------------------------------------------------------------------------ */

static pid_t start_program(char **program, const sigset_t *mask)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(program[0], program);
	fprintf(stderr, "nk-guestd: %s: %s\n", program[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void owner_died(struct gd *gd)
{
	if (nk_get(&gd->shm->dead))
		return;
	fprintf(stderr, "nk-guestd: the process that owns the rings died; every socket on the VF now fails with an error\n");
	nk_put_rel(&gd->shm->dead, ENETDOWN);
	nk_fence();
	/* Pollers see their connection to the owner hang up; blocked calls need this. */
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		nk_sock_bump(&gd->shm->socks[i]);
}

static void signal_tree(struct gd *gd, pid_t program, int sig)
{
	if (program > 0) {
		kill(program, sig);
		return;
	}
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++)
		if (nk_get(&gd->shm->procs[i].pid))
			kill((pid_t)nk_get(&gd->shm->procs[i].pid), sig);
}

static int exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int supervise(struct gd *gd, pid_t owner, pid_t program, const sigset_t *watched)
{
	int code = 0, stops = 0;

	while (owner > 0 || program > 0) {
		siginfo_t info;
		int status, sig = sigwaitinfo(watched, &info);
		pid_t pid;

		if (sig < 0)
			continue;
		if (sig != SIGCHLD) {
			/* The terminal's own ^C has reached the program already. */
			if (info.si_code <= 0)
				signal_tree(gd, program, sig);
			if (program <= 0 && (sig == SIGTERM || sig == SIGINT) && stops++)
				(void)!send(gd->boss_fd, "Q", 1, MSG_NOSIGNAL);
			continue;
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == program) {
				program = -1;
				code = exit_code(status);
				(void)!send(gd->boss_fd, "D", 1, MSG_NOSIGNAL);
			} else if (pid == owner) {
				owner = -1;
				if (program > 0 || status)
					owner_died(gd);
			}
		}
	}
	return code;
}

static int start_owner(struct gd *gd, const struct args *args, pid_t *owner)
{
	int boss[2];
	char ready;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, boss))
		return fail("cannot create a socketpair");
	*owner = fork();
	if (*owner < 0)
		return fail("cannot fork");
	if (*owner == 0) {
		close(boss[0]);
		gd->boss_fd = boss[1];
		exit(run_owner(gd, args));
	}
	close(boss[1]);
	gd->boss_fd = boss[0];
	/* The lease is the owner's alone: CoreEngine must see it end with the owner. */
	close(gd->lease_fd);
	close(gd->listen_fd);
	if (recv(boss[0], &ready, 1, 0) != 1)
		return fail("could not take over the VF");
	return 0;
}

int main(int argc, char **argv)
{
	static struct gd gd = {.bar_fd = -1, .region_fd = -1, .irq_fd = -1, .lease_fd = -1, .boss_fd = -1};
	const int watched_signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM};
	struct args args = {.layout_fd = -1};
	sigset_t watched, old;
	pid_t owner, program;
	char why[256];

	if (parse_args(argc, argv, &gd, &args))
		return EXIT_SETUP;
	if (gd_layout_read(args.layout_fd, &gd.layout, why, sizeof(why))) {
		fail(why);
		return EXIT_SETUP;
	}
	close(args.layout_fd);
	keep_from_program(gd.bar_fd);
	keep_from_program(gd.region_fd);
	keep_from_program(gd.irq_fd);
	keep_from_program(gd.lease_fd);
	if (make_shm(&gd) || make_listener(&gd) || set_preload(args.library))
		return EXIT_SETUP;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&watched);
	for (size_t i = 0; i < sizeof(watched_signals) / sizeof(watched_signals[0]); i++)
		sigaddset(&watched, watched_signals[i]);
	sigprocmask(SIG_BLOCK, &watched, &old);
	if (start_owner(&gd, &args, &owner))
		return EXIT_SETUP;
	program = start_program(args.program, &old);
	if (program < 0) {
		fail("cannot fork");
		return EXIT_SETUP;
	}
	return supervise(&gd, owner, program, &watched);
}
