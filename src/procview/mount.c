/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds and removes mounts of servers that were killed. Only ever touches mounts of our own type. */
#include "procview/mount.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The last component may be a dead mount, which cannot be looked at. */
static int absolute_path(const char *dir, char ret[static PATH_MAX])
{
	char copy[PATH_MAX], parent[PATH_MAX], *base;
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n == 0 || n >= sizeof(copy))
		return -ENOENT;
	memcpy(copy, dir, n);
	copy[n] = '\0';
	if (realpath(copy, ret))
		return 0;
	base = strrchr(copy, '/');
	if (base)
		*base++ = '\0';
	if (!realpath(!base ? "." : *copy ? copy : "/", parent))
		return -errno;
	n = snprintf(ret, PATH_MAX, "%s/%s", parent[1] ? parent : "", base ? base : copy);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* mountinfo writes blanks and the like as \040. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*to++ = (s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0');
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* Is the uppermost mount on that very path one of ours? */
static bool is_ours(const char *path)
{
	autofree char *line = NULL;
	size_t size = 0;
	bool ours = false;

	autofclose FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && getline(&line, &size, f) > 0) {
		char *point = NULL, *type = strstr(line, " - ");

		if (sscanf(line, "%*s %*s %*s %*s %ms", &point) == 1) {
			unescape(point);
			if (type && !strcmp(point, path))
				ours = !strncmp(type + 3, MOUNT_TYPE " ", sizeof(MOUNT_TYPE));
		}
		free(point);
	}
	return ours;
}

static int run_fusermount(const char *path)
{
	char *argv[] = { "fusermount3", "-u", "-q", "-z", "--", (char *)path, NULL };
	pid_t pid;
	int status, err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status ? -EPERM : 0;
}

static int unmount(const char *path)
{
	if (!umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW))
		return 0;
	return errno == EPERM ? run_fusermount(path) : -errno;
}

static int clean(const char *path)
{
	struct stat st;

	while (is_ours(path)) {
		int err;

		if (!stat(path, &st))
			return -EBUSY;
		if (errno != ENOTCONN && errno != ECONNABORTED)
			return -errno;
		err = unmount(path);
		if (err)
			return err;
	}
	return 0;
}

int mount_clean_dir(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;
	int err = absolute_path(dir, path);

	if (!err)
		err = clean(path);
	if (err)
		return err;
	if (stat(path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int mount_clean_over(pid_t pid)
{
	static const char *const files[] = {
		"/proc/%d/clear_refs", "/proc/%d/pagemap",
		"/proc/%d/task/%d/clear_refs", "/proc/%d/task/%d/pagemap",
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files) && !err; i++) {
		char path[64];

		snprintf(path, sizeof(path), files[i], pid, pid);
		err = clean(path);
	}
	return err;
}
