/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls on the real files, past libc: in the preloaded library libc's names lead back to the
 * emulation. Return -errno.
 */
#ifndef SDI_EMULATE_RAW_H
#define SDI_EMULATE_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uapi/pagemap_scan.h"

static inline ssize_t raw_pread(int fd, void *buf, size_t size, uint64_t offset)
{
	long n = syscall(SYS_pread64, fd, buf, size, offset);

	return n < 0 ? -errno : n;
}

static inline int raw_scan(int fd, struct pm_scan_arg *arg)
{
	long n = syscall(SYS_ioctl, fd, PAGEMAP_SCAN, arg);

	return n < 0 ? -errno : (int)n;
}

static inline int raw_open(const char *path)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

#endif
