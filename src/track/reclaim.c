/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/reclaim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/*
 * "pgsteal_WHO N" counts by who reclaimed, and again by what: anon, file. MADV_PAGEOUT of shared
 * memory is in pswpout (or zswpout) only.
 */
static int vmstat_line(void *arg, char *line)
{
	struct sdi_reclaim *r = arg;
	char *space = strchr(line, ' ');
	uint64_t n = space ? strtoull(space, NULL, 10) : 0;

	if (starts(line, "pgsteal_") || starts(line, "pswpout ") || starts(line, "zswpout "))
		r->stolen += n;
	else if (starts(line, "thp_split_pmd "))
		r->split = n;
	else if (starts(line, "thp_file_mapped "))
		r->huge = n;
	return 0;
}

static int meminfo_line(void *arg, char *line)
{
	struct sdi_reclaim *r = arg;

	if (starts(line, "SwapTotal:"))
		r->swap = strtoull(line + strlen("SwapTotal:"), NULL, 10);
	return 0;
}

void sdi_reclaim_read(struct sdi_reclaim *ret)
{
	struct sdi_reclaim r = { 0 };
	autoclose int vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	autoclose int meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);

	r.known = vmstat >= 0 && meminfo >= 0 && !sdi_each_line(vmstat, vmstat_line, &r) &&
		  !sdi_each_line(meminfo, meminfo_line, &r);
	*ret = r;
}

bool sdi_reclaim_shmem(const struct sdi_reclaim *then, const struct sdi_reclaim *now)
{
	if (!then->known || !now->known)
		return true;
	if ((then->swap || now->swap) && then->stolen != now->stolen)
		return true;
	return now->huge && then->split != now->split;
}

bool sdi_reclaim_files(const struct sdi_reclaim *then, const struct sdi_reclaim *now)
{
	return then->stolen != now->stolen || sdi_reclaim_shmem(then, now);
}
