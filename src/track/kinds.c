/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

static struct sdi_file_kind *find(const struct sdi_kinds *kinds, uint64_t ident)
{
	struct sdi_file_kind key = { .ident = ident };

	return !kinds->n ? NULL :
	       bsearch(&key, kinds->k, kinds->n, sizeof(*kinds->k), by_ident);
}

static int add(void *arg, const struct sdi_smap *m)
{
	struct sdi_kinds *kinds = arg;

	if (!(m->vma.flags & SDI_VMA_FILE))
		return 0;
	if (kinds->n && kinds->k[kinds->n - 1].ident == m->vma.ident) {
		kinds->k[kinds->n - 1].flags |= m->flags;
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
	kinds->k[kinds->n++] = (struct sdi_file_kind){ m->vma.ident, m->flags };
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

static int learn_all(struct sdi_kinds *kinds, const struct sdi_target *t)
{
	struct sdi_kinds old = *kinds;
	int err;

	*kinds = (struct sdi_kinds){ 0 };
	err = sdi_smaps_each(t, add, kinds);
	if (err)
		kinds->n = 0;
	unite(kinds);
	for (size_t i = 0; i < kinds->n; i++) {
		const struct sdi_file_kind *k = find(&old, kinds->k[i].ident);

		kinds->k[i].flags |= k ? k->flags & SDI_SMAP_MAYWRITE : 0;
	}
	sdi_kinds_fini(&old);
	return err;
}

/*
 * Can that shared mapping become writable? As its file was opened for writing or not, which map_files
 * shows as a mode (Linux 4.3). When in doubt, it can.
 */
static bool may_write(const struct sdi_target *t, const struct sdi_vma *v)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "map_files/%llx-%llx", (unsigned long long)v->start,
		 (unsigned long long)v->end);
	return v->flags & SDI_VMA_WRITE || fstatat(t->procfd, path, &st, AT_SYMLINK_NOFOLLOW) ||
	       st.st_mode & S_IWUSR;
}

int sdi_kinds_learn(struct sdi_kinds *kinds, const struct sdi_target *t, const struct sdi_maps *m)
{
	size_t i = 0;
	int err = 0;

	while (i < m->n && (!(m->v[i].flags & SDI_VMA_FILE) || find(kinds, m->v[i].ident)))
		i++;
	if (i < m->n)
		err = learn_all(kinds, t);
	for (i = 0; i < m->n && !err; i++) {
		const struct sdi_vma *v = &m->v[i];
		struct sdi_file_kind *k = v->flags & SDI_VMA_FILE ? find(kinds, v->ident) : NULL;

		if (k && !(k->flags & SDI_SMAP_MAYWRITE) && may_write(t, v))
			k->flags |= SDI_SMAP_MAYWRITE;
	}
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
	return k ? k->flags : SDI_SMAP_SPECIAL;
}
