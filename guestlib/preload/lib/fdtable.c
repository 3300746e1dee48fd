/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which descriptors are ours: a cache in front of the only truth, the inode of the socket behind the
 * number. An unknown number costs one fstat, a known one a load. Entries live in mapped chunks, so no
 * call here needs malloc.
 */
#include "lib.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct nk_fdent *nk_fd_chunks[NK_FD_CHUNKS];

#define CHUNK (1 << NK_FD_CHUNK_LOG2)

struct nk_fdent *nk_fdent(int fd, bool create)
{
	struct nk_fdent **slot, *chunk, *expected = NULL;

	if (fd < 0 || fd >> NK_FD_CHUNK_LOG2 >= NK_FD_CHUNKS)
		return NULL;
	slot = &nk_fd_chunks[fd >> NK_FD_CHUNK_LOG2];
	chunk = nk_get_acq(slot);
	if (!chunk && create) {
		chunk = mmap(NULL, CHUNK * sizeof(*chunk), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chunk == MAP_FAILED)
			return NULL;
		if (!__atomic_compare_exchange_n(slot, &expected, chunk, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			munmap(chunk, CHUNK * sizeof(*chunk));
			chunk = expected;
		}
	}
	return chunk ? &chunk[fd & (CHUNK - 1)] : NULL;
}

void nk_fd_set(int fd, uint64_t value)
{
	struct nk_fdent *ent = nk_fdent(fd, value != NK_FD_UNKNOWN);

	if (ent)
		nk_put(&ent->value, value);
}

uint64_t nk_fd_get(int fd)
{
	struct nk_fdent *ent = nk_fdent(fd, false);

	return ent ? nk_get(&ent->value) : NK_FD_UNKNOWN;
}

void nk_fd_copy(int from, int to)
{
	uint64_t value = nk_fd_get(from);

	nk_fd_set(to, value == NK_FD_HIDDEN ? NK_FD_UNKNOWN : value);
	nk_ep_dup(from, to);
}

void nk_fd_forget(int fd)
{
	struct nk_fdent *ent = nk_fdent(fd, false);
	uint64_t value;

	if (!ent)
		return;
	value = nk_get(&ent->value);
	if (value == NK_FD_UNDECIDED || value >= NK_FD_OURS)
		nk_ep_fd_closing(fd);
	if (ent->ep)
		nk_ep_close(ent);
	nk_put(&ent->value, NK_FD_UNKNOWN);
}

void nk_fd_forget_range(unsigned int first, unsigned int last)
{
	unsigned int end = NK_FD_CHUNKS << NK_FD_CHUNK_LOG2;

	for (unsigned int fd = first; fd <= last && fd < end; fd++) {
		if (!nk_get(&nk_fd_chunks[fd >> NK_FD_CHUNK_LOG2])) {
			fd |= CHUNK - 1;
			continue;
		}
		if (nk_fd_get((int)fd) != NK_FD_HIDDEN)
			nk_fd_forget((int)fd);
	}
}

/* Our descriptors are ends of AF_UNIX stream socketpairs that guestd made, and guestd wrote their inodes down. */
static bool may_be_ours(int fd, ino_t *ino)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);
	struct stat st;

	if (fstat(fd, &st) || !S_ISSOCK(st.st_mode))
		return false;
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_UNIX)
		return false;
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return false;
	*ino = st.st_ino;
	return true;
}

static struct nk_ref find_inode(ino_t ino)
{
	for (uint32_t i = 0; i < nk.shm->nsock; i++) {
		struct nk_sock *s = &nk.shm->socks[i];
		uint32_t gen = nk_get(&s->gen);

		if (nk_get_acq(&s->ino) == ino && nk_get(&s->gen) == gen)
			return (struct nk_ref){s, i, gen};
	}
	return (struct nk_ref){NULL, 0, 0};
}

struct nk_ref nk_fd_slow(int fd, uint64_t value)
{
	struct nk_ref ref = {NULL, 0, 0};
	int saved = errno;
	ino_t ino;

	if (value == NK_FD_HIDDEN || !nk_enabled())
		return ref;
	if (may_be_ours(fd, &ino)) {
		if (!nk.shm && nk_attach()) {
			errno = saved;
			return ref; /* ask again next time */
		}
		ref = find_inode(ino);
	}
	nk_fd_set(fd, ref.s ? nk_fd_value(ref) : NK_FD_OTHER);
	errno = saved;
	return ref;
}
