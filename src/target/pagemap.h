/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/pagemap: which pages are populated and what they are. One loop around PAGEMAP_SCAN
 * for everybody, because its walk_end cannot be trusted. Must not know marks or backends.
 */
#ifndef SDI_TARGET_PAGEMAP_H
#define SDI_TARGET_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "ranges/ranges.h"
#include "target/maps.h"
#include "target/pace.h"
#include "uapi/pagemap_scan.h"

/* What is asked of PAGEMAP_SCAN; the names are those of struct pm_scan_arg. */
struct sdi_scan {
	uint64_t flags;
	uint64_t inverted, mask, anyof, ret;
};

/* Called for each region in ascending order. Non-zero ends the scan with that value. */
typedef int sdi_scan_fn(void *arg, uint64_t start, uint64_t end, uint64_t categories);

/*
 * Scan [start, end). Every page in it is visited exactly once. The caller splits large spans.
 * 0 or -errno (-ENOTTY: the kernel has no PAGEMAP_SCAN; -ESRCH: that memory is gone), or what fn
 * returned. After an error pages may have been protected and not reported.
 */
int sdi_scan(int pagemap, const struct sdi_scan *what, uint64_t start, uint64_t end,
	     sdi_scan_fn *fn, void *arg);

/*
 * The same for the mappings in [start, end), in pieces that let the target's own mmap() calls in
 * between; not if `hurry`. Also visits what is newer than the list and lies in small gaps of it.
 */
int sdi_scan_mappings(int pagemap, const struct sdi_maps *m, const struct sdi_scan *what, bool hurry,
		      uint64_t start, uint64_t end, sdi_scan_fn *fn, void *arg);

/*
 * Where the first matching page of [start, end) is, or end; looks no further than that. Not for
 * memory of hugetlbfs: with a limit on pages the kernel steps over huge ones. 0 or -errno.
 */
int sdi_scan_first(int pagemap, const struct sdi_scan *what, uint64_t start, uint64_t end,
		   uint64_t *ret);

/*
 * The first populated page of [start, end), or end. The kernel steps quickly over page tables that are
 * not there, so this is for vast reservations. Only for private anonymous memory. *hop: how far to look at
 * once, begins with SDI_PIECE_MAX. 0 or -errno.
 */
int sdi_scan_empty(int pagemap, struct sdi_pace *pace, uint64_t *hop, uint64_t start, uint64_t end,
		   uint64_t *ret);

/* Does PAGEMAP_SCAN exist here; and does it know PAGE_IS_GUARD? Tried once by doing. */
bool sdi_scan_works(void);
uint64_t sdi_scan_guard(void);		/* PAGE_IS_GUARD or 0 */

/*
 * Visit the pages of the mappings in [start, end) that are of any of these categories, ascending; on
 * kernels without PAGEMAP_SCAN by reading the entries. A region may span mappings, also ones that
 * are newer than the list. gently: let the target's own mmap() calls in between. With t NULL it
 * allocates nothing; else it steps over what smaps says is empty, where that is faster.
 */
int sdi_pages_each(const struct sdi_target *t, int pagemap, const struct sdi_maps *m, uint64_t any,
		   bool gently, uint64_t start, uint64_t end, sdi_scan_fn *fn, void *arg);

/* SOFTDIRTY_* kinds for categories of a page in that mapping. */
uint32_t sdi_kind(const struct sdi_vma *v, uint64_t categories);

/*
 * Append the populated pages of the mappings in [start, end) to *out with what they are and with
 * extra flags and reason; ascending. Guard pages are not among them.
 */
int sdi_populated(const struct sdi_target *t, int pagemap, const struct sdi_maps *m, uint64_t start,
		  uint64_t end, uint32_t extra, uint32_t reason, struct sdi_ranges *out);

#endif
