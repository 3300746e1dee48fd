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
	test_order();
	test_backlog();
	test_recycle();
	(void)!freopen("/dev/null", "w", stderr);
	for (unsigned int seed = 1; seed <= 12; seed++)
		test_random(seed);
	puts("test_guestd: ok");
	return 0;
}
