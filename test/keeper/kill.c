/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A keeper that is killed with SIGKILL while the target writes: nothing harmed, nothing clean. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"

enum { ROUNDS = 200 };

static void goes_on(const struct k_target *t)
{
	T_OK(k_moves(t, 5000));
	T_EQ(waitpid(t->pid, NULL, WNOHANG), 0);
}

/* At another moment of clear and read each time. */
static void kill_meanwhile(struct softdirty *sd, int round)
{
	pid_t keeper = k_keeper(sd), pid = t_fork();
	const struct softdirty_range *r;
	size_t n;

	if (pid == 0) {
		usleep(round * 20 % 2000);
		k_kill_keeper(keeper);
		_exit(0);
	}
	for (int i = 0; i < 5; i++) {
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_EQ(softdirty_read(sd, "other", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	}
	waitpid(pid, NULL, 0);
}

static void backend_of(struct softdirty *sd, char ret[16])
{
	struct softdirty_info info = { .size = sizeof(info) };

	T_EQ(softdirty_info(sd, &info), 0);
	memcpy(ret, info.backend, 16);
}

static void killed_under_load(void)
{
	struct k_target t = k_start();
	uint64_t end = t_deadline(100);
	char before[16], after[16];
	unsigned reason;
	int i = 0;

	k_load(&t);
	for (; i < ROUNDS && t_now() < end; i++) {
		struct softdirty *sd = k_must_open(t.pid);

		backend_of(sd, before);
		kill_meanwhile(sd, i);
		backend_of(sd, after);
		T_STREQ(after, before);		/* what the killed one had is not in the way */
		softdirty_close(sd);
		sd = k_must_open(t.pid);
		T_EQ(softdirty_clear(sd, NULL), 0);
		k_kill_keeper(k_keeper(sd));
		T_EQ(k_protected(t.pid), 0);
		goes_on(&t);
		softdirty_close(sd);
		sd = k_must_open(t.pid);
		T_EQ(k_read(sd, NULL, 0, &t, &reason), K_PAGES);
		T_EQ(reason, SOFTDIRTY_REASON_LOST);
		T_EQ(softdirty_stop(sd), 0);
		softdirty_close(sd);
	}
	t_note("%d rounds, two keepers killed in each", i);
	T_EQ(k_count_files(t.pid), 0);
	T_EQ(k_count_keepers(t.pid), 0);
	k_end(&t);
}

/* The same handle goes on with a new keeper, and says that everything counts. */
static void an_open_handle_is_told(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	uint64_t generation = k_generation(sd);
	unsigned reason;

	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
	T_EQ(k_generation(sd), generation);
	for (int i = 0; i < 2; i++) {
		k_kill_keeper(k_keeper(sd));
		T_EQ(k_read(sd, NULL, 0, &t, &reason), K_PAGES);
		T_EQ(reason, SOFTDIRTY_REASON_LOST);
		T_OK(k_generation(sd) > generation);
		generation = k_generation(sd);
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
		T_EQ(k_generation(sd), generation);
	}
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* Also for those that do not begin to track: tracking has begun, and was interrupted. */
static void without_beginning_it_is_told_too(void)
{
	struct k_target t = k_start();
	struct softdirty *a = k_must_open(t.pid), *b;
	unsigned reason;

	T_MUST(!k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &b));
	T_EQ(softdirty_clear(b, NULL), 0);
	k_kill_keeper(k_keeper(a));
	T_EQ(k_read(b, NULL, 0, &t, &reason), K_PAGES);
	T_EQ(reason, SOFTDIRTY_REASON_LOST);
	softdirty_close(b);
	k_kill_keeper(k_keeper(a));
	T_EQ(k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &b), 0);
	T_EQ(k_read(b, NULL, 0, &t, &reason), K_PAGES);
	T_EQ(reason, SOFTDIRTY_REASON_LOST);
	k_kill_keeper(k_keeper(a));
	T_EQ(softdirty_stop(b), 0);
	T_EQ(k_count_files(t.pid), 0);
	softdirty_close(a);
	softdirty_close(b);
	k_end(&t);
}

/* What a killed keeper left is removed when its target has ended as well. */
static void the_next_keeper_sweeps(void)
{
	struct k_target t = k_start(), next;
	struct softdirty *sd = k_must_open(t.pid);

	k_kill_keeper(k_keeper(sd));
	softdirty_close(sd);
	k_end(&t);
	T_EQ(k_count_files(t.pid), 2);
	next = k_start();
	sd = k_must_open(next.pid);
	T_EQ(k_count_files(t.pid), 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&next);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(an_open_handle_is_told);
	T_RUN(without_beginning_it_is_told_too);
	T_RUN(the_next_keeper_sweeps);
	T_RUN(killed_under_load);
	return t_done();
}
