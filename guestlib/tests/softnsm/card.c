/* SPDX-License-Identifier: Apache-2.0 */
/* The software NSM's rings: fetches and checks NQEs, writes completions and events, interrupts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nk_atomic.h"
#include "softnsm.h"

static uint32_t doorbell(const struct nsm *nsm, uint32_t ofs)
{
	return nk_get_acq((uint32_t *)(void *)(nsm->bar + NK_VF_DB_BASE + ofs));
}

/* -- from the card ---------------------------------------------------------------------------------- */

bool card_raw(struct nsm *nsm, const struct nk_nqe *nqe, bool completion)
{
	struct nk_ring *ring = completion ? &nsm->completion : &nsm->receive;
	uint32_t *tail = completion ? &nsm->completion_tail : &nsm->receive_tail;
	uint32_t head = doorbell(nsm, completion ? NK_DB_COMPLETION_HEAD_OFS : NK_DB_RECEIVE_HEAD_OFS);

	if (!nk_ring_room(ring, *tail, head))
		return false;
	nk_ring_produce(ring, (*tail)++, nqe);
	*(completion ? &nsm->count.completions : &nsm->count.events) += 1;
	nsm->activity = true;
	return true;
}

static bool is_completion(const struct nk_nqe *nqe)
{
	return nqe->op < 0x20;
}

static void emit(struct nsm *nsm, const struct nk_nqe *nqe)
{
	if (!nsm->late_count && card_raw(nsm, nqe, is_completion(nqe)))
		return;
	if (nsm->late_count == nsm->late_size) {
		uint32_t size = nsm->late_size ? nsm->late_size * 2 : 64;
		struct nk_nqe *more = calloc(size, sizeof(*more));

		for (uint32_t i = 0; i < nsm->late_count; i++)
			more[i] = nsm->late[(nsm->late_head + i) % nsm->late_size];
		free(nsm->late);
		nsm->late = more;
		nsm->late_head = 0;
		nsm->late_size = size;
	}
	nsm->late[(nsm->late_head + nsm->late_count++) % nsm->late_size] = *nqe;
}

void card_flush(struct nsm *nsm)
{
	while (nsm->late_count && card_raw(nsm, &nsm->late[nsm->late_head], is_completion(&nsm->late[nsm->late_head]))) {
		nsm->late_head = (nsm->late_head + 1) % nsm->late_size;
		nsm->late_count--;
	}
}

bool card_room(const struct nsm *nsm)
{
	return nsm->late_count == 0 &&
	       nk_ring_room(&nsm->receive, nsm->receive_tail, doorbell(nsm, NK_DB_RECEIVE_HEAD_OFS)) > 8;
}

void card_event(struct nsm *nsm, uint8_t op, uint32_t socket, uint64_t op_data, uint32_t size, uint8_t status)
{
	struct nk_nqe nqe = {.op = op, .socket = socket, .op_data = op_data, .size = size,
			     .cookie = nk_cookie_pack(0, status)};

	if (nsm->opt.evil)
		evil_event(nsm, socket);
	emit(nsm, &nqe);
}

void card_irq(struct nsm *nsm)
{
	const uint64_t one = 1;
	uint32_t arm = doorbell(nsm, NK_DB_IRQ_ARM_OFS);

	if (arm != nsm->arm_seen) {
		nsm->arm_seen = arm;
		nsm->armed = true;
	}
	/* The heads are read after the arm value that was written after them. */
	if (nsm->armed && (doorbell(nsm, NK_DB_COMPLETION_HEAD_OFS) != nsm->completion_tail ||
			   doorbell(nsm, NK_DB_RECEIVE_HEAD_OFS) != nsm->receive_tail)) {
		nsm->armed = false;
		nsm->count.irqs++;
		(void)!write(nsm->irq, &one, sizeof(one));
	}
}

/* -- to the card --------------------------------------------------------------------------------------- */

static uint8_t check(const struct nsm *nsm, const struct nk_nqe *nqe, bool phase_ok)
{
	if (!phase_ok || nqe->queue_set || nk_cookie_status(nqe->cookie) ||
	    (nqe->flags & ~(NK_FLAG_PHASE | NK_FLAG_MORE)))
		return NK_ST_BAD_FLAGS;
	return nqe->socket >= nsm->opt.sockets ? NK_ST_BAD_SOCKET : NK_ST_OK;
}

static void one_job(struct nsm *nsm, const struct nk_nqe *nqe, bool phase_ok)
{
	struct nk_nqe answer = *nqe;
	uint8_t status = check(nsm, nqe, phase_ok);

	nsm->count.jobs++;
	answer.flags = 0;
	answer.vm_id = 0;
	if (status == NK_ST_OK)
		status = flow_job(nsm, nqe, &answer);
	answer.cookie = nk_cookie_pack(nk_cookie_value(nqe->cookie), status);
	nsm->count.statuses[status & 15]++;
	if (nsm->opt.verbose && status)
		fprintf(stderr, "softnsm: job 0x%02x socket %u: status %u\n", nqe->op, nqe->socket, status);
	emit(nsm, &answer);
}

static void one_send(struct nsm *nsm, const struct nk_nqe *nqe, bool phase_ok)
{
	struct nk_nqe answer = *nqe;
	uint8_t status = check(nsm, nqe, phase_ok);

	nsm->count.sends++;
	if (status == NK_ST_OK)
		status = flow_send(nsm, nqe);
	nsm->count.statuses[status & 15]++;
	if (status == NK_ST_OK)
		return;
	if (nsm->opt.verbose)
		fprintf(stderr, "softnsm: send 0x%02x socket %u: status %u\n", nqe->op, nqe->socket, status);
	answer.cookie = nk_cookie_pack(nk_cookie_value(nqe->cookie), status);
	emit(nsm, &answer);
}

static void fetch(struct nsm *nsm, const struct nk_ring *ring, uint32_t *head, uint32_t tail, bool job)
{
	if (tail - *head > nk_ring_size(ring)) {
		nsm->count.doorbell_errors++;
		return;
	}
	while (*head != tail) {
		struct nk_nqe nqe;
		bool phase_ok = nk_ring_consume(ring, *head, &nqe) != 0;

		(*head)++;
		nsm->activity = true;
		if (job)
			one_job(nsm, &nqe, phase_ok);
		else
			one_send(nsm, &nqe, phase_ok);
	}
}

void card_fetch(struct nsm *nsm)
{
	/* Sends before jobs would hide an ordering mistake of GuestLib: jobs first. */
	fetch(nsm, &nsm->job, &nsm->job_head, doorbell(nsm, NK_DB_JOB_TAIL_OFS), true);
	for (uint32_t i = 0; i < nsm->opt.sockets; i++)
		if (nsm->flows[i].state == NK_FS_LISTEN && !nsm->flows[i].had_credit)
			nsm->count.bare_listeners++;
	fetch(nsm, &nsm->send, &nsm->send_head, doorbell(nsm, NK_DB_SEND_TAIL_OFS), false);
	nk_put_rel(&nsm->status->job_head, nsm->job_head);
	nk_put_rel(&nsm->status->send_head, nsm->send_head);
}
