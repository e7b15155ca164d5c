/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts over the files of /proc/PID. They are made in the mount namespace of the caller, by a
 * child, because the server itself must see the files below them (see mount.h).
 *
 *	caller's namespace			the server's
 *	/tmp/softdirty-XXXXXX	(for a moment)	-
 *	/proc/1/clear_refs	<- bind		the real one
 *	/proc/1/pagemap		<- bind		the real one
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "procview/mount.h"

struct bind {
	const char *name;		/* below the mounted directory, and below /proc */
	const char *over;
};

static const struct bind binds[] = {
	{ "%d/clear_refs", "/proc/%d/clear_refs" },
	{ "%d/pagemap", "/proc/%d/pagemap" },
	{ "%d/clear_refs", "/proc/%d/task/%d/clear_refs" },
	{ "%d/pagemap", "/proc/%d/task/%d/pagemap" },
};

/* What the child reports: 0, or what failed and why. */
struct report {
	int err;
	char what[128];
};

static int failed(struct report *r, const char *what)
{
	r->err = errno;
	snprintf(r->what, sizeof(r->what), "%s", what);
	return -r->err;
}

/* --- in the child --------------------------------------------------------------------------- */

/* Is it us that is mounted there? Asks the server, which therefore must still serve. */
static bool is_fuse(const char *path)
{
	struct stat st, proc;

	return !stat(path, &st) && !stat("/proc", &proc) && st.st_dev != proc.st_dev;
}

static void unbind(pid_t pid)
{
	for (size_t i = 0; i < ARRAY_SIZE(binds); i++) {
		char over[64];

		snprintf(over, sizeof(over), binds[i].over, pid, pid);
		if (is_fuse(over))
			umount2(over, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
}

static int bind_all(const char *dir, pid_t pid, struct report *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(binds); i++) {
		char name[32], from[96], over[64];

		snprintf(name, sizeof(name), binds[i].name, pid);
		snprintf(from, sizeof(from), "%s/%s", dir, name);
		snprintf(over, sizeof(over), binds[i].over, pid, pid);
		if (mount(from, over, NULL, MS_BIND, NULL))
			return failed(r, over);
	}
	return 0;
}

static int bind_processes(const struct over *o, const char *dir, struct report *r)
{
	int err = 0;

	for (size_t i = 0; i < o->n && !err; i++)
		err = bind_all(dir, o->pids[i], r);
	for (size_t i = 0; i < o->n && err; i++)
		unbind(o->pids[i]);
	return err;
}

/* A directory is needed to take the files from, and can go again. */
static int mount_fuse(const char *dir, int fuse, struct report *r)
{
	char data[96];

	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other",
		 fuse, getuid(), getgid());
	if (mount(MOUNT_FSNAME, dir, MOUNT_TYPE, MS_NOSUID | MS_NODEV | MS_NOEXEC, data))
		return failed(r, dir);
	return 0;
}

/* Wait to be told, do it, say what came of it. */
static void child(const struct over *o, int channel)
{
	char dir[] = "/tmp/softdirty-XXXXXX", byte;
	struct report r = { 0 };

	if (read(channel, &byte, 1) != 1)
		_exit(1);
	if (!mkdtemp(dir))
		failed(&r, dir);
	else if (!mount_fuse(dir, o->fuse, &r)) {
		if (write(channel, &r, sizeof(r)) == sizeof(r) && read(channel, &byte, 1) == 1)
			bind_processes(o, dir, &r);
		umount2(dir, MNT_DETACH);
	}
	rmdir(dir);
	_exit(write(channel, &r, sizeof(r)) != sizeof(r));
}

/* --- in the server -------------------------------------------------------------------------- */

static int fork_child(struct over *o)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	o->child = fork();
	if (!o->child) {
		close(sv[0]);
		child(o, sv[1]);
	}
	close(sv[1]);
	o->channel = sv[0];
	return o->child < 0 ? -errno : 0;
}

/* Other mounts go on to follow the caller's; what is done to /proc there must not reach us. */
static int leave(struct over *o)
{
	o->home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (o->home < 0 || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) ||
	    mount(NULL, "/proc", NULL, MS_PRIVATE | MS_REC, NULL))
		return -errno;
	return 0;
}

int over_begin(struct over *o, char why[static 256])
{
	int err = 0;

	o->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (o->fuse < 0) {
		err = -errno;
		snprintf(why, 256, "/dev/fuse: %s", strerror(-err));
		return err;
	}
	err = fork_child(o);
	if (!err)
		err = leave(o);
	if (err)
		snprintf(why, 256, "cannot make a mount namespace: %s%s", strerror(-err),
			 err == -EPERM ? " (be root)" : "");
	return err;
}

static int tell_child(struct over *o, char why[static 256])
{
	struct report r = { .err = EIO, .what = "the mounting child" };

	if (write(o->channel, "", 1) == 1 && read(o->channel, &r, sizeof(r)) < 0)
		r.err = errno;
	if (r.err)
		snprintf(why, 256, "%s: %s", r.what, strerror(r.err));
	return -r.err;
}

int over_mount(struct over *o, int *fuse, char why[static 256])
{
	int err = tell_child(o, why);

	if (!err)
		*fuse = take_fd(&o->fuse);
	return err;
}

/* Hanging up lets it tidy up and end, if it has not. */
static void end_child(struct over *o)
{
	sdi_cleanup_fd(&o->channel);
	o->channel = -1;
	if (o->child > 0)
		while (waitpid(o->child, NULL, 0) < 0 && errno == EINTR)
			;
	o->child = 0;
}

int over_bind(struct over *o, char why[static 256])
{
	int err = tell_child(o, why);

	end_child(o);
	return err;
}

void over_unmount(struct over *o)
{
	end_child(o);
	sdi_cleanup_fd(&o->fuse);
	o->fuse = -1;
	if (o->home < 0)
		return;
	o->child = fork();
	if (!o->child) {
		if (!setns(o->home, CLONE_NEWNS))
			for (size_t i = 0; i < o->n; i++)
				unbind(o->pids[i]);
		_exit(0);
	}
	end_child(o);
	sdi_cleanup_fd(&o->home);
	o->home = -1;
}
