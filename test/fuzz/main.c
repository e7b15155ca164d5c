/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-NAME DIRECTORY - in place of libFuzzer, give each file in it to the harness. The last name
 * printed is the one that it did not survive.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "fuzz.h"

static int replay(int dir, const char *name)
{
	autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	/* Exactly as much memory as there are bytes, for the sanitizers. */
	autofree uint8_t *data = malloc(st.st_size);
	ssize_t n = sdi_read_full(fd, data, st.st_size);
	if (n != st.st_size)
		return n < 0 ? n : -EIO;
	LLVMFuzzerTestOneInput(data, n);
	return 0;
}

int main(int argc, char **argv)
{
	autoclosedir DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
	int n = 0;

	if (!d) {
		printf("cannot open the corpus: %s\n", argc == 2 ? strerror(errno) : "which?");
		return 1;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		puts(e->d_name);
		fflush(stdout);
		int err = replay(dirfd(d), e->d_name);
		if (err) {
			printf("cannot read it: %s\n", strerror(-err));
			return 1;
		}
	}
	printf("%d inputs\n", n);
	return n ? 0 : 1;
}
