/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/smaps: what maps does not tell of a mapping. Slow: the kernel walks all pages. */
#ifndef SDI_TARGET_SMAPS_H
#define SDI_TARGET_SMAPS_H

#include "target/maps.h"

enum sdi_smap_flags {
	SDI_SMAP_POPULATED = 1 << 0,	/* has pages, present or in swap */
	SDI_SMAP_MAYWRITE = 1 << 1,	/* is, or can be made, writable */
	SDI_SMAP_HUGETLB = 1 << 2,
	SDI_SMAP_SPECIAL = 1 << 3,	/* of a device or driver, which may write by itself */
	SDI_SMAP_NEW = 1 << 4,		/* VM_SOFTDIRTY: made or grown since clear_refs */
	SDI_SMAP_MERGEABLE = 1 << 5,	/* KSM may merge its pages */
};

struct sdi_smap {
	struct sdi_vma vma;
	uint32_t flags;			/* SDI_SMAP_* */
	uint64_t swapped;		/* bytes in swap; of a file in memory, also what it has there */
	uint64_t swapped_alone;		/* without that, and with a share only of what others have too */
};

/* Called for each mapping in the order of the file. Non-zero ends the walk with that value. */
typedef int sdi_smaps_fn(void *arg, const struct sdi_smap *m);

/* 0, what fn returned, -ESRCH, -EPERM, -ENOMEM; -EIO: this kernel shows no VmFlags. */
int sdi_smaps_each(const struct sdi_target *t, sdi_smaps_fn *fn, void *arg);

#endif
