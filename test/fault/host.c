/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program that uses the library is not alone with it: it forks while it holds the target, other
 * threads of it allocate, a thread is cancelled. The target must not stay stopped for any of these.
 */
#include <errno.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "keeper/keep.h"
#include "seccomp.h"
#include "uapi/syscalls.h"

/* --- it forks ------------------------------------------------------------------------------- */

/* Freezes, forks a child that lives on, and says so. */
static void freeze_and_fork(const struct k_target *t, bool shared, int ready)
{
	struct softdirty *sd = NULL;

	if ((shared ? k_open(t->pid, 0, &sd) : softdirty_open(t->pid, NULL, &sd)) ||
	    softdirty_freeze(sd))
		_exit(1);
	pid_t child = fork();
	if (child == 0)
		for (;;)
			pause();
	if (write(ready, &child, sizeof(child)) != sizeof(child))
		_exit(1);
	pause();
}

static void a_child_of_a_killed_host(bool shared)
{
	struct k_target t = k_start();
	pid_t child = 0;
	int ready[2];

	k_load(&t);
	T_MUST(!pipe(ready));
	pid_t host = t_fork();
	if (host == 0)
		freeze_and_fork(&t, shared, ready[1]);
	T_MUST(read(ready[0], &child, sizeof(child)) == sizeof(child));
	T_OK(!k_moves(&t, 50));
	t_kill(host);
	T_OK(k_moves(&t, 5000));
	kill(child, SIGKILL);
	close(ready[0]);
	close(ready[1]);
	k_end(&t);
}

static void a_child_of_a_killed_host_holds_nothing(void)
{
	a_child_of_a_killed_host(false);
}

static void a_child_of_a_killed_client_holds_nothing(void)
{
	a_child_of_a_killed_host(true);
}

/* --- a thread is cancelled ------------------------------------------------------------------ */

static void *freeze_and_thaw(void *sd)
{
	softdirty_freeze(sd);
	softdirty_thaw(sd);
	return NULL;
}

static void a_cancelled_thread_goes_through(void)
{
	struct k_target t = k_start();
	struct softdirty *sd;

	k_load(&t);
	T_MUST(!softdirty_open(t.pid, NULL, &sd));
	for (int i = 0; i < 200 && !t_failed(); i++) {
		pthread_t thread;

		T_MUST(!pthread_create(&thread, NULL, freeze_and_thaw, sd));
		f_nap(f_random(1500000));
		pthread_cancel(thread);
		pthread_join(thread, NULL);
		T_OK(k_moves(&t, 5000));
	}
	softdirty_close(sd);
	k_end(&t);
}

/* --- threads that allocate ------------------------------------------------------------------ */

static void *allocate(void *none)
{
	for (;;) {
		void *p[16];

		for (int i = 0; i < 16; i++)
			p[i] = malloc(1500 + i * 100);
		for (int i = 0; i < 16; i++)
			free(p[i]);
	}
	return NULL;
}

/* In a process of its own: the filter stays, and so do the threads. */
static void open_among_threads(pid_t pid)
{
	struct softdirty *sd;
	pthread_t thread;

	mallopt(M_ARENA_MAX, 1);
	setlocale(LC_ALL, "C.UTF-8");		/* sentences are looked up in any locale but "C" */
	/* As in some containers: the descriptor cannot be fetched, so there is an error to word. */
	if (t_filter(SYS_pidfd_getfd, SECCOMP_RET_ERRNO | EPERM, 0))
		_exit(77);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread, NULL, allocate, NULL);
	for (int i = 0; i < 300; i++)
		if (!softdirty_open(pid, NULL, &sd))
			softdirty_close(sd);
	_exit(0);
}

static void a_helper_waits_for_no_lock_of_its_host(void)
{
	struct k_target t = k_start();
	int status = -1;
	pid_t host = t_fork();

	if (host == 0)
		open_among_threads(t.pid);
	for (int ms = 0; ms < 60000 && !waitpid(host, &status, WNOHANG); ms++)
		t_sleep_ms(1);
	if (status == 77 << 8)
		t_skip("no seccomp filters here");
	else
		T_EQ(status, 0);
	if (status < 0)
		t_kill(host);
	k_load(&t);
	T_OK(k_moves(&t, 5000));
	k_end(&t);
}

int main(int argc, char **argv)
{
	f_main(argc, argv);
	T_RUN(a_child_of_a_killed_host_holds_nothing);
	if (f_has_command())
		T_RUN(a_child_of_a_killed_client_holds_nothing);
	T_RUN(a_cancelled_thread_goes_through);
	T_RUN(a_helper_waits_for_no_lock_of_its_host);
	return t_done();
}
