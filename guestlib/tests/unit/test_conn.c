/* SPDX-License-Identifier: Apache-2.0 */
/* nk_conn: the paths that a connection takes, every lie of the card one by one, and a long random walk. */
#include "nk_conn.h"

#include <string.h>

#include "check.h"

static struct nk_nqe nqe(uint8_t op, uint32_t size, uint8_t status)
{
	return (struct nk_nqe){.op = op, .size = size, .cookie = nk_cookie_pack(0, status)};
}

static unsigned int event(struct nk_conn *c, uint8_t op, uint32_t size, uint8_t status)
{
	struct nk_nqe e = nqe(op, size, status);

	return nk_conn_event(c, &e);
}

static struct nk_conn in_state(uint32_t state)
{
	struct nk_conn c;

	nk_conn_init(&c, 4096, 8192);
	c.state = state;
	if (state >= NK_CONN_LISTEN_WAIT && state != NK_CONN_DEAD)
		c.flags |= NK_CF_ON_CARD;
	return c;
}

static void test_active_life(void)
{
	struct nk_conn c = in_state(NK_CONN_CONNECTING);

	CHECK(nk_conn_complete(&c, NK_OP_SOCKET, NK_ST_OK) == 0 && nk_conn_complete(&c, NK_OP_CONNECT, NK_ST_OK) == 0);
	CHECK(event(&c, NK_OP_CONNECTED, 1400, 0) == (NK_DO_WAKE_IN | NK_DO_WAKE_OUT));
	CHECK(c.state == NK_CONN_ESTABLISHED && c.mss == 1400);
	CHECK(event(&c, NK_OP_DATA, 4096, 0) == NK_DO_WAKE_IN && nk_conn_rx_avail(&c) == 4096);
	c.rx_head += 4096;
	CHECK(event(&c, NK_OP_DATA, 1, 0) == NK_DO_WAKE_IN && nk_conn_rx_avail(&c) == 1);
	c.tx_tail += 8192;
	CHECK(nk_conn_tx_room(&c) == 0 && event(&c, NK_OP_SENT, 8000, 0) == NK_DO_WAKE_OUT && nk_conn_tx_room(&c) == 8000);
	CHECK(event(&c, NK_OP_PEER_CLOSED, 0, 0) == NK_DO_WAKE_IN && (c.flags & NK_CF_RX_EOF));
	CHECK(nk_conn_release(&c, 0) == NK_DO_CLOSE && !nk_conn_is_spent(&c));
	CHECK(event(&c, NK_OP_SENT, 192, 0) == 0 && nk_conn_is_spent(&c));
	CHECK(event(&c, NK_OP_CLOSED, 0, 0) == NK_DO_FREE && !(c.flags & NK_CF_ON_CARD));
}

static void test_failures(void)
{
	struct nk_conn c = in_state(NK_CONN_CONNECTING);

	CHECK(event(&c, NK_OP_RESET, 0, NK_ST_REFUSED) && c.state == NK_CONN_DEAD && c.err == ECONNREFUSED);
	CHECK(nk_conn_release(&c, 0) == NK_DO_CLOSE);
	c = in_state(NK_CONN_ESTABLISHED);
	CHECK(event(&c, NK_OP_TIMEOUT, 0, NK_ST_TIMED_OUT) && c.err == ETIMEDOUT);
	c = in_state(NK_CONN_ESTABLISHED);
	CHECK(event(&c, NK_OP_RESET, 0, 77) && c.err == EPROTO); /* a status that we do not know */
	c = in_state(NK_CONN_CONNECTING);
	CHECK(nk_conn_complete(&c, NK_OP_SOCKET, NK_ST_BAD_PTR) && c.err == EFAULT && nk_conn_release(&c, 0) == NK_DO_FREE);
	c = in_state(NK_CONN_CONNECTING);
	CHECK(nk_conn_complete(&c, NK_OP_CONNECT, NK_ST_NO_RESOURCE) && c.err == ENOBUFS);
	CHECK(nk_conn_release(&c, 0) == NK_DO_CLOSE); /* SOCKET had succeeded */
	c = in_state(NK_CONN_LISTEN_WAIT);
	CHECK(nk_conn_complete(&c, NK_OP_LISTEN, NK_ST_ADDR_IN_USE) && c.err == EADDRINUSE);
	c = in_state(NK_CONN_LISTEN_WAIT);
	CHECK((nk_conn_complete(&c, NK_OP_LISTEN, NK_ST_OK) & NK_DO_LISTENING) && c.state == NK_CONN_LISTENING);
	c = in_state(NK_CONN_CREDIT);
	CHECK(nk_conn_complete(&c, NK_OP_ACCEPT, NK_ST_BAD_STATE) == NK_DO_CLOSE && c.state == NK_CONN_CLOSING);
	c = in_state(NK_CONN_CREDIT);
	CHECK(event(&c, NK_OP_CLOSED, 0, 0) == NK_DO_FREE);
	c = in_state(NK_CONN_CREDIT);
	CHECK(event(&c, NK_OP_ACCEPTED, 9, 0) == NK_DO_ACCEPTED && c.state == NK_CONN_ESTABLISHED);
	c = in_state(NK_CONN_CLOSING);
	CHECK(event(&c, NK_OP_DATA, 10, 0) == NK_DO_ABORT);
	c = in_state(NK_CONN_ESTABLISHED);
	CHECK((event(&c, NK_OP_CLOSED, 0, 0) & NK_DO_ABORT) && c.err == ECONNABORTED);
	CHECK(nk_conn_complete(&c, NK_OP_ABORT, NK_ST_BAD_STATE) == 0 && nk_conn_release(&c, 0) == NK_DO_FREE);
	c = in_state(NK_CONN_ESTABLISHED); /* it lied: the ABORT is answered as for a live socket */
	CHECK((event(&c, NK_OP_CLOSED, 0, 0) & NK_DO_ABORT) && nk_conn_complete(&c, NK_OP_ABORT, NK_ST_OK) == 0);
	CHECK(nk_conn_release(&c, 0) == NK_DO_CLOSE && event(&c, NK_OP_CLOSED, 0, 0) == NK_DO_FREE);
	c = in_state(NK_CONN_ESTABLISHED);
	CHECK(nk_conn_release(&c, 1) == NK_DO_ABORT);
	c = in_state(NK_CONN_ESTABLISHED);
	CHECK(nk_conn_send_refused(&c, NK_ST_BAD_STATE) == 0 && c.state == NK_CONN_ESTABLISHED);
	CHECK((nk_conn_send_refused(&c, NK_ST_BAD_SIZE) & NK_DO_ABORT) && c.err == EPROTO);
}

static void lie(uint32_t state, uint8_t op, uint32_t size, int fatal)
{
	struct nk_conn c = in_state(state);
	unsigned int todo = event(&c, op, size, 0);

	CHECK(todo & NK_DO_VIOLATION);
	CHECK(!(todo & (NK_DO_FREE | NK_DO_ACCEPTED)));
	if (fatal)
		CHECK(c.state == NK_CONN_DEAD && c.err == EPROTO && (todo & NK_DO_ABORT));
	else
		CHECK(c.state == state);
	CHECK(nk_conn_rx_avail(&c) == 0);
}

static void test_lies(void)
{
	lie(NK_CONN_ESTABLISHED, NK_OP_DATA, 4097, 1);
	lie(NK_CONN_ESTABLISHED, NK_OP_DATA, 0xffffffffu, 1);
	lie(NK_CONN_ESTABLISHED, NK_OP_DATA, 0, 1);
	lie(NK_CONN_ESTABLISHED, NK_OP_SENT, 1, 1);
	lie(NK_CONN_ESTABLISHED, NK_OP_CONNECTED, 1, 1);
	lie(NK_CONN_ESTABLISHED, NK_OP_ACCEPTED, 1, 1);
	lie(NK_CONN_CONNECTING, NK_OP_DATA, 1, 1);
	lie(NK_CONN_CONNECTING, NK_OP_PEER_CLOSED, 0, 1);
	lie(NK_CONN_NEW, NK_OP_CONNECTED, 1, 0);
	lie(NK_CONN_NEW, NK_OP_CLOSED, 1, 0);
	lie(NK_CONN_LISTENING, NK_OP_DATA, 1, 0);
	lie(NK_CONN_LISTENING, NK_OP_RESET, 1, 0);
	lie(NK_CONN_CREDIT, NK_OP_DATA, 1, 0);
	lie(NK_CONN_CREDIT, NK_OP_CONNECTED, 1, 0);
	lie(NK_CONN_ESTABLISHED, 0x30, 1, 0);
	lie(NK_CONN_ESTABLISHED, NK_OP_SEND, 1, 0);
}

/* Whatever comes: counters stay inside the rings, and an entry is freed once, only when the card let go. */
static void test_random(unsigned int seed)
{
	static const uint8_t ops[] = {0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x30};
	static const uint8_t jobs[] = {NK_OP_SOCKET, NK_OP_LISTEN, NK_OP_CONNECT, NK_OP_ACCEPT, NK_OP_CLOSE, NK_OP_ABORT};

	srandom(seed);
	for (int life = 0; life < 3000; life++) {
		struct nk_conn c = in_state((uint32_t)(1 + random() % 8));
		int released = c.state == NK_CONN_CLOSING;

		for (int step = 0; step < 60; step++) {
			uint32_t flags = c.flags;
			unsigned int todo = 0;

			switch (random() % 5) {
			case 0:
			case 1:
				todo = event(&c, ops[random() % 9], random() % 4 ? (uint32_t)random() % 5000 : (uint32_t)random() * 2u,
					     (uint8_t)random());
				break;
			case 2:
				todo = nk_conn_complete(&c, jobs[random() % 6], (uint8_t)(random() % 2 ? 0 : random() % 16));
				break;
			case 3: /* the program reads and writes what it may */
				c.rx_head += nk_conn_rx_avail(&c) ? (uint32_t)random() % (nk_conn_rx_avail(&c) + 1) : 0;
				c.tx_tail += nk_conn_tx_room(&c) ? (uint32_t)random() % (nk_conn_tx_room(&c) + 1) : 0;
				break;
			default:
				if (random() % 20 == 0 && !released) {
					todo = nk_conn_release(&c, (int)random() % 2);
					CHECK((todo & NK_DO_FREE) ? !(flags & NK_CF_ON_CARD) : (todo & (NK_DO_CLOSE | NK_DO_ABORT)));
					released = 1;
				}
			}
			CHECK(nk_conn_rx_avail(&c) <= 4096 && nk_conn_tx_room(&c) <= 8192);
			CHECK(c.rx_tail - c.rx_head <= 4096 && c.tx_tail - c.tx_head <= 8192);
			CHECK(c.state >= NK_CONN_NEW && c.state <= NK_CONN_CLOSING);
			if (todo & NK_DO_FREE) {
				CHECK(!(c.flags & NK_CF_ON_CARD));
				break;
			}
		}
	}
}

int main(void)
{
	test_active_life();
	test_failures();
	test_lies();
	for (unsigned int seed = 1; seed <= 20; seed++)
		test_random(seed);
	puts("test_conn: ok");
	return 0;
}
