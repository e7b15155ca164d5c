/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

/* 25 24 0:23 / /dev/shm rw,relatime shared:7 - tmpfs tmpfs rw: blanks in names are escaped. */
static int is_memory(void *arg, char *line)
{
	const uint64_t *dev = arg;
	unsigned major, minor;
	const char *type = strstr(line, " - ");

	if (!type || sscanf(line, "%*u %*u %u:%u ", &major, &minor) != 2 ||
	    ((uint64_t)major << 32 | minor) != *dev)
		return 0;
	type += strlen(" - ");
	return !strncmp(type, "tmpfs ", 6) || !strncmp(type, "hugetlbfs ", 10);
}

static bool look(const struct sdi_target *t, uint64_t dev)
{
	autoclose int fd = sdi_target_openat(t, "mountinfo", O_RDONLY);

	return fd >= 0 && sdi_each_line(fd, is_memory, &dev) > 0;
}

bool sdi_mounts_memory(struct sdi_mounts *m, const struct sdi_target *t, uint64_t dev)
{
	for (unsigned i = 0; i < MIN(m->n_known, ARRAY_SIZE(m->known)); i++)
		if (m->known[i].dev == dev)
			return m->known[i].memory;
	/* With more file systems than there is room for, the oldest answer is forgotten. */
	unsigned i = m->n_known++ % ARRAY_SIZE(m->known);
	m->known[i].dev = dev;
	m->known[i].memory = look(t, dev);
	return m->known[i].memory;
}
