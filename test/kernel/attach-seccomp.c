/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Targets under seccomp. Where the filter may be suspended (root) they are tracked as any other;
 * where it may not, softdirty refuses or falls back and says why. It never lets the filter kill.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seccomp.h"
#include "target.h"

static long op_filter(long action, long b, long c, long d)
{
	return t_filter(SYS_userfaultfd, (uint32_t)action, 0);
}

/* Tracked if the backend can, else refused with a sentence that names seccomp; never harmed. */
static void try_target(struct t_target *tg)
{
	int ret = softdirty_open(tg->pid, NULL, &tg->sd);

	if (ret) {
		T_EQ(ret, -EOPNOTSUPP);
		T_EQ(t_backend(), T_WP_ASYNC);
		T_OK(geteuid() != 0);
		T_OK(strstr(softdirty_error(), "seccomp"));
		t_note("refused: %s", softdirty_error());
	} else {
		T_EQ(softdirty_clear(tg->sd, NULL), 0);
		t_call(tg, t_op_write, t_page(tg, 1));
		T_STREQ(t_pages(tg, NULL, 0), "-D--");
	}
	T_EQ(t_call(tg, t_op_write, t_page(tg, 2)), 0);
	T_EQ(t_call(tg, t_op_munmap, t_page(tg, 3), tg->unit), 0);
}

static void with_filter(uint32_t action)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, op_filter, action))
		T_SKIP("no seccomp filters here");
	try_target(&tg);
}

static void a_filter_that_fails_the_call(void)
{
	with_filter(SECCOMP_RET_ERRNO | EPERM);
}

static void a_filter_that_kills_the_thread(void)
{
	with_filter(SECCOMP_RET_KILL_THREAD);
}

static void a_filter_that_kills_the_process(void)
{
	with_filter(SECCOMP_RET_KILL_PROCESS);
}

static void a_filter_that_traps(void)
{
	with_filter(SECCOMP_RET_TRAP);
}

static void a_filter_that_allows_it(void)
{
	with_filter(SECCOMP_RET_ALLOW);
}

/* Has a filter already, so that the other thread is chosen, which waits for the end of this one. */
static int filters_for_all(void *arg)
{
	struct timespec ts = { 0, 400000000 };

	t_filter(SYS_userfaultfd, SECCOMP_RET_ALLOW, 0);
	syscall(SYS_nanosleep, &ts, NULL);
	return t_filter(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS, SECCOMP_FILTER_FLAG_TSYNC);
}

static long op_filter_meanwhile(long a, long b, long c, long d)
{
	static _Alignas(16) char stack[65536];

	return clone(filters_for_all, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_THREAD |
		     CLONE_SIGHAND | CLONE_FILES | CLONE_FS, NULL) < 0 ? -errno : 0;
}

/* None is there when the thread is chosen, one when it stops. */
static void a_filter_that_comes_meanwhile(void)
{
	T_TARGET tg;

	if (t_backend() == T_SOFT_DIRTY)
		T_SKIP("soft-dirty makes no call, and waits for threads in vfork()");
	tg = t_start();
	t_map_touched(&tg, 4);
	t_post(&tg, op_filter_meanwhile, 0, 0, 0);
	t_sleep_ms(100);
	if (softdirty_open(tg.pid, NULL, &tg.sd)) {
		t_note("refused: %s", softdirty_error());
		T_OK(geteuid() != 0 && strstr(softdirty_error(), "seccomp"));
	}
	T_EQ(t_wait(&tg), 0);
	softdirty_close(tg.sd);
	tg.sd = NULL;
	try_target(&tg);
}

/* Without a forced backend there is always an answer. */
static void the_default_falls_back(void)
{
	struct softdirty_info info = { .size = sizeof(info) };
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, op_filter, (long)SECCOMP_RET_KILL_PROCESS))
		T_SKIP("no seccomp filters here");
	if (!T_EQ(t_open_default(tg.pid, &tg.sd), 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_EQ(softdirty_info(tg.sd, &info), 0);
	t_note("uses %s; passed over: %s", info.backend, info.passed_over);
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, 0), "-D--");
}

/* Only read, write, exit and sigreturn: answers each byte with a write to its second page. */
static void strict_child(char *second_page, int in, int out)
{
	char byte;

	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	while (syscall(SYS_read, in, &byte, 1) == 1) {
		*second_page = byte;
		if (syscall(SYS_write, out, &byte, 1) != 1)
			break;
	}
	syscall(SYS_exit, 0);
}

static bool answers(int in, int out, char byte)
{
	char back;

	return write(in, &byte, 1) == 1 && read(out, &back, 1) == 1 && back == byte;
}

static void strict_mode(void)
{
	size_t page = t_page_size();
	char *mem = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct softdirty *sd = NULL;
	int in[2], out[2];
	char got[8];
	pid_t pid;

	memset(mem, 1, 4 * page);
	T_MUST(pipe(in) == 0 && pipe(out) == 0);
	pid = t_fork();
	if (pid == 0)
		strict_child(mem + page, in[0], out[1]);
	T_OK(answers(in[1], out[0], 'a'));
	if (softdirty_open(pid, NULL, &sd) == 0) {
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_OK(answers(in[1], out[0], 'b'));
		t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, (uintptr_t)mem, 4, page, got);
		T_STREQ(got, "-D--");
	} else {
		T_OK(geteuid() != 0 && strstr(softdirty_error(), "seccomp"));
	}
	T_OK(answers(in[1], out[0], 'c'));
	softdirty_close(sd);
	T_OK(answers(in[1], out[0], 'd'));
	t_kill(pid);
	munmap(mem, 4 * page);
}

static void as_an_ordinary_user(void)
{
	int status;
	pid_t pid = t_fork();

	if (pid == 0) {
		if (!t_drop_privileges())
			_exit(77);
		T_RUN(a_filter_that_fails_the_call);
		T_RUN(a_filter_that_kills_the_thread);
		T_RUN(a_filter_that_kills_the_process);
		T_RUN(a_filter_that_traps);
		T_RUN(a_filter_that_allows_it);
		T_RUN(a_filter_that_comes_meanwhile);
		T_RUN(the_default_falls_back);
		T_RUN(strict_mode);
		exit(t_done());
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	T_EQ(status, 0);
}

int main(void)
{
	t_need_backend();
	T_RUN(a_filter_that_fails_the_call);
	T_RUN(a_filter_that_kills_the_thread);
	T_RUN(a_filter_that_kills_the_process);
	T_RUN(a_filter_that_traps);
	T_RUN(a_filter_that_allows_it);
	T_RUN(a_filter_that_comes_meanwhile);
	T_RUN(the_default_falls_back);
	T_RUN(strict_mode);
	T_RUN(as_an_ordinary_user);
	return t_done();
}
