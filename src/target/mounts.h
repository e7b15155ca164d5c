/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file systems that a target has mounted: which of them are memory. Must not know mappings. */
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

#endif
