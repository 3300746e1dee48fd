/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producer and consumer of one NQE ring. The other side of the ring is the card: what it writes is
 * copied once and only the copy is looked at.
 */
#ifndef NK_RING_H
#define NK_RING_H

#include "nk_abi.h"

struct nk_ring {
	struct nk_nqe *slots;
	uint32_t log2; /* of the number of entries */
};

static inline uint32_t nk_ring_size(const struct nk_ring *ring)
{
	return 1u << ring->log2;
}

/* The phase bit that entry `index` (free-running) carries: 1 on the first pass, inverted on each wrap. */
static inline uint8_t nk_ring_phase(const struct nk_ring *ring, uint32_t index)
{
	return (uint8_t)(((index >> ring->log2) & 1u) ^ 1u);
}

/*
 * Entries that a producer at `tail` may still write while the card says it has fetched `head`. A head
 * that no honest card can show (ahead of the tail, or more than a ring behind) gives 0.
 */
uint32_t nk_ring_room(const struct nk_ring *ring, uint32_t tail, uint32_t head);

/* Write `nqe` as entry `tail`, phase bit set; becomes valid with the doorbell that the caller writes. */
void nk_ring_produce(const struct nk_ring *ring, uint32_t tail, const struct nk_nqe *nqe);

/* Copy entry `head` if the card has written it. Returns 1 and fills `out`, or 0. */
int nk_ring_consume(const struct nk_ring *ring, uint32_t head, struct nk_nqe *out);

#endif
