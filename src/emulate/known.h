/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known about the pages of a process that somebody looks at. Must not know in which form
 * the answer goes out.
 */
#ifndef SDI_EMULATE_KNOWN_H
#define SDI_EMULATE_KNOWN_H

#include "emulate/emulate.h"

struct sdi_known {
	const struct sdi_view *v;
	const struct softdirty_range *dirty; /* sorted; written, new or untracked */
	size_t n_dirty;
	struct softdirty_range *own;	/* dirty, if it is ours to free */
	bool leaves_marks;		/* tracking shows in uffd-wp bits and markers */
	struct softdirty_mapping *mapped; /* read when first needed; names are not kept */
	size_t n_mapped;
	long long vm_swap;		/* kB in swap; -2 not looked, -1 unknown */
	uint64_t smaps_start;		/* the mapping last looked up in smaps, and its Swap: */
	long long smaps_swap;
};

/*
 * Ask what is dirty in [start, end). To be called after the kernel was asked about its pages: a
 * page that was written in between is then dirty, and not a new page that looks clean.
 */
void sdi_known_init(struct sdi_known *k, const struct sdi_view *v, uint64_t start, uint64_t end);
void sdi_known_fini(struct sdi_known *k);

/* The dirty range that holds addr, or NULL; *until: where that answer ends. */
const struct softdirty_range *sdi_dirty_at(const struct sdi_known *k, uint64_t addr,
					   uint64_t *until);

/* Do uffd-wp bits in a range (NULL: a clean one) come from our tracking? Else from the process's
 * own userfaultfd, whose business they are. */
bool sdi_marks_are_ours(const struct sdi_known *k, const struct softdirty_range *dirty);

/* Does [start, end) hold mapped memory that the process's own userfaultfd does not protect? */
bool sdi_maps_others(struct sdi_known *k, uint64_t start, uint64_t end);

/* A page that the kernel shows as swapped and protected may be a mere mark of our tracking. */
enum sdi_swapped {
	SDI_SWAP_REAL,		/* content in swap; or it is not swapped and protected */
	SDI_SWAP_MARKER,	/* an empty page: without tracking it would read as 0 */
	SDI_SWAP_EITHER,	/* cannot be told without privilege */
};
enum sdi_swapped sdi_swapped(struct sdi_known *k, uint64_t addr, uint64_t entry);

#endif
