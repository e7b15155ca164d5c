/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole reads and writes: short counts and EINTR end here. Knows nothing about processes. */
#ifndef SDI_BASE_IO_H
#define SDI_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Read until size bytes or the end of the file. Returns the count, or -errno. */
ssize_t sdi_read_full(int fd, void *buf, size_t size);

/* Write all of it. Returns 0, or -errno. */
int sdi_write_full(int fd, const void *buf, size_t size);

/* Read a small text file below dirfd into buf, always NUL-terminated. Returns its length, or -errno. */
ssize_t sdi_read_text(int dirfd, const char *path, char *buf, size_t size);

/* Called with each line, NUL-terminated, without its newline. Non-zero ends the walk. */
typedef int sdi_line_fn(void *arg, char *line);

/*
 * Visit the lines of a file of any size with lines of any length. 0, what fn returned, -errno; -EIO:
 * the last line has no end.
 */
int sdi_each_line(int fd, sdi_line_fn *fn, void *arg);

/* A new, empty file in memory that can be sealed, and not be run. Its descriptor, or -errno. */
int sdi_memfd(void);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t sdi_now_ns(void);

/* Bytes in a page of this machine. */
uint64_t sdi_page_size(void);

#endif
