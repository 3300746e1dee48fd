/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nk-guestd's table and ring code on a fake device: plain memory for the rings, a function for the
 * doorbells. A scripted card first, then one that writes random NQEs: no crash, no leak of entries.
 */
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "guestd/guestd.h"
#include "options.h"

#define NSOCK 16
#define LOG2 6

static struct gd gd;
static uint8_t *region;
static uint32_t doorbells[8];
static uint32_t card_job, card_completion, card_receive;

static void fake_doorbell(struct gd_dev *dev, uint32_t ofs, uint32_t value)
{
	(void)dev;
	doorbells[ofs / 4] = value;
}

static void start(void)
{
	uint64_t ring = sizeof(struct nk_nqe) << LOG2, page = NK_LIM_PAGE;

	memset(&gd, 0, sizeof(gd));
	(void)ring;
	gd.layout = (struct gd_layout){
		.ip = 0x0a000002, .prefix = 24, .mtu = 1500, .max_sockets = NSOCK, .nqs = 1, .db_stride = page,
		.region_bytes = 5 * page + NSOCK * 2 * page, .heap_offset = 5 * page, .heap_bytes = NSOCK * 2 * page,
		.rx_log2 = 12, .tx_log2 = 12, .job = {page, LOG2}, .completion = {2 * page, LOG2},
		.send = {3 * page, LOG2}, .receive = {4 * page, LOG2}, .status_offset = 0,
	};
	region = aligned_alloc(page, gd.layout.region_bytes);
	memset(region, 0xa5, gd.layout.region_bytes);
	memset(region, 0, 64);
	CHECK(gd_make_shm(&gd) == 0 && gd_dev_init(&gd, region, doorbells) == 0);
	gd.dev.doorbell = fake_doorbell;
	gd.ep = epoll_create1(0);
	gd.irq_fd = gd.lease_fd = gd.boss_fd = gd.listen_fd = -1;
	for (uint32_t i = 0; i < NK_MAX_PROCS; i++)
		gd.clients[i].fd = gd.clients[i].wake = -1;
	memset(doorbells, 0, sizeof(doorbells));
	card_job = card_completion = card_receive = 0;
}

static void stop(void)
{
	for (uint32_t i = 0; i < NSOCK; i++)
		if (gd.priv[i].fd >= 0)
			close(gd.priv[i].fd);
	munmap(gd.shm, nk_shm_bytes(NSOCK));
	close(gd.shm_fd);
	close(gd.ep);
	free(gd.priv);
	free(gd.free_ring);
	free(gd.dev.inflight);
	free(gd.dev.backlog);
	free(region);
}

/* -- the card's side ------------------------------------------------------------------------------- */

static int next_job(struct nk_nqe *out)
{
	gd_jobs_flush(&gd);
	if (card_job == doorbells[NK_DB_JOB_TAIL_OFS / 4])
		return 0;
	CHECK(nk_ring_consume(&gd.dev.job, card_job, out));
	card_job++;
	return 1;
}

static void complete(const struct nk_nqe *job, uint8_t status)
{
	struct nk_nqe done = *job;

	done.cookie = nk_cookie_pack(nk_cookie_value(job->cookie), status);
	nk_ring_produce(&gd.dev.completion, card_completion++, &done);
}

static void tell(uint8_t op, uint32_t socket, uint64_t op_data, uint32_t size)
{
	struct nk_nqe nqe = {.op = op, .socket = socket, .op_data = op_data, .size = size};

	nk_ring_produce(&gd.dev.receive, card_receive++, &nqe);
	gd_dev_poll(&gd);
}

static void expect_job(uint8_t op, uint32_t socket)
{
	struct nk_nqe job;

	CHECK(next_job(&job) && job.op == op && job.socket == socket);
	complete(&job, NK_ST_OK);
	gd_dev_poll(&gd);
}

static uint32_t make_listener(uint32_t backlog)
{
	uint32_t idx = gd_sock_alloc(&gd);
	int app;

	CHECK(idx != NK_NONE && gd_sock_attach(&gd, idx, &app) == 0);
	close(app);
	gd.shm->socks[idx].backlog = backlog;
	CHECK(gd_port_bind(&gd, idx, 80) == 0);
	nk_put(&gd.shm->socks[idx].conn.state, NK_CONN_LISTEN_WAIT);
	gd_card_socket(&gd, idx);
	gd_job_post(&gd, NK_OP_LISTEN, idx, nk_addr_pack(0, 0, 80), 0, 0);
	expect_job(NK_OP_SOCKET, idx);
	expect_job(NK_OP_LISTEN, idx);
	CHECK(nk_get(&gd.shm->socks[idx].conn.state) == NK_CONN_LISTENING);
	return idx;
}

static void test_listener(void)
{
	struct nk_nqe job;
	uint32_t l, credits[4];

	start();
	l = make_listener(2);
	for (int i = 0; i < 3; i++) { /* backlog + 1 credits */
		CHECK(next_job(&job) && job.op == NK_OP_SOCKET);
		credits[i] = job.socket;
		CHECK(job.data_ptr % NK_LIM_PAGE == 0 && job.op_data == job.data_ptr + 4096);
		complete(&job, NK_ST_OK);
		for (int k = 0; k < 4; k++) { /* the socket's options are all 0: not what the card begins with */
			CHECK(next_job(&job) && job.op == NK_OP_SETOPT && job.socket == credits[i]);
			complete(&job, NK_ST_OK);
		}
		CHECK(next_job(&job) && job.op == NK_OP_ACCEPT && job.socket == l && (uint32_t)job.op_data == credits[i]);
		complete(&job, NK_ST_OK);
	}
	CHECK(!next_job(&job));
	tell(NK_OP_ACCEPTED, credits[0], nk_addr_pack(0x0a000001, 5555, 80), l);
	CHECK(nk_get(&gd.shm->socks[l].acc_ready) == 1 && gd.shm->socks[credits[0]].remote.port == 5555);
	CHECK(!next_job(&job)); /* queue and credits together are bounded by the backlog */
	/* A credit that another listener is said to have used. */
	tell(NK_OP_ACCEPTED, credits[1], 0, l + 1);
	CHECK(gd.count.violations == 1 && nk_get(&gd.shm->socks[l].acc_ready) == 1);
	expect_job(NK_OP_ABORT, credits[1]);
	tell(NK_OP_CLOSED, credits[1], 0, 0);
	/* Close: the queued connection is reset, the credits come back by CLOSED. */
	gd_sock_detach(&gd, l, false);
	expect_job(NK_OP_ABORT, credits[0]);
	expect_job(NK_OP_CLOSE, l);
	tell(NK_OP_CLOSED, credits[2], 0, 0);
	tell(NK_OP_CLOSED, credits[0], 0, 0);
	tell(NK_OP_CLOSED, l, 0, 0);
	CHECK(gd.free_count == NSOCK);
	stop();
}

/* CLOSE waits until the card has fetched what stood in the send queue, and nothing is posted after it. */
static void test_order(void)
{
	struct nk_status_block *status = (struct nk_status_block *)(void *)region;
	struct nk_nqe job;
	uint32_t idx;
	int app;

	start();
	status = (struct nk_status_block *)(void *)region;
	idx = gd_sock_alloc(&gd);
	CHECK(gd_sock_attach(&gd, idx, &app) == 0);
	gd_card_socket(&gd, idx);
	nk_put(&gd.shm->socks[idx].conn.state, NK_CONN_ESTABLISHED);
	expect_job(NK_OP_SOCKET, idx);
	gd.shm->sq.tail = 5;
	status->send_head = 3;
	gd_sock_detach(&gd, idx, false);
	CHECK(gd.shm->socks[idx].closing == 1 && !next_job(&job) && gd.pending == 1);
	CHECK(doorbells[NK_DB_SEND_TAIL_OFS / 4] == 5); /* rung for a writer that may be dead */
	gd.shm->sq.tail = 9; /* others go on sending: not waited for */
	gd_pending_run(&gd);
	CHECK(!next_job(&job));
	status->send_head = 5;
	gd_pending_run(&gd);
	CHECK(next_job(&job) && job.op == NK_OP_CLOSE && gd.pending == 0);
	/* The lock held by somebody else: tried again later. */
	close(app);
	stop();
}

static void expect_setopt(uint32_t socket, uint32_t option, uint32_t value)
{
	struct nk_nqe job;

	CHECK(next_job(&job) && job.op == NK_OP_SETOPT && job.socket == socket);
	CHECK(job.op_data == (option | (uint64_t)value << 32) && job.data_ptr == 0 && job.size == 0);
	complete(&job, NK_ST_OK);
	gd_dev_poll(&gd);
}

/* The card's units and limits, whatever programs write into the table; nothing that the card knows already. */
static void test_options(void)
{
	static const struct {
		uint32_t so, option;
		int32_t value;
		uint32_t want;
	} rows[] = {
		{NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 1, 1},	  {NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 1000, 1},
		{NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 1001, 2},	  {NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 1022001, 1023},
		{NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 0x7fffffff, 1023}, {NK_SO_USER_TIMEOUT, NK_OPT_USER_TIMEOUT, 0, 0},
		{NK_SO_KEEPIDLE, NK_OPT_KEEPIDLE, 16383, 16383},	  {NK_SO_KEEPIDLE, NK_OPT_KEEPIDLE, 32767, 16383},
		{NK_SO_KEEPIDLE, NK_OPT_KEEPIDLE, -5, 1},		  {NK_SO_KEEPINTVL, NK_OPT_KEEPINTVL, 256, 255},
		{NK_SO_KEEPINTVL, NK_OPT_KEEPINTVL, 0, 1},		  {NK_SO_KEEPCNT, NK_OPT_KEEPCNT, 16, 15},
		{NK_SO_KEEPCNT, NK_OPT_KEEPCNT, 0, 1},		  {NK_SO_NODELAY, NK_OPT_NODELAY, 77, 1},
		{NK_SO_NODELAY, NK_OPT_NODELAY, -1, 0},		  {NK_SO_CORK, NK_OPT_CORK, 1, 1},
		{NK_SO_CORK, NK_OPT_CORK, 0, 0},			  {NK_SO_KEEPALIVE, NK_OPT_KEEPALIVE, 1, 1},
		{NK_SO_QUICKACK, NK_OPT_QUICKACK, 0, 0},		  {NK_SO_QUICKACK, NK_OPT_QUICKACK, 1, 1},
	};
	struct nk_nqe job;
	struct nk_sock *sock;
	uint32_t idx;

	start();
	idx = gd_sock_alloc(&gd);
	sock = &gd.shm->socks[idx];
	memset(&sock->opts, 0, sizeof(sock->opts));
	sock->opts.value[NK_SO_KEEPIDLE] = 7200;
	sock->opts.value[NK_SO_KEEPINTVL] = 75;
	sock->opts.value[NK_SO_KEEPCNT] = 9;
	sock->opts.value[NK_SO_QUICKACK] = 1;
	CHECK(!gd_option_changed(&gd, idx, NK_SO_CORK) && !next_job(&job)); /* the card does not know the socket */
	gd_card_socket(&gd, idx);
	gd_options_post(&gd, idx);
	expect_job(NK_OP_SOCKET, idx);
	CHECK(!next_job(&job)); /* Linux' defaults are the card's */
	nk_put(&sock->conn.state, NK_CONN_ESTABLISHED);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum gd_told told;

		sock->opts.value[rows[i].so] = rows[i].value;
		told = gd_option_changed(&gd, idx, rows[i].so);
		CHECK(told == (rows[i].so == NK_SO_CORK && rows[i].value ? GD_TOLD_WAIT : GD_TOLD));
		if (i != 1 && i != 4 && i != 7) /* as the row before */
			expect_setopt(idx, rows[i].option, rows[i].want);
		CHECK(!next_job(&job));
		CHECK(gd_option_changed(&gd, idx, rows[i].so) == GD_TOLD);
		if (rows[i].so == NK_SO_QUICKACK)
			expect_setopt(idx, rows[i].option, rows[i].want);
		CHECK(!next_job(&job));
	}
	/* The end of a cork stays behind what was sent before it; a SHUTDOWN does its work. */
	sock->opts.value[NK_SO_CORK] = 1;
	CHECK(gd_option_changed(&gd, idx, NK_SO_CORK) == GD_TOLD_WAIT);
	expect_setopt(idx, NK_OPT_CORK, 1);
	gd.shm->sq.tail = 5;
	((struct nk_status_block *)(void *)region)->send_head = 3;
	sock->opts.value[NK_SO_CORK] = 0;
	CHECK(gd_option_changed(&gd, idx, NK_SO_CORK) == GD_TOLD_LATER && !next_job(&job) && gd.pending == 1);
	CHECK(gd_option_changed(&gd, idx, NK_SO_CORK) == GD_TOLD_LATER && sock->closing == 0);
	((struct nk_status_block *)(void *)region)->send_head = 5;
	gd_pending_run(&gd);
	CHECK(gd_option_changed(&gd, idx, NK_SO_CORK) == GD_TOLD && gd.pending == 0);
	expect_setopt(idx, NK_OPT_CORK, 0);
	CHECK(!gd_option_changed(&gd, idx, NK_SO_SNDBUF) && !gd_option_changed(&gd, idx, 1ull << 40) && !next_job(&job));
	/* After CLOSE was ordered nothing goes out for the socket. */
	gd_sock_detach(&gd, idx, false);
	expect_job(NK_OP_CLOSE, idx);
	sock->opts.value[NK_SO_NODELAY] = 1;
	CHECK(!gd_option_changed(&gd, idx, NK_SO_NODELAY) && !next_job(&job));
	stop();
}

/* A credit gets its listener's options before it is posted; what changes until it is taken comes with ACCEPTED. */
static void test_listener_options(void)
{
	struct nk_nqe job;
	uint32_t l, credit;

	start();
	l = make_listener(0);
	CHECK(next_job(&job) && job.op == NK_OP_SOCKET);
	credit = job.socket;
	complete(&job, NK_ST_OK);
	/* make_listener's socket has all options 0. */
	expect_setopt(credit, NK_OPT_KEEPIDLE, 1);
	expect_setopt(credit, NK_OPT_KEEPINTVL, 1);
	expect_setopt(credit, NK_OPT_KEEPCNT, 1);
	expect_setopt(credit, NK_OPT_QUICKACK, 0);
	CHECK(next_job(&job) && job.op == NK_OP_ACCEPT && (uint32_t)job.op_data == credit);
	complete(&job, NK_ST_OK);
	gd.shm->socks[l].opts.value[NK_SO_NODELAY] = 1;
	CHECK(!gd_option_changed(&gd, l, NK_SO_NODELAY) && !next_job(&job));
	tell(NK_OP_ACCEPTED, credit, nk_addr_pack(0x0a000001, 5555, 80), l);
	expect_setopt(credit, NK_OPT_NODELAY, 1);
	CHECK(gd.shm->socks[credit].opts.value[NK_SO_NODELAY] == 1 && !next_job(&job));
	stop();
}

static uint32_t start_listening(uint32_t backlog)
{
	uint32_t idx = gd_sock_alloc(&gd);
	struct nk_sock *sock = &gd.shm->socks[idx];

	memset(&sock->opts, 0, sizeof(sock->opts));
	sock->opts.value[NK_SO_KEEPIDLE] = 7200;
	sock->opts.value[NK_SO_KEEPINTVL] = 75;
	sock->opts.value[NK_SO_KEEPCNT] = 9;
	sock->opts.value[NK_SO_QUICKACK] = 1;
	sock->backlog = backlog;
	CHECK(gd_port_bind(&gd, idx, 80) == 0);
	gd_listen(&gd, idx);
	return idx;
}

/* LISTEN and its credits are one batch, and a connection may be here before the answer to LISTEN. */
static void test_listen_batch(void)
{
	struct nk_nqe jobs[8], job;
	uint32_t l, n = 0;

	start();
	l = start_listening(2);
	while (n < 8 && next_job(&jobs[n]))
		n++;
	CHECK(n == 8 && jobs[0].op == NK_OP_SOCKET && jobs[1].op == NK_OP_LISTEN && jobs[1].socket == l && !next_job(&job));
	for (uint32_t i = 2; i < 8; i += 2)
		CHECK(jobs[i].op == NK_OP_SOCKET && jobs[i + 1].op == NK_OP_ACCEPT && jobs[i + 1].socket == l &&
		      (uint32_t)jobs[i + 1].op_data == jobs[i].socket);
	tell(NK_OP_ACCEPTED, jobs[2].socket, nk_addr_pack(0x0a000001, 5555, 80), l);
	CHECK(nk_get(&gd.shm->socks[l].acc_ready) == 1 && gd.count.violations == 0 && !next_job(&job));
	for (uint32_t i = 0; i < 8; i++)
		complete(&jobs[i], NK_ST_OK);
	gd_dev_poll(&gd);
	CHECK(nk_get(&gd.shm->socks[l].conn.state) == NK_CONN_LISTENING && gd.priv[l].credits == 2 && !next_job(&job));
	stop();
}

/* The port is taken: the credits that went with LISTEN come back, all of them. */
static void test_listen_refused(void)
{
	struct nk_nqe job;
	uint32_t l, credits[3], n = 0;

	start();
	l = start_listening(2);
	while (next_job(&job)) {
		if (job.op == NK_OP_SOCKET && job.socket != l)
			credits[n++] = job.socket;
		complete(&job, job.op == NK_OP_SOCKET ? NK_ST_OK : job.op == NK_OP_LISTEN ? NK_ST_ADDR_IN_USE : NK_ST_BAD_STATE);
	}
	gd_dev_poll(&gd);
	CHECK(n == 3 && nk_get(&gd.shm->socks[l].conn.state) == NK_CONN_DEAD && gd.priv[l].credits == 0);
	for (uint32_t i = 0; i < 3; i++)
		expect_job(NK_OP_CLOSE, credits[i]);
	for (uint32_t i = 0; i < 3; i++)
		tell(NK_OP_CLOSED, credits[i], 0, 0);
	CHECK(!next_job(&job) && gd.free_count == NSOCK - 1);
	gd_sock_detach(&gd, l, false);
	expect_job(NK_OP_CLOSE, l);
	tell(NK_OP_CLOSED, l, 0, 0);
	CHECK(gd.free_count == NSOCK);
	stop();
}

/* More jobs than the ring holds: all are posted in the end, in order. */
static void test_backlog(void)
{
	struct nk_nqe job;

	start();
	for (uint32_t i = 0; i < 1000; i++)
		gd_job_post(&gd, NK_OP_INFO, i % NSOCK, i, 0, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		CHECK(next_job(&job) && job.op_data == i);
		CHECK(doorbells[0] - card_job < 64);
		complete(&job, NK_ST_OK);
		gd_dev_poll(&gd);
	}
	CHECK(!next_job(&job) && gd.dev.backlog_count == 0 && gd.count.violations == 0);
	stop();
}

static void test_recycle(void)
{
	uint32_t idx[NSOCK], busy;

	start();
	for (uint32_t i = 0; i < NSOCK; i++) {
		idx[i] = gd_sock_alloc(&gd);
		gd_card_socket(&gd, idx[i]);
		nk_put(&gd.shm->socks[idx[i]].conn.state, NK_CONN_ESTABLISHED);
		expect_job(NK_OP_SOCKET, idx[i]);
	}
	CHECK(gd_sock_alloc(&gd) == NK_NONE);
	busy = idx[3]; /* closed with data still on its way: must not be ended early */
	gd.shm->socks[busy].conn.tx_tail = 10;
	for (uint32_t i = 2; i < 5; i++) {
		if (i != 3)
			nk_or(&gd.shm->socks[idx[i]].conn.flags, NK_CF_RX_EOF);
		gd_sock_detach(&gd, idx[i], false);
		gd.priv[idx[i]].closing_since -= i == 4 ? 2000 : 0;
		expect_job(NK_OP_CLOSE, idx[i]);
	}
	gd_recycle(&gd, 1);
	{
		struct nk_nqe job;
		int aborts = 0, infos = 0;

		while (next_job(&job)) {
			aborts += job.op == NK_OP_ABORT && job.socket == idx[4]; /* the oldest */
			infos += job.op == NK_OP_INFO && job.socket == busy;
			complete(&job, NK_ST_OK);
		}
		gd_dev_poll(&gd);
		CHECK(aborts == 1 && infos == 1);
	}
	tell(NK_OP_CLOSED, idx[4], 0, 0);
	CHECK(gd.free_count == 1 && gd_sock_alloc(&gd) == idx[4]);
	stop();
}

/* A card that writes what it likes. Entries that it never held must all be free at the end. */
static void test_random(unsigned int seed)
{
	srandom(seed);
	start();
	for (int step = 0; step < 4000; step++) {
		struct nk_nqe job, junk;

		for (size_t i = 0; i < sizeof(junk); i++)
			((uint8_t *)&junk)[i] = (uint8_t)random();
		if (random() % 2) {
			junk.op = (uint8_t)(0x20 + random() % 8);
			junk.socket = (uint32_t)random() % (NSOCK + 1);
			junk.size = (uint32_t)random() % 8192;
		}
		switch (random() % 8) {
		case 0:
			nk_ring_produce(&gd.dev.receive, card_receive++, &junk);
			break;
		case 1:
			nk_ring_produce(&gd.dev.completion, card_completion++, &junk);
			break;
		case 2:
			if (next_job(&job))
				complete(&job, (uint8_t)(random() % 3 ? 0 : random() % 16));
			break;
		case 3: {
			uint32_t idx = gd_sock_alloc(&gd);
			int app;

			if (idx == NK_NONE)
				break;
			CHECK(gd_sock_attach(&gd, idx, &app) == 0);
			close(app);
			gd_port_ephemeral(&gd, idx);
			gd_card_socket(&gd, idx);
			nk_put(&gd.shm->socks[idx].conn.state, random() % 2 ? NK_CONN_CONNECTING : NK_CONN_LISTENING);
			gd.shm->socks[idx].backlog = (uint32_t)random() % 8;
			gd_credits_fill(&gd, idx);
			break;
		}
		case 4: {
			uint32_t idx = (uint32_t)random() % NSOCK;

			if (gd.priv[idx].fd >= 0)
				gd_sock_detach(&gd, idx, random() % 2);
			break;
		}
		case 5:
			gd_recycle(&gd, (uint32_t)random() % 4);
			break;
		case 6:
			gd_credits_fill_all(&gd);
			break;
		default:
			gd_pending_run(&gd);
		}
		gd_dev_poll(&gd);
		CHECK(gd.free_count <= NSOCK);
	}
	gd_device_dead(&gd, ENETDOWN, "end of a test");
	for (uint32_t i = 0; i < NSOCK; i++)
		if (gd.priv[i].fd >= 0)
			gd_sock_detach(&gd, i, true);
	{ /* free list and states agree */
		uint32_t idle = 0;

		for (uint32_t i = 0; i < NSOCK; i++)
			idle += gd.shm->socks[i].conn.state == NK_CONN_FREE;
		CHECK(idle == gd.free_count);
	}
	stop();
}

int main(void)
{
	test_listener();
	test_listener_options();
	test_listen_batch();
	test_listen_refused();
	test_options();
	test_order();
	test_backlog();
	test_recycle();
	(void)!freopen("/dev/null", "w", stderr);
	for (unsigned int seed = 1; seed <= 12; seed++)
		test_random(seed);
	puts("test_guestd: ok");
	return 0;
}
