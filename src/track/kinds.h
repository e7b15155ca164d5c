/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What kind of thing each mapped file is, as smaps tells. Remembered for each file, because smaps is
 * slow. Knows no pages.
 */
#ifndef SDI_TRACK_KINDS_H
#define SDI_TRACK_KINDS_H

#include "target/smaps.h"

struct sdi_file_kind {
	uint64_t ident;			/* as in struct sdi_vma */
	uint32_t flags;			/* SDI_SMAP_*, what any mapping of it has, or had */
};

struct sdi_kinds {
	struct sdi_file_kind *k;	/* by ident */
	size_t n, cap;
};

void sdi_kinds_fini(struct sdi_kinds *kinds);

/*
 * Read smaps if there is a file in m that is not known yet. A file that could once be written through
 * some mapping stays so. 0 or -errno (nothing is known then).
 */
int sdi_kinds_learn(struct sdi_kinds *kinds, const struct sdi_target *t, const struct sdi_maps *m);

/* SDI_SMAP_* of a mapping; that of a file that was never seen claims nothing: SPECIAL. */
uint32_t sdi_kinds_find(const struct sdi_kinds *kinds, const struct sdi_vma *v);

#endif
