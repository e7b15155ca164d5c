/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the target has open. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/target.h"

static bool is_uffd(int dir, const char *fd, struct stat *ret)
{
	static const char name[] = "anon_inode:[userfaultfd]";
	char link[sizeof(name)];

	return readlinkat(dir, fd, link, sizeof(link)) == sizeof(name) - 1 &&
	       !memcmp(link, name, sizeof(name) - 1) && !fstatat(dir, fd, ret, 0);
}

/* Each has an inode of its own since Linux 5.12, commit b537900f1598. */
static bool is_ours(const struct stat *uffd)
{
	autoclosedir DIR *dir = opendir("/proc/self/fd");
	struct stat st;

	for (struct dirent *d; dir && (d = readdir(dir));)
		if (is_uffd(dirfd(dir), d->d_name, &st) && st.st_ino == uffd->st_ino)
			return true;
	return false;
}

int sdi_target_has_uffd(const struct sdi_target *t)
{
	autoclose int fd = sdi_target_openat(t, "fd", O_RDONLY | O_DIRECTORY);
	autoclosedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct stat st;

	if (!dir)
		return fd < 0 ? fd : -errno;
	take_fd(&fd);
	for (struct dirent *d; (d = readdir(dir));)
		if (is_uffd(dirfd(dir), d->d_name, &st) && !is_ours(&st))
			return 1;
	return 0;
}

int sdi_fdinfo_read(int dir, const char *path, struct sdi_fdinfo *ret)
{
	char text[256];		/* what every file has stands first */
	ssize_t n = sdi_read_text(dir, path, text, sizeof(text));

	if (n < 0)
		return n;
	const char *at = strstr(text, "flags:");
	if (!at || sscanf(at, "flags: %o mnt_id: %u", &ret->flags, &ret->mount) != 2)
		return -EBADMSG;
	return 0;
}
