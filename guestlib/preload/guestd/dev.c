/* SPDX-License-Identifier: Apache-2.0 */
/* The queue set as nk-guestd drives it: job producer, completion and receive consumer, interrupt arm. */
#include <stdlib.h>
#include <string.h>

#include "guestd.h"

static void mmio_doorbell(struct gd_dev *dev, uint32_t ofs, uint32_t value)
{
	/* Release: everything that the new index makes valid is in memory before it. */
	nk_put_rel((uint32_t *)(void *)((char *)dev->db_page + ofs), value);
}

int gd_dev_init(struct gd *gd, uint8_t *region, void *db_page)
{
	struct gd_dev *dev = &gd->dev;
	const struct gd_layout *l = &gd->layout;
	uint32_t completions;

	dev->job = (struct nk_ring){(struct nk_nqe *)(void *)(region + l->job.offset), l->job.log2};
	dev->completion = (struct nk_ring){(struct nk_nqe *)(void *)(region + l->completion.offset), l->completion.log2};
	dev->send = (struct nk_ring){(struct nk_nqe *)(void *)(region + l->send.offset), l->send.log2};
	dev->receive = (struct nk_ring){(struct nk_nqe *)(void *)(region + l->receive.offset), l->receive.log2};
	dev->status = (const struct nk_status_block *)(void *)(region + l->status_offset);
	dev->db_page = db_page;
	dev->doorbell = mmio_doorbell;
	/* Phase 1 marks the first pass: what an earlier tenant of these pages left must not look like it. */
	memset(dev->completion.slots, 0, sizeof(struct nk_nqe) << dev->completion.log2);
	memset(dev->receive.slots, 0, sizeof(struct nk_nqe) << dev->receive.log2);
	/* Half of the completion ring stays free for refused sends. */
	completions = nk_ring_size(&dev->completion) / 2;
	dev->inflight_max = nk_ring_size(&dev->job) < completions ? nk_ring_size(&dev->job) : completions;
	dev->inflight = calloc(nk_ring_size(&dev->job), sizeof(*dev->inflight));
	dev->backlog_size = 256;
	dev->backlog = calloc(dev->backlog_size, sizeof(*dev->backlog));
	return dev->inflight && dev->backlog ? 0 : -1;
}

static int backlog_grow(struct gd_dev *dev)
{
	uint32_t size = dev->backlog_size * 2;
	struct gd_job *bigger = calloc(size, sizeof(*bigger));

	if (!bigger)
		return -1;
	for (uint32_t i = 0; i < dev->backlog_count; i++)
		bigger[i] = dev->backlog[(dev->backlog_head + i) % dev->backlog_size];
	free(dev->backlog);
	dev->backlog = bigger;
	dev->backlog_size = size;
	dev->backlog_head = 0;
	return 0;
}

void gd_job_post(struct gd *gd, uint8_t op, uint32_t idx, uint64_t op_data, uint64_t data_ptr, uint32_t size)
{
	struct gd_dev *dev = &gd->dev;

	if (dev->backlog_count == dev->backlog_size && backlog_grow(dev)) {
		gd_device_dead(gd, ENETDOWN, "nk-guestd is out of memory");
		return;
	}
	dev->backlog[(dev->backlog_head + dev->backlog_count++) % dev->backlog_size] =
		(struct gd_job){op, idx, gd->shm->socks[idx].gen, op_data, data_ptr, size};
}

void gd_jobs_flush(struct gd *gd)
{
	struct gd_dev *dev = &gd->dev;
	uint32_t before = dev->job_tail;

	while (dev->backlog_count && dev->job_tail - dev->job_done < dev->inflight_max) {
		struct gd_job *job = &dev->backlog[dev->backlog_head];
		struct nk_nqe nqe = {
			.op = job->op,
			.queue_set = dev->queue_set,
			.socket = job->idx,
			.op_data = job->op_data,
			.data_ptr = job->data_ptr,
			.size = job->size,
			.cookie = nk_cookie_pack(dev->job_tail, 0),
		};

		nk_ring_produce(&dev->job, dev->job_tail, &nqe);
		dev->inflight[dev->job_tail & (nk_ring_size(&dev->job) - 1)] = *job;
		dev->job_tail++;
		dev->backlog_head = (dev->backlog_head + 1) % dev->backlog_size;
		dev->backlog_count--;
	}
	if (dev->job_tail != before)
		dev->doorbell(dev, NK_DB_JOB_TAIL_OFS, dev->job_tail);
}

static void completion(struct gd *gd, const struct nk_nqe *nqe)
{
	struct gd_dev *dev = &gd->dev;
	struct gd_job job;

	gd->count.completions++;
	if (nqe->op == NK_OP_SEND || nqe->op == NK_OP_CREDIT) {
		gd_on_send_refused(gd, nqe);
		return;
	}
	/* In order, each job one: whatever is not the oldest job's is not a completion. */
	if (dev->job_done == dev->job_tail || nk_cookie_value(nqe->cookie) != (dev->job_done & 0xffffffu)) {
		gd->count.violations++;
		return;
	}
	job = dev->inflight[dev->job_done & (nk_ring_size(&dev->job) - 1)];
	dev->job_done++;
	gd_on_completion(gd, &job, nqe);
}

static uint32_t drain_rings(struct gd *gd)
{
	struct gd_dev *dev = &gd->dev;
	uint32_t told_c = dev->completion_head, told_r = dev->receive_head, n = 0;
	uint32_t quarter_c = nk_ring_size(&dev->completion) / 4, quarter_r = nk_ring_size(&dev->receive) / 4;
	struct nk_nqe nqe;

	/* A card that writes faster than we read must not keep us here: the loop has clients too. */
	for (; n < 4096; n++) {
		if (nk_ring_consume(&dev->receive, dev->receive_head, &nqe)) {
			dev->receive_head++;
			gd->count.nqe_events++;
			gd_on_event(gd, &nqe);
		} else if (nk_ring_consume(&dev->completion, dev->completion_head, &nqe)) {
			dev->completion_head++;
			completion(gd, &nqe);
		} else {
			break;
		}
		if (dev->receive_head - told_r >= quarter_r)
			dev->doorbell(dev, NK_DB_RECEIVE_HEAD_OFS, told_r = dev->receive_head);
		if (dev->completion_head - told_c >= quarter_c)
			dev->doorbell(dev, NK_DB_COMPLETION_HEAD_OFS, told_c = dev->completion_head);
	}
	if (dev->receive_head != told_r)
		dev->doorbell(dev, NK_DB_RECEIVE_HEAD_OFS, dev->receive_head);
	if (dev->completion_head != told_c)
		dev->doorbell(dev, NK_DB_COMPLETION_HEAD_OFS, dev->completion_head);
	return n;
}

void gd_dev_poll(struct gd *gd)
{
	struct gd_dev *dev = &gd->dev;

	/*
	 * Heads first, then arm: an entry beyond the heads at the moment of arming fires at once, a later
	 * one fires when it is written. So nothing stands in a ring while we sleep and no interrupt comes.
	 */
	drain_rings(gd);
	gd_jobs_flush(gd);
	dev->doorbell(dev, NK_DB_IRQ_ARM_OFS, ++dev->arm);
}
