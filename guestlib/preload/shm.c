/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for the shared memory of a tenant: see shm.h. */
#include "shm.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nk_atomic.h"

int nk_shm_lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;
	int err = pthread_mutexattr_init(&attr);

	if (err)
		return err;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	err = pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return err;
}

void nk_sock_bump(struct nk_sock *sock)
{
	nk_add(&sock->seq, 1);
	nk_fence();
	if (nk_get(&sock->waiters))
		syscall(SYS_futex, &sock->seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
