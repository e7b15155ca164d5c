/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/pagemap.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BATCH = 8192 };		/* entries at a time */
#define SOFT_DIRTY (UINT64_C(1) << 55)

/* Fill in the kernel's entries; addresses beyond its address space read as 0. */
static int read_entries(int fd, uint64_t page, uint64_t *entries, size_t n)
{
	size_t done = 0, size = n * sizeof(*entries);

	while (done < size) {
		ssize_t got = pread(fd, (char *)entries + done, size - done,
				    page * sizeof(*entries) + done);
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += got;
	}
	for (size_t i = done / sizeof(*entries); i < n; i++)
		entries[i] = 0;
	return 0;
}

int sdi_pagemap_write(FILE *out, int pagemap, uint64_t start, uint64_t end,
		      const struct softdirty_range *ranges, size_t n)
{
	uint64_t entries[BATCH], page_size = sysconf(_SC_PAGESIZE);
	size_t next = 0;

	for (uint64_t addr = start; addr < end && !ferror(out); ) {
		size_t count = MIN((end - addr) / page_size, BATCH);
		int err = read_entries(pagemap, addr / page_size, entries, count);

		if (err)
			return err;
		for (size_t i = 0; i < count; i++, addr += page_size) {
			while (next < n && ranges[next].end <= addr)
				next++;
			entries[i] &= ~SOFT_DIRTY;
			if (next < n && ranges[next].start <= addr)
				entries[i] |= SOFT_DIRTY;
		}
		fwrite(entries, sizeof(*entries), count, out);
	}
	return 0;
}
