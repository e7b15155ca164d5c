/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of soft-dirty: soft_dirty.c is the backend and knows what the bits mean, soft_bits.c reads and
 * clears them.
 */
#ifndef SDI_TRACK_SOFT_H
#define SDI_TRACK_SOFT_H

#include <stdbool.h>

#include "target/vhost.h"
#include "track/content.h"
#include "track/kinds.h"
#include "track/mergeable.h"
#include "track/migration.h"
#include "track/swapoff.h"
#include "track/tracker.h"
#include "track/zero.h"

struct sdi_soft {
	int clear_refs;
	struct sdi_maps known;		/* as of the last SDI_TAKE */
	struct sdi_kinds kinds;
	struct sdi_content *content;	/* of shared memory */
	struct sdi_zero zero;
	struct sdi_mergeable mergeable;
	struct sdi_swapoff swapoff;
	bool failed;			/* the last SDI_TAKE: what it left behind is not known */
	struct sdi_migration moved;
};

/* One collect(). */
struct sdi_soft_round {
	struct sdi_tracker *tr;
	struct sdi_soft *s;
	struct sdi_ranges *found;
	struct sdi_ranges dirty;	/* as the kernel says; flags: PAGE_IS_* */
	struct sdi_vhost vhost;
	bool fixed;			/* dirty must not grow: others hold the lock of malloc() */
	bool lost;			/* something wrote between reading and clearing */
	struct sdi_ranges fresh;
};

/* Fill r->dirty. gently: with pauses for the target, as it is not stopped. 0 or -errno. */
int sdi_soft_read(struct sdi_soft_round *r, bool gently);

/*
 * The same, and clear the bits: the target is stopped, if it is not already. r->lost: something may have
 * been written between the two. 0 or -errno, and then anything may be cleared.
 */
int sdi_soft_take(struct sdi_soft_round *r);

#endif
