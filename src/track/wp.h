/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of wp-async: wp_async.c is the backend, wp_known.c knows the mappings, wp_scan.c the pages,
 * wp_shared.c those of shared memory.
 * What returns int returns 0 or -errno.
 */
#ifndef SDI_TRACK_WP_H
#define SDI_TRACK_WP_H

#include "target/pagemap.h"
#include "track/tracker.h"
#include "track/zero.h"

enum {
	SDI_WP_POPULATED = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	SDI_WP_SAID = SDI_WP_POPULATED | PAGE_IS_HUGE,	/* to ask of written pages */
};

struct sdi_wp {
	int uffd;
	struct sdi_ranges known;	/* registered; flags: a tag of what is mapped there */
	struct sdi_ranges refused;	/* the kernel refused; flags: the same, reason: why */
	struct sdi_content *files;	/* of files on a disk, or NULL */
	struct sdi_zero zero;
	struct sdi_ranges doubtful;	/* zero pages that were taken for only read, */
	uint64_t doubtful_ns;		/* the last of them at that time */
};

/* Everything a round works with. */
struct sdi_wp_round {
	struct sdi_tracker *tr;
	struct sdi_wp *wp;
	enum sdi_collect how;
	struct sdi_ranges *found;
	struct sdi_ranges fresh;	/* not known and not refused: new */
	struct sdi_ranges zeros;	/* zero pages that were not there before */
	struct sdi_ranges open, taken, rest;	/* see wp_shared.c */
};

int sdi_wp_register(int uffd, uint64_t start, uint64_t end);

/* mode: UFFDIO_WRITEPROTECT_MODE_WP or 0, to take it away. */
int sdi_wp_protect(int uffd, uint64_t mode, uint64_t start, uint64_t end);

/* SOFTDIRTY_* of a written page of these categories. */
static inline uint32_t sdi_wp_flags(uint64_t categories)
{
	return SOFTDIRTY_WRITTEN | (categories & SDI_WP_POPULATED ? SOFTDIRTY_POPULATED : 0) |
	       (categories & PAGE_IS_SWAPPED ? SOFTDIRTY_SWAPPED : 0) |
	       (categories & PAGE_IS_HUGE ? SOFTDIRTY_HUGE : 0);
}

/* Append memory of these mappings that no userfaultfd watches (those of raw PFNs are not listed). */
int sdi_wp_unregistered(const struct sdi_tracker *tr, const struct sdi_maps *m,
			struct sdi_ranges *ret);

/* The steps of a round, in this order. First: what is fresh, and no longer known or refused? */
int sdi_wp_find_fresh(struct sdi_wp_round *r);
int sdi_wp_retry_refused(struct sdi_wp_round *r);

/* For SDI_TAKE: register what is fresh. It is known then, or refused. */
int sdi_wp_register_fresh(struct sdi_wp_round *r);

/* For SDI_TAKE: leave no mapping split by that. Pushes what it finds to be known no more. */
int sdi_wp_join_split(struct sdi_wp_round *r);

/* For SDI_TAKE: make sure that no page of what was just registered counts as clean. */
int sdi_wp_drop_stale(struct sdi_wp_round *r);

int sdi_wp_push_fresh(struct sdi_wp_round *r);

/* Push what was written in known mappings; SDI_TAKE begins again. */
int sdi_wp_scan(struct sdi_wp_round *r);

/*
 * The same for a piece of one known mapping that is shared. marked: empty pages are marked, else they
 * count as untracked. -EINVAL: the piece cut a page of hugetlbfs, ask again for more or less.
 */
int sdi_wp_scan_shared(struct sdi_wp_round *r, bool marked, struct sdi_pace *pace, uint64_t start,
		       uint64_t end);

/* After it: push what is known and no longer registered. It is not known any more. */
int sdi_wp_push_gone(struct sdi_wp_round *r);

#endif
