/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another thread of the target forks in the moment in which the descriptor is in its table. The copy
 * is closed in the child as well, and nothing else is. That moment lasts microseconds: the helper
 * process that makes it is traced, so that it waits where the claim needs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

enum { NR_PIDFD_GETFD = 438, N_FILES = 64 };

static int to_forker[2], to_child[2], from_child[2];

static char hear(int fd)
{
	char byte = 0;

	return read(fd, &byte, 1) == 1 ? byte : 0;
}

static void tell(int fd, char byte)
{
	T_MUST(write(fd, &byte, 1) == 1);
}

/* 'u': it has a userfaultfd, '-': it has none. */
static char has_uffd(void)
{
	for (int fd = 0; fd < N_FILES; fd++) {
		char path[32], link[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, link, sizeof(link) - 1) > 0 && strstr(link, "userfaultfd"))
			return 'u';
	}
	return '-';
}

static void child(void)
{
	char in[16], out[16];

	tell(from_child[1], 'f');
	while (hear(to_child[0]) == 'x') {
		snprintf(in, sizeof(in), "%d", to_child[0]);
		snprintf(out, sizeof(out), "%d", from_child[1]);
		execl("/proc/self/exe", "test-attach-fork", in, out, NULL);
	}
	tell(from_child[1], has_uffd());
	_exit(0);
}

/* After exec: all numbers are its own. Says 'o' if they all stay so, else 'c'. */
static int program(int in, int out)
{
	char answer = 'o';

	while (open("/dev/null", O_RDONLY) < N_FILES - 1)
		;
	tell(out, 'r');
	hear(in);
	for (int fd = 0; fd < N_FILES; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			answer = 'c';
	tell(out, answer);
	return 0;
}

/* Waits in a call that a stop would break off, so that the other thread is chosen. */
static void *forker(void *arg)
{
	if (hear(to_forker[0]) == 'f' && fork() == 0)
		child();
	return NULL;
}

static long op_forker(long a, long b, long c, long d)
{
	pthread_t t;

	return pthread_create(&t, NULL, forker, NULL) ? -EAGAIN : 0;
}

/* The number of the system call whose end the thread is stopped at, -1: none. */
static long ended_call(pid_t tid, long *entered, long *result)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return -1;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		*entered = (long)info.entry.nr;
	if (info.op != PTRACE_SYSCALL_INFO_EXIT)
		return -1;
	*result = (long)info.exit.rval;
	return *entered;
}

/* Opens the target; its helper waits while at() does something after each of its system calls. */
static void open_slowly(pid_t target, void (*at)(long nr, long result))
{
	long entered = -1, result = 0;
	int status;
	pid_t pid, opener = t_fork();

	if (opener == 0) {
		struct softdirty *sd;

		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(softdirty_open(target, NULL, &sd) ? 1 : 0);
	}
	T_MUST(waitpid(opener, &status, 0) == opener && WIFSTOPPED(status));
	ptrace(PTRACE_SETOPTIONS, opener, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE);
	ptrace(PTRACE_CONT, opener, 0, 0);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int signo = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;

		if (pid == opener && WIFEXITED(status))
			break;
		if (!signo)
			continue;
		if (pid != opener && signo == (SIGTRAP | 0x80)) {
			long nr = ended_call(pid, &entered, &result);

			at(nr, result);
		}
		bool known = status >> 16 || signo == SIGSTOP || signo == (SIGTRAP | 0x80);
		ptrace(pid == opener ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, known ? 0 : signo);
	}
	T_EQ(status, 0);
}

static void fork_only(long nr, long result)
{
	if (nr != NR_PIDFD_GETFD || result < 0)
		return;
	tell(to_forker[1], 'f');
	T_EQ(hear(from_child[0]), 'f');
}

static void fork_and_exec(long nr, long result)
{
	fork_only(nr, result);
	if (nr != SYS_kcmp || result)
		return;
	tell(to_child[1], 'x');
	T_EQ(hear(from_child[0]), 'r');
}

static void try_fork(void (*at)(long nr, long result), char want)
{
	T_TARGET tg;

	T_MUST(pipe(to_forker) == 0 && pipe(to_child) == 0 && pipe(from_child) == 0);
	tg = t_start();
	T_MUST(t_call(&tg, op_forker) == 0);
	t_sleep_ms(50);
	open_slowly(tg.pid, at);
	tell(to_child[1], '?');
	T_EQ(hear(from_child[0]), want);
	for (int i = 0; i < 2; i++) {
		close(to_forker[i]);
		close(to_child[i]);
		close(from_child[i]);
	}
}

static void the_copy_in_a_fork_is_closed(void)
{
	try_fork(fork_only, '-');
}

static void a_fork_that_calls_exec_keeps_its_files(void)
{
	try_fork(fork_and_exec, 'o');
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return program(atoi(argv[1]), atoi(argv[2]));
	t_need_backend();
	if (t_backend() != T_WP_ASYNC)
		t_skip_all("%s has no descriptor in the target", t_backend_name());
	alarm(60);
	T_RUN(the_copy_in_a_fork_is_closed);
	T_RUN(a_fork_that_calls_exec_keeps_its_files);
	return t_done();
}
