/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the zero page stands for on this machine. Must not know backends. */
#ifndef SDI_TRACK_ZERO_H
#define SDI_TRACK_ZERO_H

#include <stdbool.h>
#include <stdint.h>

struct sdi_zero {
	uint64_t splits;	/* of huge pages since boot, at the last `take` */
	bool split;		/* some were since: the pages that were replaced lost their marks, too */
};

/* Before the pages are looked at: what is split later is counted next time. */
void sdi_zero_look(struct sdi_zero *z, bool take);

/*
 * May the kernel have put the zero page in place of a page that was written since the last `take`? Else
 * it stands for pages that were only ever read.
 */
bool sdi_zero_may_be_written(const struct sdi_zero *z);

#endif
