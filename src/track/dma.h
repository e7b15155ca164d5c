/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes that raise no fault: a device writes into pages that were pinned before the interval began.
 * Knows how such a target is recognised from outside, and nothing about backends.
 */
#ifndef SDI_TRACK_DMA_H
#define SDI_TRACK_DMA_H

#include <stdbool.h>

#include "ranges/ranges.h"
#include "target/maps.h"
#include "target/target.h"

struct sdi_dma {
	bool in_flight;		/* direct I/O, AIO, io_uring, pinned memory or a debugger: a write that
				 * began in one interval may land in the next */
	bool unknown_pins;	/* memory is pinned for long, or is an io_uring, and nobody says where */
};

/*
 * Look at the target's descriptors and mappings. Buffers that are registered with io_uring are pushed
 * onto *pinned (any order). frozen: the one who traces it is ourselves. asker: a thread that waits for
 * the answer, and so writes nothing, also if it traces the target. 0 or -errno.
 */
int sdi_dma_look(const struct sdi_target *t, const struct sdi_maps *m, bool frozen, pid_t asker,
		 struct sdi_dma *ret, struct sdi_ranges *pinned);

/*
 * A transfer that began in one interval may end in a later one without a fault. Its pages were
 * reported in the first (they were written for the pin, or are pinned all the time), so what is
 * reported while transfers are possible is reported again and again, for as long as one may take and
 * at least once.
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
 * enough. in_flight: transfers are possible at all. 0 or -ENOMEM.
 */
int sdi_carry_next(struct sdi_carry *c, const struct sdi_ranges *found, size_t n, bool in_flight,
		   uint64_t now_ns);

/*
 * The interval that ended at now_ns was lost, and with it the pages of the transfers that began in it:
 * any page may be one. From here on c must stay where it is. Cannot fail.
 */
void sdi_carry_all(struct sdi_carry *c, uint64_t now_ns);

void sdi_carry_fini(struct sdi_carry *c);

#endif
