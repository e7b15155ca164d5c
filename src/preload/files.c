/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks at descriptors by readlink of /proc/self/fd/N, which has followed openat(), O_PATH chains,
 * /proc/self, /proc/thread-self and symbolic links for us.
 */
#include "preload/files.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Numbers beyond are looked at each time. */
enum { N_FDS = 1 << 20, BITS = 64 };

static atomic_ulong hints[N_FDS / BITS];
static dev_t proc_dev;

/* A child of vfork() has descriptors of its own but shares this memory: it must drop no hint. */
static pid_t owner;

bool sdi_file_hint(int fd)
{
	if (fd < 0 || fd >= N_FDS)
		return fd >= 0;
	return atomic_load_explicit(&hints[fd / BITS], memory_order_relaxed) >> fd % BITS & 1;
}

static void set_hint(int fd)
{
	if (fd >= 0 && fd < N_FDS)
		atomic_fetch_or(&hints[fd / BITS], 1ul << fd % BITS);
}

static void drop_hint(int fd)
{
	if (fd >= 0 && fd < N_FDS && getpid() == owner)
		atomic_fetch_and(&hints[fd / BITS], ~(1ul << fd % BITS));
}

/* Cut "/name" off the end of path, return name; NULL if there is none. */
static char *cut(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

static pid_t number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	return *text && !*end && n > 0 && n <= INT32_MAX ? n : 0;
}

/* PREFIX/PID/pagemap or PREFIX/PID/task/TID/pagemap; what is left in path is PREFIX. */
static bool parse(char *path, struct sdi_file *ret)
{
	const char *name = cut(path), *id = name ? cut(path) : NULL, *slash;

	if (!id || !number(id))
		return false;
	if (!strcmp(name, "clear_refs"))
		ret->kind = SDI_FILE_CLEAR_REFS;
	else if (!strcmp(name, "pagemap"))
		ret->kind = SDI_FILE_PAGEMAP;
	else
		return false;
	ret->pid = number(id);
	slash = strrchr(path, '/');
	if (slash && !strcmp(slash, "/task")) {
		cut(path);
		id = cut(path);
		if (!id || !number(id))
			return false;
		ret->pid = number(id);
	}
	return snprintf(ret->proc, sizeof(ret->proc), "%s/%d", path, ret->pid) <
	       (int)sizeof(ret->proc);
}

/* The pid as we would call it; a /proc of another pid namespace counts differently. */
static pid_t translate(const char *prefix, pid_t pid)
{
	char path[4096 + 8], text[16];
	pid_t self = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/self", prefix);
	n = readlink(path, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = '\0';
		self = number(text);
	}
	if (self == pid)
		return getpid();
	return self == getpid() ? pid : -1;
}

static bool look(int fd, struct sdi_file *ret)
{
	char link[32], path[4096];
	struct statfs fs;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	if (!parse(path, ret) || fstatfs(fd, &fs) || fs.f_type != PROC_SUPER_MAGIC)
		return false;
	ret->pid = translate(path, ret->pid);
	return true;
}

enum sdi_file_kind sdi_file_look(int fd, struct sdi_file *ret)
{
	int before = errno;

	if (!look(fd, ret)) {
		ret->kind = SDI_FILE_OTHER;
		drop_hint(fd);
	}
	errno = before;
	return ret->kind;
}

/* Programs in a sandbox may be killed for an unexpected system call: make few, and only here. */
static bool is_worth_a_look(int fd, const char *path)
{
	const char *name = path ? strrchr(path, '/') : NULL;
	struct stat st;

	name = name ? name + 1 : path;
	if (!name || !strcmp(name, "clear_refs") || !strcmp(name, "pagemap"))
		return true;
	/* A symbolic link, or /proc/self/fd/N. */
	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_dev == proc_dev;
}

void sdi_file_opened(int fd, const char *path)
{
	int before = errno;
	struct sdi_file f;

	if (fd >= 0 && is_worth_a_look(fd, path) && look(fd, &f))
		set_hint(fd);
	errno = before;
}

void sdi_file_copied(int from, int to)
{
	if (to >= 0 && sdi_file_hint(from))
		set_hint(to);
}

void sdi_file_forked(void)
{
	owner = getpid();
}

void sdi_file_start(void)
{
	struct stat st;
	DIR *dir;

	sdi_file_forked();
	if (!stat("/proc", &st))
		proc_dev = st.st_dev;
	dir = opendir("/proc/self/fd");
	for (struct dirent *d; dir && (d = readdir(dir));)
		if (number(d->d_name) || !strcmp(d->d_name, "0"))
			sdi_file_opened(atoi(d->d_name), NULL);
	if (dir)
		closedir(dir);
}
