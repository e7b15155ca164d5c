/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What PAGEMAP_SCAN hands back: regions into the caller's vec, at most vec_len of them and
 * max_pages pages. Must not know where regions come from.
 */
#ifndef SDI_EMULATE_OUTPUT_H
#define SDI_EMULATE_OUTPUT_H

#include <stdint.h>
#include <sys/types.h>

#include "uapi/pagemap_scan.h"

struct output {
	struct pm_scan_arg *arg;
	pid_t caller;
	int caller_pidfd;		/* or -1 */
	uint64_t page;			/* bytes */
	uint64_t n_out, n_sent;		/* regions so far; those already in the caller's memory */
	uint64_t n_pages;
	struct page_region out[512];	/* the last ones: n_out - n_sent */
};

/*
 * Add a region whose pages the caller wants, with the categories it asked for. -ENOSPC: the caller
 * has all that it has room for, up to arg->walk_end. -EFAULT: its vec cannot be written. -ESRCH:
 * it is gone.
 */
int output_add(struct output *o, uint64_t start, uint64_t end, uint64_t categories);

/* Hand over the rest. -EFAULT, -ESRCH. */
int output_flush(struct output *o);

/* How many more pages there may be. */
uint64_t output_room(const struct output *o);

#endif
