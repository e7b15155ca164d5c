/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

#define MM "/sys/kernel/mm"

bool sdi_sysfs_has(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), MM "/%s", name);
	return !access(path, F_OK) || errno != ENOENT || access(MM, F_OK);
}

uint64_t sdi_sysfs_number(const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), MM "/%s", name);
	ssize_t n = sdi_read_text(AT_FDCWD, path, text, sizeof(text));
	if (n > 0)
		return strtoull(text, NULL, 10);
	return n == -ENOENT && !access(MM, F_OK) ? 0 : SDI_UNKNOWN;
}
