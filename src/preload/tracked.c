/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens what softdirty.h gives for a process, just for the time of one call. A process that nobody
 * has cleared has no keeper, and needs none: all of it is dirty.
 */
#include "preload/tracked.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/criu.h"
#include "uapi/userfaultfd.h"

/* uffd: of that process, or -1. */
static int open_shared(pid_t pid, unsigned flags, int uffd, struct softdirty **ret)
{
	struct softdirty_options o = {
		.size = sizeof(o),
		.flags = SOFTDIRTY_OPEN_SHARED | flags,
		.uffd = uffd,
	};

	if (uffd >= 0)
		o.flags |= SOFTDIRTY_OPEN_UFFD;
	return softdirty_open(pid, &o, ret);
}

/* Our own process need not be stopped to get one. */
static int own_uffd(pid_t pid)
{
	if (pid != getpid())
		return -1;
	return syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
}

static const char *mark(void)
{
	return sdi_is_criu() ? SDI_CRIU_MARK : SDI_KERNEL_MARK;
}

static int clear(pid_t pid)
{
	struct softdirty *sd;
	int err = open_shared(pid, 0, own_uffd(pid), &sd);

	if (err)
		return err;
	err = softdirty_clear(sd, mark());
	softdirty_close(sd);
	return err;
}

/*
 * CRIU tries the interface on itself (kerndat_get_dirty_track()): clears, writes a new page, expects
 * its bit. Answer what would be true of others and leave criu untracked: all of it is dirty.
 */
static int clear_criu(void)
{
	const struct softdirty_backend *b;
	size_t n;
	int err = softdirty_check(0, &b, &n);

	for (size_t i = 0; !err && i < n; i++)
		if (b[i].works)
			return 0;
	return -EINVAL;
}

/* Begin with the keeper of that process, if it has one. */
static struct sdi_view look(const struct sdi_file *f)
{
	struct sdi_view v = { .mark = mark(), .proc = f->proc[0] ? f->proc : NULL };

	if (f->pid < 0 || open_shared(f->pid, SOFTDIRTY_OPEN_EXISTING, -1, &v.sd))
		v.sd = NULL;
	return v;
}

/*
 * CRIU asks mapping by mapping about processes that it holds stopped. Asking the keeper each time, and
 * it the kernel about all descriptors and mappings, would keep a large one stopped for seconds.
 */
static struct {
	pid_t pid;		/* 0: none */
	struct sdi_file file;
	struct sdi_view v;
	struct sdi_frozen frozen;
} held;

static void drop_held(void)
{
	softdirty_close(held.v.sd);
	sdi_frozen_fini(&held.frozen);
	held.v = (struct sdi_view){ 0 };
	held.pid = 0;
}

int sdi_tracked_clear(const struct sdi_file *f)
{
	int err;

	/* As of a process that has ended: most often it has. */
	if (!f->proc[0])
		return -ESRCH;
	if (f->pid < 0)
		return -EINVAL;
	drop_held();
	if (sdi_is_criu() && f->pid == getpid())
		return clear_criu();
	err = clear(f->pid);
	/* One process that cannot be tracked now stays dirty, whole: that spoils no image. */
	if (sdi_is_criu() && (err == -EBUSY || err == -EOPNOTSUPP))
		return 0;
	return err == -EOPNOTSUPP ? -EINVAL : err;
}

static const struct sdi_view *look_held(const struct sdi_file *f)
{
	if (held.pid == f->pid)
		return &held.v;
	drop_held();
	held.file = *f;
	held.v = look(&held.file);
	if (!sdi_view_freeze(&held.v, &held.frozen))
		held.v.frozen = &held.frozen;
	sdi_criu_vdso(f->proc, &held.v.whole_start, &held.v.whole_end);
	held.pid = f->pid;
	return &held.v;
}

static bool is_held(const struct sdi_file *f)
{
	return sdi_is_criu() && f->pid > 0 && f->pid != getpid();
}

void sdi_tracked_entries(const struct sdi_file *f, uint64_t first_page, uint64_t *entries,
			 size_t n)
{
	bool hold = is_held(f);
	struct sdi_view v = hold ? *look_held(f) : look(f);

	sdi_emulate_entries(&v, first_page, entries, n);
	if (!hold)
		softdirty_close(v.sd);
}

int sdi_tracked_scan(const struct sdi_file *f, int pagemap, struct pm_scan_arg *arg)
{
	bool hold = is_held(f);
	struct sdi_view v = hold ? *look_held(f) : look(f);
	int ret = sdi_emulate_scan(&v, pagemap, getpid(), -1, arg);

	if (!hold)
		softdirty_close(v.sd);
	return ret;
}

void sdi_tracked_seized(pid_t pid)
{
	struct softdirty *sd;
	int uffd;

	drop_held();
	if (!softdirty_borrow(pid, &uffd) && !open_shared(pid, 0, uffd, &sd))
		softdirty_close(sd);
}
