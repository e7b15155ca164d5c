/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/zero.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"

#define MM "/sys/kernel/mm/"
#define THP MM "transparent_hugepage/"

/* 0: there is no such file. */
static uint64_t number(const char *path)
{
	char text[32];

	return sdi_read_text(AT_FDCWD, path, text, sizeof(text)) <= 0 ? 0 : strtoull(text, NULL, 10);
}

/*
 * KSM merges pages of zeros with it, if told to (Linux 4.12 commit e86c59b1b12d), and they stay when it
 * is told no more.
 */
static bool ksm_does(void)
{
	return number(MM "ksm/use_zero_pages") || number(MM "ksm/ksm_zero_pages");
}

/*
 * Whenever a huge page is split, for whatever reason, those of its pages that hold nothing but zeros
 * are replaced by it. Linux 6.12 commit b1f202060afe.
 */
static uint64_t count_splits(void)
{
	uint64_t biggest = number(THP "hpage_pmd_size") >> 10, sum = 0;
	char path[96];

	for (uint64_t kb = sdi_page_size() >> 9; kb <= biggest; kb *= 2) {
		snprintf(path, sizeof(path), THP "hugepages-%llukB/stats/split",
			 (unsigned long long)kb);
		sum += number(path);
	}
	return sum;
}

void sdi_zero_look(struct sdi_zero *z, bool take)
{
	uint64_t splits = count_splits();

	z->split = splits != z->splits;
	if (take)
		z->splits = splits;
}

bool sdi_zero_may_be_written(const struct sdi_zero *z)
{
	return z->split || ksm_does();
}
