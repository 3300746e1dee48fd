/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses are the VF's, and which sockets of the kernel may still become ours. */
#include "lib.h"

#include <netinet/in.h>
#include <string.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static bool is_loopback(uint32_t ip)
{
	return ip >> 24 == 127;
}

/* The IPv4 endpoint in `addr`: 1, or 0 if it is none (`any6` is set for the IPv6 wildcard). */
static int endpoint(const struct sockaddr *addr, socklen_t len, struct nk_endpoint *ep, bool *any6)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	uint32_t ip;

	*any6 = false;
	if (!addr || len < sizeof(in.sin_family))
		return 0;
	if (addr->sa_family == AF_INET && len >= sizeof(in)) {
		memcpy(&in, addr, sizeof(in));
		*ep = (struct nk_endpoint){ntohl(in.sin_addr.s_addr), ntohs(in.sin_port), 0};
		return 1;
	}
	if (addr->sa_family != AF_INET6 || len < sizeof(in6) - sizeof(in6.sin6_scope_id))
		return 0;
	memset(&in6, 0, sizeof(in6));
	memcpy(&in6, addr, len < sizeof(in6) ? len : sizeof(in6));
	memcpy(&ip, &in6.sin6_addr.s6_addr[12], sizeof(ip));
	*ep = (struct nk_endpoint){ntohl(ip), ntohs(in6.sin6_port), 0};
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
		return 1;
	*any6 = IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
	return 0;
}

enum nk_place nk_place_bind(const struct sockaddr *addr, socklen_t len, bool v6only, struct nk_endpoint *ep)
{
	bool any6;

	if (!endpoint(addr, len, ep, &any6)) {
		/* The dual-stack wildcard covers IPv4, hence the VF. */
		if (!any6 || v6only)
			return NK_PLACE_KERNEL;
		ep->ip = INADDR_ANY;
		return NK_PLACE_OURS;
	}
	if (is_loopback(ep->ip))
		return NK_PLACE_KERNEL;
	return ep->ip == INADDR_ANY || ep->ip == nk.shm->ip ? NK_PLACE_OURS : NK_PLACE_NOWHERE;
}

enum nk_place nk_place_connect(const struct sockaddr *addr, socklen_t len, struct nk_endpoint *ep)
{
	bool any6;

	/* To INADDR_ANY means to this host: the kernel's loopback. */
	if (!endpoint(addr, len, ep, &any6) || is_loopback(ep->ip) || ep->ip == INADDR_ANY)
		return NK_PLACE_KERNEL;
	return NK_PLACE_OURS;
}

void nk_addr_out(uint32_t family, struct nk_endpoint ep, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(ep.port), .sin_addr.s_addr = htonl(ep.ip)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(ep.port)};
	const void *from = family == AF_INET6 ? (const void *)&in6 : (const void *)&in;
	socklen_t size = family == AF_INET6 ? sizeof(in6) : sizeof(in);
	uint32_t ip = htonl(ep.ip);

	if (!addr || !len)
		return;
	if (ep.ip) {
		in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&in6.sin6_addr.s6_addr[12], &ip, sizeof(ip));
	}
	memcpy(addr, from, *len < size ? *len : size);
	*len = size;
}

bool nk_kernel_tcp(int fd, int *family)
{
	int type = 0, protocol = 0, saved = errno;
	socklen_t len = sizeof(int);
	bool yes;

	yes = REAL(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, family, &len) == 0 &&
	      REAL(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	      REAL(getsockopt)(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	      (*family == AF_INET || *family == AF_INET6) && type == SOCK_STREAM &&
	      (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
	errno = saved;
	return yes;
}

/* Neither bound nor connected nor listening: it may still go either way. */
bool nk_kernel_undecided(int fd)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	struct nk_endpoint ep = {0, 0, 0};
	bool any6;

	if (REAL(getsockname)(fd, (struct sockaddr *)&ss, &len))
		return false;
	return endpoint((struct sockaddr *)&ss, len, &ep, &any6) ? ep.port == 0 : any6 && ep.port == 0;
}
