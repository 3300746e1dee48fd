/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between the program's buffers and the rings in the region. */
#include "lib.h"
#include "../options.h"

#include <string.h>

#define SEND_CHUNK 65536u /* the card starts on the first chunk while we copy the next */

bool nk_nonblocking(int fd, int flags)
{
	return (flags & MSG_DONTWAIT) || (REAL(fcntl)(fd, F_GETFL) & O_NONBLOCK);
}

/* Walks a vector of the program's buffers. */
struct cursor {
	const struct iovec *iov;
	int count;
	size_t done; /* in iov[0] */
};

static size_t iov_bytes(const struct iovec *iov, int count)
{
	size_t total = 0;

	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	return total;
}

static void move(struct cursor *cur, uint8_t *ring, size_t n, bool to_ring)
{
	while (n) {
		size_t part = cur->iov->iov_len - cur->done;

		if (part > n)
			part = n;
		if (part && to_ring)
			memcpy(ring, (const uint8_t *)cur->iov->iov_base + cur->done, part);
		else if (part)
			memcpy((uint8_t *)cur->iov->iov_base + cur->done, ring, part);
		ring += part;
		n -= part;
		cur->done += part;
		if (cur->done == cur->iov->iov_len && n) {
			cur->iov++;
			cur->done = 0;
		}
	}
}

static int64_t deadline(int64_t timeo_us)
{
	return timeo_us ? nk_now_us() + timeo_us : 0;
}

static int take_error(struct nk_sock *s)
{
	return (int)nk_swap(&s->conn.err, 0);
}

/* ---- receive ---------------------------------------------------------------------------------------- */

/*
 * What a reader finds when the bytes at hand do not do: 1 = look again, 0 = end of file, -EAGAIN = more
 * may come, else an error; a pending one is taken only if `report`.
 */
static int recv_state(struct nk_ref ref, bool report)
{
	uint32_t state = nk_get_acq(&ref.s->conn.state), flags = nk_get_acq(&ref.s->conn.flags);
	int err;

	if (nk_get(&ref.s->gen) != ref.gen)
		return -EBADF; /* closed by another thread */
	if (nk_dead())
		return -nk_dead();
	if (state == NK_CONN_CONNECTING)
		return -EAGAIN;
	if (state != NK_CONN_ESTABLISHED && state != NK_CONN_DEAD)
		return -ENOTCONN;
	/* The end was announced after the last byte, and we read the announcement first. */
	if (nk_conn_rx_avail(&ref.s->conn))
		return 1;
	if (state == NK_CONN_ESTABLISHED)
		return flags & (NK_CF_RX_EOF | NK_CF_RD_SHUT) ? 0 : -EAGAIN;
	if (!report)
		return 0;
	err = take_error(ref.s);
	return err ? -err : flags & NK_CF_CONNECTED ? 0 : -ENOTCONN;
}

/* Window comes back in big steps: one NQE a quarter of the ring, or two segments once all is read. */
static void give_credit(struct nk_ref ref)
{
	struct nk_sock *s = ref.s;
	uint32_t owed = s->rx_owed;
	bool drained = nk_conn_rx_avail(&s->conn) == 0;

	if (owed < s->conn.rx_size / 4 && !(drained && owed >= 2 * nk_get(&s->conn.mss)))
		return;
	if (nk_get(&s->conn.flags) & NK_CF_RX_EOF)
		return; /* no more will come */
	if (nk_post_credit(ref, owed) == 0)
		s->rx_owed = 0;
}

static void copy_out(struct nk_ref ref, struct cursor *cur, uint32_t from, uint32_t n)
{
	uint8_t *ring = nk.region + ref.s->rx_ring;
	uint32_t at = from & (ref.s->conn.rx_size - 1), first = ref.s->conn.rx_size - at;

	if (first > n)
		first = n;
	move(cur, ring + at, first, false);
	move(cur, ring, n - first, false);
}

/* Take what stands in the ring, up to `want`; MSG_PEEK leaves it there. Bytes, or a negative errno. */
static ssize_t take(struct nk_ref ref, struct cursor *cur, size_t want, int flags)
{
	struct nk_sock *s = ref.s;
	int err = nk_lock(&s->rx_lock);
	uint32_t n;

	if (err < 0)
		return err;
	n = nk_conn_rx_avail(&s->conn);
	if (n > want)
		n = (uint32_t)want;
	if (n && !(flags & MSG_TRUNC))
		copy_out(ref, cur, s->conn.rx_head, n);
	if (n && !(flags & MSG_PEEK)) {
		nk_put_rel(&s->conn.rx_head, s->conn.rx_head + n);
		s->rx_owed += n;
		give_credit(ref);
	}
	pthread_mutex_unlock(&s->rx_lock);
	return n;
}

ssize_t nk_recv_iov(int fd, struct nk_ref ref, const struct iovec *iov, int iovcnt, int flags)
{
	struct nk_sock *s = ref.s;
	struct cursor cur = {iov, iovcnt, 0};
	size_t want = iov_bytes(iov, iovcnt), done = 0, target;
	bool peek = flags & MSG_PEEK, timed = false;
	int64_t end = 0;
	ssize_t err;

	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		return errno = flags & MSG_OOB ? EINVAL : EAGAIN, -1;
	if (want == 0)
		return 0;
	target = flags & MSG_WAITALL ? want : (size_t)s->opts.value[NK_SO_RCVLOWAT];
	if (target > want)
		target = want;
	if (peek && target > s->conn.rx_size / 2)
		target = s->conn.rx_size / 2;
	for (;;) {
		uint32_t seq = nk_get_acq(&s->seq);

		if (!peek || nk_conn_rx_avail(&s->conn) >= target) {
			err = take(ref, &cur, want - done, flags);
			if (err < 0)
				break;
			done += (size_t)err;
			if (done >= target && done)
				return (ssize_t)done;
		}
		err = recv_state(ref, done == 0);
		if (err > 0 && !peek)
			continue;
		if (err > 0)
			err = nk_get(&s->conn.flags) & NK_CF_RX_EOF ? 0 : -EAGAIN;
		if (err == -EAGAIN && !nk_nonblocking(fd, flags)) {
			if (!timed)
				end = deadline(s->opts.rcvtimeo_us);
			timed = true;
			err = nk_wait(s, seq, end);
			if (!err)
				continue;
		}
		break;
	}
	/* A peek that shall wait for more than will come shows what there is. */
	if (peek && (err == 0 || err == -EAGAIN))
		done = (size_t)take(ref, &cur, want, flags);
	if (done || err == 0)
		return (ssize_t)done;
	errno = (int)-err;
	return -1;
}

/* ---- send --------------------------------------------------------------------------------------------- */

/* Puts up to n bytes at dst: the count, 0 when the source is exhausted, or a negative errno. */
typedef ssize_t (*fill_fn)(void *ctx, uint8_t *dst, size_t n);

/* 0 = may send, -EAGAIN = not yet, else an error. */
static int send_state(struct nk_ref ref)
{
	int err;

	if (nk_get(&ref.s->gen) != ref.gen)
		return -EBADF;
	if (nk_dead())
		return -nk_dead();
	switch (nk_get_acq(&ref.s->conn.state)) {
	case NK_CONN_ESTABLISHED:
		return nk_get(&ref.s->conn.flags) & NK_CF_WR_SHUT ? -EPIPE : 0;
	case NK_CONN_CONNECTING:
		return -EAGAIN;
	case NK_CONN_DEAD:
		err = take_error(ref.s);
		return err ? -err : -EPIPE;
	default:
		return -EPIPE;
	}
}

static int tx_lock(struct nk_sock *s)
{
	int err = nk_lock(&s->tx_lock);

	if (err == 1) {
		/* Its owner was killed: what the card was not told never was in the ring. */
		nk_put(&s->conn.tx_tail, nk_get(&s->tx_posted));
		err = 0;
	}
	return err;
}

/* One contiguous piece into the ring and one SEND. Bytes, 0 at the source's end, or a negative errno. */
static ssize_t put_piece(struct nk_ref ref, fill_fn fill, void *ctx, size_t left)
{
	struct nk_sock *s = ref.s;
	uint32_t tail = s->conn.tx_tail, at = tail & (s->conn.tx_size - 1), n = nk_conn_tx_room(&s->conn);
	ssize_t got;
	int err;

	if (n > s->conn.tx_size - at)
		n = s->conn.tx_size - at;
	if (n > left)
		n = (uint32_t)left;
	if (n > SEND_CHUNK)
		n = SEND_CHUNK;
	got = fill(ctx, nk.region + s->tx_ring + at, n);
	if (got <= 0)
		return got;
	/* The tail first: the card's SENT may come before this function returns. */
	nk_put_rel(&s->conn.tx_tail, tail + (uint32_t)got);
	err = nk_post_send(ref, (uint32_t)got, tail + (uint32_t)got);
	if (err)
		nk_put_rel(&s->conn.tx_tail, tail);
	return err ? err : got;
}

static ssize_t send_loop(int fd, struct nk_ref ref, fill_fn fill, void *ctx, size_t total, int flags)
{
	struct nk_sock *s = ref.s;
	size_t done = 0;
	bool timed = false;
	int64_t end = 0;
	ssize_t err = tx_lock(s);

	if (err)
		return errno = (int)-err, -1;
	for (;;) {
		uint32_t seq = nk_get_acq(&s->seq);

		err = send_state(ref);
		if (!err && done < total && nk_conn_tx_room(&s->conn)) {
			err = put_piece(ref, fill, ctx, total - done);
			if (err <= 0)
				break;
			done += (size_t)err;
			continue;
		}
		if (!err && done == total)
			break;
		if (!err) {
			nk_put(&s->nospace, 1);
			nk_fence();
			if (nk_conn_tx_room(&s->conn))
				continue;
			err = -EAGAIN;
		}
		if (err != -EAGAIN || nk_nonblocking(fd, flags))
			break;
		pthread_mutex_unlock(&s->tx_lock);
		if (!timed)
			end = deadline(s->opts.sndtimeo_us);
		timed = true;
		err = nk_wait(s, seq, end);
		if (err || (err = tx_lock(s)))
			goto out;
	}
	pthread_mutex_unlock(&s->tx_lock);
out:
	if (done || err >= 0)
		return (ssize_t)done;
	if (err == -EPIPE && !(flags & MSG_NOSIGNAL))
		raise(SIGPIPE);
	errno = (int)-err;
	return -1;
}

static ssize_t fill_iov(void *ctx, uint8_t *dst, size_t n)
{
	move(ctx, dst, n, true);
	return (ssize_t)n;
}

ssize_t nk_send_iov(int fd, struct nk_ref ref, const struct iovec *iov, int iovcnt, int flags)
{
	struct cursor cur = {iov, iovcnt, 0};

	if (flags & MSG_OOB)
		return errno = EOPNOTSUPP, -1; /* the card has no urgent pointer */
	return send_loop(fd, ref, fill_iov, &cur, iov_bytes(iov, iovcnt), flags);
}

struct file_source {
	int fd;
	off_t *offset;
};

static ssize_t fill_file(void *ctx, uint8_t *dst, size_t n)
{
	struct file_source *src = ctx;
	ssize_t got = src->offset ? pread(src->fd, dst, n, *src->offset) : REAL(read)(src->fd, dst, n);

	if (got < 0)
		return errno == ESPIPE ? -EINVAL : -errno;
	if (src->offset)
		*src->offset += got;
	return got;
}

/* Straight from the page cache into the ring: one copy, as the kernel's sendfile to a socket. */
ssize_t nk_send_file(int fd, struct nk_ref ref, int in_fd, off_t *offset, size_t count)
{
	struct file_source src = {in_fd, offset};

	if (nk_ref_of(in_fd).s)
		return errno = EINVAL, -1;
	return send_loop(fd, ref, fill_file, &src, count, 0);
}
