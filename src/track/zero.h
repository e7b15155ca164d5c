/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the zero page stands for on this machine. A round is
 *
 *	sdi_zero_before(&z, age);
 *	look at the pages, zero pages apart
 *	if (there were any && sdi_zero_may_be_written(&z))	they count as well
 *	sdi_zero_taken(&z);					after a `take` only
 *
 * Must not know backends.
 */
#ifndef SDI_TRACK_ZERO_H
#define SDI_TRACK_ZERO_H

#include <stdbool.h>
#include <stdint.h>

struct sdi_zero {
	uint64_t splits;	/* of huge pages since boot, from before the last `take` */
	uint64_t now;		/* the same, from before this round; */
	uint64_t now_ns;	/* counted at that time, 0: not yet */
};

/*
 * To count is to read a dozen files, a fifth of what a round of a small process takes, and most rounds
 * see no zero page that they did not know. So the count may be that old: then a page that was only read
 * may count as written, never the other way round.
 */
void sdi_zero_before(struct sdi_zero *z, uint64_t age_ns);

void sdi_zero_taken(struct sdi_zero *z);

/* Were huge pages split since the last `take`? Pages of zeros that were replaced lost their marks, too. */
bool sdi_zero_split(const struct sdi_zero *z);

/*
 * May the kernel have put the zero page in place of a page that was written since the last `take`? Else
 * it stands for pages that were only ever read.
 */
bool sdi_zero_may_be_written(const struct sdi_zero *z);

#endif
