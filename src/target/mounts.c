/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

/* 25 24 0:23 / /dev/shm rw,relatime shared:7 - tmpfs tmpfs rw: blanks in names are escaped. */
static const char *type_of(const char *line)
{
	const char *dash = strstr(line, " - ");

	return dash ? dash + strlen(" - ") : NULL;
}

static int is_memory(void *arg, char *line)
{
	const uint64_t *dev = arg;
	unsigned major, minor;
	const char *type = type_of(line);

	if (!type || sscanf(line, "%*u %*u %u:%u ", &major, &minor) != 2 ||
	    ((uint64_t)major << 32 | minor) != *dev)
		return 0;
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

/*
 * Those whose plain read may pin the caller's buffer and have it filled later: FUSE where the server
 * wants it (FOPEN_DIRECT_IO), 9p and SMB without a cache. Whether they do it with a file is told
 * nowhere. A subtype may follow: "fuse.sshfs".
 */
static bool is_direct(const char *type)
{
	static const char *const names[] = { "fuse", "fuseblk", "virtiofs", "9p", "cifs", "smb3" };
	size_t n = strcspn(type, ". ");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (n == strlen(names[i]) && !strncmp(type, names[i], n))
			return true;
	return false;
}

struct finding {
	struct sdi_mount *mounts;
	size_t n, n_unknown;
};

/* Ends the walk when all are found. */
static int find_mount(void *arg, char *line)
{
	struct finding *f = arg;
	const char *type = type_of(line);
	unsigned id;

	if (!type || sscanf(line, "%u ", &id) != 1)
		return 0;
	for (size_t i = 0; i < f->n; i++)
		if (f->mounts[i].id == id && !f->mounts[i].reads) {
			f->mounts[i].reads = is_direct(type) ? SDI_READS_DIRECT : SDI_READS_COPY;
			f->n_unknown--;
		}
	return !f->n_unknown;
}

/* The mount of a file that memfd_create(2) makes; UINT_MAX: cannot be told. */
static unsigned ask_memory_mount(void)
{
	autoclose int fd = sdi_memfd();
	struct sdi_fdinfo info;
	char path[48];

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
	return fd < 0 || sdi_fdinfo_read(AT_FDCWD, path, &info) ? UINT_MAX : info.mount;
}

/*
 * All of these have one mount, from boot on, which is in no list. To look there for it is a tenth of
 * what a read of a small process costs. Two threads may both ask; they find the same.
 */
static bool is_memory_mount(unsigned id)
{
	static atomic_uint known = UINT_MAX;

	if (atomic_load(&known) == UINT_MAX)
		atomic_store(&known, ask_memory_mount());
	return id == atomic_load(&known);
}

void sdi_mounts_find(const struct sdi_target *t, struct sdi_mount *mounts, size_t n)
{
	struct finding f = { mounts, n, n };

	for (size_t i = 0; i < n; i++) {
		bool memory = is_memory_mount(mounts[i].id);

		mounts[i].reads = memory ? SDI_READS_COPY : SDI_READS_UNKNOWN;
		f.n_unknown -= memory;
	}
	if (!f.n_unknown)
		return;
	autoclose int fd = sdi_target_openat(t, "mountinfo", O_RDONLY);
	if (fd >= 0)
		sdi_each_line(fd, find_mount, &f);
	/* It has inherited files from outside of its container or chroot. */
	autoclose int own = f.n_unknown ? open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC) : -1;
	if (own >= 0)
		sdi_each_line(own, find_mount, &f);
}
