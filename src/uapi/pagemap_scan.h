/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ioctl(PAGEMAP_SCAN) of /proc/PID/pagemap, Linux 6.7 commit 52526ca7fdb9: headers of 6.1 lack it. */
#ifndef SDI_UAPI_PAGEMAP_SCAN_H
#define SDI_UAPI_PAGEMAP_SCAN_H

#include <linux/types.h>
#include <sys/ioctl.h>

#ifndef PAGEMAP_SCAN
#define PAGE_IS_WPALLOWED	(1 << 0)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_FILE		(1 << 2)
#define PAGE_IS_PRESENT		(1 << 3)
#define PAGE_IS_SWAPPED		(1 << 4)
#define PAGE_IS_PFNZERO		(1 << 5)
#define PAGE_IS_HUGE		(1 << 6)
#define PAGE_IS_SOFT_DIRTY	(1 << 7)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

/* Linux 6.14 commit 0f3ebf63b07c: guard regions (MADV_GUARD_INSTALL, 6.13). */
#ifndef PAGE_IS_GUARD
#define PAGE_IS_GUARD		(1 << 8)
#endif

/* Bits of the 64-bit entries that reading /proc/PID/pagemap returns. */
#define PM_ENTRY_PRESENT	(1ull << 63)
#define PM_ENTRY_SWAP		(1ull << 62)
#define PM_ENTRY_FILE		(1ull << 61)
#define PM_ENTRY_UFFD_WP	(1ull << 57)
#define PM_ENTRY_SOFT_DIRTY	(1ull << 55)

#endif
