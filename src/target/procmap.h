/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ioctl(PROCMAP_QUERY): one mapping of /proc/PID/maps at a time. */
#ifndef SDI_TARGET_PROCMAP_H
#define SDI_TARGET_PROCMAP_H

#include <limits.h>
#include <stdint.h>

enum { SDI_PROCMAP_LINE = PATH_MAX + 128 };

/*
 * The mapping that holds addr, or the next one, as a line of that open maps file. [vsyscall] is never
 * found. 0; -ENOENT: there is none; -ENOTTY: this kernel has no such call (Linux 6.11); or another
 * -errno.
 */
int sdi_procmap_line(int maps, uint64_t addr, char line[SDI_PROCMAP_LINE]);

#endif
