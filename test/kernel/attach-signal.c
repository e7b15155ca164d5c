/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that arrive while softdirty attaches and detaches: each is delivered, once, in order, and
 * interrupts the call that it has to.
 */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

#define N_SIGNALS (t_is_slow() ? 1000 : 3000)
#define N_ATTACH 60
#define MAX_SECONDS 20			/* on a slow machine */

struct shared {
	_Atomic uint32_t n, out_of_order, last[2], interrupted;
	_Atomic bool stop;
};
static struct shared *shared;

static void on_rt(int signo, siginfo_t *info, void *context)
{
	int which = signo - SIGRTMIN;
	uint32_t value = (uint32_t)info->si_value.sival_int;

	atomic_fetch_add(&shared->n, 1);
	if (value != shared->last[which] + 1)
		atomic_fetch_add(&shared->out_of_order, 1);
	shared->last[which] = value;
}

static void handle(void)
{
	struct sigaction sa = { .sa_sigaction = on_rt, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigfillset(&sa.sa_mask);
	sigaction(SIGRTMIN, &sa, NULL);
	sigaction(SIGRTMIN + 1, &sa, NULL);
}

/* Computes and sleeps by turns, so that signals come at all moments. */
static long op_live(long a, long b, long c, long d)
{
	handle();
	while (!shared->stop) {
		for (volatile int i = 0; i < 100000; i++)
			;
		t_sleep_ms(1);
	}
	return 0;
}

static void send(pid_t pid, int signo)
{
	for (int i = 1; i <= N_SIGNALS; i++) {
		union sigval v = { .sival_int = i };

		while (sigqueue(pid, signo, v) && errno == EAGAIN)
			t_sleep_ms(1);
		if (i % 16 == 0)
			usleep(300);
	}
}

static void use_library(pid_t pid)
{
	const struct softdirty_range *r;
	struct softdirty *sd;
	size_t n;

	if (!T_EQ(softdirty_open(pid, NULL, &sd), 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(softdirty_freeze(sd), 0);
	softdirty_thaw(sd);
	T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	softdirty_close(sd);
}

static void new_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
}

static void queued_signals_are_all_delivered(void)
{
	T_TARGET tg;
	uint64_t end = t_deadline(MAX_SECONDS);
	pid_t sender[2];

	new_shared();
	tg = t_start();
	t_post(&tg, op_live, 0, 0, 0);
	t_sleep_ms(50);
	for (int i = 0; i < 2; i++) {
		sender[i] = t_fork();
		if (sender[i] == 0) {
			send(tg.pid, SIGRTMIN + i);
			_exit(0);
		}
	}
	for (int i = 0; i < N_ATTACH && t_now() < end; i++)
		use_library(tg.pid);
	for (int i = 0; i < 2; i++)
		waitpid(sender[i], NULL, 0);
	t_sleep_ms(100);
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	T_EQ(shared->n, 2 * N_SIGNALS);
	T_EQ(shared->out_of_order, 0);
}

static long op_block(long a, long b, long c, long d)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	handle();
	return 0;
}

static long op_unblock(long a, long b, long c, long d)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

static void blocked_signals_stay_pending(void)
{
	T_TARGET tg;
	char path[64];
	union sigval v = { .sival_int = 1 };
	char mask[32];

	new_shared();
	tg = t_start();
	t_call(&tg, op_block);
	snprintf(path, sizeof(path), "/proc/%d/status", tg.pid);
	T_EQ(sigqueue(tg.pid, SIGRTMIN, v), 0);
	snprintf(mask, sizeof(mask), "%s", t_proc_text(path, "SigBlk"));
	T_EQ(strlen(mask), 16);
	for (int i = 0; i < 5; i++)
		use_library(tg.pid);
	T_STREQ(t_proc_text(path, "SigBlk"), mask);
	T_EQ(shared->n, 0);
	t_call(&tg, op_unblock);
	T_EQ(shared->n, 1);
}

static char state_of(pid_t pid)
{
	char path[64], text[512];
	char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (t_read_file(path, text, sizeof(text)) < 0)
		return '?';
	p = strrchr(text, ')');
	return p ? p[2] : '?';
}

/* After a detach the kernel lets it wake up and stop again, without a step of its own code. */
static bool is_stopped(pid_t pid)
{
	for (int i = 0; i < 5000 && state_of(pid) != 'T'; i++)
		t_sleep_ms(1);
	return state_of(pid) == 'T';
}

static long op_count(long a, long b, long c, long d)
{
	while (!shared->stop)
		atomic_fetch_add(&shared->n, 1);
	return 0;
}

static void a_stopped_target_stays_stopped(void)
{
	T_TARGET tg;
	int status;
	uint32_t count;

	new_shared();
	tg = t_start();
	t_map_touched(&tg, 4);
	t_post(&tg, op_count, 0, 0, 0);
	t_sleep_ms(20);
	kill(tg.pid, SIGSTOP);
	T_EQ(waitpid(tg.pid, &status, WUNTRACED), tg.pid);
	count = shared->n;
	for (int i = 0; i < 5; i++) {
		use_library(tg.pid);
		T_OK(is_stopped(tg.pid));
	}
	t_watch(&tg);
	T_OK(is_stopped(tg.pid));
	T_EQ(shared->n, count);
	T_EQ(waitpid(tg.pid, &status, WNOHANG | WCONTINUED), 0);
	shared->stop = true;
	kill(tg.pid, SIGCONT);
	T_EQ(waitpid(tg.pid, &status, WCONTINUED), tg.pid);
	T_OK(WIFCONTINUED(status));
	T_EQ(t_wait(&tg), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, 0), "-D--");
}

/* The parent of the target is never told of the stops that softdirty makes. */
static void the_parent_sees_no_stop(void)
{
	T_TARGET tg = t_begin(4);
	int status;

	softdirty_close(tg.sd);
	tg.sd = NULL;
	for (int i = 0; i < 10; i++)
		use_library(tg.pid);
	T_EQ(waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED | __WALL), 0);
}

static void stop_and_continue_meanwhile(void)
{
	T_TARGET tg;
	pid_t sender;

	new_shared();
	tg = t_start();
	t_post(&tg, op_live, 0, 0, 0);
	sender = t_fork();
	if (sender == 0) {
		for (int i = 0; i < 200; i++) {
			kill(tg.pid, SIGSTOP);
			usleep(1500);
			kill(tg.pid, SIGCONT);
			usleep(1500);
		}
		_exit(0);
	}
	for (int i = 0; i < (t_is_slow() ? 15 : 40); i++)
		use_library(tg.pid);
	waitpid(sender, NULL, 0);
	kill(tg.pid, SIGCONT);
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
}

static void on_usr1(int signo)
{
}

static long op_read_for_ever(long fd, long b, long c, long d)
{
	struct sigaction sa = { .sa_handler = on_usr1 };	/* no SA_RESTART */
	char byte;

	sigaction(SIGUSR1, &sa, NULL);
	while (!shared->stop)
		if (read((int)fd, &byte, 1) < 0 && errno == EINTR)
			atomic_fetch_add(&shared->interrupted, 1);
	return 0;
}

/* Only then does a signal have to interrupt it. Stopped, it is in no call. */
static bool is_reading(pid_t pid, uint64_t deadline)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (; t_now() < deadline; usleep(100))
		if (t_read_file(path, text, sizeof(text)) > 0 && isdigit(text[0]) &&
		    atoi(text) == SYS_read)
			return true;
	return false;
}

static bool is_interrupted(pid_t pid)
{
	uint32_t before = shared->interrupted;
	uint64_t deadline = t_now() + 10000000000u;

	T_MUST(is_reading(pid, deadline) && !kill(pid, SIGUSR1));
	deadline = t_now() + 1000000000;
	while (shared->interrupted == before && t_now() < deadline)
		usleep(200);
	return shared->interrupted != before;
}

/* The kernel decides about that in the stop already on arm64, and the injected calls come after it. */
static void a_signal_meanwhile_interrupts_a_call(void)
{
	uint64_t end = t_deadline(4);
	T_TARGET tg;
	int fds[2], n = 0, missed = 0;
	pid_t attacher;

	new_shared();
	T_MUST(!pipe(fds));
	tg = t_start();
	t_post(&tg, op_read_for_ever, fds[0], 0, 0);
	attacher = t_fork();
	if (attacher == 0)
		for (;;) {
			struct softdirty *sd;

			if (!softdirty_open(tg.pid, NULL, &sd))
				softdirty_close(sd);
		}
	for (; t_now() < end; n++)
		missed += !is_interrupted(tg.pid);
	t_kill(attacher);
	/* One that comes between a stop and the call made again is handled before the call. */
	t_note("%d signals, %d of them outside of the call", n, missed);
	T_OK(missed <= 1 + n / 1000);
	shared->stop = true;
	T_EQ(write(fds[1], "x", 1), 1);
	T_EQ(t_wait(&tg), 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	t_need_backend();
	T_RUN(queued_signals_are_all_delivered);
	T_RUN(blocked_signals_stay_pending);
	T_RUN(a_stopped_target_stays_stopped);
	T_RUN(the_parent_sees_no_stop);
	T_RUN(stop_and_continue_meanwhile);
	T_RUN(a_signal_meanwhile_interrupts_a_call);
	return t_done();
}
