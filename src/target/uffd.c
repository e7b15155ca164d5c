/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A userfaultfd for the memory of another process. No kernel interface makes one from outside
 * (/dev/userfaultfd uses current->mm too), so one thread of the target makes it, once; its copy
 * is taken with pidfd_getfd(2) and closed in the target before the thread runs on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/cgroup.h"
#include "target/helper.h"
#include "target/inject.h"
#include "target/stop.h"
#include "target/threads.h"
#include "uapi/syscalls.h"

enum {
	MAX_TRIES = 4,
	FLAG_PIDFD_THREAD = O_EXCL,	/* Linux 6.9 commit 64bef697d33b */
	SUSPEND_SECCOMP = 1 << 21,	/* PTRACE_O_SUSPEND_SECCOMP, Linux 4.3 */
};

#define STOP_TIMEOUT_NS 5000000000ull
#define NO_VICTIM { .in.mem = -1, .maps = -1, .pidfd = -1, .table = -1 }

/* One thread, everything that can be opened before it is stopped. */
struct victim {
	struct sdi_inject in;
	int maps, pidfd, table;	/* the last: its /proc/TID/fd */
	uint64_t begin_by_ns;	/* give up making a userfaultfd in it; 0: never */
};

static void close_victim(struct victim *v)
{
	sdi_cleanup_fd(&v->in.mem);
	sdi_cleanup_fd(&v->maps);
	sdi_cleanup_fd(&v->pidfd);
	sdi_cleanup_fd(&v->table);
}

static int open_victim(const struct sdi_target *t, pid_t tid, struct victim *ret)
{
	char path[48];

	snprintf(path, sizeof(path), "task/%d/mem", tid);
	ret->in.mem = openat(t->procfd, path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "task/%d/maps", tid);
	ret->maps = openat(t->procfd, path, O_RDONLY | O_CLOEXEC);
	if ((ret->in.mem < 0 || ret->maps < 0) && errno == ENOENT)
		return sdi_fail(ESRCH, "it has ended");
	if (ret->in.mem < 0 || ret->maps < 0)
		return sdi_fail(errno, "cannot open the memory of thread %d: %s", tid,
				sdi_strerror(errno));
	snprintf(path, sizeof(path), "task/%d/fd", tid);
	ret->table = openat(t->procfd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* A thread may have a descriptor table of its own: ask for the thread's. */
	ret->pidfd = syscall(SYS_pidfd_open, tid, FLAG_PIDFD_THREAD);
	if (ret->pidfd < 0)
		ret->pidfd = syscall(SYS_pidfd_open, t->pid, 0);
	if (ret->pidfd < 0)
		return sdi_fail(EOPNOTSUPP, "pidfd_open: %s", sdi_strerror(errno));
	ret->in.tid = tid;
	ret->in.insn = sdi_find_insn(ret->maps, ret->in.mem);
	if (!ret->in.insn)
		return sdi_fail(EOPNOTSUPP, "no system call instruction found in its code");
	return 0;
}

/* In the middle of exec there is memory, but no code in it for a moment. */
static int open_victim_patiently(const struct sdi_target *t, pid_t tid, struct victim *ret)
{
	enum { PATIENCE_MS = 20 };
	int err = open_victim(t, tid, ret);

	for (int ms = 0; ms < PATIENCE_MS && err == -EOPNOTSUPP && !ret->in.insn; ms++) {
		close_victim(ret);
		*ret = (struct victim)NO_VICTIM;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		err = open_victim(t, tid, ret);
	}
	return err;
}

/* What a person can do about the error that userfaultfd() returned in the target. */
static int explain_call(long err)
{
	switch (err) {
	case -ENOSYS:
		return sdi_fail(EOPNOTSUPP, "this kernel has no userfaultfd (CONFIG_USERFAULTFD)");
	case -EPERM:
	case -EACCES:
		return sdi_fail(EOPNOTSUPP, "its userfaultfd() is forbidden (seccomp, LSM)");
	case -EINVAL:
		return sdi_fail(EOPNOTSUPP, "userfaultfd() before Linux 5.11 needs privileges");
	case -EMFILE:
	case -ENFILE:
		return sdi_fail(EOPNOTSUPP, "it has no free file descriptor for a moment");
	case -ESRCH:
		return sdi_fail(ESRCH, "it has ended");
	case -ECANCELED:
		return sdi_fail(EOPNOTSUPP, "it does not run (its control group was frozen meanwhile?)");
	default:
		return sdi_fail(EOPNOTSUPP, "userfaultfd() in it failed: %s", sdi_strerror(-err));
	}
}

/* 1, 0, or -errno if it cannot be known. */
static int is_uffd(int table, int fd)
{
	char name[16], link[64] = "";

	snprintf(name, sizeof(name), "%d", fd);
	if (readlinkat(table, name, link, sizeof(link) - 1) < 0)
		return errno == ENOENT ? 0 : -errno;
	return !strcmp(link, "anon_inode:[userfaultfd]");
}

/*
 * Take the new descriptor out of the stopped thread. pidfd_getfd() may not find it: before Linux 6.9 it
 * looks into the table of the first thread. And other threads run, and may have closed that number, or put
 * a file of their own there: that one must stay. What they do between the last look and the call that
 * closes it, some microseconds, nothing prevents but a stop of all of them, which is worse.
 */
static int move_here(struct victim *v, int remote)
{
	int fd = syscall(SYS_pidfd_getfd, v->pidfd, remote, 0);
	int err = errno;

	if (is_uffd(v->table, remote))
		sdi_inject_call(&v->in, SYS_close, (const uint64_t[3]){ remote }, 0);
	return fd >= 0 ? fd : sdi_fail(EOPNOTSUPP, "pidfd_getfd: %s", sdi_strerror(err));
}

/* Did it find the right table? Takes a descriptor of ours or an error. */
static int only_uffd(int moved)
{
	autoclose int fd = moved;
	autoclose int own = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && is_uffd(own, fd) != 1)
		return sdi_fail(EOPNOTSUPP, "its threads do not share their descriptors");
	return fd >= 0 ? take_fd(&fd) : moved;
}

/*
 * The thread is stopped. *number: flags for userfaultfd(), then the descriptor's number in the
 * target. Returns our copy of it or -errno with the sentence set.
 */
static int take(struct victim *v, int *number)
{
	int err = sdi_inject_begin(&v->in);

	if (err == -EOPNOTSUPP)
		return sdi_fail(EOPNOTSUPP, "it runs 32-bit code, or changes its code");
	if (err)
		return sdi_fail(ESRCH, "it has ended");
	long remote = sdi_inject_call(&v->in, SYS_userfaultfd, (const uint64_t[3]){ *number },
				      v->begin_by_ns);
	int fd = remote < 0 ? explain_call(remote) : move_here(v, remote);
	sdi_inject_end(&v->in);
	fd = only_uffd(fd);
	if (fd >= 0)
		*number = remote;	/* else the next thread needs the flags */
	return fd;
}

/* Is remote, in the descriptor table of that thread, our fd? */
static bool is_ours(pid_t tid, int fd, int remote)
{
	enum { KCMP_FILE = 0 };

	return !syscall(SYS_kcmp, getpid(), tid, KCMP_FILE, fd, remote);
}

/*
 * Close the descriptor copy[1] that a fork copied from our copy[0]. The thread is stopped: before, it
 * may have called exec, which closed it, and opened a file of its own.
 */
static int close_copy(struct victim *v, int *copy)
{
	uint64_t arg[3] = { copy[1] };

	if (!is_ours(v->in.tid, copy[0], copy[1]))
		return 0;
	if (sdi_inject_begin(&v->in))
		return -ESRCH;
	sdi_inject_call(&v->in, SYS_close, arg, 0);
	sdi_inject_end(&v->in);
	return 0;
}

static int filtered(void)
{
	return sdi_fail(EOPNOTSUPP, "a seccomp filter is active in it and only root may suspend that "
			"(CAP_SYS_ADMIN)");
}

/*
 * No filter may judge our call. The thread is stopped: only now it installs none any more, though
 * another thread may for all (SECCOMP_FILTER_FLAG_TSYNC). And before the stop it could have used the
 * suspension for calls of its own.
 */
static int suspend_seccomp(const struct sdi_target *t, pid_t tid)
{
	struct sdi_status s;

	if (!ptrace(PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD | SUSPEND_SECCOMP))
		return 0;
	if (sdi_thread_status(t, tid, &s))
		return sdi_fail(ESRCH, "it has ended");
	return s.seccomp > 0 ? filtered() : 0;
}

/* --- in the helper process ------------------------------------------------------------------ */

/* One that did not stop when it was tried before is ours already. */
static int seize(const struct sdi_target *t, const struct sdi_candidate *c)
{
	int err = c->tracer == getpid() ? 0 : sdi_seize(t, c->tid, PTRACE_O_TRACESYSGOOD);

	if (err == -EPERM && c->tracer)
		return sdi_fail(EOPNOTSUPP, "process %d traces it (a debugger, strace?)", c->tracer);
	if (err == -EPERM)
		return sdi_fail(EPERM, "not allowed to trace it%s", sdi_who_may());
	if (err)
		return sdi_fail(-err, "cannot trace thread %d: %s", c->tid, sdi_strerror(-err));
	return c->seccomp > 0 && geteuid() != 0 ? filtered() : 0;	/* not stopped in vain */
}

static int stop_one(const struct sdi_target *t, const struct sdi_candidate *c,
		    struct sdi_held *held)
{
	/* It would stop, but not go on to make our call (cgroup v2, Linux 5.2). */
	if (sdi_cgroup_frozen(t, c->tid))
		return sdi_fail(EOPNOTSUPP, "its control group is frozen: thaw it first (cgroup.freeze)");
	int err = seize(t, c);
	if (err)
		return err;
	held->tid = c->tid;
	sdi_interrupt(t, held);
	err = sdi_wait_stop(t, held, sdi_now_ns() + STOP_TIMEOUT_NS);
	if (err == -ETIMEDOUT)
		return sdi_fail(EOPNOTSUPP, "thread %d sleeps in the kernel and does not stop",
				c->tid);
	if (err)
		return sdi_fail(-err, "it has ended");
	err = suspend_seccomp(t, c->tid);
	if (err)
		sdi_release(t, held);
	return err;
}

/* Stop that thread, call fn(v, arg), let it go. Returns what fn did, or -errno. */
static int in_thread(const struct sdi_target *t, const struct sdi_candidate *c,
		     int (*fn)(struct victim *v, int *arg), int *arg, uint64_t *stop_ns)
{
	struct victim v = NO_VICTIM;
	int ret = open_victim_patiently(t, c->tid, &v);

	if (!ret) {
		uint64_t t0 = sdi_now_ns();
		struct sdi_held held;

		ret = stop_one(t, c, &held);
		if (!ret) {
			v.in.let_go = true;
			v.begin_by_ns = sdi_now_ns() + STOP_TIMEOUT_NS;
			ret = fn(&v, arg);
			sdi_release(t, &held);
			*stop_ns = sdi_now_ns() - t0;
		}
	}
	close_victim(&v);
	return ret;
}

/*
 * Not to be stopped in vain. Each half of an entry of its auxiliary vector has 32 bits then, so that a value
 * stands where otherwise the upper half of a type would be.
 */
static bool is_32_bit(const struct sdi_target *t)
{
	autoclose int fd = openat(t->procfd, "auxv", O_RDONLY | O_CLOEXEC);
	uint64_t first = 0;

	return fd >= 0 && read(fd, &first, sizeof(first)) == sizeof(first) && first >> 32;
}

/* The same in the thread that it disturbs least; in the next if that does not work. */
static int in_best_thread(const struct sdi_target *t, int (*fn)(struct victim *v, int *arg),
			  int *arg, uint64_t *stop_ns)
{
	struct sdi_candidate c[MAX_TRIES];
	int ret = -ESRCH;

	if (is_32_bit(t))
		return sdi_fail(EOPNOTSUPP, "it is a 32-bit process");
	/* Ended is only the last one that was tried: others may live, until none is found. */
	for (int round = 0; ret == -ESRCH && round < MAX_TRIES; round++) {
		int n = sdi_pick_threads(t, c, MAX_TRIES);

		if (n <= 0)
			return n < 0 ? n : sdi_fail(ESRCH, "it has ended");
		for (int i = 0; i < n; i++) {
			ret = in_thread(t, &c[i], fn, arg, stop_ns);
			if (ret >= 0 || ret == -EPERM)
				return ret;
		}
	}
	return ret;
}

/* The pid that was given out last in our pid namespace. */
static pid_t last_pid(void)
{
	char text[64], *at;

	if (sdi_read_text(AT_FDCWD, "/proc/loadavg", text, sizeof(text)) <= 0)
		return 0;
	at = strrchr(text, ' ');
	return at ? atoi(at) : 0;
}

/*
 * Another thread may have forked while the descriptor was in the table. The child's copy would keep
 * the protection alive after we are gone: close it there as well. Processes that started meanwhile
 * have pids after `since`; whether one holds our descriptor, kcmp(2) knows.
 */
static void close_in_forks(int remote, int fd, pid_t since)
{
	enum { MAX_FORKS = 1 << 16 };

	for (int n = 0; n < MAX_FORKS && since < last_pid(); n++) {
		int copy[2] = { fd, remote };
		char path[32];
		uint64_t ns;

		if (!is_ours(++since, fd, remote))
			continue;
		snprintf(path, sizeof(path), "/proc/%d", since);
		struct sdi_target t = { .pid = since };
		t.procfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		in_best_thread(&t, close_copy, copy, &ns);
		sdi_cleanup_fd(&t.procfd);
	}
}

struct request {
	const struct sdi_target *t;
	int flags;
};

static void uffd_child(const void *arg, int sock)
{
	const struct request *rq = arg;
	struct sdi_helper_reply reply = { 0 };
	pid_t since = last_pid();
	int number = rq->flags;
	int fd = in_best_thread(rq->t, take, &number, &reply.stop_ns);

	if (fd >= 0)
		close_in_forks(number, fd, since);
	else
		reply.err = fd;
	snprintf(reply.text, sizeof(reply.text), "%s", sdi_last_error());
	sdi_helper_answer(sock, &reply, fd);
}

/* --- in the host ---------------------------------------------------------------------------- */

int sdi_take_uffd(const struct sdi_target *t, int flags, uint64_t *stop_ns)
{
	struct request rq = { t, flags };
	struct sdi_helper_reply reply;
	struct sdi_helper h;
	int fd;

	*stop_ns = 0;
	if (t->self) {
		fd = syscall(SYS_userfaultfd, flags);
		return fd < 0 ? explain_call(-errno) : fd;
	}
	int err = sdi_helper_start(uffd_child, &rq, &h);
	if (err)
		return err;
	err = sdi_helper_wait(&h, &reply, &fd);
	sdi_helper_end(&h);
	if (err)
		return err;
	*stop_ns = reply.stop_ns;
	return fd >= 0 ? fd : sdi_fail(EMFILE, "no free file descriptor to receive one");
}

int sdi_borrow_uffd(pid_t tid, int flags)
{
	struct victim v = NO_VICTIM;
	struct sdi_target t = { .pid = tid };
	struct sdi_status s;
	autoclose int procfd = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", tid);
	procfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (procfd < 0 || sdi_status_read(procfd, "status", &s))
		return sdi_fail(ESRCH, "no thread %d", tid);
	t.procfd = procfd;
	t.pid = s.tgid;
	/* First of all: who does not trace it learns nothing else about it. */
	if (ptrace(PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD))
		return sdi_fail(ESRCH, "thread %d is not stopped by us", tid);
	int fd = suspend_seccomp(&t, tid);
	if (!fd)
		fd = open_victim(&t, tid, &v);
	if (!fd)
		fd = take(&v, &flags);
	ptrace(PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD);
	close_victim(&v);
	return fd;
}
