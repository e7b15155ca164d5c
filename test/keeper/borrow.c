/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that traces the target itself, as CRIU does, takes the userfaultfd in its own stop and
 * hands it over: nobody else could attach meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"

static void seize(pid_t pid)
{
	T_MUST(!ptrace(PTRACE_SEIZE, pid, 0, 0) && !ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	T_MUST(waitpid(pid, NULL, __WALL) == pid);
}

static int open_borrowed(pid_t pid, uint32_t flags, struct softdirty **ret)
{
	struct softdirty_options o = {
		.size = sizeof(o), .flags = flags | SOFTDIRTY_OPEN_UFFD, .backend = "wp-async",
		.keeper = k_self(),
	};

	int err = softdirty_borrow(pid, &o.uffd);
	if (!err)
		err = softdirty_open(pid, &o, ret);
	if (err)
		t_note("%s", softdirty_error());
	return err;
}

static bool works_here(void)
{
	const struct softdirty_backend *b;
	size_t n;

	T_MUST(!softdirty_check(0, &b, &n) && n);
	return b[0].works;
}

static void attaches_inside_our_own_stop(void)
{
	static const uint32_t how[] = { 0, SOFTDIRTY_OPEN_SHARED };

	for (int i = 0; i < 2; i++) {
		struct k_target t = k_start();
		struct softdirty *sd;

		seize(t.pid);
		T_MUST(!open_borrowed(t.pid, how[i], &sd));
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
		ptrace(PTRACE_DETACH, t.pid, 0, 0);
		k_write(&t, 17);
		T_EQ(k_read(sd, NULL, 0, &t, NULL), 1);
		softdirty_stop(sd);
		softdirty_close(sd);
		k_end(&t);
	}
}

/* The keeper exists, the target has called exec, and we trace it: only our descriptor helps. */
static void a_keeper_takes_it_after_exec(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid), *again;
	pid_t keeper = k_keeper(sd);
	const struct softdirty_range *r;
	size_t n;

	T_EQ(softdirty_clear(sd, NULL), 0);
	k_exec(&t);
	seize(t.pid);
	T_OK(softdirty_clear(sd, NULL) < 0);
	T_OK(*softdirty_error());
	T_EQ(open_borrowed(t.pid, SOFTDIRTY_OPEN_SHARED, &again), 0);
	T_EQ(softdirty_read(again, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	T_OK(n > 0);
	T_EQ(softdirty_read(again, NULL, 0, 0, 0, &r, &n), 0);
	for (size_t i = 0; i < n; i++)
		T_OK(r[i].flags & SOFTDIRTY_UNTRACKED);
	T_EQ(k_keeper(again), keeper);
	ptrace(PTRACE_DETACH, t.pid, 0, 0);
	softdirty_close(again);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* It is consumed whatever happens. */
static void no_descriptor_is_left(void)
{
	struct k_target t = k_start(), dead = k_start();
	struct softdirty_options o = {
		.size = sizeof(o), .keeper = "/none/such",
		.flags = SOFTDIRTY_OPEN_UFFD | SOFTDIRTY_OPEN_SHARED,
	};
	struct softdirty *sd;

	seize(t.pid);
	t_kill(dead.pid);
	T_MUST(!softdirty_borrow(t.pid, &o.uffd));
	T_EQ(softdirty_open(t.pid, &o, &sd), -ENOENT);
	T_OK(close(o.uffd) && errno == EBADF);
	T_MUST(!softdirty_borrow(t.pid, &o.uffd));
	o.backend = "none such";
	T_EQ(softdirty_open(t.pid, &o, &sd), -EINVAL);
	T_OK(close(o.uffd) && errno == EBADF);
	T_MUST(!softdirty_borrow(t.pid, &o.uffd));
	T_EQ(softdirty_open(-1, &o, &sd), -EINVAL);
	T_OK(close(o.uffd) && errno == EBADF);
	ptrace(PTRACE_DETACH, t.pid, 0, 0);
	T_EQ(softdirty_borrow(t.pid, &o.uffd), -ESRCH);
	k_end(&t);
	dead.pid = 0;
	k_end(&dead);
}

static void only_a_thread_in_our_own_stop_is_lent(void)
{
	pid_t pid = t_fork();
	int status, uffd = -1;

	T_EQ(softdirty_borrow(1, &uffd), -ESRCH);
	if (pid == 0)	/* whom another user's thread tells even less */
		_exit(t_drop_privileges() && softdirty_borrow(1, &uffd) == -ESRCH ? 0 : 1);
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	T_EQ(uffd, -1);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	if (!works_here())
		t_skip_all("this kernel has no wp-async");
	T_RUN(attaches_inside_our_own_stop);
	T_RUN(a_keeper_takes_it_after_exec);
	T_RUN(no_descriptor_is_left);
	T_RUN(only_a_thread_in_our_own_stop_is_lent);
	return t_done();
}
