/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The send queue: many threads of many processes produce, under one robust lock. A process killed in
 * the middle leaves `intent_*` behind, from which the next owner finishes or forgets the entry.
 */
#include "lib.h"

#include <unistd.h>

#define FULL_PAUSE_US 50
#define FULL_LIMIT_US 5000000

int nk_lock(pthread_mutex_t *lock)
{
	int err = pthread_mutex_lock(lock);

	if (err == EOWNERDEAD) {
		pthread_mutex_consistent(lock);
		return 1;
	}
	/* EDEADLK: a signal handler interrupted the holder. To the handler the socket is just busy. */
	return err == EDEADLK ? -EAGAIN : -err;
}

static void doorbell(uint32_t tail)
{
	nk_put_rel((uint32_t *)(void *)(nk.db_page + NK_DB_SEND_TAIL_OFS), tail);
}

static int sq_lock(void)
{
	struct nk_sq *sq = &nk.shm->sq;
	int err = nk_lock(&sq->lock);

	if (err == 1) {
		if (sq->tail == sq->intent_tail + 1 && sq->intent_sock < nk.shm->nsock)
			nk_put(&nk.shm->socks[sq->intent_sock].tx_posted, sq->intent_posted);
		doorbell(sq->tail);
		err = 0;
	}
	return err;
}

/* Wait for room outside the lock. The card empties this queue whatever its sockets do, so it is short. */
static int sq_lock_with_room(void)
{
	struct nk_sq *sq = &nk.shm->sq;
	int64_t end = 0;

	for (;;) {
		int err = sq_lock();

		if (err)
			return err;
		if (nk_ring_room(&nk.sq, sq->tail, nk_get_acq(&nk.status->send_head)))
			return 0;
		sq->full++;
		pthread_mutex_unlock(&sq->lock);
		if (nk_dead())
			return -nk_dead();
		if (!end)
			end = nk_now_us() + FULL_LIMIT_US;
		else if (nk_now_us() > end)
			return -EAGAIN;
		usleep(FULL_PAUSE_US);
	}
}

static int post(struct nk_ref ref, uint8_t op, uint32_t bytes, uint32_t posted, uint32_t refuse_flags)
{
	struct nk_sq *sq = &nk.shm->sq;
	struct nk_nqe nqe = {
		.op = op,
		.queue_set = (uint8_t)nk.shm->queue_set,
		.socket = ref.idx,
		.size = bytes,
		.cookie = nk_cookie_pack(ref.gen, 0),
	};
	int err = sq_lock_with_room();

	if (err)
		return err;
	/* guestd sets these under this lock before it closes: nothing of ours gets behind its CLOSE. */
	if (nk_get(&ref.s->gen) != ref.gen || ref.s->closing || (nk_get(&ref.s->conn.flags) & refuse_flags)) {
		pthread_mutex_unlock(&sq->lock);
		return -EPIPE;
	}
	sq->intent_sock = ref.idx;
	sq->intent_posted = posted;
	nk_put_rel(&sq->intent_tail, sq->tail);
	nk_ring_produce(&nk.sq, sq->tail, &nqe);
	nk_put_rel(&sq->tail, sq->tail + 1);
	nk_put(&ref.s->tx_posted, posted);
	sq->nqes++;
	doorbell(sq->tail);
	pthread_mutex_unlock(&sq->lock);
	return 0;
}

int nk_post_send(struct nk_ref ref, uint32_t bytes, uint32_t tx_tail)
{
	return post(ref, NK_OP_SEND, bytes, tx_tail, NK_CF_WR_SHUT);
}

int nk_post_credit(struct nk_ref ref, uint32_t bytes)
{
	return post(ref, NK_OP_CREDIT, bytes, nk_get(&ref.s->tx_posted), 0);
}
