/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * While the kernel moves a page (compaction, the split of a huge page), its entry in the page table is
 * none that "4" in clear_refs makes read-only. It takes the soft-dirty bit from it, and when the page has
 * arrived it is as writable as before: nobody sees what is written to it (5.10, 6.12, 7.2). Where a page
 * has arrived between two clearings, the second one has met it (unless it is moved again just then). So
 * the bits are cleared twice, with a look in between at what is not in memory:
 *
 *	clear    sdi_migration_look()    clear    let the target go    sdi_migration_judge()
 *
 * What the look sees is in swap, where nothing is wrong, or on its way. The judge tells them apart, and
 * what may have been on its way is doubtful until the next time.
 */
#ifndef SDI_TRACK_MIGRATION_H
#define SDI_TRACK_MIGRATION_H

#include "ranges/ranges.h"
#include "track/tracker.h"

struct sdi_migration {
	struct sdi_ranges away;		/* neither in memory nor empty, at the look */
	struct sdi_ranges doubtful;
};

void sdi_migration_fini(struct sdi_migration *m);

/* fixed: `away` must not grow, -ENOSPC if it has to. */
int sdi_migration_look(struct sdi_migration *m, struct sdi_tracker *tr, bool fixed);

int sdi_migration_judge(struct sdi_migration *m, struct sdi_tracker *tr);

/* Push the pages that are doubtful. 0 or -errno. */
int sdi_migration_push(const struct sdi_migration *m, const struct sdi_tracker *tr,
		       struct sdi_ranges *found);

#endif
