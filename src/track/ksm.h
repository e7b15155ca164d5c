/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KSM, which merges equal pages: the new page table entry of a merged page is as if nobody had ever
 * written it (replace_page() in mm/ksm.c, up to Linux 7.2). It works in mappings that asked for it, and
 * only where root has started it. Must not know backends.
 */
#ifndef SDI_TRACK_KSM_H
#define SDI_TRACK_KSM_H

#include <stdbool.h>
#include <stdint.h>

/* Did it run since `scans` was set? And how often by now. */
bool sdi_ksm_ran(uint64_t scans);
uint64_t sdi_ksm_scans(void);

/*
 * Does it put the zero page in place of pages of zeros (if told to, Linux 4.12 commit e86c59b1b12d), or
 * do such pages stay from when it was?
 */
bool sdi_ksm_makes_zeros(void);

#endif
