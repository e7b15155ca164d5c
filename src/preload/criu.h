/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What CRIU needs beyond the interface itself, and only CRIU gets. Must not know how tracking
 * works.
 */
#ifndef SDI_PRELOAD_CRIU_H
#define SDI_PRELOAD_CRIU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* CRIU's mark: its images depend on nobody else moving it. */
#define SDI_CRIU_MARK "criu"

/* Is this program criu? A system call the first time; leaves errno alone. */
bool sdi_is_criu(void);

/*
 * Its cache of what the kernel can do. A plain criu would believe what we showed this one, and this
 * one what the kernel showed a plain one. Reads path in criu only: of others it may be no memory.
 */
bool sdi_criu_is_cache(const char *path);

/* ptrace(request, pid, addr, data) of a dump that has just frozen the process (not a thread) pid? */
bool sdi_criu_freezes(int request, pid_t pid, const void *data);

/*
 * Where [vdso] is in process "/proc/123". CRIU writes it into every image and takes it for unchanged
 * (the kernel calls it a file page); after an exec that address is in no parent image.
 */
void sdi_criu_vdso(const char *proc, uint64_t *start, uint64_t *end);

#endif
