/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whoever tracks is killed with SIGKILL at any moment of what it does: the command, its keeper, and
 * a program that links the library. The target never notices, and no write is lost to a mark.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

enum { ROUNDS = 100, N_OPS = 7 };

static const char *const ops[N_OPS][9] = {
	{ "clear", "%", "--mark", "other" },
	{ "read", "%", "--clear", "--mark", "m", "--format", "ranges" },
	{ "read", "%", "--clear", "--mark", "other" },
	{ "verify", "%", "-n", "1", "-i", "0.001" },
	{ "stop", "%", "--tree" },
	{ "clear", "%", "--tree", "--mark", "other" },
	{ "read", "%", "--clear", "--tree", "--mark", "m", "--format", "ranges" },
};
static bool reads_m(int op)
{
	return op == 1 || op == 6;
}

/* How long each takes, as it turns out: now and then one must end before the blow. */
static uint64_t took_ns[N_OPS];

static uint64_t moment(uint64_t ns)
{
	return f_random(ns + 1);
}

static void learn_from(bool hit, uint64_t *ns)
{
	*ns = hit ? *ns + *ns / 8 : *ns - *ns / 4;
}

static void learn(const struct f_target *t)
{
	for (int i = 0; i < N_OPS; i++) {
		struct f_run r = f_run(t, ops[i], NULL);

		if (!T_EQ(f_wait(&r), 0))
			t_note("%s: %s", ops[i][0], f_text(r.err));
		took_ns[i] = t_now() - r.began_ns;
		f_run_end(&r);
	}
	f_stop(t);
}

/* One operation; hit() is called at any moment of it. Returns whether it was done all the same. */
static bool disturbed(const struct f_target *t, struct f_view *v, bool (*hit)(const struct f_target *t,
								     const struct f_run *r))
{
	int op = (int)f_random(N_OPS);

	f_before(t, v);
	struct f_run r = f_run(t, ops[op], NULL);
	f_nap(moment(took_ns[op]));
	bool ret = hit(t, &r);
	learn_from(ret, &took_ns[op]);
	if (reads_m(op))
		f_finish(t, &r, v);
	else
		f_wait(&r);
	f_run_end(&r);
	return ret;
}

static void check_now_and_then(const struct f_target *t, struct f_view *v, int round)
{
	if (round % 3 == 0)
		f_read_all(t, v, "m");
	if (round % 15)
		return;
	f_stop(t);
	f_no_trace(t);
}

static bool kill_command(const struct f_target *t, const struct f_run *r)
{
	siginfo_t info = { 0 };

	/* Until it is waited for it stands, and the signal can only be for it. */
	waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return !info.si_pid && !kill(r->pid, SIGKILL);
}

/* The command goes on: it starts another keeper, or says that it could not. */
static bool kill_keeper(const struct f_target *t, const struct f_run *r)
{
	pid_t keeper = f_keeper(t);

	return keeper && !kill(keeper, SIGKILL);
}

static void all_is_well_when(bool (*hit)(const struct f_target *t, const struct f_run *r))
{
	struct f_target t = f_start();
	struct f_view *v = calloc(1, sizeof(*v));
	int hits = 0;

	learn(&t);
	for (int i = 0; i < ROUNDS && !t_failed(); i++) {
		hits += disturbed(&t, v, hit);
		check_now_and_then(&t, v, i);
	}
	f_stop(&t);
	f_no_trace(&t);
	t_note("%d were killed in %d rounds", hits, ROUNDS);
	T_OK(hits > ROUNDS / 4);
	free(v);
	f_end(&t);
}

static void commands_are_killed(void)
{
	all_is_well_when(kill_command);
}

static void keepers_are_killed(void)
{
	all_is_well_when(kill_keeper);
}

/* Once, with its own tracker in the process. */
static void track(pid_t pid)
{
	const struct softdirty_range *r;
	struct softdirty *sd;
	size_t n;

	if (softdirty_open(pid, NULL, &sd))
		_exit(1);
	if (softdirty_clear(sd, NULL) || softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n) ||
	    softdirty_freeze(sd))
		_exit(1);
	softdirty_thaw(sd);
	softdirty_close(sd);
	_exit(0);
}

static pid_t tracker(const struct f_target *t)
{
	pid_t pid = t_fork();

	if (pid == 0)
		track(t->pid);
	return pid;
}

static void programs_are_killed(void)
{
	struct f_target t = f_start();
	uint64_t took = t_now();
	int killed = 0, status;

	waitpid(tracker(&t), &status, 0);
	took = t_now() - took;
	T_EQ(status, 0);
	for (int i = 0; i < ROUNDS && !t_failed(); i++) {
		pid_t pid = tracker(&t);

		f_nap(moment(took));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		killed += WIFSIGNALED(status);
		learn_from(WIFSIGNALED(status), &took);
		if (i % 10 == 0)
			f_no_trace(&t);
	}
	f_no_trace(&t);
	t_note("%d of %d were killed in the middle", killed, ROUNDS);
	T_OK(killed > ROUNDS / 4);
	f_end(&t);
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	T_RUN(programs_are_killed);
	if (f_has_command()) {
		T_RUN(commands_are_killed);
		T_RUN(keepers_are_killed);
	}
	return t_done();
}
