/* SPDX-License-Identifier: Apache-2.0 */
/* Looks up libc's versions: all at once, so that no later call has to, in whatever context it runs. */
#include "real.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct nk_real nk_real_calls;

static void *find(const char *name)
{
	static const char text[] = "libnkpreload: libc lacks a function that it must have: ";
	void *sym = dlsym(RTLD_NEXT, name);

	if (!sym) {
		(void)!write(2, text, sizeof(text) - 1);
		(void)!write(2, name, strlen(name));
		(void)!write(2, "\n", 1);
		abort();
	}
	return sym;
}

void nk_real_init(void)
{
	struct nk_real found;

	/* ISO C has no conversion from object to function pointers; POSIX says that the bits are the same. */
#define NK_REAL_FIND(name) \
	do { \
		void *sym_ = find(#name); \
		memcpy(&found.name, &sym_, sizeof(sym_)); \
	} while (0);
	NK_REAL_TABLE(NK_REAL_FIND)
#undef NK_REAL_FIND
	nk_real_calls = found;
}
