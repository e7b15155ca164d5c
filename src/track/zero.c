/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/zero.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/io.h"

#define MM "/sys/kernel/mm/"

/* -1: there is no such setting. */
static long setting(const char *path)
{
	char text[32];

	return sdi_read_text(AT_FDCWD, path, text, sizeof(text)) <= 0 ? -1 : strtol(text, NULL, 10);
}

/* KSM merges pages of zeros with it, if told to. Linux 4.12 commit e86c59b1b12d. */
static bool ksm_does(void)
{
	return setting(MM "ksm/use_zero_pages") > 0;
}

/*
 * And so do huge pages that are split because little of them is used, which never happens with the
 * usual limit: all pages but one. Linux 6.12 commit b1f202060afe.
 */
static bool splitting_does(void)
{
	long all = setting(MM "transparent_hugepage/hpage_pmd_size") / (long)sdi_page_size();

	return setting(MM "transparent_hugepage/shrink_underused") > 0 &&
	       setting(MM "transparent_hugepage/khugepaged/max_ptes_none") < all - 1;
}

bool sdi_zero_may_be_written(void)
{
	return ksm_does() || splitting_does();
}
