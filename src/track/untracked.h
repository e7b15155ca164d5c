/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of which a backend cannot know what was written. */
#ifndef SDI_TRACK_UNTRACKED_H
#define SDI_TRACK_UNTRACKED_H

#include "track/tracker.h"

/*
 * Push onto *found, as untracked for that reason, the populated pages of [start, end) that are looked at
 * (tr->from ... tr->to), but none that has one of the flags `unless` (SOFTDIRTY_ZERO, ...). 0 or -errno.
 */
int sdi_push_untracked(const struct sdi_tracker *tr, uint64_t start, uint64_t end, uint32_t reason,
		       uint32_t unless, struct sdi_ranges *found);

#endif
