/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linux has credentials per thread; libc's functions change those of all threads, so these are bare
 * system calls. Only fsuid, fsgid, groups and effective capabilities are changed: they are what
 * PTRACE_MODE_READ_FSCREDS and file permissions look at, and nobody can send us signals for it.
 */
#include "procview/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "uapi/syscalls.h"


static struct {
	bool able;
	uint64_t effective, permitted, inheritable;
	gid_t groups[NGROUPS_MAX];
	int n_groups;
} own;

/* --- capabilities --------------------------------------------------------------------------- */

static int get_caps(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	own.effective = d[0].effective | (uint64_t)d[1].effective << 32;
	own.permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	own.inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

static int set_effective(uint64_t caps)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ caps, own.permitted, own.inheritable },
		{ caps >> 32, own.permitted >> 32, own.inheritable >> 32 },
	};

	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

/* --- acting for somebody -------------------------------------------------------------------- */

/* The functions say nothing; asking for an impossible id tells the present one. */
static bool set_ids(uid_t uid, gid_t gid)
{
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	return (gid_t)syscall(SYS_setfsgid, -1) == gid && (uid_t)syscall(SYS_setfsuid, -1) == uid;
}

int caller_enter(const struct caller *c)
{
	if (!own.able)
		return 0;
	if (syscall(SYS_setgroups, c->n_groups, c->groups))
		return -errno;
	/* In this order: a change of the fsuid changes capabilities too. */
	if (set_ids(c->uid, c->gid) && !set_effective(c->caps & own.permitted))
		return 0;
	caller_leave();
	return -EPERM;
}

void caller_leave(void)
{
	if (!own.able)
		return;
	/* Going on with somebody else's rights, or without ours, would serve everybody wrongly. */
	if (set_effective(own.effective) || syscall(SYS_setgroups, own.n_groups, own.groups) ||
	    !set_ids(geteuid(), getegid()) || set_effective(own.effective))
		abort();
}

bool caller_setup(void)
{
	struct caller nobody = { .uid = 65534, .gid = 65534 };

	own.n_groups = getgroups(NGROUPS_MAX, own.groups);
	if (geteuid() != 0 || own.n_groups < 0 || get_caps())
		return false;
	own.able = true;
	if (caller_enter(&nobody)) {
		own.able = false;
		return false;
	}
	caller_leave();
	return true;
}

/* --- who it is ------------------------------------------------------------------------------ */

/* What /proc/TID/status says that the request itself does not. */
struct status {
	pid_t tgid;
	uid_t fsuid;
	uint64_t caps;
	gid_t *groups;
	size_t n_groups;
};

static int read_groups(struct status *s, char *p)
{
	char *end;

	/* One digit and one blank for each, at least. */
	s->groups = calloc(strlen(p) / 2 + 1, sizeof(*s->groups));
	if (!s->groups)
		return -ENOMEM;
	for (gid_t g = strtoul(p, &end, 10); end != p; g = strtoul(p, &end, 10)) {
		s->groups[s->n_groups++] = g;
		p = end;
	}
	return 0;
}

static int read_status(pid_t tid, struct status *s)
{
	autofree char *line = NULL;
	size_t size = 0;
	char path[32];
	int err = 0;

	*s = (struct status){ .fsuid = -1 };
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	autofclose FILE *f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!err && getline(&line, &size, f) > 0) {
		sscanf(line, "Tgid: %d", &s->tgid);
		sscanf(line, "Uid: %*u %*u %*u %u", &s->fsuid);
		sscanf(line, "CapEff: %lx", &s->caps);
		if (!strncmp(line, "Groups:", 7))
			err = read_groups(s, line + 7);
	}
	return err;
}

/* Capabilities count in the user namespace that they were given in. */
static bool in_our_user_namespace(pid_t tid)
{
	char path[40], theirs[64] = "", ours[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/ns/user", tid);
	return readlink(path, theirs, sizeof(theirs) - 1) > 0 &&
	       readlink("/proc/self/ns/user", ours, sizeof(ours) - 1) > 0 &&
	       !strcmp(ours, theirs);
}

int caller_init(struct caller *c, uid_t uid, gid_t gid, pid_t tid)
{
	struct status s;
	int err;

	*c = (struct caller){ .uid = uid, .gid = gid, .tid = tid };
	err = tid ? read_status(tid, &s) : -ESRCH;
	if (err) {
		/* Somebody without groups and capabilities, then. */
		if (err != -ENOMEM)
			return 0;
		free(s.groups);
		return err;
	}
	c->tgid = s.tgid;
	c->caps = in_our_user_namespace(tid) ? s.caps : 0;
	c->groups = s.groups;
	c->n_groups = s.n_groups;
	return 0;
}

void caller_fini(struct caller *c)
{
	free(c->groups);
}

/* A caller that was killed may leave its pid to a process of somebody else. */
int caller_pidfd(const struct caller *c)
{
	struct status s;
	int fd = c->tgid ? (int)syscall(SYS_pidfd_open, c->tgid, 0) : -1;

	if (fd < 0)
		return c->tgid ? -errno : -ESRCH;
	if (!read_status(c->tid, &s)) {
		free(s.groups);
		if (s.fsuid == c->uid && s.tgid == c->tgid)
			return fd;
	}
	close(fd);
	return -ESRCH;
}
