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

/* libnkpreload.so stands beside this binary, unless the caller says otherwise. */
static int set_preload(const char *library)
{
	char self[PATH_MAX], path[PATH_MAX + 32], value[2 * PATH_MAX + 64];
	const char *old = getenv("LD_PRELOAD");

	if (!library) {
		ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

		if (n <= 0)
			return gd_fail("cannot find my own folder");
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
	if (gd_map_device(gd, &region, &db_page) || gd_dev_init(gd, region, db_page))
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
		return gd_fail("cannot create a socketpair");
	*owner = fork();
	if (*owner < 0)
		return gd_fail("cannot fork");
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
		return gd_fail("could not take over the VF");
	return 0;
}

int main(int argc, char **argv)
{
	static struct gd gd = {.bar_fd = -1, .region_fd = -1, .irq_fd = -1, .lease_fd = -1, .boss_fd = -1};
	const int watched_signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM};
	struct args args = {.layout_fd = -1};
	sigset_t watched, old;
	pid_t owner = -1, program;
	char why[256];

	if (parse_args(argc, argv, &gd, &args))
		return EXIT_SETUP;
	if (gd_layout_read(args.layout_fd, &gd.layout, why, sizeof(why))) {
		gd_fail(why);
		return EXIT_SETUP;
	}
	close(args.layout_fd);
	keep_from_program(gd.bar_fd);
	keep_from_program(gd.region_fd);
	keep_from_program(gd.irq_fd);
	keep_from_program(gd.lease_fd);
	if (gd_make_shm(&gd) || gd_make_listener(&gd) || set_preload(args.library))
		return EXIT_SETUP;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&watched);
	for (size_t i = 0; i < sizeof(watched_signals) / sizeof(watched_signals[0]); i++)
		sigaddset(&watched, watched_signals[i]);
	sigprocmask(SIG_BLOCK, &watched, &old);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would cost us the exit code */
	if (start_owner(&gd, &args, &owner))
		return EXIT_SETUP;
	program = start_program(args.program, &old);
	if (program < 0) {
		gd_fail("cannot fork");
		return EXIT_SETUP;
	}
	return supervise(&gd, owner, program, &watched);
}
