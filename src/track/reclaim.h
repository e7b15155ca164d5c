/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Did the kernel take shared pages out of page tables? An anonymous page keeps its soft-dirty bit in
 * its swap entry. A page of a file or of shared memory that is reclaimed leaves an empty entry, and
 * comes back clean although it was written. Knows no process: the counters are the machine's.
 */
#ifndef SDI_TRACK_RECLAIM_H
#define SDI_TRACK_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

struct sdi_reclaim {
	bool known;		/* the counters could be read */
	bool swap;		/* shared memory has somewhere to go */
	bool huge;		/* files or shared memory were ever mapped by huge pages */
	uint64_t stolen;	/* pages reclaimed */
	uint64_t split;		/* huge pages split; for those of files that drops them */
};

/* The counters as they are now. */
void sdi_reclaim_read(struct sdi_reclaim *ret);

/* May pages of shared memory, or of mapped files, have been dropped in between? */
bool sdi_reclaim_shmem(const struct sdi_reclaim *then, const struct sdi_reclaim *now);
bool sdi_reclaim_files(const struct sdi_reclaim *then, const struct sdi_reclaim *now);

#endif
