/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card that lies. `noise`: events that no live socket should feel (bad ids, unknown opcodes, free
 * sockets, duplicate completions); traffic must survive. The other modes lie about a live socket:
 * that socket may fail, nothing else may.
 */
#include <stdlib.h>
#include <string.h>

#include "softnsm.h"

static void raw(struct nsm *nsm, uint8_t op, uint32_t socket, uint32_t size, uint32_t cookie)
{
	struct nk_nqe nqe = {.op = op, .socket = socket, .size = size, .cookie = cookie, .op_data = ~0ull, .data_ptr = ~0ull};

	(void)card_raw(nsm, &nqe, op < 0x20);
}

static void noise(struct nsm *nsm)
{
	uint32_t idle = NONE;

	for (uint32_t i = 0; i < nsm->opt.sockets; i++)
		if (nsm->flows[i].state == NK_FS_FREE)
			idle = i;
	switch (random() % 6) {
	case 0:
		raw(nsm, (uint8_t)(0x20 + random() % 8), 0x80000000u | (uint32_t)random(), (uint32_t)random(), 0);
		break;
	case 1:
		raw(nsm, (uint8_t)(0x30 + random() % 200), (uint32_t)random() % nsm->opt.sockets, (uint32_t)random(), 0);
		break;
	case 2: /* a socket that the card was never told of: the guest may be about to use the id, not yet bound */
		if (idle != NONE)
			raw(nsm, NK_OP_CLOSED, nsm->opt.sockets + idle, 0, 0);
		break;
	case 3:
		raw(nsm, NK_OP_SOCKET, (uint32_t)random() % nsm->opt.sockets, 0, 0x00ffff00u);
		break;
	case 4:
		raw(nsm, NK_OP_SEND, 0xffffffffu, 0, nk_cookie_pack(0, NK_ST_BAD_SIZE));
		break;
	default:
		raw(nsm, NK_OP_ACCEPTED, nsm->opt.sockets, 0xffffffffu, 0);
	}
}

void evil_event(struct nsm *nsm, uint32_t socket)
{
	struct flow *f = &nsm->flows[socket];
	bool live = f->state == NK_FS_ESTABLISHED;

	if (strcmp(nsm->opt.evil, "noise") == 0) {
		noise(nsm);
		return;
	}
	if (!live || nsm->evil_left == 0)
		return;
	nsm->evil_left--;
	if (strcmp(nsm->opt.evil, "data-overflow") == 0)
		raw(nsm, NK_OP_DATA, socket, f->rx_size + 1, 0);
	else if (strcmp(nsm->opt.evil, "data-huge") == 0)
		raw(nsm, NK_OP_DATA, socket, 0xffffffffu, 0);
	else if (strcmp(nsm->opt.evil, "data-zero") == 0)
		raw(nsm, NK_OP_DATA, socket, 0, 0);
	else if (strcmp(nsm->opt.evil, "sent-overflow") == 0)
		raw(nsm, NK_OP_SENT, socket, f->tx_size * 2, 0);
	else if (strcmp(nsm->opt.evil, "connected-twice") == 0)
		raw(nsm, NK_OP_CONNECTED, socket, 0, 0);
	else if (strcmp(nsm->opt.evil, "closed") == 0)
		raw(nsm, NK_OP_CLOSED, socket, 0, 0);
	else if (strcmp(nsm->opt.evil, "reset") == 0)
		raw(nsm, NK_OP_RESET, socket, 0, nk_cookie_pack(0, 200));
}
