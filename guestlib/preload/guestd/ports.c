/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local ports of the VF. The socket table itself is the port table: some hundred entries, looked at
 * only by bind, listen and connect.
 */
#include <sys/socket.h>

#include "guestd.h"
#include "../options.h"

#define EPHEMERAL_FIRST 32768u
#define EPHEMERAL_COUNT 28232u /* to 60999, as Linux has it */

static bool port_taken(const struct gd *gd, uint16_t port)
{
	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		if (gd->priv[i].port_held && gd->shm->socks[i].local.port == port)
			return true;
	return false;
}

static bool is_listener(const struct nk_sock *sock)
{
	uint32_t state = nk_get(&sock->conn.state);

	return state == NK_CONN_LISTENING || state == NK_CONN_LISTEN_WAIT;
}

/* Linux' rule: two sockets share a port if both asked for SO_REUSEADDR and neither listens. */
static bool conflict(const struct gd *gd, uint32_t idx, uint16_t port)
{
	const struct nk_sock *sock = &gd->shm->socks[idx];

	for (uint32_t i = 0; i < gd->shm->nsock; i++) {
		const struct nk_sock *other = &gd->shm->socks[i];

		if (i == idx || !gd->priv[i].port_held || other->local.port != port)
			continue;
		if (is_listener(other) || !sock->opts.value[NK_SO_REUSEADDR] || !other->opts.value[NK_SO_REUSEADDR])
			return true;
	}
	return false;
}

int gd_port_ephemeral(struct gd *gd, uint32_t idx)
{
	for (uint32_t i = 0; i < EPHEMERAL_COUNT; i++) {
		uint16_t port = (uint16_t)(EPHEMERAL_FIRST + gd->ephemeral++ % EPHEMERAL_COUNT);

		if (!port_taken(gd, port)) {
			gd->shm->socks[idx].local.port = port;
			gd->priv[idx].port_held = true;
			return 0;
		}
	}
	return -EADDRINUSE;
}

int gd_port_bind(struct gd *gd, uint32_t idx, uint16_t port)
{
	/* An accepted connection carries its listener's port: it holds it, and asks nobody. */
	if (gd->shm->socks[idx].conn.flags & NK_CF_CONNECTED) {
		gd->priv[idx].port_held = true;
		return 0;
	}
	if (port == 0)
		return gd_port_ephemeral(gd, idx);
	if (conflict(gd, idx, port))
		return -EADDRINUSE;
	gd->shm->socks[idx].local.port = port;
	gd->priv[idx].port_held = true;
	return 0;
}

int gd_port_may_listen(const struct gd *gd, uint32_t idx)
{
	const struct nk_sock *sock = &gd->shm->socks[idx];

	for (uint32_t i = 0; i < gd->shm->nsock; i++)
		if (i != idx && gd->priv[i].port_held && gd->shm->socks[i].local.port == sock->local.port &&
		    is_listener(&gd->shm->socks[i]))
			return -EADDRINUSE;
	return 0;
}

void gd_port_release(struct gd *gd, uint32_t idx)
{
	gd->priv[idx].port_held = false;
}
