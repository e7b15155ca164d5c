/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the descriptors that stand for a process, and reads what /proc says about who it is.
 * Every file is opened below one descriptor of /proc/PID, which never turns into another process
 * when the pid is reused.
 */
#include "target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/threads.h"
#include "uapi/syscalls.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

/* Numbers of a stat file from field `first` on. Field 2 is the name, which may hold anything,
 * also ") R 1"; none of the later ones can. */
static bool stat_fields(int dirfd, const char *path, int first, uint64_t *ret, int n)
{
	char stat[2048];

	if (sdi_read_text(dirfd, path, stat, sizeof(stat)) < 0)
		return false;
	char *p = strrchr(stat, ')');
	for (int field = 2; p && field < first; field++)
		p = strchr(p + 1, ' ');
	for (int i = 0; p && i < n; i++)
		ret[i] = strtoull(p, &p, 10);
	return p;
}

uint64_t sdi_start_time(int procfd)
{
	uint64_t start = 0;

	return stat_fields(procfd, "stat", 22, &start, 1) ? start : 0;
}

uint64_t sdi_memory_id(const struct sdi_target *t)
{
	uint64_t f[3] = { 0 };	/* startcode, endcode, startstack: random after each exec */

	stat_fields(t->procfd, "stat", 26, f, 3);
	return f[0] * 31 + f[1] * 7 + f[2];
}

int sdi_task_faults(int dirfd, const char *path, uint64_t *ret)
{
	uint64_t f[3];	/* minor, those of waited-for children, major */

	if (!stat_fields(dirfd, path, 10, f, 3))
		return -ESRCH;
	*ret = f[0] + f[2];
	return 0;
}

int sdi_fault_count(const struct sdi_target *t, uint64_t *ret)
{
	return sdi_task_faults(t->procfd, "stat", ret);
}

int sdi_thread_count(const struct sdi_target *t, uint64_t *ret)
{
	return stat_fields(t->procfd, "stat", 20, ret, 1) ? 0 : -ESRCH;
}

/* The C library of most processes gives each of its threads a list of locks. 0.3 instead of 13 us. */
static bool has_robust_list(pid_t tid)
{
	void *head = NULL;
	size_t len;

	return !syscall(SYS_get_robust_list, tid, &head, &len) && head;
}

static bool is_named_as_worker(const struct sdi_target *t, pid_t tid)
{
	static const char *const names[] = { "iou-", "vhost-", "kvm-nx-" };
	char path[48], name[32];

	snprintf(path, sizeof(path), "task/%d/comm", tid);
	if (sdi_read_text(t->procfd, path, name, sizeof(name)) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

/* A thread can give itself any name, and the flags once meant something else. */
bool sdi_is_kernel_worker(const struct sdi_target *t, pid_t tid)
{
	enum { PF_IO_WORKER = 0x10, PF_USER_WORKER = 0x4000 };	/* Linux 5.12 and 5.10.162; 6.4 */
	uint64_t flags = 0;
	char path[48];

	if (has_robust_list(tid) || !is_named_as_worker(t, tid))
		return false;
	snprintf(path, sizeof(path), "task/%d/stat", tid);
	return stat_fields(t->procfd, path, 9, &flags, 1) && flags & (PF_IO_WORKER | PF_USER_WORKER);
}

/* What decides whether a task without memory is a kernel thread or on its way out. */
struct hints {
	bool vm_size, kthread_known;
	pid_t parent;
};

static void status_line(const char *line, struct sdi_status *st, struct hints *h)
{
	const char *value = strchr(line, ':');

	if (!value)
		return;
	value += 1 + strspn(value + 1, " \t");
#define IS(name) (!strncmp(line, name ":", sizeof(name)))
	if (IS("State"))
		st->state = *value;
	else if (IS("Tgid"))
		st->tgid = atoi(value);
	else if (IS("PPid"))
		h->parent = atoi(value);
	else if (IS("TracerPid"))
		st->tracer = atoi(value);
	else if (IS("Kthread"))
		h->kthread_known = true, st->kernel_thread = *value == '1';
	else if (IS("VmSize"))
		h->vm_size = true;
	else if (IS("VmPin"))
		st->vm_pin = strtoull(value, NULL, 10) * 1024;
	else if (IS("voluntary_ctxt_switches"))
		st->sleeps = strtol(value, NULL, 10);
	else if (IS("SigPnd") || IS("ShdPnd"))
		st->pending |= strtoull(value, NULL, 16);
	else if (IS("SigBlk"))
		st->blocked = strtoull(value, NULL, 16);
	else if (IS("Seccomp"))
		st->seccomp = atoi(value);
#undef IS
}

/* Give every line of the file to status_line(). No malloc(): helper processes come here too. */
static int status_lines(int fd, struct sdi_status *st, struct hints *h)
{
	char buf[4096];
	size_t have = 0;
	ssize_t n;

	while ((n = sdi_read_full(fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *end;

		have += n;
		buf[have] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			status_line(line, st, h);
		}
		have -= line - buf;
		memmove(buf, line, have);
		/* "Groups:" may hold 65536 numbers: what does not fit has no interest for us. */
		if (have == sizeof(buf) - 1)
			have = 0;
	}
	return n;
}

int sdi_status_read(int dirfd, const char *path, struct sdi_status *ret)
{
	struct sdi_status st = { .seccomp = -1 };
	struct hints h = { 0 };
	autoclose int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = status_lines(fd, &st, &h);
	if (err < 0 || !st.state)
		return err < 0 ? err : -ESRCH;
	/* "Kthread:" is Linux 6.8. Before it: no memory, and a child of kthreadd or kthreadd. */
	if (!h.kthread_known)
		st.kernel_thread = !h.vm_size && (st.tgid == 2 || h.parent == 2) &&
				   st.state != 'Z' && st.state != 'X';
	st.memory = h.vm_size;
	*ret = st;
	return 0;
}

int sdi_thread_status(const struct sdi_target *t, pid_t tid, struct sdi_status *ret)
{
	char path[48];

	snprintf(path, sizeof(path), "task/%d/status", tid);
	return sdi_status_read(t->procfd, path, ret);
}

bool sdi_status_ended(const struct sdi_status *s)
{
	return s->state == 'Z' || s->state == 'X' || !s->memory;
}

bool sdi_thread_lives(const struct sdi_target *t, pid_t tid, struct sdi_status *ret)
{
	return !sdi_thread_status(t, tid, ret) && !sdi_status_ended(ret);
}

struct living {
	const struct sdi_target *t;
	struct sdi_status *status;
};

/* Ends the walk with its number. */
static int is_live(void *arg, pid_t tid)
{
	const struct living *l = arg;

	return sdi_thread_lives(l->t, tid, l->status) ? tid : 0;
}

/* A thread that is not dead, and its status; or -ESRCH. */
static pid_t live_thread(const struct sdi_target *t, struct sdi_status *status)
{
	int tid = sdi_each_thread(t, is_live, &(struct living){ t, status });

	return tid ? tid : -ESRCH;
}

int sdi_target_status(const struct sdi_target *t, struct sdi_status *ret)
{
	struct sdi_status st;
	int err = sdi_status_read(t->procfd, "status", &st);

	if (!err && sdi_status_ended(&st))
		err = MIN(live_thread(t, &st), 0);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	*ret = st;
	return 0;
}

static int alive_by_proc(const struct sdi_target *t)
{
	struct sdi_status st;

	return sdi_target_status(t, &st);
}

int sdi_target_alive(const struct sdi_target *t)
{
	struct pollfd p = { .fd = t->pidfd, .events = POLLIN };

	if (t->self)
		return 0;
	if (t->pidfd < 0)
		return alive_by_proc(t);
	/* Readable when the last thread has ended, whether anybody waits for it or not. */
	return poll(&p, 1, 0) > 0 ? -ESRCH : 0;
}

bool sdi_target_ends(const struct sdi_target *t)
{
	return !t->self && alive_by_proc(t) == -ESRCH;
}

/* Who is it, seen through procfd? Refuses what has no memory of its own. */
static int identify(int procfd, pid_t pid, bool self)
{
	struct sdi_status st;
	int err = sdi_status_read(procfd, "status", &st);

	if (err == -ENOENT || err == -ESRCH)
		return sdi_fail(ESRCH, "no such process");
	if (err)
		return sdi_fail(-err, "cannot read /proc/%d/status: %s", pid, sdi_strerror(-err));
	if (st.kernel_thread)
		return sdi_fail(EINVAL, "it is a kernel thread");
	if (!self && st.tgid != pid)
		return sdi_fail(EINVAL, "it is a thread of process %d", st.tgid);
	if (sdi_status_ended(&st) && alive_by_proc(&(struct sdi_target){ .procfd = procfd }))
		return sdi_fail(ESRCH, "it has ended (a zombie)");
	return 0;
}

static int no_proc(pid_t pid, int err)
{
	if (err != ENOENT)
		return sdi_fail(err, "cannot open /proc/%d: %s", pid, sdi_strerror(err));
	if (kill(pid, 0) && errno == ESRCH)
		return sdi_fail(ESRCH, "no such process");
	return sdi_fail(EPERM, "/proc hides it (not mounted, or hidepid)");
}

/* Says nothing about the target. */
static bool no_room(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM;
}

int sdi_target_open(pid_t pid, struct sdi_target *ret)
{
	bool self = pid == 0 || pid == getpid();
	char path[32] = "/proc/self";	/* right also where /proc belongs to another namespace */

	if (pid < 0)
		return sdi_fail(ESRCH, "no such process");
	pid = self ? getpid() : pid;
	if (!self)
		snprintf(path, sizeof(path), "/proc/%d", pid);
	autoclose int procfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (procfd < 0)
		return no_proc(pid, errno);
	int err = identify(procfd, pid, self);
	if (err)
		return err;

	autoclose int pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 && no_room(errno))
		return sdi_fail(errno, "cannot open a descriptor of it: %s", sdi_strerror(errno));
	/* Read last: procfd still answers, so the pid was not reused before pidfd was opened. */
	uint64_t start_time = sdi_start_time(procfd);
	if (!start_time && no_room(errno))
		return sdi_fail(errno, "cannot read its start time: %s", sdi_strerror(errno));
	if (!start_time)
		return sdi_fail(ESRCH, "no such process");
	*ret = (struct sdi_target){ pid, self, take_fd(&pidfd), take_fd(&procfd), start_time };
	return 0;
}

void sdi_target_close(struct sdi_target *t)
{
	sdi_cleanup_fd(&t->pidfd);
	sdi_cleanup_fd(&t->procfd);
	t->pidfd = t->procfd = -1;
}

/* /proc without what is mounted over files in it; for root. */
static int open_below(pid_t pid, const char *name, int flags)
{
	char path[128];
	autoclose int proc = syscall(SYS_open_tree, AT_FDCWD, "/proc",
				     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (proc < 0)
		return sdi_fail(EBUSY, "its /proc files are covered (end: softdirty mount --over)");
	snprintf(path, sizeof(path), "%d/%s", pid, name);
	int fd = openat(proc, path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * softdirty mount --over covers pagemap and clear_refs by files that hide our own write protection:
 * tracking through these would call all pages clean. Nor may they be opened: the server that answers
 * may be waiting for us.
 */
static int open_real(const struct sdi_target *t, const char *name, int flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV };
	int fd = syscall(SYS_openat2, t->procfd, name, &how, sizeof(how));

	if (fd < 0 && errno == EXDEV)
		return open_below(t->pid, name, flags);
	/* Before Linux 5.6, or with a seccomp filter that does not know it. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(t->procfd, name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Of the main thread: "0 0 0 ..." without any. Half as dear as its status. */
static bool has_memory(const struct sdi_target *t)
{
	char first[2];

	return sdi_read_text(t->procfd, "statm", first, sizeof(first)) == 1 && first[0] != '0';
}

int sdi_target_openat(const struct sdi_target *t, const char *name, int flags)
{
	struct sdi_status st;
	char path[128];
	int fd = open_real(t, name, flags);

	/* Asked after opening: the memory behind fd is that of a task that was alive. */
	if (has_memory(t))
		return fd;
	sdi_cleanup_fd(&fd);
	/* The files of a dead main thread are empty, and root's: take another thread's. */
	pid_t tid = live_thread(t, &st);
	if (tid < 0)
		return tid;
	snprintf(path, sizeof(path), "task/%d/%s", tid, name);
	fd = openat(t->procfd, path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
