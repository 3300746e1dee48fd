/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket options that the card serves. The table has what the program asked for, `told` what the card
 * knows: SETOPT goes out where they differ, as soon as the socket has an end on the card that counts
 * (before CONNECT, before its ACCEPT credit, and whenever a program changes one).
 */
#include "../options.h"

#include "guestd.h"

static const struct {
	uint8_t so, option;
	uint32_t fresh, most;
} on_card[] = {
#define ROW(name, fresh, most) {NK_SO_##name, NK_OPT_##name, fresh, most},
	NK_CARD_OPTIONS(ROW)
#undef ROW
};
#define N_ON_CARD (sizeof(on_card) / sizeof(on_card[0]))
NK_STATIC_ASSERT(N_ON_CARD == GD_CARD_OPTIONS, "room for what the card was told");

/* Programs write the table: whatever stands there becomes a value that the card takes. */
static uint32_t card_value(size_t i, int32_t value)
{
	uint32_t v = value < 0 ? 0 : (uint32_t)value;

	if (on_card[i].so == NK_SO_USER_TIMEOUT)
		v = v / 1000 + (v % 1000 != 0); /* milliseconds; never shorter than asked for */
	else if (v == 0 && on_card[i].most > 1)
		v = 1;
	return v > on_card[i].most ? on_card[i].most : v;
}

void gd_options_fresh(struct gd *gd, uint32_t idx)
{
	for (size_t i = 0; i < N_ON_CARD; i++)
		gd->priv[idx].told[i] = on_card[i].fresh;
}

static bool tell(struct gd *gd, uint32_t idx, size_t i, bool again)
{
	uint32_t value = card_value(i, nk_get(&gd->shm->socks[idx].opts.value[on_card[i].so]));

	if (value == gd->priv[idx].told[i] && !again)
		return false;
	gd->priv[idx].told[i] = value;
	gd_job_post(gd, NK_OP_SETOPT, idx, on_card[i].option | (uint64_t)value << 32, 0, 0);
	return true;
}

void gd_options_post(struct gd *gd, uint32_t idx)
{
	for (size_t i = 0; i < N_ON_CARD; i++)
		tell(gd, idx, i, false);
}

/*
 * What was sent between two corks leaves in full segments: a SEND must not overtake the first, nor the end
 * of it a SEND, though they go by different queues.
 */
static enum gd_told cork_changed(struct gd *gd, uint32_t idx, size_t i)
{
	if (nk_get(&gd->shm->socks[idx].opts.value[NK_SO_CORK]))
		return tell(gd, idx, i, false) ? GD_TOLD_WAIT : GD_TOLD;
	if (gd->priv[idx].told[i])
		gd_order(gd, idx, GD_PEND_UNCORK);
	return gd->priv[idx].pend == GD_PEND_UNCORK ? GD_TOLD_LATER : GD_TOLD;
}

enum gd_told gd_option_changed(struct gd *gd, uint32_t idx, uint64_t so)
{
	struct nk_sock *sock = &gd->shm->socks[idx];
	uint32_t state = nk_get(&sock->conn.state);

	if (!(nk_get(&sock->conn.flags) & NK_CF_ON_CARD) ||
	    (state != NK_CONN_CONNECTING && state != NK_CONN_ESTABLISHED))
		return GD_TOLD;
	for (size_t i = 0; i < N_ON_CARD; i++) {
		if (on_card[i].so != so)
			continue;
		if (so == NK_SO_CORK)
			return cork_changed(gd, idx, i);
		/* QUICKACK is an order more than a state: it wears off, so it may come again. */
		tell(gd, idx, i, so == NK_SO_QUICKACK);
	}
	return GD_TOLD;
}
