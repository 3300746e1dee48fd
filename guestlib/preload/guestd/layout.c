/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the layout that CoreEngine made of a VF: `key=value` lines, every number checked. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guestd.h"

#define LAYOUT_MAX 8192

struct key {
	const char *name;
	size_t offset;
	unsigned int bytes;
	uint64_t min, max;
};

#define K(name, field, min, max) \
	{ name, offsetof(struct gd_layout, field), sizeof(((struct gd_layout *)0)->field), min, max }

static const struct key keys[] = {
	K("vf", vf, 0, 255),
	K("ip", ip, 1, UINT32_MAX),
	K("prefix", prefix, 0, 32),
	K("mtu", mtu, 576, NK_LIM_MTU_MAX),
	K("max_sockets", max_sockets, 1, 65536),
	K("nqs", nqs, 1, NK_VF_DB_COUNT),
	K("db_offset", db_offset, 0, UINT64_MAX),
	K("db_stride", db_stride, NK_LIM_PAGE, 1u << 20),
	K("region_bytes", region_bytes, NK_LIM_PAGE, 1ull << 32),
	K("heap_offset", heap_offset, 0, 1ull << 32),
	K("heap_bytes", heap_bytes, NK_LIM_PAGE, 1ull << 32),
	K("rx_log2", rx_log2, NK_LIM_RING_LOG2_MIN, NK_LIM_RING_LOG2_MAX),
	K("tx_log2", tx_log2, NK_LIM_RING_LOG2_MIN, NK_LIM_RING_LOG2_MAX),
	K("cc", cc, 0, 15),
	K("qs0_job_offset", job.offset, 0, 1ull << 32),
	K("qs0_job_log2", job.log2, NK_LIM_QUEUE_LOG2_MIN, NK_LIM_QUEUE_LOG2_MAX),
	K("qs0_completion_offset", completion.offset, 0, 1ull << 32),
	K("qs0_completion_log2", completion.log2, NK_LIM_QUEUE_LOG2_MIN, NK_LIM_QUEUE_LOG2_MAX),
	K("qs0_send_offset", send.offset, 0, 1ull << 32),
	K("qs0_send_log2", send.log2, NK_LIM_QUEUE_LOG2_MIN, NK_LIM_QUEUE_LOG2_MAX),
	K("qs0_receive_offset", receive.offset, 0, 1ull << 32),
	K("qs0_receive_log2", receive.log2, NK_LIM_QUEUE_LOG2_MIN, NK_LIM_QUEUE_LOG2_MAX),
	K("qs0_status_offset", status_offset, 0, 1ull << 32),
};
#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static int parse_value(const struct key *key, const char *text, uint64_t *value)
{
	struct in_addr addr;
	char *end;

	if (strcmp(key->name, "ip") == 0 && inet_pton(AF_INET, text, &addr) == 1) {
		*value = ntohl(addr.s_addr);
	} else {
		errno = 0;
		*value = strtoull(text, &end, 0);
		if (errno || end == text || *end)
			return -1;
	}
	return *value < key->min || *value > key->max ? -1 : 0;
}

static int take_line(struct gd_layout *layout, char *line, uint64_t *seen, char *why, size_t why_len)
{
	char *eq = strchr(line, '=');
	uint64_t value;

	if (!eq)
		return 0;
	*eq = 0;
	for (size_t i = 0; i < NKEYS; i++) {
		if (strcmp(line, keys[i].name))
			continue;
		if (parse_value(&keys[i], eq + 1, &value)) {
			snprintf(why, why_len, "layout: %s=%s is not a value this build can serve", line, eq + 1);
			return -1;
		}
		memcpy((char *)layout + keys[i].offset, &value, keys[i].bytes); /* little-endian */
		*seen |= 1ull << i;
	}
	return 0; /* a key that we do not know is for a later version */
}

static int check(const struct gd_layout *l, char *why, size_t why_len)
{
	const struct gd_queue *queues[] = {&l->job, &l->completion, &l->send, &l->receive};
	uint64_t pair = (1ull << l->rx_log2) + (1ull << l->tx_log2);

	for (size_t i = 0; i < 4; i++)
		if (queues[i]->offset % NK_LIM_PAGE ||
		    queues[i]->offset + ((uint64_t)sizeof(struct nk_nqe) << queues[i]->log2) > l->region_bytes) {
			snprintf(why, why_len, "layout: queue %zu is not inside the region", i);
			return -1;
		}
	if (l->status_offset % 64 || l->status_offset + sizeof(struct nk_status_block) > l->region_bytes) {
		snprintf(why, why_len, "layout: the status block is not inside the region");
		return -1;
	}
	if (l->heap_offset % NK_LIM_PAGE || l->heap_offset + l->heap_bytes > l->region_bytes || l->heap_bytes < pair) {
		snprintf(why, why_len, "layout: the heap is not inside the region, or holds no socket's rings");
		return -1;
	}
	return 0;
}

int gd_layout_read(int fd, struct gd_layout *layout, char *why, size_t why_len)
{
	char text[LAYOUT_MAX + 1], *save, *line;
	size_t len = 0;
	ssize_t n;
	uint64_t seen = 0;

	(void)lseek(fd, 0, SEEK_SET); /* a pipe cannot, and need not */
	while (len < LAYOUT_MAX && (n = read(fd, text + len, LAYOUT_MAX - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	memset(layout, 0, sizeof(*layout));
	for (line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
		if (take_line(layout, line, &seen, why, why_len))
			return -1;
	for (size_t i = 0; i < NKEYS; i++)
		if (!(seen >> i & 1)) {
			snprintf(why, why_len, "layout: %s is missing", keys[i].name);
			return -1;
		}
	return check(layout, why, why_len);
}
