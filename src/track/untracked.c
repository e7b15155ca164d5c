/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/untracked.h"

#include "base/cleanup.h"
#include "target/pagemap.h"

int sdi_push_untracked(const struct sdi_tracker *tr, uint64_t start, uint64_t end, uint32_t reason,
		       uint32_t unless, struct sdi_ranges *found)
{
	struct sdi_ranges pages = { 0 };

	start = MAX(start, tr->from);
	end = MIN(end, tr->to);
	if (start >= end)
		return 0;
	int err = sdi_populated(&tr->target, tr->pagemap, &tr->maps, start, end,
				SOFTDIRTY_UNTRACKED, reason, &pages);

	for (size_t i = 0; i < pages.n && !err; i++)
		if (!(pages.r[i].flags & unless))
			err = sdi_ranges_push(found, pages.r[i].start, pages.r[i].end,
					      pages.r[i].flags, reason);
	sdi_ranges_fini(&pages);
	return err;
}
