/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file systems that a target has mounted: which of them are memory, and which fill the memory of
 * who reads. Must not know mappings.
 */
#ifndef SDI_TARGET_MOUNTS_H
#define SDI_TARGET_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

#include "target/target.h"

/* All zero: nothing was asked yet. Answers are remembered; owns nothing. */
struct sdi_mounts {
	struct {
		uint64_t dev;
		bool memory;
	} known[8];
	unsigned n_known;
};

/*
 * Is dev (major << 32 | minor) a tmpfs or hugetlbfs that the target can see? False also when it
 * cannot be told.
 */
bool sdi_mounts_memory(struct sdi_mounts *m, const struct sdi_target *t, uint64_t dev);

/* How a plain read of a file gets its data; not known is what no list of mounts has. */
enum sdi_reads { SDI_READS_UNKNOWN, SDI_READS_COPY, SDI_READS_DIRECT };

/* A mount: the mnt_id of fdinfo. */
struct sdi_mount {
	unsigned id;
	bool internal;		/* the caller's own */
	enum sdi_reads reads;
};

/*
 * Fill in `reads` of n mounts. Each list of mounts is read at most once, and no file system is asked: its
 * server may be the target, which is stopped. Cannot fail: what cannot be told stays unknown.
 */
void sdi_mounts_find(const struct sdi_target *t, struct sdi_mount *mounts, size_t n);

#endif
