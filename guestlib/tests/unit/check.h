/* SPDX-License-Identifier: Apache-2.0 */
/* The little that the C unit tests need. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			printf("%s:%d: %s: failed\n", __FILE__, __LINE__, #cond); \
			exit(1); \
		} \
	} while (0)

#endif
