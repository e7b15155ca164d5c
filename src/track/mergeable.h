/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A page that KSM merges with others loses the soft-dirty bit, and does not get it back when they are
 * taken apart again (MADV_UNMERGEABLE; Linux 7.2, up to 6.12 it did). So while KSM is at work, nothing
 * is known of what is in a mapping where it may merge (MADV_MERGEABLE), or might at the last SDI_TAKE
 * at which it was at work, or at the first one. Not seen: a mapping where it might in between only.
 */
#ifndef SDI_TRACK_MERGEABLE_H
#define SDI_TRACK_MERGEABLE_H

#include "ranges/ranges.h"
#include "track/ksm.h"
#include "track/tracker.h"

struct sdi_mergeable {
	struct sdi_ranges then;		/* as of the last SDI_TAKE at which KSM was at work */
	struct sdi_ksm ksm;		/* what it was doing at the end of the last SDI_TAKE */
};

void sdi_mergeable_init(struct sdi_mergeable *m);
void sdi_mergeable_fini(struct sdi_mergeable *m);

/*
 * Push the pages that may have been merged. After the bits were read: what is merged before this is in
 * this answer, also if it was written after the bits were cleared, and later merges are in the next.
 * 0 or -errno.
 */
int sdi_mergeable_push(struct sdi_mergeable *m, const struct sdi_tracker *tr, enum sdi_collect how,
		       struct sdi_ranges *found);

#endif
