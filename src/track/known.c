/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int sdi_known_fresh(const struct sdi_maps *then, const struct sdi_maps *now,
		    struct sdi_ranges *fresh)
{
	const struct sdi_vma *old = then->v, *end = then->v + then->n;
	int err = 0;

	for (size_t i = 0; i < now->n && !err; i++) {
		const struct sdi_vma *v = &now->v[i];
		uint64_t at = v->start;

		if (v->flags & SDI_VMA_KERNEL)
			continue;
		while (old < end && old->end <= at)
			old++;
		for (const struct sdi_vma *o = old; o < end && o->start < v->end && !err; o++) {
			if (o->ident != v->ident || o->base != v->base ||
			    o->flags & SDI_VMA_KERNEL)
				continue;
			if (o->start > at)
				err = sdi_ranges_append(fresh, at, o->start, SOFTDIRTY_NEW, 0);
			at = o->end;
		}
		if (!err && at < v->end)
			err = sdi_ranges_append(fresh, at, v->end, SOFTDIRTY_NEW, 0);
	}
	return err;
}

int sdi_known_set(struct sdi_maps *then, const struct sdi_maps *now)
{
	/* Room for some more mappings, but not for all that there once were. */
	if (now->n > then->cap || now->n < then->cap / 4) {
		size_t cap = now->n + now->n / 8;
		struct sdi_vma *v = realloc(then->v, MAX(cap, 1) * sizeof(*v));

		if (!v)
			return -ENOMEM;
		then->v = v;
		then->cap = cap;
	}
	then->n = now->n;
	if (now->n)
		memcpy(then->v, now->v, now->n * sizeof(*now->v));
	return 0;
}
