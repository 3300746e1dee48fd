/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of nk-guestd's epoll events: what kind of descriptor, and which one. */
#ifndef NK_LOOP_H
#define NK_LOOP_H

enum gd_tag { GD_TAG_LISTEN = 1, GD_TAG_CLIENT, GD_TAG_SOCK, GD_TAG_IRQ, GD_TAG_LEASE, GD_TAG_BOSS };

#define GD_TAG(kind, n) ((uint64_t)(kind) << 32 | (uint32_t)(n))

#endif
