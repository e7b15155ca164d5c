/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/procmap.h"

#include <errno.h>
#include <stdio.h>

#include "uapi/procmap_query.h"

int sdi_procmap_line(int maps, uint64_t addr, char line[SDI_PROCMAP_LINE])
{
	char name[PATH_MAX] = "";
	struct procmap_query q = {
		.size = sizeof(q), .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
		.query_addr = addr, .vma_name_addr = (uintptr_t)name, .vma_name_size = sizeof(name),
	};

	int err = ioctl(maps, PROCMAP_QUERY, &q) ? -errno : 0;
	if (err == -ENAMETOOLONG) {	/* then without its name */
		q.vma_name_addr = q.vma_name_size = 0;
		err = ioctl(maps, PROCMAP_QUERY, &q) ? -errno : 0;
	}
	if (err)
		return err;
	snprintf(line, SDI_PROCMAP_LINE, "%llx-%llx %c%c%c%c %08llx %02x:%02x %llu %s",
		 (unsigned long long)q.vma_start, (unsigned long long)q.vma_end,
		 q.vma_flags & PROCMAP_QUERY_VMA_READABLE ? 'r' : '-',
		 q.vma_flags & PROCMAP_QUERY_VMA_WRITABLE ? 'w' : '-',
		 q.vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE ? 'x' : '-',
		 q.vma_flags & PROCMAP_QUERY_VMA_SHARED ? 's' : 'p',
		 (unsigned long long)q.vma_offset, q.dev_major, q.dev_minor,
		 (unsigned long long)q.inode, q.vma_name_size ? name : "");
	return 0;
}
