/* SPDX-License-Identifier: Apache-2.0 */
/* What nk-guestd makes before it starts anything: mappings, the shared socket table, its own socket. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guestd.h"

int gd_fail(const char *what)
{
	fprintf(stderr, "nk-guestd: %s\n", what);
	return -1;
}

int gd_map_device(struct gd *gd, uint8_t **region, void **db_page)
{
	const struct gd_layout *l = &gd->layout;
	char *db;

	*region = mmap(NULL, l->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, gd->region_fd, 0);
	if (*region == MAP_FAILED)
		return gd_fail("cannot map the VF's memory region");
	db = mmap(NULL, l->db_stride, PROT_READ | PROT_WRITE, MAP_SHARED, gd->bar_fd,
		  (off_t)(l->db_offset & ~(uint64_t)(NK_LIM_PAGE - 1)));
	if (db == MAP_FAILED)
		return gd_fail("cannot map the VF's doorbell page");
	*db_page = db + l->db_offset % NK_LIM_PAGE;
	return 0;
}

int gd_make_shm(struct gd *gd)
{
	const struct gd_layout *l = &gd->layout;
	uint64_t pair = (1ull << l->rx_log2) + (1ull << l->tx_log2);
	uint32_t nsock = l->heap_bytes / pair < l->max_sockets ? (uint32_t)(l->heap_bytes / pair) : l->max_sockets;
	struct nk_shm *shm;

	gd->shm_fd = memfd_create("netkernel-sockets", MFD_CLOEXEC);
	if (gd->shm_fd < 0 || ftruncate(gd->shm_fd, (off_t)nk_shm_bytes(nsock)))
		return gd_fail("cannot create the socket table");
	shm = mmap(NULL, nk_shm_bytes(nsock), PROT_READ | PROT_WRITE, MAP_SHARED, gd->shm_fd, 0);
	if (shm == MAP_FAILED)
		return gd_fail("cannot map the socket table");
	shm->version = NK_SHM_VERSION;
	shm->nsock = nsock;
	shm->ip = l->ip;
	shm->prefix = l->prefix;
	shm->mtu = l->mtu;
	shm->rx_log2 = l->rx_log2;
	shm->tx_log2 = l->tx_log2;
	shm->cc = l->cc;
	shm->sq_log2 = l->send.log2;
	shm->sq_offset = l->send.offset;
	shm->status_offset = l->status_offset;
	shm->region_bytes = l->region_bytes;
	shm->db_offset = l->db_offset & ~(uint64_t)(NK_LIM_PAGE - 1);
	shm->db_page = (uint32_t)(l->db_offset % NK_LIM_PAGE);
	shm->db_bytes = l->db_stride;
	shm->magic = NK_SHM_MAGIC;
	gd->shm = shm;
	gd->priv = calloc(nsock, sizeof(*gd->priv));
	gd->free_ring = calloc(nsock, sizeof(*gd->free_ring));
	if (!gd->priv || !gd->free_ring || nk_shm_lock_init(&shm->sq.lock))
		return gd_fail("out of memory");
	gd_table_init(gd);
	return 0;
}

static void random_hex(char *out, size_t digits)
{
	unsigned char raw[32];

	if (getrandom(raw, digits / 2, 0) != (ssize_t)(digits / 2))
		abort();
	for (size_t i = 0; i < digits / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

/* An abstract name needs no file system: it works in a chroot, and vanishes with us. */
int gd_make_listener(struct gd *gd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char name[64], tail[17];

	random_hex(tail, 16);
	snprintf(name, sizeof(name), "netkernel-guest-%s", tail);
	memcpy(addr.sun_path + 1, name, strlen(name));
	gd->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (gd->listen_fd < 0 ||
	    bind(gd->listen_fd, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) ||
	    listen(gd->listen_fd, 128))
		return gd_fail("cannot listen for the program's processes");
	random_hex(gd->token, NK_TOKEN_LEN);
	setenv(NK_ENV_SOCKET, name, 1);
	setenv(NK_ENV_TOKEN, gd->token, 1);
	return 0;
}
