/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The runtime directory and the files in it; see place.h. */
#include "wire/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "target/target.h"

enum { BACKLOG = 64 };

/* A directory that nobody but us can have made: sessions of other users leave theirs in the
 * environment of su(1). */
static bool is_ours(const char *path)
{
	struct stat st;

	return path && path[0] == '/' && !stat(path, &st) && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid();
}

static void choose(char *parent, size_t size, char *name, size_t name_size)
{
	uid_t uid = geteuid();
	const char *xdg = secure_getenv("XDG_RUNTIME_DIR");

	snprintf(name, name_size, "softdirty");
	if (uid == 0) {
		snprintf(parent, size, "/run");
		return;
	}
	snprintf(parent, size, "%s", xdg ? xdg : "");
	if (is_ours(parent))
		return;
	snprintf(parent, size, "/run/user/%u", uid);
	if (is_ours(parent))
		return;
	snprintf(parent, size, "/tmp");
	snprintf(name, name_size, "softdirty-%u", uid);
}

static int check_dir(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st))
		return sdi_fail(errno, "cannot look at %s: %s", path, sdi_strerror(errno));
	if (st.st_uid != geteuid())
		return sdi_fail(EPERM, "%s belongs to uid %u, not to %u: not used (set "
				"XDG_RUNTIME_DIR)", path, st.st_uid, geteuid());
	if ((st.st_mode & 07777) != 0700)
		return sdi_fail(EPERM, "%s has mode %04o, not 0700: not used (chmod 700 it)", path,
				st.st_mode & 07777);
	return 0;
}

int sdi_place_open(bool create, struct sdi_place *ret)
{
	char parent[200], name[32];
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

	choose(parent, sizeof(parent), name, sizeof(name));
	snprintf(ret->path, sizeof(ret->path), "%s/%s", parent, name);
	autoclose int up = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (up < 0)
		return sdi_fail(errno, "cannot open %s: %s", parent, sdi_strerror(errno));
	if (create && mkdirat(up, name, 0700) && errno != EEXIST)
		return sdi_fail(errno, "cannot create %s: %s", ret->path, sdi_strerror(errno));
	autoclose int dir = openat(up, name, flags);
	if (dir < 0 && (errno == ENOTDIR || errno == ELOOP))
		return sdi_fail(EPERM, "%s is not a directory: not used (remove it)", ret->path);
	if (dir < 0 && errno == EACCES)
		return sdi_fail(EPERM, "%s is closed to its user: not used (chmod 700 it)", ret->path);
	if (dir < 0)
		return sdi_fail(errno, "cannot open %s: %s", ret->path, sdi_strerror(errno));
	int err = check_dir(dir, ret->path);
	if (!err)
		ret->dir = take_fd(&dir);
	return err;
}

void sdi_place_close(struct sdi_place *p)
{
	sdi_cleanup_fd(&p->dir);
	p->dir = -1;
}

struct sdi_place_name sdi_place_name(pid_t pid, uint64_t start_time)
{
	struct sdi_place_name ret;

	snprintf(ret.text, sizeof(ret.text), "%d-%" PRIu64, pid, start_time);
	return ret;
}

static void file_name(char buf[48], const struct sdi_place_name *name, const char *suffix)
{
	snprintf(buf, 48, "%s.%s", name->text, suffix);
}

static struct sockaddr_un address(int dir, const struct sdi_place_name *name)
{
	struct sockaddr_un ret = { .sun_family = AF_UNIX };

	snprintf(ret.sun_path, sizeof(ret.sun_path), "/proc/self/fd/%d/%s.sock", dir, name->text);
	return ret;
}

int sdi_place_connect(int dir, const struct sdi_place_name *name)
{
	struct sockaddr_un addr = address(dir, name);
	autoclose int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int err;

	if (sock < 0)
		return -errno;
	do
		err = connect(sock, (struct sockaddr *)&addr, sizeof(addr)) ? errno : 0;
	while (err == EINTR);
	return err ? -err : take_fd(&sock);
}

/* Is fd still what the name stands for? The keeper that had the lock before removes the file. */
static bool is_current(int dir, const char *file, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dir, file, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int sdi_place_lock(int dir, const struct sdi_place_name *name)
{
	char file[48];

	file_name(file, name, "lock");
	for (;;) {
		autoclose int fd = openat(dir, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB))
			return -errno;
		if (is_current(dir, file, fd))
			return take_fd(&fd);
	}
}

int sdi_place_listen(int dir, const struct sdi_place_name *name, bool *stale)
{
	struct sockaddr_un addr = address(dir, name);
	char file[48];
	autoclose int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock < 0)
		return -errno;
	file_name(file, name, "sock");
	*stale = unlinkat(dir, file, 0) == 0;
	if (bind(sock, (struct sockaddr *)&addr, sizeof(addr)) || listen(sock, BACKLOG))
		return -errno;
	return take_fd(&sock);
}

/* The lock goes last: until then nobody else may have made the files. */
void sdi_place_remove(int dir, const struct sdi_place_name *name, bool leave_stale)
{
	char file[48];

	file_name(file, name, "sock");
	if (!leave_stale)
		unlinkat(dir, file, 0);
	file_name(file, name, "lock");
	unlinkat(dir, file, 0);
}

static bool has_ended(pid_t pid, uint64_t start_time)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	autoclose int procfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t now = procfd < 0 ? 0 : sdi_start_time(procfd);
	return now ? now != start_time : errno == ENOENT || errno == ESRCH;
}

/* The target of a file that was left behind, if it is one. */
static bool parse_name(const char *file, pid_t *pid, uint64_t *start_time)
{
	const char *dot = strrchr(file, '.');

	return dot && (!strcmp(dot, ".lock") || !strcmp(dot, ".sock")) &&
	       sscanf(file, "%d-%" SCNu64 ".", pid, start_time) == 2;
}

void sdi_place_sweep(int dir)
{
	autoclose int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclosedir DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (!d)
		return;
	take_fd(&fd);
	for (struct dirent *e; (e = readdir(d));) {
		uint64_t start_time;
		pid_t pid;

		if (!parse_name(e->d_name, &pid, &start_time) || !has_ended(pid, start_time))
			continue;
		struct sdi_place_name name = sdi_place_name(pid, start_time);
		autoclose int lock = sdi_place_lock(dir, &name);
		if (lock >= 0)
			sdi_place_remove(dir, &name, false);
	}
}
