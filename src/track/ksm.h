/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KSM, which merges equal pages: the new page table entry of a merged page is as if nobody had ever
 * written it (replace_page() in mm/ksm.c, up to Linux 7.2). It works in mappings that asked for it, and
 * only where root has started it. Must not know targets.
 */
#ifndef SDI_TRACK_KSM_H
#define SDI_TRACK_KSM_H

#include <stdbool.h>
#include <stdint.h>

struct sdi_ksm {
	uint64_t scans;		/* of all memory, since boot */
	uint64_t scanned;	/* pages since boot (Linux 6.6), */
	uint64_t shared;	/* those that it made of many, */
	uint64_t sharing;	/* and how many these were */
	bool runs;
};

/* What it is doing now. */
struct sdi_ksm sdi_ksm_look(void);

/*
 * Did it run at any time between these two looks? (Not seen before Linux 6.6: that it was started and
 * stopped within one scan and merged as many pages as came apart.)
 */
bool sdi_ksm_ran(const struct sdi_ksm *since, const struct sdi_ksm *now);

/*
 * Does it put the zero page in place of pages of zeros (if told to, Linux 4.12 commit e86c59b1b12d), or
 * do such pages stay from when it was?
 */
bool sdi_ksm_makes_zeros(void);

#endif
