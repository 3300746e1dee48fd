/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket options. A fresh kernel socket is the judge: it knows every option, checks and normalises
 * values and has the right errno. We keep what it accepted if we know the option, and say
 * ENOPROTOOPT, as a protocol without that option does, if we do not.
 */
#include "../options.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "lib.h"

static const struct {
	int level, name;
} kept[] = {
#define KEPT(name, level, option) {level, option},
	NK_INT_OPTIONS(KEPT)
#undef KEPT
};

static int kept_index(int level, int name)
{
	for (int i = 0; i < NK_SO_USED; i++)
		if (kept[i].level == level && kept[i].name == name)
			return i;
	return -1;
}

void nk_opts_from_kernel(int fd, struct nk_opts *opts)
{
	struct linger lin = {0, 0};
	struct timeval tv;
	socklen_t len;

	memset(opts, 0, sizeof(*opts));
	for (int i = 0; i < NK_SO_USED; i++) {
		len = sizeof(int);
		if (REAL(getsockopt)(fd, kept[i].level, kept[i].name, &opts->value[i], &len))
			opts->value[i] = 0; /* IPv6's on an IPv4 socket */
	}
	len = sizeof(lin);
	REAL(getsockopt)(fd, SOL_SOCKET, SO_LINGER, &lin, &len);
	opts->linger_on = lin.l_onoff;
	opts->linger_sec = lin.l_linger;
	len = sizeof(tv);
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0)
		opts->rcvtimeo_us = (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
	len = sizeof(tv);
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0)
		opts->sndtimeo_us = (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

void nk_opts_to_kernel(int fd, const struct nk_opts *opts)
{
	struct nk_opts now;
	struct linger lin = {opts->linger_on, opts->linger_sec};
	struct timeval rcv = {opts->rcvtimeo_us / 1000000, opts->rcvtimeo_us % 1000000};
	struct timeval snd = {opts->sndtimeo_us / 1000000, opts->sndtimeo_us % 1000000};

	nk_opts_from_kernel(fd, &now);
	for (int i = 0; i < NK_SO_USED; i++) {
		/* The kernel doubles buffer sizes that it is given. */
		int value = i == NK_SO_SNDBUF || i == NK_SO_RCVBUF ? opts->value[i] / 2 : opts->value[i];

		if (now.value[i] != opts->value[i])
			REAL(setsockopt)(fd, kept[i].level, kept[i].name, &value, sizeof(value));
	}
	REAL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin));
	REAL(setsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &rcv, sizeof(rcv));
	REAL(setsockopt)(fd, SOL_SOCKET, SO_SNDTIMEO, &snd, sizeof(snd));
}

static int judge_socket(struct nk_sock *s)
{
	return REAL(socket)((int)s->family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
}

static int64_t timeval_us(const struct timeval *tv)
{
	if (tv->tv_sec >= LONG_MAX / 1000000)
		return 0; /* longer than anybody waits */
	return (int64_t)tv->tv_sec * 1000000 + tv->tv_usec;
}

/* The value stands in the table; who serves the card is told. What it cannot take, it takes as near as it can. */
static void tell_card(struct nk_ref ref, int so)
{
	struct nk_request req = {.op = NK_REQ_OPTION, .idx = ref.idx, .gen = ref.gen, .arg = (uint64_t)so};
	struct nk_reply rep;
	int saved = errno;

	nk_rpc(&req, &rep, NULL);
	errno = saved;
}

/* The kernel has accepted the value on `judge`: keep it. */
static int keep(struct nk_ref ref, int judge, int level, int name, const void *val, socklen_t len)
{
	struct nk_sock *s = ref.s;
	int index = kept_index(level, name);
	struct timeval tv;
	struct linger lin;
	socklen_t got = sizeof(int);

	if (index >= 0) {
		REAL(getsockopt)(judge, level, name, &s->opts.value[index], &got);
		if (nk_so_on_card(index))
			tell_card(ref, index);
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_LINGER && len >= sizeof(lin)) {
		memcpy(&lin, val, sizeof(lin));
		s->opts.linger_on = lin.l_onoff != 0;
		s->opts.linger_sec = lin.l_linger;
		return 0;
	}
	if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO) && len >= sizeof(tv)) {
		memcpy(&tv, val, sizeof(tv));
		*(name == SO_RCVTIMEO ? &s->opts.rcvtimeo_us : &s->opts.sndtimeo_us) = timeval_us(&tv);
		return 0;
	}
	errno = ENOPROTOOPT;
	return -1;
}

static const char *congestion(void)
{
	static const char *const names[] = {[NK_CC_RENO] = "reno", [NK_CC_CUBIC] = "cubic", [NK_CC_DCTCP] = "dctcp"};

	return nk.shm->cc < sizeof(names) / sizeof(names[0]) ? names[nk.shm->cc] : "unknown";
}

/* The operator chooses, by the VF's NSM profile: a program may only agree. */
static int set_congestion(const void *val, socklen_t len)
{
	char name[16] = {0};

	memcpy(name, val, len < sizeof(name) ? len : sizeof(name) - 1);
	if (strcmp(name, congestion()) == 0)
		return 0;
	errno = ENOENT;
	return -1;
}

NK_EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct nk_ref ref = nk_ref_of(fd);
	int judge, err;

	if (!ref.s)
		return REAL(setsockopt)(fd, level, name, val, len);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION && val)
		return set_congestion(val, len);
	judge = judge_socket(ref.s);
	if (judge < 0)
		return -1;
	err = REAL(setsockopt)(judge, level, name, val, len);
	if (!err)
		err = keep(ref, judge, level, name, val, len);
	REAL(close)(judge);
	return err;
}

/* ---- get ------------------------------------------------------------------------------------------------ */

static uint8_t tcp_state(struct nk_sock *s)
{
	uint32_t flags = nk_get(&s->conn.flags);

	switch (nk_get(&s->conn.state)) {
	case NK_CONN_LISTEN_WAIT:
	case NK_CONN_LISTENING:
		return TCP_LISTEN;
	case NK_CONN_CONNECTING:
		return TCP_SYN_SENT;
	case NK_CONN_ESTABLISHED:
		if (flags & NK_CF_WR_SHUT)
			return flags & NK_CF_RX_EOF ? TCP_LAST_ACK : TCP_FIN_WAIT1;
		return flags & NK_CF_RX_EOF ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
	default:
		return TCP_CLOSE;
	}
}

static void fill_info(struct nk_ref ref, struct tcp_info *info)
{
	struct nk_request req = {.op = NK_REQ_INFO, .idx = ref.idx, .gen = ref.gen};
	struct nk_reply rep;
	struct nk_sock *s = ref.s;
	uint32_t mss = nk_get(&s->conn.mss);

	memset(info, 0, sizeof(*info));
	info->tcpi_state = tcp_state(s);
	info->tcpi_snd_mss = info->tcpi_rcv_mss = info->tcpi_advmss = mss;
	info->tcpi_pmtu = nk.shm->mtu;
	info->tcpi_unacked = (nk_get(&s->conn.tx_tail) - nk_get(&s->conn.tx_head) + mss - 1) / (mss ? mss : 1);
	info->tcpi_rcv_space = s->conn.rx_size;
	if (tcp_state(s) == TCP_LISTEN) {
		info->tcpi_unacked = nk_get(&s->acc_ready);
		info->tcpi_sacked = s->backlog;
		return;
	}
	if (nk_rpc(&req, &rep, NULL))
		return;
	info->tcpi_rtt = (uint32_t)rep.arg[0];
	info->tcpi_snd_cwnd = (uint32_t)(rep.arg[0] >> 32) / (mss ? mss : 1);
	info->tcpi_rttvar = (uint32_t)rep.arg[1];
	info->tcpi_snd_ssthresh = (uint32_t)(rep.arg[1] >> 32) / (mss ? mss : 1);
	info->tcpi_total_retrans = (uint32_t)rep.arg[2] & 0xffff;
	info->tcpi_rto = info->tcpi_rtt + 4 * info->tcpi_rttvar;
}

static int give(void *val, socklen_t *len, const void *from, size_t size)
{
	if ((int)*len < 0)
		return errno = EINVAL, -1;
	if (*len > size)
		*len = (socklen_t)size;
	memcpy(val, from, *len);
	return 0;
}

static int give_int(void *val, socklen_t *len, int value)
{
	return give(val, len, &value, sizeof(value));
}

static int get_socket_level(struct nk_ref ref, int name, void *val, socklen_t *len, bool *known)
{
	struct nk_sock *s = ref.s;
	struct linger lin = {s->opts.linger_on, s->opts.linger_sec};
	int64_t us = name == SO_RCVTIMEO ? s->opts.rcvtimeo_us : s->opts.sndtimeo_us;
	struct timeval tv = {us / 1000000, us % 1000000};

	*known = true;
	switch (name) {
	case SO_ERROR:
		return give_int(val, len, nk_dead() ? nk_dead() : (int)nk_swap(&s->conn.err, 0));
	case SO_TYPE:
		return give_int(val, len, SOCK_STREAM);
	case SO_DOMAIN:
		return give_int(val, len, (int)s->family);
	case SO_PROTOCOL:
		return give_int(val, len, IPPROTO_TCP);
	case SO_ACCEPTCONN:
		return give_int(val, len, tcp_state(s) == TCP_LISTEN);
	case SO_LINGER:
		return give(val, len, &lin, sizeof(lin));
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		return give(val, len, &tv, sizeof(tv));
	default:
		*known = false;
		return 0;
	}
}

static int get_tcp_level(struct nk_ref ref, int name, void *val, socklen_t *len, bool *known)
{
	struct tcp_info info;
	char cc[16] = {0};

	*known = true;
	switch (name) {
	case TCP_INFO:
		fill_info(ref, &info);
		return give(val, len, &info, sizeof(info));
	case TCP_MAXSEG:
		return give_int(val, len, (int)nk_get(&ref.s->conn.mss));
	case TCP_CONGESTION:
		strncpy(cc, congestion(), sizeof(cc) - 1);
		return give(val, len, cc, sizeof(cc));
	default:
		*known = false;
		return 0;
	}
}

NK_EXPORT int getsockopt(int fd, int level, int name, void *__restrict val, socklen_t *__restrict len)
{
	struct nk_ref ref = nk_ref_of(fd);
	int index, judge, err = 0;
	bool known = false;

	if (!ref.s)
		return REAL(getsockopt)(fd, level, name, val, len);
	if (!val || !len)
		return errno = EFAULT, -1;
	if (level == SOL_SOCKET)
		err = get_socket_level(ref, name, val, len, &known);
	else if (level == IPPROTO_TCP)
		err = get_tcp_level(ref, name, val, len, &known);
	if (known)
		return err;
	index = kept_index(level, name);
	if (index >= 0 && (level != IPPROTO_IPV6 || ref.s->family == AF_INET6))
		return give_int(val, len, ref.s->opts.value[index]);
	judge = judge_socket(ref.s);
	if (judge < 0)
		return -1;
	err = REAL(getsockopt)(judge, level, name, val, len);
	REAL(close)(judge);
	return err;
}
