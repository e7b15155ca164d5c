/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the target has open. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/threads.h"

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

static int call(sdi_fds_fn *fn, void *arg, int folder)
{
	autoclose int fd = folder;
	autoclosedir DIR *fds = fd >= 0 ? fdopendir(fd) : NULL;

	if (!fds)
		return fd < 0 ? fd : -errno;
	take_fd(&fd);
	return fn(arg, fds);
}

struct tables {
	const struct sdi_target *target;
	sdi_fds_fn *fn;
	void *arg;
	pid_t last;		/* whose was looked at last */
};

/*
 * Where that cannot be asked (CONFIG_KCMP, a seccomp filter) they are taken for one. Not if one of them has
 * ended meanwhile: the other's may be looked at by nobody else.
 */
static bool is_same(pid_t a, pid_t b)
{
	long ret = syscall(SYS_kcmp, a, b, KCMP_FILES, 0, 0);

	return !ret || (ret < 0 && errno != ESRCH);
}

static bool has_ended(const struct sdi_target *t, pid_t tid)
{
	struct sdi_status s = { 0 };
	int err = sdi_thread_status(t, tid, &s);

	return err ? err == -ENOENT || err == -ESRCH : sdi_status_ended(&s);
}

/* A thread that has ended has no table either. */
static int call_if_other(void *arg, pid_t tid)
{
	struct tables *all = arg;
	char path[32];

	if (is_same(all->target->pid, tid) || (all->last && is_same(all->last, tid)))
		return 0;
	snprintf(path, sizeof(path), "task/%d/fd", tid);
	int fd = openat(all->target->procfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (err)
		return has_ended(all->target, tid) ? 0 : err;
	all->last = tid;
	return call(all->fn, all->arg, fd);
}

int sdi_each_fds(const struct sdi_target *t, sdi_fds_fn *fn, void *arg)
{
	struct tables others = { .target = t, .fn = fn, .arg = arg };
	int ret = call(fn, arg, sdi_target_openat(t, "fd", O_RDONLY | O_DIRECTORY));

	return ret ? ret : sdi_each_thread(t, call_if_other, &others);
}

static int look_for_uffd(void *arg, DIR *fds)
{
	struct stat st;

	for (struct dirent *d; (d = readdir(fds));)
		if (is_uffd(dirfd(fds), d->d_name, &st) && !is_ours(&st))
			return 1;
	return 0;
}

int sdi_target_has_uffd(const struct sdi_target *t)
{
	return sdi_each_fds(t, look_for_uffd, NULL);
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
