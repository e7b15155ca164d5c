/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two halves of wp-async: wp_async.c knows what is mapped and registered, wp_scan.c the pages. */
#ifndef SDI_TRACK_WP_H
#define SDI_TRACK_WP_H

#include "target/pagemap.h"
#include "track/tracker.h"
#include "track/zero.h"

enum { SDI_WP_POPULATED = PAGE_IS_PRESENT | PAGE_IS_SWAPPED };

struct sdi_wp {
	int uffd;
	struct sdi_ranges known;	/* registered; flags: a tag of what is mapped there */
	struct sdi_ranges refused;	/* the kernel refused; flags: the same, reason: why */
	struct sdi_content *files;	/* of files on a disk, or NULL */
	struct sdi_zero zero;
};

/* Everything a round works with. */
struct sdi_wp_round {
	struct sdi_tracker *tr;
	struct sdi_wp *wp;
	enum sdi_collect how;
	struct sdi_ranges *found;
	struct sdi_ranges fresh;	/* not known and not refused: new */
	struct sdi_ranges zeros;	/* zero pages that were not there before */
};

/* Push what was written in known mappings; SDI_TAKE begins again. 0 or -errno. */
int sdi_wp_scan(struct sdi_wp_round *r);

/* Make sure that no page of what was just registered counts as clean. 0 or -errno. */
int sdi_wp_drop_stale(struct sdi_wp_round *r);

#endif
