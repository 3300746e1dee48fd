/* SPDX-License-Identifier: Apache-2.0 */
/* NQE rings: see nk_ring.h. */
#include "nk_ring.h"

#include "nk_atomic.h"

uint32_t nk_ring_room(const struct nk_ring *ring, uint32_t tail, uint32_t head)
{
	uint32_t used = tail - head;
	uint32_t size = nk_ring_size(ring);

	return used > size ? 0 : size - used;
}

static inline uint64_t first_word(const struct nk_nqe *nqe)
{
	return (uint64_t)nqe->op | (uint64_t)nqe->vm_id << 8 | (uint64_t)nqe->queue_set << 16 |
	       (uint64_t)nqe->flags << 24 | (uint64_t)nqe->socket << 32;
}

void nk_ring_produce(const struct nk_ring *ring, uint32_t tail, const struct nk_nqe *nqe)
{
	struct nk_nqe *slot = &ring->slots[tail & (nk_ring_size(ring) - 1)];
	struct nk_nqe copy = *nqe;

	copy.flags = (uint8_t)((copy.flags & ~NK_FLAG_PHASE) |
			       (nk_ring_phase(ring, tail) ? NK_FLAG_PHASE : 0));
	nk_put(&slot->op_data, copy.op_data);
	nk_put(&slot->data_ptr, copy.data_ptr);
	nk_put(&slot->size, copy.size);
	nk_put(&slot->cookie, copy.cookie);
	/* The word with the phase bit last: a card that polls the ring sees the entry whole. */
	__atomic_store_n((uint64_t *)(void *)slot, first_word(&copy), __ATOMIC_RELEASE);
}

int nk_ring_consume(const struct nk_ring *ring, uint32_t head, struct nk_nqe *out)
{
	struct nk_nqe *slot = &ring->slots[head & (nk_ring_size(ring) - 1)];
	uint64_t first = __atomic_load_n((uint64_t *)(void *)slot, __ATOMIC_ACQUIRE);

	if (((first >> 24) & NK_FLAG_PHASE) != nk_ring_phase(ring, head))
		return 0;
	out->op = (uint8_t)first;
	out->vm_id = (uint8_t)(first >> 8);
	out->queue_set = (uint8_t)(first >> 16);
	out->flags = (uint8_t)(first >> 24);
	out->socket = (uint32_t)(first >> 32);
	out->op_data = nk_get(&slot->op_data);
	out->data_ptr = nk_get(&slot->data_ptr);
	out->size = nk_get(&slot->size);
	out->cookie = nk_get(&slot->cookie);
	return 1;
}
