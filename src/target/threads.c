/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/threads.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

struct dirent64_head {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

int sdi_each_thread(const struct sdi_target *t, int (*fn)(void *arg, pid_t tid), void *arg)
{
	/* getdents64 and not opendir(): no malloc() here. */
	autoclose int dir = openat(t->procfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct dirent64_head) char buf[4096];
	long n;

	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < n;) {
			struct dirent64_head *d = (struct dirent64_head *)(buf + at);
			int tid = atoi(d->name);
			int ret = tid > 0 ? fn(arg, tid) : 0;

			if (ret)
				return ret;
			at += d->reclen;
		}
	}
	return n < 0 ? -ESRCH : 0;
}

struct picking {
	const struct sdi_target *t;
	struct sdi_candidate *c;
	int n, max;
};

/* How much would a stop disturb the thread? 0: not at all. */
static int disturbance(const struct sdi_target *t, pid_t tid, char state)
{
	char path[48], text[64];

	if (state == 'D')
		return 8;	/* may not stop for long: disk, vfork() */
	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	if (sdi_read_text(t->procfd, path, text, sizeof(text)) <= 0)
		return 1;
	if (text[0] < '0' || text[0] > '9')
		return 0;	/* "running", or -1: stopped outside a system call */
	long nr = strtol(text, NULL, 10);

	if (sdi_call_is_taken_up(nr))
		return 0;
	/* Others than these may have asked a file server of FUSE, which is told of the stop. */
	return sdi_call_can_go_on(nr) ? 2 : 4;
}

static int consider(void *arg, pid_t tid)
{
	struct picking *p = arg;
	struct sdi_status s;

	if (!sdi_thread_lives(p->t, tid, &s))
		return 0;
	struct sdi_candidate c = { .tid = tid, .seccomp = s.seccomp, .tracer = s.tracer };
	c.rank = disturbance(p->t, tid, s.state) + (s.seccomp > 0 ? 16 : 0) + (s.tracer ? 64 : 0);

	int at = p->n;
	while (at > 0 && p->c[at - 1].rank > c.rank)
		at--;
	if (at == p->max || sdi_is_kernel_worker(p->t, tid))
		return 0;
	p->n = MIN(p->n + 1, p->max);
	memmove(&p->c[at + 1], &p->c[at], (p->n - 1 - at) * sizeof(c));
	p->c[at] = c;
	return c.rank == 0 && p->n == p->max ? 1 : 0;	/* enough good ones */
}

int sdi_pick_threads(const struct sdi_target *t, struct sdi_candidate *ret, int max)
{
	struct picking p = { .t = t, .c = ret, .max = max };
	int err = sdi_each_thread(t, consider, &p);

	return err < 0 ? err : p.n;
}

int sdi_seize(const struct sdi_target *t, pid_t tid, unsigned long options)
{
	struct sdi_status s;

	if (!ptrace(PTRACE_SEIZE, tid, 0, options))
		return 0;
	if (errno != EPERM)
		return -errno;
	return sdi_thread_lives(t, tid, &s) ? -EPERM : -ESRCH;
}

int sdi_wait_status(pid_t tid, uint64_t deadline_ns, int *status)
{
	const struct timespec nap = { .tv_nsec = 10000000 };
	sigset_t chld;
	/* The deadline may have passed while nothing was run here, as in a machine that was paused. */
	int naps_left = 10;

	if (!deadline_ns) {
		pid_t pid;

		while ((pid = waitpid(tid, status, __WALL)) < 0 && errno == EINTR)
			;
		return pid < 0 || WIFEXITED(*status) || WIFSIGNALED(*status) ? -ESRCH : 0;
	}
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		pid_t pid = waitpid(tid, status, __WALL | WNOHANG);
		uint64_t now = sdi_now_ns();

		if (pid < 0 || (pid && (WIFEXITED(*status) || WIFSIGNALED(*status))))
			return -ESRCH;
		if (pid)
			return 0;
		if (now >= deadline_ns && !naps_left--)
			return -ETIMEDOUT;
		/* A stop of another thread may have eaten this one's SIGCHLD: look now and then. */
		sigtimedwait(&chld, NULL, &nap);
	}
}

/* /proc/TID/syscall: "NR ARG0 ... ARG5 SP PC" in a system call, "-1 SP PC" out of one. */
static void read_call(const struct sdi_target *t, struct sdi_held *h)
{
	unsigned long long a[8] = { 0 };
	char path[48], text[256];
	struct sdi_status s;

	h->nr = -1;
	if (sdi_thread_status(t, h->tid, &s))
		return;
	h->sleeps = s.sleeps;
	snprintf(path, sizeof(path), "task/%d/syscall", h->tid);
	if (sdi_read_text(t->procfd, path, text, sizeof(text)) <= 0)
		return;
	int n = sscanf(text, "%ld %llx %llx %llx %llx %llx %llx %llx %llx", &h->nr, &a[0], &a[1],
		       &a[2], &a[3], &a[4], &a[5], &a[6], &a[7]);
	if (n != 9)
		h->nr = -1;
	h->arg0 = a[0];
	h->sp = a[n == 9 ? 6 : 0];
	h->pc = a[n == 9 ? 7 : 1];
}

void sdi_interrupt(const struct sdi_target *t, struct sdi_held *h)
{
	h->nr = -1;
	if (SDI_ARG0_IS_LOST)
		read_call(t, h);
	ptrace(PTRACE_INTERRUPT, h->tid, 0, 0);
}

/*
 * Is it still the call of before? It may have gone on to another, or to a signal handler. Then it has
 * slept more often than once since, which is the stop.
 */
static void confirm_call(const struct sdi_target *t, struct sdi_held *h)
{
	struct sdi_held now = { .tid = h->tid };
	struct sdi_regs r;

	if (h->nr < 0)
		return;
	read_call(t, &now);
	if (sdi_get_regs(h->tid, &r) || !sdi_regs_broken_off(&r) || !sdi_regs_calls(&r, h->nr) ||
	    now.sp != h->sp || now.pc != h->pc || now.sleeps != h->sleeps + 1)
		h->nr = -1;
}

int sdi_wait_stop(const struct sdi_target *t, struct sdi_held *h, uint64_t deadline_ns)
{
	for (;;) {
		int status, err = sdi_wait_status(h->tid, deadline_ns, &status);

		if (err)
			return err;
		if (status >> 16 == PTRACE_EVENT_STOP)
			break;
		/* A signal was on its way: hand it over, the interrupt is still pending. */
		ptrace(PTRACE_CONT, h->tid, 0, (unsigned long)WSTOPSIG(status));
	}
	confirm_call(t, h);
	return 0;
}

int sdi_get_regs(pid_t tid, struct sdi_regs *ret)
{
	struct iovec iov = { &ret->u, sizeof(ret->u) };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov))
		return -errno;
	return iov.iov_len == sizeof(ret->u) ? 0 : -EOPNOTSUPP;
}

int sdi_set_regs(pid_t tid, const struct sdi_regs *r)
{
	struct iovec iov = { (void *)&r->u, sizeof(r->u) };

	return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) ? -errno : 0;
}

/* Where the kernel does not take care of it: not when a signal handler is about to run. */
static bool may_go_on(const struct sdi_target *t, const struct sdi_held *h)
{
	struct sdi_status s;

	return !SDI_ARG0_IS_LOST || (h->nr >= 0 && !sdi_thread_status(t, h->tid, &s) &&
				     !(s.pending & ~s.blocked));
}

void sdi_release(const struct sdi_target *t, const struct sdi_held *h)
{
	struct sdi_regs r;
	int err = sdi_get_regs(h->tid, &r);

	if (err == -EOPNOTSUPP)
		sdi_resume_32(h->tid);
	if (!err && sdi_regs_broken_off(&r) && may_go_on(t, h)) {
		sdi_regs_resume(&r, h->arg0);
		sdi_set_regs(h->tid, &r);
	}
	ptrace(PTRACE_DETACH, h->tid, 0, 0);
}
