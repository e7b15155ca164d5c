/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing a target through a shared handle: it stands still exactly as long as promised. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"

static void frozen_until_thaw(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);

	k_load(&t);
	T_OK(k_moves(&t, 5000));
	T_EQ(softdirty_freeze(sd), 0);
	T_OK(!k_moves(&t, 50));
	T_EQ(softdirty_freeze(sd), -EBUSY);
	T_OK(!k_moves(&t, 50));
	softdirty_thaw(sd);
	T_OK(k_moves(&t, 5000));
	softdirty_thaw(sd);
	T_EQ(softdirty_freeze(sd), 0);
	softdirty_close(sd);
	T_OK(k_moves(&t, 5000));
	sd = k_must_open(t.pid);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void frozen_reads_are_final(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);

	k_load(&t);
	T_EQ(softdirty_clear(sd, NULL), 0);
	T_OK(k_moves(&t, 5000));
	T_EQ(softdirty_freeze(sd), 0);
	T_EQ(k_read(sd, NULL, SOFTDIRTY_READ_CLEAR, &t, NULL), K_PAGES);
	T_EQ(k_read(sd, NULL, SOFTDIRTY_READ_CLEAR, &t, NULL), 0);
	softdirty_thaw(sd);
	T_OK(k_moves(&t, 5000));
	T_OK(k_read(sd, NULL, 0, &t, NULL) > 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* Another client is answered, after the thaw. */
static void others_wait(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);

	T_EQ(softdirty_clear(sd, "other"), 0);
	k_write(&t, 4);
	T_EQ(softdirty_freeze(sd), 0);
	pid_t pid = t_fork();
	if (pid == 0) {
		struct softdirty *mine = k_must_open(t.pid);
		_exit(k_read(mine, "other", 0, &t, NULL));
	}
	t_sleep_ms(100);
	T_EQ(waitpid(pid, NULL, WNOHANG), 0);
	softdirty_thaw(sd);
	int status;
	waitpid(pid, &status, 0);
	T_EQ(WEXITSTATUS(status), 1);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void a_killed_client_thaws(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	int ready[2];
	char c;

	k_load(&t);
	T_MUST(!pipe(ready));
	pid_t pid = t_fork();
	if (pid == 0) {
		struct softdirty *mine = k_must_open(t.pid);
		T_MUST(!softdirty_freeze(mine) && write(ready[1], "", 1) == 1);
		pause();
	}
	T_MUST(read(ready[0], &c, 1) == 1);
	T_OK(!k_moves(&t, 50));
	t_kill(pid);
	T_OK(k_moves(&t, 5000));
	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(softdirty_freeze(sd), 0);
	softdirty_thaw(sd);
	softdirty_stop(sd);
	softdirty_close(sd);
	close(ready[0]);
	close(ready[1]);
	k_end(&t);
}

/* The stop is the client's: without its keeper the target still does not move. */
static void a_killed_keeper_does_not_thaw(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);

	k_load(&t);
	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(softdirty_freeze(sd), 0);
	k_kill_keeper(k_keeper(sd));
	T_OK(!k_moves(&t, 50));
	/* A new keeper may be unable to attach to what we trace. Never does it say clean. */
	int pages = k_read(sd, NULL, 0, &t, NULL);
	T_OK(pages == -1 || pages == K_PAGES);
	T_OK(!k_moves(&t, 50));
	/* One that could attach knows who holds the target: others wait, as before. */
	pid_t pid = pages > 0 ? t_fork() : -1;
	if (pid == 0) {
		struct softdirty *mine = k_must_open(t.pid);
		_exit(softdirty_clear(mine, "other") ? 1 : 0);
	}
	t_sleep_ms(100);
	T_OK(pid < 0 || waitpid(pid, NULL, WNOHANG) == 0);
	softdirty_thaw(sd);
	int status = 0;
	T_OK(pid < 0 || waitpid(pid, &status, 0) == pid);
	T_EQ(status, 0);
	T_OK(k_moves(&t, 5000));
	T_EQ(k_read(sd, NULL, 0, &t, NULL), K_PAGES);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static volatile uint64_t *rounds;

static void *count(void *none)
{
	for (;;)
		++*rounds;
	return NULL;
}

/* One thread counts, the other waits in the kernel for a child that does not come to exec. */
static void count_and_vfork(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, count, NULL) || vfork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static bool is_in_kernel(pid_t pid)
{
	char path[32], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (t_read_file(path, text, sizeof(text)) < 0)
		return false;
	const char *name = strrchr(text, ')');
	return name && name[2] == 'D';
}

/* It cannot be stopped, so the others are not to wait for that in vain. */
static void a_thread_that_does_not_stop_stops_nobody(void)
{
	struct softdirty *sd;
	struct softdirty_options hash = { .size = sizeof(hash), .backend = "hash" };

	rounds = mmap(NULL, K_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_MUST(rounds != MAP_FAILED);
	pid_t pid = t_fork();
	if (pid == 0)
		count_and_vfork();
	while (!*rounds || !is_in_kernel(pid))
		t_sleep_ms(1);
	T_MUST(!softdirty_open(pid, &hash, &sd));
	uint64_t before = t_now(), at = *rounds;
	T_EQ(softdirty_freeze(sd), -ETIMEDOUT);
	uint64_t took = t_now() - before, done = *rounds - at;
	before = t_now();
	at = *rounds;
	t_sleep_ms(200);
	/* As fast as ever, more or less. */
	T_OK(done / (took / 1000000) > (*rounds - at) / ((t_now() - before) / 1000000) / 10);
	softdirty_close(sd);
	t_kill(pid);
	munmap((void *)rounds, K_PAGE);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(frozen_until_thaw);
	T_RUN(frozen_reads_are_final);
	T_RUN(others_wait);
	T_RUN(a_killed_client_thaws);
	T_RUN(a_killed_keeper_does_not_thaw);
	T_RUN(a_thread_that_does_not_stop_stops_nobody);
	return t_done();
}
