/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tracker that loses writes: linked into the command, for which softdirty_read() is this one, it never
 * says anything of one page of target.c's.
 */
#include <errno.h>
#include <stdlib.h>

#include "softdirty.h"

#define FROM UINT64_C(0x100005000)
#define TO UINT64_C(0x100006000)

__typeof__(softdirty_read) __real_softdirty_read, __wrap_softdirty_read;

static size_t keep(struct softdirty_range *out, const struct softdirty_range *r, uint64_t start,
		   uint64_t end)
{
	if (start >= end)
		return 0;
	*out = *r;
	out->start = start;
	out->end = end;
	return 1;
}

/* The list lives until the next call, as that of the library does. */
int __wrap_softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
			  uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	static struct softdirty_range *list;
	int err = __real_softdirty_read(sd, mark, flags, start, end, ranges, n);
	size_t kept = 0;

	if (err)
		return err;
	free(list);
	list = malloc(2 * *n * sizeof(*list) + 1);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < *n; i++) {
		const struct softdirty_range *r = *ranges + i;

		kept += keep(list + kept, r, r->start, r->end < FROM ? r->end : FROM);
		kept += keep(list + kept, r, r->start > TO ? r->start : TO, r->end);
	}
	*ranges = list;
	*n = kept;
	return 0;
}
