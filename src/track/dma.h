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
	bool in_flight;		/* AIO, io_uring, pinned memory or a debugger: a write that began in one
				 * interval may land in the next */
	bool by_threads;	/* so may one that a thread waits for: files that are read directly */
	bool unknown_pins;	/* memory is pinned for long, or is an io_uring, and nobody says where */
};

/*
 * Look at the target's descriptors and mappings. Buffers that are registered with io_uring are pushed
 * onto *pinned (any order). frozen: the one who traces it is ourselves. asker: a thread that waits for
 * the answer, and so writes nothing, also if it traces the target. 0 or -errno.
 */
int sdi_dma_look(const struct sdi_target *t, const struct sdi_maps *m, bool frozen, pid_t asker,
		 struct sdi_dma *ret, struct sdi_ranges *pinned);

#endif
