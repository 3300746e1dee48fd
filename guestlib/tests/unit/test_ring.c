/* SPDX-License-Identifier: Apache-2.0 */
/* nk_ring: phase over many wraps, room against a head that no honest card shows, copies. */
#include "nk_ring.h"

#include <string.h>

#include "check.h"

static struct nk_nqe slots[64];
static const struct nk_ring ring = {slots, 6};

static void test_wraps(void)
{
	struct nk_nqe in = {.op = NK_OP_SEND, .queue_set = 3, .flags = NK_FLAG_MORE}, out;
	uint32_t start = 0xffffff80u; /* free-running indices wrap in the middle; a multiple of two rings */

	memset(slots, 0, sizeof(slots));
	for (uint32_t i = 0; i < 64; i++)
		slots[i].flags = (uint8_t)!nk_ring_phase(&ring, start);
	for (uint32_t i = start; i != start + 300; i++) {
		CHECK(!nk_ring_consume(&ring, i, &out));
		in.socket = i * 7;
		in.op_data = (uint64_t)i << 20;
		in.data_ptr = ~in.op_data;
		in.size = i;
		in.cookie = ~i;
		nk_ring_produce(&ring, i, &in);
		CHECK(nk_ring_consume(&ring, i, &out));
		CHECK((out.flags & NK_FLAG_PHASE) == nk_ring_phase(&ring, i) && (out.flags & NK_FLAG_MORE));
		out.flags = in.flags;
		CHECK(memcmp(&in, &out, sizeof(in)) == 0);
	}
	CHECK(nk_ring_phase(&ring, 0) == 1 && nk_ring_phase(&ring, 63) == 1 && nk_ring_phase(&ring, 64) == 0);
}

static void test_room(void)
{
	CHECK(nk_ring_room(&ring, 0, 0) == 64);
	CHECK(nk_ring_room(&ring, 64, 0) == 0);
	CHECK(nk_ring_room(&ring, 10, 5) == 59);
	CHECK(nk_ring_room(&ring, 5, 0xfffffffbu) == 54);
	CHECK(nk_ring_room(&ring, 5, 6) == 0);          /* a head ahead of the tail */
	CHECK(nk_ring_room(&ring, 5, 5 + (1u << 31)) == 0);
	CHECK(nk_ring_room(&ring, 100, 35) == 0);       /* more than a ring behind */
}

int main(void)
{
	test_wraps();
	test_room();
	puts("test_ring: ok");
	return 0;
}
