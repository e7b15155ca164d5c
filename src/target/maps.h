/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/maps as a list. Must not know what is tracked. */
#ifndef SDI_TARGET_MAPS_H
#define SDI_TARGET_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target/target.h"

enum sdi_vma_flags {
	SDI_VMA_READ = 1 << 0,
	SDI_VMA_WRITE = 1 << 1,
	SDI_VMA_EXEC = 1 << 2,
	SDI_VMA_SHARED = 1 << 3,
	SDI_VMA_FILE = 1 << 4,		/* has an inode: file, shared memory, hugetlb */
	SDI_VMA_KERNEL = 1 << 5,	/* [vvar], [vvar_vclock], [vsyscall]: no data of the process */
	SDI_VMA_VDSO = 1 << 6,
	SDI_VMA_AIO = 1 << 7,		/* completion ring of io_setup(2) */
	SDI_VMA_URING = 1 << 8,		/* ring of io_uring_setup(2) */
	SDI_VMA_SHMEM = 1 << 9,		/* surely memory (tmpfs, hugetlbfs), no file on a disk, as
					 * sdi_maps_read() finds it */
};

struct sdi_vma {
	uint64_t start, end;
	uint64_t ident;			/* equal for pieces of the same thing: hash of what is mapped
					 * (0: anonymous private memory) */
	uint64_t base;			/* where byte 0 of the file would be; 0 without a file */
	uint32_t flags;
};

struct sdi_maps {
	struct sdi_vma *v;
	size_t n, cap;
};

void sdi_maps_fini(struct sdi_maps *m);

/* Replace *m with the mappings as they are now. 0, -ESRCH, -EPERM, -ENOMEM. */
int sdi_maps_read(const struct sdi_target *t, struct sdi_maps *m);

/* One line of a maps file, with what sdi_vma leaves out. */
struct sdi_maps_line {
	struct sdi_vma vma;
	uint64_t offset, inode;
	uint64_t dev;			/* major << 32 | minor */
	const char *name;		/* into the line; "" if none */
};

/* Called for each line in the order of the file. Non-zero ends the walk with that value. */
typedef int sdi_maps_fn(void *arg, const struct sdi_maps_line *line);

/* Visit the mappings as they are now. 0, what fn returned, -ESRCH, -EPERM, -ENOMEM. */
int sdi_maps_each(const struct sdi_target *t, sdi_maps_fn *fn, void *arg);

/* Parse one NUL-terminated line without its newline. Returns false if it is not a maps line. */
bool sdi_maps_parse_line(const char *line, struct sdi_maps_line *ret);

/* Append to *ret those that choose() wants, without the kernel's own. 0 or -ENOMEM. */
int sdi_maps_select(const struct sdi_maps *m, bool (*choose)(void *arg, const struct sdi_vma *v),
		    void *arg, struct sdi_maps *ret);

/* The mapping that holds addr, or the next one, or NULL. */
const struct sdi_vma *sdi_maps_find(const struct sdi_maps *m, uint64_t addr);

/* The ident of a mapping of that file; dev as in struct sdi_maps_line. */
uint64_t sdi_vma_ident(uint64_t dev, uint64_t inode, bool shared);

/* SOFTDIRTY_SHARED and SOFTDIRTY_FILE as they follow from the mapping alone. */
uint32_t sdi_vma_kind(const struct sdi_vma *v);

#endif
