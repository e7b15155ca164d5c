/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Did all threads of a target sleep from one moment to another, and in calls that put nothing into its
 * memory? Only looks. Knows nothing of what happened meanwhile.
 */
#ifndef SDI_TARGET_IDLE_H
#define SDI_TARGET_IDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "target/target.h"

struct sdi_idle {
	bool asleep;		/* every thread */
	uint64_t digest;	/* of who sleeps, and how often each has begun to */
};

/* Where it is not known, or would take long to tell, they are awake. */
void sdi_idle_look(const struct sdi_target *t, struct sdi_idle *ret);

/* Has none been awake since that look? */
bool sdi_idle_since(const struct sdi_target *t, const struct sdi_idle *then);

#endif
