/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomic accesses to memory shared with the card or with another process.
 * Compiler builtins on plain integers, so that the same text serves user space and a kernel build.
 */
#ifndef NK_ATOMIC_H
#define NK_ATOMIC_H

#define nk_get(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define nk_put(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define nk_get_acq(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define nk_put_rel(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define nk_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define nk_sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define nk_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define nk_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define nk_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
/* Full barrier: the two halves of a sleep/wake protocol each need one (see guestlib/README.md). */
#define nk_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

#endif
