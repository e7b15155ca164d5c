/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns a descriptor of /proc: everything is opened below it. Knows no FUSE. */
#include "procview/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef SYS_faccessat2
#define SYS_faccessat2 439	/* Linux 5.8 */
#endif

static int proc = -1;

int proc_setup(void)
{
	sdi_cleanup_fd(&proc);
	proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc < 0 ? -errno : 0;
}

int proc_dir(pid_t pid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", pid);
	int fd = openat(proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Field 22, counted after the name, which may hold anything. */
uint64_t proc_start_time(int dir)
{
	char text[2048];
	autoclose int fd = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

bool proc_is_visible(pid_t pid)
{
	uint64_t entry;
	autoclose int dir = proc_dir(pid);

	if (dir < 0)
		return false;
	autoclose int pagemap = openat(dir, "pagemap", O_RDONLY | O_CLOEXEC);
	/* Kernel threads and zombies have no memory: nothing to read. */
	return pagemap >= 0 && pread(pagemap, &entry, sizeof(entry), 0) == sizeof(entry);
}

bool proc_is_leader(pid_t pid)
{
	char text[1024], *p;
	pid_t tgid = 0;
	autoclose int dir = proc_dir(pid);
	autoclose int fd = dir < 0 ? -1 : openat(dir, "status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strstr(text, "\nTgid:");
	return p && sscanf(p, "\nTgid: %d", &tgid) == 1 && tgid == pid;
}

static void make_path(pid_t pid, const char *name, char ret[static 64])
{
	snprintf(ret, 64, name ? "%d/%s" : "%d", pid, name);
}

int proc_stat(pid_t pid, const char *name, struct stat *ret)
{
	char path[64];

	make_path(pid, name, path);
	return fstatat(proc, path, ret, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int proc_access(pid_t pid, const char *name, int mask)
{
	char path[64];

	make_path(pid, name, path);
	return syscall(SYS_faccessat2, proc, path, mask, AT_EACCESS) ? -errno : 0;
}

DIR *proc_list(void)
{
	autoclose int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d)
		take_fd(&fd);
	return d;
}

pid_t proc_pid(const char *name)
{
	char *end;
	long pid = *name >= '1' && *name <= '9' ? strtol(name, &end, 10) : 0;

	return pid > 0 && !*end && pid <= INT32_MAX ? (pid_t)pid : 0;
}
