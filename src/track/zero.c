/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/zero.h"

#include <stdio.h>

#include "base/io.h"
#include "track/ksm.h"
#include "track/sysfs.h"

#define THP "transparent_hugepage/"

static const char *split_file(uint64_t size, char path[96])
{
	snprintf(path, 96, THP "hugepages-%llukB/stats/split", (unsigned long long)size >> 10);
	return path;
}

/*
 * Whenever a huge page is split, for whatever reason, those of its pages that hold nothing but zeros
 * are replaced by it. Linux 6.12 commit b1f202060afe; kernels that do not count splits do not do so.
 */
static uint64_t count_splits(void)
{
	uint64_t biggest = sdi_sysfs_number(THP "hpage_pmd_size"), sum = 0;
	char path[96];

	if (biggest == SDI_UNKNOWN)
		return SDI_UNKNOWN;
	if (!sdi_sysfs_has(split_file(biggest, path)))
		return 0;
	for (uint64_t size = 2 * sdi_page_size(); size <= biggest; size *= 2) {
		uint64_t n = sdi_sysfs_number(split_file(size, path));
		if (n == SDI_UNKNOWN)
			return SDI_UNKNOWN;
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

	return now == SDI_UNKNOWN || now != z->splits;
}

bool sdi_zero_may_be_written(const struct sdi_zero *z)
{
	return sdi_zero_split(z) || sdi_ksm_makes_zeros();
}
