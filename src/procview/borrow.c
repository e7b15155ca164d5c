/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PTRACE_INTERRUPT while the thread waits for FUSE (killable, not interruptible, once the request
 * was sent: fs/fuse/dev.c request_wait_answer()) leaves a trap behind, which the thread runs into
 * before it returns to user space and before any signal handler. A helper process does it: if the
 * server is killed in the middle, the helper finishes and lets the thread go as it was.
 */
#include "procview/borrow.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "softdirty.h"
#include "uapi/syscalls.h"

/* --- in the helper -------------------------------------------------------------------------- */

static bool seize(pid_t tid)
{
	return !ptrace(PTRACE_SEIZE, tid, 0, 0) && !ptrace(PTRACE_INTERRUPT, tid, 0, 0);
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

/* Says first that it has the thread, then the number of a descriptor, for as long as it lives. */
static void help(pid_t tid, int sock)
{
	int uffd = -1, zero = 0;
	char byte;

	/* With /dev/fuse open here, the thread would wait for ever for a server that was killed. */
	if (dup2(sock, 0) || syscall(SYS_close_range, 1, ~0u, 0) || !seize(tid))
		return;
	if (write(0, &zero, sizeof(zero)) == sizeof(zero) && wait_stop(tid) &&
	    softdirty_borrow(tid, &uffd))
		uffd = -1;
	ptrace(PTRACE_DETACH, tid, 0, 0);
	if (write(0, &uffd, sizeof(uffd)) == sizeof(uffd))
		while (read(0, &byte, 1) < 0 && errno == EINTR)
			;
}

/* --- in the server -------------------------------------------------------------------------- */

static int hear(const struct borrow *b)
{
	int number;

	return read(b->sock, &number, sizeof(number)) == sizeof(number) ? number : -1;
}

static void end_helper(struct borrow *b)
{
	close(b->sock);
	while (waitpid(b->helper, NULL, 0) < 0 && errno == EINTR)
		;
}

bool borrow_begin(struct borrow *b, pid_t tid)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return false;
	b->sock = sv[0];
	b->helper = fork();
	if (!b->helper) {
		close(sv[0]);
		help(tid, sv[1]);
		_exit(0);
	}
	close(sv[1]);
	if (b->helper > 0 && hear(b) == 0)
		return true;
	if (b->helper > 0)
		end_helper(b);
	else
		close(b->sock);
	return false;
}

int borrow_end(struct borrow *b)
{
	int number = hear(b);
	autoclose int pidfd = syscall(SYS_pidfd_open, b->helper, 0);
	int uffd = number < 0 || pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, number, 0);

	end_helper(b);
	return uffd;
}
