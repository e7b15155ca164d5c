/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U	/* Linux 6.3 commit 105ff5339f49 */
#endif

ssize_t sdi_read_full(int fd, void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (char *)buf + done, size - done);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += n;
	}
	return done;
}

int sdi_write_full(int fd, const void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(fd, (const char *)buf + done, size - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += n;
	}
	return 0;
}

ssize_t sdi_read_text(int dirfd, const char *path, char *buf, size_t size)
{
	autoclose int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = sdi_read_full(fd, buf, size - 1);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* Visit the whole lines of buf; *used is what they took. */
static int visit_lines(char *buf, size_t size, sdi_line_fn *fn, void *arg, size_t *used)
{
	char *p = buf;

	for (char *end; (end = memchr(p, '\n', buf + size - p)); p = end + 1) {
		*end = '\0';
		int err = fn(arg, p);
		if (err)
			return err;
	}
	*used = p - buf;
	return 0;
}

int sdi_each_line(int fd, sdi_line_fn *fn, void *arg)
{
	size_t cap = 64 * 1024, have = 0, used;
	autofree char *buf = malloc(cap);

	while (buf) {
		ssize_t n = read(fd, buf + have, cap - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return have ? -EIO : 0;
		have += n;
		int err = visit_lines(buf, have, fn, arg, &used);
		if (err)
			return err;
		memmove(buf, buf + used, have -= used);
		if (have < cap)
			continue;
		char *bigger = realloc(buf, cap *= 2);
		if (!bigger)
			return -ENOMEM;
		buf = bigger;
	}
	return -ENOMEM;
}

int sdi_memfd(void)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("softdirty", flags | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("softdirty", flags);
	return fd < 0 ? -errno : fd;
}

uint64_t sdi_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

uint64_t sdi_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}
