/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers in /sys/kernel/mm: what the kernel does to pages of all processes. */
#ifndef SDI_TRACK_SYSFS_H
#define SDI_TRACK_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

#define SDI_UNKNOWN UINT64_MAX

/*
 * The number in /sys/kernel/mm/NAME. 0: there is no such file on a machine that has others; SDI_UNKNOWN:
 * nobody says, as in a chroot.
 */
uint64_t sdi_sysfs_number(const char *name);

/* Is there a file or folder of that name? Also true where that cannot be said. */
bool sdi_sysfs_has(const char *name);

#endif
