/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

void fuzz_ok(bool holds, const char *file, int line, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
	abort();
}

char *fuzz_string(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_OK(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

void fuzz_take(const uint8_t **data, size_t *left, void *ret, size_t size)
{
	size_t n = size < *left ? size : *left;

	memset(ret, 0, size);
	if (n)
		memcpy(ret, *data, n);
	*data += n;
	*left -= n;
}

static char path[PATH_MAX];

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(name);
}

static void remove_dir(void)
{
	nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_dir_path(void)
{
	const char *parent = getenv("TMPDIR");

	if (!*path) {
		snprintf(path, sizeof(path), "%s/softdirty-fuzz-XXXXXX", parent ? parent : "/tmp");
		FUZZ_OK(mkdtemp(path));
		atexit(remove_dir);
	}
	return path;
}

int fuzz_dir(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(fuzz_dir_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_OK(fd >= 0);
	return fd;
}

void fuzz_file(const char *name, const void *data, size_t size)
{
	int fd = openat(fuzz_dir(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_OK(fd >= 0 && !sdi_write_full(fd, data, size));
	close(fd);
}

int fuzz_memfd(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	FUZZ_OK(fd >= 0 && !sdi_write_full(fd, data, size) && !lseek(fd, 0, SEEK_SET));
	return fd;
}

int fuzz_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	FUZZ_OK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

bool fuzz_untouched(const void *p, int byte, size_t size)
{
	for (const unsigned char *c = p; size--; c++)
		if (*c != (unsigned char)byte)
			return false;
	return true;
}
