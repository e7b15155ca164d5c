/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the pages of a target hold, against what they held the last time. The target is not stopped: a
 * page that changes while it is read gets a hash that fits neither content, and is reported once
 * more next time. Knows no marks, and nothing of who wrote.
 */
#ifndef SDI_TRACK_CONTENT_H
#define SDI_TRACK_CONTENT_H

#include "track/tracker.h"

struct sdi_content;

/* Nothing is read yet. 0 or -errno. */
int sdi_content_open(const struct sdi_target *t, struct sdi_content **ret);
void sdi_content_close(struct sdi_content *c);

/*
 * Read the pages of the mappings in m, some or all of tr->maps, and push onto *found (any order)
 *  - those that hold something else than at the last SDI_TAKE, also because it was dropped: WRITTEN;
 *  - those that cannot be read, and shared memory without a page: UNTRACKED.
 * Pages of mappings that are not in m are forgotten by SDI_TAKE.
 */
int sdi_content_look(struct sdi_content *c, const struct sdi_tracker *tr, const struct sdi_maps *m,
		     enum sdi_collect how, struct sdi_ranges *found);

#endif
