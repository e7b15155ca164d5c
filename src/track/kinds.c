/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/kinds.h"

#include <errno.h>
#include <stdlib.h>

void sdi_kinds_fini(struct sdi_kinds *kinds)
{
	free(kinds->k);
	*kinds = (struct sdi_kinds){ 0 };
}

static int by_ident(const void *pa, const void *pb)
{
	const struct sdi_file_kind *a = pa, *b = pb;

	return a->ident < b->ident ? -1 : a->ident > b->ident;
}

static const struct sdi_file_kind *find(const struct sdi_kinds *kinds, uint64_t ident)
{
	struct sdi_file_kind key = { .ident = ident };

	return !kinds->n ? NULL :
	       bsearch(&key, kinds->k, kinds->n, sizeof(*kinds->k), by_ident);
}

static int add(void *arg, const struct sdi_vma *v, uint32_t flags)
{
	struct sdi_kinds *kinds = arg;

	if (!(v->flags & SDI_VMA_FILE))
		return 0;
	if (kinds->n && kinds->k[kinds->n - 1].ident == v->ident) {
		kinds->k[kinds->n - 1].flags |= flags;
		return 0;
	}
	if (kinds->n == kinds->cap) {
		size_t cap = kinds->cap ? kinds->cap * 2 : 64;
		struct sdi_file_kind *k = realloc(kinds->k, cap * sizeof(*k));

		if (!k)
			return -ENOMEM;
		kinds->k = k;
		kinds->cap = cap;
	}
	kinds->k[kinds->n++] = (struct sdi_file_kind){ v->ident, flags };
	return 0;
}

/* A file may be mapped in many places: one entry that has what any of them has. */
static void unite(struct sdi_kinds *kinds)
{
	size_t n = 0;

	if (kinds->n)
		qsort(kinds->k, kinds->n, sizeof(*kinds->k), by_ident);
	for (size_t i = 0; i < kinds->n; i++) {
		if (n && kinds->k[n - 1].ident == kinds->k[i].ident)
			kinds->k[n - 1].flags |= kinds->k[i].flags;
		else
			kinds->k[n++] = kinds->k[i];
	}
	kinds->n = n;
}

int sdi_kinds_learn(struct sdi_kinds *kinds, const struct sdi_target *t, const struct sdi_maps *m)
{
	size_t i = 0;

	while (i < m->n && (!(m->v[i].flags & SDI_VMA_FILE) || find(kinds, m->v[i].ident)))
		i++;
	if (i == m->n)
		return 0;
	kinds->n = 0;
	int err = sdi_smaps_each(t, add, kinds);
	if (err)
		kinds->n = 0;
	unite(kinds);
	return err;
}

uint32_t sdi_kinds_find(const struct sdi_kinds *kinds, const struct sdi_vma *v)
{
	const struct sdi_file_kind *k;

	if (v->flags & (SDI_VMA_AIO | SDI_VMA_URING))
		return SDI_SMAP_SPECIAL;
	if (!(v->flags & SDI_VMA_FILE))
		return SDI_SMAP_MAYWRITE;
	k = find(kinds, v->ident);
	/* The file may have been mapped only for reading when it was looked at. */
	return k ? k->flags | (v->flags & SDI_VMA_WRITE ? SDI_SMAP_MAYWRITE : 0) : SDI_SMAP_SPECIAL;
}
