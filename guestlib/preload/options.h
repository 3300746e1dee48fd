/* SPDX-License-Identifier: Apache-2.0 */
/* Socket options whose values are kept with a socket: index into nk_opts.value. */
#ifndef NK_OPTIONS_H
#define NK_OPTIONS_H

#include "shm.h"

/* X(name, level, option): integer options; the kernel checks and normalises values (see options.c) */
#define NK_INT_OPTIONS(X) \
	X(REUSEADDR, SOL_SOCKET, SO_REUSEADDR) \
	X(REUSEPORT, SOL_SOCKET, SO_REUSEPORT) \
	X(KEEPALIVE, SOL_SOCKET, SO_KEEPALIVE) \
	X(OOBINLINE, SOL_SOCKET, SO_OOBINLINE) \
	X(BROADCAST, SOL_SOCKET, SO_BROADCAST) \
	X(DONTROUTE, SOL_SOCKET, SO_DONTROUTE) \
	X(PRIORITY, SOL_SOCKET, SO_PRIORITY) \
	X(MARK, SOL_SOCKET, SO_MARK) \
	X(RCVLOWAT, SOL_SOCKET, SO_RCVLOWAT) \
	X(SNDBUF, SOL_SOCKET, SO_SNDBUF) \
	X(RCVBUF, SOL_SOCKET, SO_RCVBUF) \
	X(NODELAY, IPPROTO_TCP, TCP_NODELAY) \
	X(CORK, IPPROTO_TCP, TCP_CORK) \
	X(QUICKACK, IPPROTO_TCP, TCP_QUICKACK) \
	X(KEEPIDLE, IPPROTO_TCP, TCP_KEEPIDLE) \
	X(KEEPINTVL, IPPROTO_TCP, TCP_KEEPINTVL) \
	X(KEEPCNT, IPPROTO_TCP, TCP_KEEPCNT) \
	X(SYNCNT, IPPROTO_TCP, TCP_SYNCNT) \
	X(LINGER2, IPPROTO_TCP, TCP_LINGER2) \
	X(DEFER_ACCEPT, IPPROTO_TCP, TCP_DEFER_ACCEPT) \
	X(WINDOW_CLAMP, IPPROTO_TCP, TCP_WINDOW_CLAMP) \
	X(USER_TIMEOUT, IPPROTO_TCP, TCP_USER_TIMEOUT) \
	X(NOTSENT_LOWAT, IPPROTO_TCP, TCP_NOTSENT_LOWAT) \
	X(MAXSEG, IPPROTO_TCP, TCP_MAXSEG) \
	X(FASTOPEN, IPPROTO_TCP, TCP_FASTOPEN) \
	X(TOS, IPPROTO_IP, IP_TOS) \
	X(TTL, IPPROTO_IP, IP_TTL) \
	X(MTU_DISCOVER, IPPROTO_IP, IP_MTU_DISCOVER) \
	X(RECVERR, IPPROTO_IP, IP_RECVERR) \
	X(BIND_NO_PORT, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) \
	X(V6ONLY, IPPROTO_IPV6, IPV6_V6ONLY) \
	X(TCLASS, IPPROTO_IPV6, IPV6_TCLASS) \
	X(UNICAST_HOPS, IPPROTO_IPV6, IPV6_UNICAST_HOPS)

enum nk_so {
#define NK_SO_ENUM(name, level, option) NK_SO_##name,
	NK_INT_OPTIONS(NK_SO_ENUM)
#undef NK_SO_ENUM
	NK_SO_USED
};
/*
 * X(name, fresh, most): options that the card serves (NK_OPT_name): the value of a new socket there, and the
 * largest that it keeps; a larger one becomes that. KEEPALIVE stands behind its times.
 */
#define NK_CARD_OPTIONS(X) \
	X(NODELAY, 0, 1) \
	X(CORK, 0, 1) \
	X(KEEPIDLE, 7200, 16383) \
	X(KEEPINTVL, 75, 255) \
	X(KEEPCNT, 9, 15) \
	X(KEEPALIVE, 0, 1) \
	X(USER_TIMEOUT, 0, 1023) \
	X(QUICKACK, 1, 1)

static inline int nk_so_on_card(int so)
{
	switch (so) {
#define NK_SO_CASE(name, fresh, most) case NK_SO_##name:
		NK_CARD_OPTIONS(NK_SO_CASE)
#undef NK_SO_CASE
		return 1;
	default:
		return 0;
	}
}

NK_STATIC_ASSERT(NK_SO_USED <= NK_SO_COUNT, "room for every kept option");

#endif
