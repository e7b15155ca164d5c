/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/zero.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

#define MM "/sys/kernel/mm/"
#define THP MM "transparent_hugepage/"

#define UNKNOWN UINT64_MAX

/* 0: there is no such file, on a machine that has such files. */
static uint64_t number(const char *path)
{
	char text[32];
	ssize_t n = sdi_read_text(AT_FDCWD, path, text, sizeof(text));

	if (n > 0)
		return strtoull(text, NULL, 10);
	return n == -ENOENT && !access(MM, F_OK) ? 0 : UNKNOWN;
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
	uint64_t biggest = number(THP "hpage_pmd_size"), sum = 0;
	char path[96];

	for (uint64_t size = 2 * sdi_page_size(); size <= biggest; size *= 2) {
		snprintf(path, sizeof(path), THP "hugepages-%llukB/stats/split",
			 (unsigned long long)size >> 10);
		uint64_t n = biggest == UNKNOWN ? UNKNOWN : number(path);
		if (n == UNKNOWN)
			return UNKNOWN;
		sum += n;
	}
	return sum;
}

void sdi_zero_before(struct sdi_zero *z, uint64_t age_ns)
{
	uint64_t now = sdi_now_ns();

	if (z->now_ns && now - z->now_ns < age_ns)
		return;
	z->now = count_splits();
	z->now_ns = now;
}

void sdi_zero_taken(struct sdi_zero *z)
{
	z->splits = z->now;
}

bool sdi_zero_split(const struct sdi_zero *z)
{
	uint64_t now = count_splits();

	return now == UNKNOWN || now != z->splits;
}

bool sdi_zero_may_be_written(const struct sdi_zero *z)
{
	return sdi_zero_split(z) || ksm_does();
}
