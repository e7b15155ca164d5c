/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The short-lived process that does the ptrace work is killed with SIGKILL at any moment. Whoever
 * tracks is told so, and goes on. The target may be harmed if the blow falls in the very moment in
 * which a system call is made in it (SECURITY.md): that is only counted, and printed.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "keeper/keep.h"

enum { ROUNDS = 300, HELPER_NS = 300000 };

static struct {
	_Atomic int opened, told, other;	/* what softdirty_open() returned: 0, -EIO, else */
	_Atomic int freezes;
} *shared;

/* Opens and closes for ever, one helper each. */
static void open_and_close(pid_t pid)
{
	for (;;) {
		struct softdirty *sd = NULL;
		int err = softdirty_open(pid, NULL, &sd);

		if (err == -ESRCH)
			_exit(0);
		if (err && err != -EIO)
			printf("\topen: %d %s\n", err, softdirty_error());
		atomic_fetch_add(!err ? &shared->opened : err == -EIO ? &shared->told :
				 &shared->other, 1);
		softdirty_close(sd);
	}
}

static pid_t host(const struct f_target *t, void (*run)(pid_t pid))
{
	pid_t pid = t_fork();

	if (pid == 0)
		run(t->pid);
	return pid;
}

/* The next helper of host, as soon as there is one. 0: the host has ended. */
static pid_t helper_of(pid_t pid, pid_t last)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	for (;;) {
		if (t_read_file(path, text, sizeof(text)) < 0)
			return 0;
		if (atoi(text) > 0 && atoi(text) != last)
			return atoi(text);
		if (waitpid(pid, NULL, WNOHANG))
			return 0;
	}
}

static void spin(uint64_t ns)
{
	for (uint64_t end = t_now() + ns; t_now() < end;)
		;
}

/* Returns how many blows fell until the target had ended, or there were as many as asked for. */
static int strike(const struct f_target *t, int rounds)
{
	pid_t pid = host(t, open_and_close), helper = 0;
	int n = 0;

	for (; n < rounds && (helper = helper_of(pid, helper)); n++) {
		spin(f_random(HELPER_NS));
		kill(helper, SIGKILL);
	}
	t_kill(pid);
	return n;
}

static void whoever_tracks_is_told(void)
{
	int n = 0, n_ended = 0, n_changed = 0;

	if (strcmp(f_backend, "wp-async"))
		T_SKIP("%s makes no call in the target", f_backend);
	if (access("/proc/thread-self/children", R_OK))
		T_SKIP("this kernel does not list children");
	while (n < ROUNDS) {
		struct f_target t = f_start();
		int blows = ROUNDS - n < 50 ? ROUNDS - n : 50;

		n += strike(&t, blows);
		bool ended = waitpid(t.pid, NULL, WNOHANG) != 0;
		n_ended += ended;
		n_changed += !ended && !f_as_before(&t, 200);
		T_OK(ended || k_protected(t.pid) == 0);
		if (ended)
			t.pid = 0;
		f_end(&t);
	}
	t_note("%d blows, %d told in time; %d targets ended, %d kept a mask or a descriptor", n,
	       shared->told, n_ended, n_changed);
	T_EQ(shared->other, 0);
	T_OK(shared->told > 0);
}

static void freeze_and_thaw(pid_t pid)
{
	struct softdirty *sd;

	if (softdirty_open(pid, NULL, &sd))
		_exit(1);
	for (shared->freezes = 1;; shared->freezes++) {
		if (softdirty_freeze(sd) == -ESRCH)
			_exit(1);
		softdirty_thaw(sd);
	}
}

/* A freeze changes nothing in the target, so it may end at any moment. */
static void a_killed_freezer_thaws(void)
{
	struct f_target t = f_start();
	pid_t pid = host(&t, freeze_and_thaw), helper = 0;

	if (access("/proc/thread-self/children", R_OK))
		T_SKIP("this kernel does not list children");
	while (!shared->freezes)
		t_sleep_ms(1);
	for (int i = 0; i < ROUNDS && (helper = helper_of(pid, helper)); i++) {
		spin(f_random(HELPER_NS));
		kill(helper, SIGKILL);
	}
	T_OK(shared->freezes > 1);
	t_kill(pid);
	/* A call that was waiting may say EINTR, as after SIGSTOP and SIGCONT. */
	f_interrupted(&t);
	f_no_trace(&t);
	f_end(&t);
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
	T_RUN(a_killed_freezer_thaws);
	T_RUN(whoever_tracks_is_told);
	return t_done();
}
