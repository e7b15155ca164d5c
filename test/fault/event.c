/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target exits, calls exec, is stopped and continued, or is killed, at any moment of what the
 * library does with it. The answer is right or -ESRCH; nothing hangs, and nothing is left in the host.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "keeper/keep.h"

enum { ROUNDS = 40, PAGES = 64, MAX_SECONDS = 150 };
enum event { EXIT, EXEC, STOP, KILL, N_EVENTS };

static const int signals[N_EVENTS] = { SIGUSR1, SIGUSR2, SIGSTOP, SIGKILL };
static _Atomic uint64_t *rounds;	/* of the target's load */
static uint64_t took_ns = 2000000;

static void on_exit_signal(int sig)
{
	_exit(0);
}

static void on_exec_signal(int sig)
{
	static char *argv[] = { (char *)"target", (char *)"sleep", NULL };

	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", argv);
}

static pid_t start(void)
{
	pid_t pid;

	*rounds = 0;
	pid = t_fork();
	if (pid == 0) {
		volatile char *mem = mmap(NULL, PAGES * F_PAGE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		signal(SIGUSR1, on_exit_signal);
		signal(SIGUSR2, on_exec_signal);
		for (;; (*rounds)++)
			for (int i = 0; i < PAGES; i++)
				mem[i * F_PAGE]++;
	}
	while (!*rounds)
		sched_yield();
	return pid;
}

/* Lets it happen in a while, and ends when it has. */
static pid_t happen(enum event e, pid_t target)
{
	uint64_t ns = f_random(took_ns);
	pid_t pid = t_fork();

	if (pid)
		return pid;
	f_nap(ns);
	kill(target, signals[e]);
	if (e == STOP) {
		f_nap(200000);
		kill(target, SIGCONT);
	}
	_exit(0);
}

static int open_it(pid_t pid, bool shared, struct softdirty **ret)
{
	return shared ? k_open(pid, 0, ret) : softdirty_open(pid, NULL, ret);
}

/* An error is right only if the target ends. */
static bool right(enum event e, int err, const char *what)
{
	bool ends = e == EXIT || e == KILL;

	if (T_OK(!err || (ends && err == -ESRCH)))
		return !err;
	t_note("%s: %d %s", what, err, softdirty_error());
	return false;
}

static void use(struct softdirty *sd, enum event e)
{
	const struct softdirty_range *r;
	size_t n;

	right(e, softdirty_clear(sd, "m"), "clear");
	right(e, softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), "read and clear");
	right(e, softdirty_read(sd, "m", 0, 0, 0, &r, &n), "read");
	right(e, softdirty_pages(sd, 0, 0, &r, &n), "pages");
}

static void open_and_use(pid_t pid, bool shared, enum event e)
{
	struct softdirty *sd = NULL;

	if (right(e, open_it(pid, shared, &sd), "open"))
		use(sd, e);
	softdirty_close(sd);
}

static void wait_for_exec(pid_t pid)
{
	char path[32], text[512] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (!strstr(text, "(asleep) S") && t_read_file(path, text, sizeof(text)) > 0)
		t_sleep_ms(1);
}

static bool is_told(const struct softdirty_range *r, size_t n, const struct softdirty_range *page)
{
	uint64_t at = page->start;

	for (size_t i = 0; i < n && at < page->end; i++)
		if (r[i].start <= at && at < r[i].end)
			at = r[i].end;
	return at >= page->end;
}

/* What a handle from before says now of its mark "k", which was cleared then: after exec, everything. */
static void final_answer(struct softdirty *sd, enum event e)
{
	static struct softdirty_range told[4096];
	const struct softdirty_range *r;
	size_t n = 0, n_pages = 0;
	int err = softdirty_read(sd, "k", 0, 0, 0, &r, &n);

	T_EQ(err, e == EXIT || e == KILL ? -ESRCH : 0);
	T_OK(e != EXEC || (n > 0 && n < 4096));
	if (e != EXEC || t_failed())
		return;
	memcpy(told, r, n * sizeof(*r));
	T_EQ(softdirty_pages(sd, 0, 0, &r, &n_pages), 0);
	T_OK(n_pages > 10);
	for (size_t i = 0; i < n_pages; i++)
		T_OK(is_told(told, n, &r[i]));
}

/* The target may run, be as it was before, or be gone; its threads are not stopped by us. */
static void after(pid_t pid, enum event e)
{
	uint64_t before = *rounds;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	while (e == STOP && *rounds < before + 2)
		t_sleep_ms(1);
	if (e == STOP || e == EXEC) {
		T_EQ(t_proc_number(path, "TracerPid"), 0);
		T_EQ(t_proc_number(path, "SigBlk"), 0);
		T_EQ(waitpid(pid, NULL, WNOHANG), 0);
	}
}

static void settle(pid_t pid, enum event e)
{
	siginfo_t info;

	if (e == EXIT || e == KILL)
		waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	if (e == EXEC)
		wait_for_exec(pid);
}

/* One target. The handle is there before it happens, or one is opened again and again. */
static void round_of(enum event e, bool shared, bool opened)
{
	struct f_target t = { .pid = start() };
	struct softdirty *sd = NULL, *end = NULL;
	pid_t left[4];

	if (opened)
		T_MUST(!open_it(t.pid, shared, &sd) && !softdirty_clear(sd, "k"));
	uint64_t began = t_now();
	pid_t pid = happen(e, t.pid);
	do
		opened ? use(sd, e) : open_and_use(t.pid, shared, e);
	while (!waitpid(pid, NULL, WNOHANG));
	took_ns = (7 * took_ns + (t_now() - began)) / 8;	/* twice the use of it */
	settle(t.pid, e);
	if (opened)
		final_answer(sd, e);
	after(t.pid, e);
	softdirty_close(sd);
	if (shared && !k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &end))
		T_EQ(softdirty_stop(end), 0);
	softdirty_close(end);
	while (f_children(&t, left, 4))
		t_sleep_ms(1);
	T_EQ(k_count_files(t.pid), 0);
	t_kill(t.pid);
}

static void at_any_moment(enum event e)
{
	for (int i = 0; i < ROUNDS && !t_failed(); i++)
		round_of(e, i & 1, i & 2);
}

static void it_exits(void)
{
	at_any_moment(EXIT);
}

static void it_calls_exec(void)
{
	at_any_moment(EXEC);
}

static void it_is_stopped_and_continued(void)
{
	at_any_moment(STOP);
}

static void it_is_killed(void)
{
	at_any_moment(KILL);
}

/* The next process with that pid, often of the same clock tick. */
static void a_reused_pid_is_another_process(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		const struct softdirty_range *r;
		struct softdirty *old, *sd;
		bool shared = i & 1;
		struct f_target t = { .pid = start() };
		pid_t left[4];
		size_t n;

		T_MUST(!open_it(t.pid, shared, &old) && !softdirty_clear(old, "k"));
		t_kill(t.pid);
		pid_t again = t_fork_as(t.pid);
		if (again < 0) {
			softdirty_close(old);
			T_SKIP("no process with a chosen pid here");
		}
		T_EQ(softdirty_read(old, "k", 0, 0, 0, &r, &n), -ESRCH);
		int err = open_it(again, shared, &sd);
		if (!T_EQ(err, 0))
			t_note("%s", softdirty_error());
		T_EQ(err ? 0 : softdirty_read(sd, "k", 0, 0, 0, &r, &n), 0);
		for (size_t k = 0; !err && k < n; k++)
			T_EQ(r[k].reason, SOFTDIRTY_REASON_NEVER);
		T_EQ(err ? 0 : softdirty_stop(sd), 0);
		softdirty_close(err ? NULL : sd);
		softdirty_close(old);
		while (f_children(&t, left, 4))
			t_sleep_ms(1);
		t_kill(again);
	}
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	alarm(MAX_SECONDS);	/* a hang must end, and fail */
	rounds = mmap(NULL, F_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_MUST(rounds != MAP_FAILED);
	T_RUN(it_exits);
	T_RUN(it_calls_exec);
	T_RUN(it_is_stopped_and_continued);
	T_RUN(it_is_killed);
	T_RUN(a_reused_pid_is_another_process);
	return t_done();
}
