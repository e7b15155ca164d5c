/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was mapped at the last SDI_TAKE, against what is mapped now. Knows no pages. */
#ifndef SDI_TRACK_KNOWN_H
#define SDI_TRACK_KNOWN_H

#include "ranges/ranges.h"
#include "target/maps.h"

/*
 * Append to *fresh, in order, what is mapped now and was not, or was something else:
 *
 *	then   |---a---|   |--b--|
 *	now       |---a--------|      |-c-|
 *	fresh          |---|---|      |-c-|	(b gave way to a)
 *
 * 0 or -ENOMEM.
 */
int sdi_known_fresh(const struct sdi_maps *then, const struct sdi_maps *now,
		    struct sdi_ranges *fresh);

/* Remember now as then. 0, or -ENOMEM: then is as before. */
int sdi_known_set(struct sdi_maps *then, const struct sdi_maps *now);

#endif
