/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks at descriptors by readlink of /proc/self/fd/N, which has followed openat(), O_PATH chains,
 * /proc/self, /proc/thread-self and symbolic links for us. It is only a text: of a file on another
 * mount, or of a process that has ended, it names a stranger. So the file must also be there.
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
#include "emulate/raw.h"

/* Numbers beyond are looked at each time. */
enum { N_FDS = 1 << 20, BITS = 64 };

static atomic_ulong hints[N_FDS / BITS];

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

/* The kernel says so behind the name of a file whose process has ended. */
static bool is_name(const char *name, const char *wanted)
{
	size_t n = strlen(wanted);

	return !strncmp(name, wanted, n) && (!name[n] || !strcmp(name + n, " (deleted)"));
}

/* By the last part of its path. */
static enum sdi_file_kind kind_by_name(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (is_name(name, "clear_refs"))
		return SDI_FILE_CLEAR_REFS;
	return is_name(name, "pagemap") ? SDI_FILE_PAGEMAP : SDI_FILE_OTHER;
}

/* Their modes in fs/proc/base.c since they exist. */
static bool may_be_ours(const struct stat *st)
{
	mode_t mode = st->st_mode & 07777;

	return S_ISREG(st->st_mode) && !st->st_size && (mode == 0400 || mode == 0200);
}

/* PREFIX/PID or PREFIX/PID/task/TID; what is left in path is PREFIX. */
static bool parse(char *path, struct sdi_file *ret)
{
	const char *id = cut(path), *slash;
	pid_t pid = id ? number(id) : 0;

	slash = strrchr(path, '/');
	if (pid && slash && !strcmp(slash, "/task")) {
		cut(path);
		id = cut(path);
		pid = id ? number(id) : 0;
	}
	ret->pid = pid;
	return pid && snprintf(ret->proc, sizeof(ret->proc), "%s/%d", path, pid) <
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

static bool read_link(int fd, char *path, size_t size)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, size - 1);
	path[n > 0 ? n : 0] = '\0';
	return n > 0 && n < (ssize_t)size - 1;	/* else it may be cut off */
}

/* Is that file what path leads to? */
static bool is_there(const char *path, const struct stat *file)
{
	struct stat st;

	return !stat(path, &st) && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

static void find_process(char *path, const struct stat *file, struct sdi_file *ret)
{
	if (is_there(path, file) && cut(path) && parse(path, ret)) {
		ret->pid = translate(path, ret->pid);
		return;
	}
	ret->pid = -1;
	ret->proc[0] = '\0';
}

/*
 * Without a /proc to ask (chroot): by what the kernel refuses. pagemap gives whole entries and cannot
 * seek to data; clear_refs takes no empty command, as the files of /proc/sys do.
 */
static enum sdi_file_kind kind_by_nature(int fd, const struct stat *st)
{
	char c;

	if ((st->st_mode & 0400) && lseek64(fd, 0, SEEK_DATA) < 0 && errno == EINVAL &&
	    raw_pread(fd, &c, 1, 0) == -EINVAL)
		return SDI_FILE_PAGEMAP;
	if ((st->st_mode & 0200) && syscall(SYS_write, fd, "", 0) < 0 && errno == EINVAL)
		return SDI_FILE_CLEAR_REFS;
	return SDI_FILE_OTHER;
}

/* What is one of these files is never said to be none: the kernel's answer to it is "all clean". */
static bool look(int fd, struct sdi_file *ret)
{
	char path[4096];
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || !may_be_ours(&st))
		return false;
	if (!fstatfs(fd, &fs) && fs.f_type != PROC_SUPER_MAGIC)
		return false;
	ret->kind = read_link(fd, path, sizeof(path)) ? kind_by_name(path) :
							kind_by_nature(fd, &st);
	if (ret->kind == SDI_FILE_OTHER)
		return false;
	find_process(path, &st, ret);
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
	struct stat st;

	if (!path || kind_by_name(path) != SDI_FILE_OTHER)
		return true;
	/* A symbolic link, or /proc/self/fd/N. */
	return !fstat(fd, &st) && may_be_ours(&st);
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
	DIR *dir;

	sdi_file_forked();
	dir = opendir("/proc/self/fd");
	for (struct dirent *d; dir && (d = readdir(dir));)
		if (number(d->d_name) || !strcmp(d->d_name, "0"))
			sdi_file_opened(atoi(d->d_name), NULL);
	if (dir)
		closedir(dir);
}
