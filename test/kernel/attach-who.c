/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who can be opened, and what is said about those who cannot. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "target.h"

/* Not opened, with that error and a sentence that has the word in it. */
static void refused(pid_t pid, int want, const char *word)
{
	struct softdirty *sd = NULL;
	int ret = softdirty_open(pid, NULL, &sd);

	T_EQ(ret, want);
	if (ret) {
		T_OK(strlen(softdirty_error()) > 5 && !strchr(softdirty_error(), '\n'));
		if (!T_OK(!word || strcasestr(softdirty_error(), word)))
			t_note("it says: %s", softdirty_error());
	}
	softdirty_close(sd);
}

static void works(struct t_target *tg)
{
	t_watch(tg);
	t_call(tg, t_op_write, t_page(tg, 1));
	T_STREQ(t_pages(tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
	softdirty_close(tg->sd);
	tg->sd = NULL;
}

static void a_zombie(void)
{
	pid_t pid = t_fork();

	if (pid == 0)
		_exit(0);
	waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT);
	refused(pid, -ESRCH, NULL);
	waitpid(pid, NULL, 0);
}

static void a_process_that_is_not_there(void)
{
	refused(999999999, -ESRCH, NULL);
}

static void a_kernel_thread(void)
{
	char text[64];
	struct softdirty *sd = NULL;
	int ret;

	if (t_read_file("/proc/2/comm", text, sizeof(text)) < 0 || strcmp(text, "kthreadd\n"))
		T_SKIP("no kernel thread to be seen here");
	ret = softdirty_open(2, NULL, &sd);
	T_OK(ret == -EINVAL || ret == -EPERM || ret == -EOPNOTSUPP);
	T_OK(strcasestr(softdirty_error(), "kernel"));
}

static void another_user(void)
{
	T_TARGET tg = t_begin(4);
	int status;
	pid_t pid;

	if (geteuid() != 0)
		T_SKIP("needs root to have a process of another user");
	softdirty_close(tg.sd);
	tg.sd = NULL;
	pid = t_fork();
	if (pid == 0) {
		T_MUST(t_drop_privileges());
		refused(tg.pid, -EPERM, "root");
		exit(t_failed() ? 1 : 0);
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	T_EQ(status, 0);
}

static void seize_and_wait(pid_t target, int ready)
{
	char byte = ptrace(PTRACE_SEIZE, target, 0, 0) ? 'e' : 'o';

	if (write(ready, &byte, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void another_tracer(void)
{
	T_TARGET tg = t_start();
	struct softdirty *sd = NULL;
	int ready[2], ret;
	char byte;
	pid_t pid;

	t_map_touched(&tg, 4);
	T_MUST(pipe(ready) == 0);
	pid = t_fork();
	if (pid == 0)
		seize_and_wait(tg.pid, ready[1]);
	T_MUST(read(ready[0], &byte, 1) == 1);
	if (byte != 'o') {
		t_kill(pid);
		T_SKIP("may not trace");
	}
	ret = softdirty_open(tg.pid, NULL, &sd);
	if (t_backend() == T_WP_ASYNC) {
		T_OK(ret == -EBUSY || ret == -EOPNOTSUPP);
		if (!T_OK(strstr(softdirty_error(), "traces")))
			t_note("it says: %s", softdirty_error());
	}
	softdirty_close(sd);
	T_EQ(t_call(&tg, t_op_write, t_page(&tg, 1)), 0);
	t_kill(pid);
	works(&tg);
}

static void two_handles_of_one_target(void)
{
	T_TARGET tg = t_begin(4);
	struct softdirty *sd = NULL;
	int ret = softdirty_open(tg.pid, NULL, &sd);

	if (t_backend() == T_WP_ASYNC)
		T_EQ(ret, -EBUSY);
	softdirty_close(sd);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

/* Another user's, say. All writes are seen by both. */
static void one_more_handle_has_what_is_left(void)
{
	T_TARGET tg = t_begin(4);
	struct softdirty_info info = { .size = sizeof(info) };
	struct softdirty *sd = NULL;

	if (t_backend() == T_HASH)
		T_SKIP("any number of users may compare");
	if (!T_EQ(t_open_default(tg.pid, &sd), 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_MUST(softdirty_info(sd, &info) == 0);
	T_OK(strcmp(info.backend, t_backend_name()));
	T_OK(t_backend() != T_WP_ASYNC || strstr(info.passed_over, "another user"));
	T_EQ(softdirty_clear(sd, NULL), 0);
	softdirty_close(tg.sd);
	tg.sd = sd;
	t_call(&tg, t_op_poke, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "-D--");
}

static long op_undumpable(long a, long b, long c, long d)
{
	return prctl(PR_SET_DUMPABLE, 0);
}

static void an_undumpable_process(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	t_call(&tg, op_undumpable);
	if (geteuid() == 0)
		works(&tg);
	else
		refused(tg.pid, -EPERM, NULL);
	T_EQ(t_call(&tg, t_op_write, t_page(&tg, 1)), 0);
}

static volatile char *page_to_write;

static void on_usr1(int signo)
{
	(*page_to_write)++;
}

/* A grandchild in new namespaces; writes to the page whenever it gets SIGUSR1. */
static long op_namespaces(long page, long b, long c, long d)
{
	pid_t pid;

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET))
		return -errno;
	page_to_write = (char *)page;
	signal(SIGUSR1, on_usr1);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid < 0 ? -errno : 0;
}

static pid_t only_child_of(pid_t parent)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	return t_read_file(path, text, sizeof(text)) > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

static void a_process_in_its_own_namespaces(void)
{
	T_TARGET tg = t_start();
	struct softdirty *sd;
	char got[8];
	pid_t pid;
	long ret;

	t_map_touched(&tg, 4);
	ret = t_call(&tg, op_namespaces, t_page(&tg, 1));
	if (ret)
		T_SKIP("no user namespaces here (%s)", strerror((int)-ret));
	pid = only_child_of(tg.pid);
	if (!pid)
		T_SKIP("this kernel does not list children");
	if (!T_EQ(softdirty_open(pid, NULL, &sd), 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_EQ(softdirty_clear(sd, NULL), 0);
	t_letters(sd, NULL, 0, tg.mem, 4, tg.unit, got);
	T_STREQ(got, "----");
	kill(pid, SIGUSR1);
	t_sleep_ms(100);
	t_letters(sd, NULL, 0, tg.mem, 4, tg.unit, got);
	T_STREQ(got, "-D--");
	softdirty_close(sd);
}

static void a_process_in_a_frozen_cgroup(void)
{
	T_TARGET tg = t_start();
	struct softdirty *sd = NULL;
	char path[64];

	t_map_touched(&tg, 4);
	if (!t_cgroup_make(tg.pid, path))
		T_SKIP("no cgroup of version 2 can be made here");
	alarm(60);
	if (T_OK(t_cgroup_freeze(path, true))) {
		if (t_backend() == T_WP_ASYNC)
			refused(tg.pid, -EOPNOTSUPP, "frozen");
		T_EQ(t_open_default(tg.pid, &sd), 0);
		softdirty_close(sd);
	}
	t_cgroup_freeze(path, false);
	alarm(0);
	works(&tg);
	t_kill(tg.pid);
	tg.pid = 0;
	T_EQ(rmdir(path), 0);
}

static void as_ordinary_user(void (*fn)(void))
{
	int status;
	pid_t pid = t_fork();

	if (pid == 0) {
		T_MUST(t_drop_privileges());
		fn();
		exit(t_failed() ? 1 : 0);
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	T_EQ(status, 0);
}

static void watch_own_process(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	works(&tg);
	t_call(&tg, op_undumpable);
	refused(tg.pid, -EPERM, NULL);
}

/* vm.unprivileged_userfaultfd may be 0: watching needs no more than the same user. */
static void an_ordinary_user_s_own_process(void)
{
	as_ordinary_user(watch_own_process);
}

enum { TOGGLED_PAGES = 512 };

/* Writes each page once, and may not be looked at for a moment after each. */
static long op_write_and_hide(long start, long b, long c, long d)
{
	for (long i = 0; i < TOGGLED_PAGES; i++) {
		t_op_write(start + i * (long)t_page_size(), 0, 0, 0);
		for (int k = 0; k < 4; k++) {
			prctl(PR_SET_DUMPABLE, 0);
			prctl(PR_SET_DUMPABLE, 1);
		}
	}
	return 0;
}

static void note_reported(struct t_target *tg, bool *seen)
{
	const struct softdirty_range *r;
	size_t n;

	if (softdirty_read(tg->sd, NULL, SOFTDIRTY_READ_CLEAR, tg->mem, t_page(tg, TOGGLED_PAGES), &r,
			   &n))
		return;
	for (size_t i = 0; i < n; i++)
		for (uint64_t at = r[i].start; at < r[i].end; at += t_page_size())
			seen[(at - tg->mem) / t_page_size()] = true;
}

static void hide_and_seek(void)
{
	uint64_t until = t_deadline(5);
	T_TARGET tg = t_start();

	t_map_touched(&tg, TOGGLED_PAGES);
	t_watch(&tg);
	for (int pass = 0; pass < 300 && t_now() < until && !t_failed(); pass++) {
		bool seen[TOGGLED_PAGES] = { false };
		int lost = 0;

		t_post(&tg, op_write_and_hide, (long)tg.mem, 0, 0);
		while (!t_idle(&tg))
			note_reported(&tg, seen);
		T_EQ(t_wait(&tg), 0);
		note_reported(&tg, seen);
		for (int i = 0; i < TOGGLED_PAGES; i++)
			lost += !seen[i];
		T_EQ(lost, 0);
	}
}

/* As an ordinary user one loses sight of it for moments, which must lose no page. */
static void a_process_that_hides_and_seeks(void)
{
	as_ordinary_user(hide_and_seek);
}

static void watch_while_undumpable(void)
{
	T_TARGET tg = t_start();
	int ret;

	T_MUST(op_undumpable(0, 0, 0, 0) == 0);
	ret = softdirty_open(tg.pid, NULL, &tg.sd);
	if (t_backend() == T_WP_ASYNC) {
		T_EQ(ret, -EOPNOTSUPP);
		if (!T_OK(strstr(softdirty_error(), "/proc/self/pagemap")))
			t_note("it says: %s", softdirty_error());
	}
}

/* It may not read its own pagemap: that is the reason, not a kernel that lacks something. */
static void an_undumpable_caller(void)
{
	as_ordinary_user(watch_while_undumpable);
}

int main(void)
{
	t_need_backend();
	T_RUN(a_zombie);
	T_RUN(a_process_that_is_not_there);
	T_RUN(a_kernel_thread);
	T_RUN(another_user);
	T_RUN(another_tracer);
	T_RUN(two_handles_of_one_target);
	T_RUN(one_more_handle_has_what_is_left);
	T_RUN(an_undumpable_process);
	T_RUN(a_process_in_its_own_namespaces);
	T_RUN(a_process_in_a_frozen_cgroup);
	T_RUN(an_ordinary_user_s_own_process);
	T_RUN(a_process_that_hides_and_seeks);
	T_RUN(an_undumpable_caller);
	return t_done();
}
