/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was reported and may be written once more without being noticed. Knows nothing of why. */
#ifndef SDI_TRACK_CARRY_H
#define SDI_TRACK_CARRY_H

#include <stdbool.h>
#include <stdint.h>

#include "ranges/ranges.h"

/*
 * A transfer that began in one interval may end in a later one without a fault. Its pages were
 * reported in the first (they were written for the pin, or are pinned all the time), so what is
 * reported while transfers are possible is reported again and again, for as long as one may take and
 * at least once: also when none seems possible any more, as who began it may have closed its descriptor.
 *
 *	old	at least SDI_MAX_FLIGHT_NS of intervals before those of
 *	young	since_ns ... last_ns
 *
 * All zero is empty.
 */
#define SDI_MAX_FLIGHT_NS 5000000000ull

struct sdi_carry {
	struct sdi_ranges young, old;
	uint64_t since_ns, last_ns;
	struct softdirty_range whole;	/* what is carried when everything is: needs no memory */
};

/* Push onto *found what has to be said again. 0 or -ENOMEM. */
int sdi_carry_push(const struct sdi_carry *c, struct sdi_ranges *found);

/*
 * An interval has ended at now_ns: the n first of *found (any order) are its own; forget what is old
 * enough. in_flight: a transfer may have begun in it. 0 or -ENOMEM.
 */
int sdi_carry_next(struct sdi_carry *c, const struct sdi_ranges *found, size_t n, bool in_flight,
		   uint64_t now_ns);

/*
 * The interval that ended at now_ns was lost, and with it the pages of the transfers that began in it:
 * any page may be one, unless the next interval knows of none in flight. From here on c must stay where
 * it is. Cannot fail.
 */
void sdi_carry_all(struct sdi_carry *c, uint64_t now_ns);

void sdi_carry_fini(struct sdi_carry *c);

#endif
