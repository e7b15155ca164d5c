/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/helper.h"
#include "target/threads.h"

enum {
	FREEZE_TIMEOUT_MS = 5000,
	MAX_THREADS = 1 << 17,
};

static uint64_t after_ms(uint64_t ms)
{
	return sdi_now_ns() + ms * 1000000;
}

static int explain_seize(int err, pid_t tid, pid_t tracer)
{
	if (err == -EPERM && tracer)
		return sdi_fail(EBUSY, "process %d already traces it (a debugger, strace?)", tracer);
	if (err == -EPERM)
		return sdi_fail(EPERM, "not allowed to trace thread %d%s", tid, sdi_who_may());
	return sdi_fail(-err, "cannot trace thread %d: %s", tid, sdi_strerror(-err));
}

/* --- all threads ------------------------------------------------------------------------- */

struct sdi_freezer {
	struct sdi_helper helper;
	int owner;		/* a pidfd of this process, or -1 */
};

struct freezing {
	const struct sdi_target *t;
	pid_t spared;		/* a thread that runs on, or 0 */
	int owner;		/* whose end is the end of it, or -1 */
	struct sdi_held *held;
	size_t n;
	bool found;
};

static bool is_held(const struct freezing *f, pid_t tid)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->held[i].tid == tid)
			return true;
	return false;
}

static pid_t tracer_of(const struct sdi_target *t, pid_t tid)
{
	struct sdi_status s;

	return sdi_thread_status(t, tid, &s) ? 0 : s.tracer;
}

static int hold(void *arg, pid_t tid)
{
	struct freezing *f = arg;

	if (tid == f->spared || is_held(f, tid) || sdi_is_kernel_worker(f->t, tid))
		return 0;
	if (f->n == MAX_THREADS)
		return sdi_fail(ENOMEM, "it has more than %d threads", MAX_THREADS);
	int err = sdi_seize(f->t, tid, 0);
	if (err == -ESRCH)
		return 0;	/* has just ended */
	if (err)
		return explain_seize(err, tid, tracer_of(f->t, tid));
	f->held[f->n].tid = tid;
	sdi_interrupt(f->t, &f->held[f->n++]);
	f->found = true;
	return 0;
}

static int wait_all(struct freezing *f, size_t from, uint64_t deadline)
{
	for (size_t i = from; i < f->n; i++) {
		int err = sdi_wait_stop(f->t, &f->held[i], deadline);

		if (err == -ETIMEDOUT)
			return sdi_fail(ETIMEDOUT, "thread %d sleeps in the kernel and does not stop",
					f->held[i].tid);
	}
	return 0;
}

/* One that does not answer soon perhaps: it waits for a disk, a file server, the child of a vfork(). */
static int hold_sleeper(void *arg, pid_t tid)
{
	const struct freezing *f = arg;
	struct sdi_status s;

	return sdi_thread_status(f->t, tid, &s) || s.state != 'D' ? 0 : hold(arg, tid);
}

/* New threads may start until every one that could start them has stopped. */
static int hold_all(struct freezing *f)
{
	uint64_t deadline = after_ms(FREEZE_TIMEOUT_MS);
	int err = sdi_each_thread(f->t, hold_sleeper, f);

	/* As long as they take, all others run on. */
	if (!err)
		err = wait_all(f, 0, deadline);
	if (err)
		return err;
	do {
		size_t from = f->n;

		f->found = false;
		err = sdi_each_thread(f->t, hold, f);
		if (!err)
			err = wait_all(f, from, deadline);
		if (err)
			return err;
	} while (f->found);
	return f->n || f->spared ? 0 : sdi_fail(ESRCH, "it has ended");
}

static void freeze_child(const void *arg, int sock)
{
	struct sdi_helper_reply reply = { 0 };
	struct freezing f = *(const struct freezing *)arg;

	f.held = mmap(NULL, MAX_THREADS * sizeof(*f.held), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f.held == MAP_FAILED) {
		reply.err = sdi_fail(ENOMEM, "no memory to list its threads");
	} else {
		reply.err = hold_all(&f);
	}
	snprintf(reply.text, sizeof(reply.text), "%s", sdi_last_error());
	sdi_helper_answer(sock, &reply, -1);
	if (!reply.err) {
		struct pollfd p[] = { { .fd = sock, .events = POLLIN },
				      { .fd = f.owner, .events = POLLIN } };

		sdi_helper_keep_only((int[]){ sock, f.t->procfd, f.owner }, 3);
		while (poll(p, 2, -1) < 0 && errno == EINTR)
			;
	}
	for (size_t i = 0; i < f.n; i++)
		sdi_release(f.t, &f.held[i]);
}

static int freeze(struct freezing *who, bool handed_on, struct sdi_freezer **ret)
{
	struct sdi_helper_reply reply;
	int fd;

	struct sdi_freezer *f = calloc(1, sizeof(*f));
	if (!f)
		return sdi_fail(ENOMEM, "out of memory");
	f->owner = syscall(SYS_pidfd_open, getpid(), 0);
	who->owner = handed_on ? -1 : f->owner;
	int err = sdi_helper_start(freeze_child, who, &f->helper);
	if (!err) {
		err = sdi_helper_wait(&f->helper, &reply, &fd);
		if (err)
			sdi_helper_end(&f->helper);
	}
	if (err) {
		sdi_cleanup_fd(&f->owner);
		free(f);
		return err;
	}
	*ret = f;
	return 0;
}

int sdi_freeze(const struct sdi_target *t, bool handed_on, struct sdi_freezer **ret)
{
	struct freezing who = { .t = t };

	if (t->self)
		return sdi_fail(EINVAL, "a process cannot freeze itself");
	return freeze(&who, handed_on, ret);
}

int sdi_freeze_others(const struct sdi_target *self, struct sdi_freezer **ret)
{
	struct freezing who = { .t = self, .spared = syscall(SYS_gettid) };

	return freeze(&who, false, ret);
}

int sdi_freezer_fd(const struct sdi_freezer *f)
{
	return f->helper.sock;
}

int sdi_freezer_owner(const struct sdi_freezer *f)
{
	return f->owner;
}

void sdi_thaw(struct sdi_freezer *f)
{
	if (!f)
		return;
	sdi_helper_end(&f->helper);
	sdi_cleanup_fd(&f->owner);
	free(f);
}
