/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PTRACE_INTERRUPT while the thread waits for FUSE (killable, not interruptible, once the request
 * was sent: fs/fuse/dev.c request_wait_answer()) leaves a trap behind, which the thread runs into
 * before it returns to user space and before any signal handler. _begin and _end must be called by
 * one and the same thread: the kernel has tracers, not tracing processes.
 */
#include "procview/borrow.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softdirty.h"

bool borrow_begin(pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, 0, 0))
		return false;
	if (!ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		return true;
	ptrace(PTRACE_DETACH, tid, 0, 0);
	return false;
}

/* False: it has ended. */
static bool wait_stop(pid_t tid)
{
	int status;

	for (;;) {
		if (waitpid(tid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (!WIFSTOPPED(status))
			return false;
		if (status >> 16 == PTRACE_EVENT_STOP)
			return true;
		ptrace(PTRACE_CONT, tid, 0, WSTOPSIG(status));
	}
}

int borrow_end(pid_t tid)
{
	int uffd = -1;

	if (!wait_stop(tid))
		return -1;
	if (softdirty_borrow(tid, &uffd))
		uffd = -1;
	ptrace(PTRACE_DETACH, tid, 0, 0);
	return uffd;
}
