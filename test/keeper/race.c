/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands that start a keeper of the same target at the same moment. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"
#include "wire/place.h"

enum { RACERS = 3, ROUNDS = 100 };

/* Open when the gate opens, tell who the keeper is, and leave. */
static pid_t racer(const struct k_target *t, int gate, int out)
{
	pid_t pid = t_fork();

	if (pid)
		return pid;
	char c;
	struct softdirty *sd = NULL;
	(void)!read(gate, &c, 1);
	int err = k_open(t->pid, 0, &sd);
	pid_t keeper = err ? err : k_keeper(sd);
	(void)!write(out, &keeper, sizeof(keeper));
	softdirty_close(sd);
	_exit(0);
}

static void race(const struct k_target *t)
{
	int gate[2], out[2];
	pid_t pid[RACERS], keeper[RACERS];

	T_MUST(!pipe(gate) && !pipe(out));
	for (int i = 0; i < RACERS; i++)
		pid[i] = racer(t, gate[0], out[1]);
	T_MUST(write(gate[1], "go!", RACERS) == RACERS);
	for (int i = 0; i < RACERS; i++)
		T_MUST(read(out[0], &keeper[i], sizeof(pid_t)) == sizeof(pid_t));
	for (int i = 0; i < RACERS; i++) {
		T_OK(keeper[i] > 0);
		T_EQ(keeper[i], keeper[0]);
		waitpid(pid[i], NULL, 0);
		close(i < 2 ? gate[i] : out[0]);
	}
	close(out[1]);
	/* Those that came second have ended, or are about to. */
	for (int ms = 0; ms < 2000 && k_count_keepers(t->pid) != 1; ms++)
		t_sleep_ms(1);
	T_EQ(k_count_keepers(t->pid), 1);
}

static void racing_commands_get_one_keeper(void)
{
	uint64_t end = t_deadline(50);
	int i = 0;

	for (; i < ROUNDS && t_now() < end; i++) {
		struct k_target t = k_start();
		struct softdirty *sd;

		race(&t);
		T_MUST(!k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd));
		T_EQ(softdirty_stop(sd), 0);
		T_EQ(k_count_files(t.pid), 0);
		softdirty_close(sd);
		k_end(&t);
	}
	T_OK(i > 0);
}

/* A stop and a start at once: whoever comes first, nobody fails and nothing stays behind. */
static void stopping_and_starting_at_once(void)
{
	struct k_target t = k_start();
	uint64_t end = t_deadline(50);
	int i = 0;

	for (; i < ROUNDS && t_now() < end; i++) {
		struct softdirty *sd = k_must_open(t.pid);
		pid_t pid = t_fork();

		if (pid == 0) {
			struct softdirty *mine = NULL;
			int err = k_open(t.pid, 0, &mine);
			err = err ? err : softdirty_clear(mine, NULL);
			if (err)
				t_note("%d: %s", err, softdirty_error());
			_exit(err ? 1 : 0);
		}
		T_EQ(softdirty_stop(sd), 0);
		int status;
		waitpid(pid, &status, 0);
		T_EQ(status, 0);
		T_EQ(softdirty_stop(sd), 0);
		softdirty_close(sd);
		T_EQ(k_count_files(t.pid), 0);
	}
	T_OK(i > 0);
	T_EQ(k_protected(t.pid), 0);
	k_end(&t);
}

/* Lock, look whether the file is still there, remove it, unlock. Returns how often it was not. */
static int lock_and_remove(int dir, const struct sdi_place_name *name)
{
	int bad = 0;

	for (int locked = 0; locked < 3000;) {
		struct stat st;
		int fd = sdi_place_lock(dir, name);

		if (fd < 0)
			continue;
		locked++;
		bad += fstat(fd, &st) || st.st_nlink == 0;
		sdi_place_remove(dir, name, false);
		close(fd);
	}
	return bad;
}

/* Who gets the lock of a file that its owner has just removed has got nothing. */
static void a_lock_is_of_the_file_that_is_there(void)
{
	struct sdi_place_name name = sdi_place_name(1, getpid());
	struct sdi_place p;
	int status;

	T_MUST(!sdi_place_open(true, &p));
	pid_t pid = t_fork();
	if (pid == 0)
		_exit(lock_and_remove(p.dir, &name) ? 1 : 0);
	T_EQ(lock_and_remove(p.dir, &name), 0);
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	sdi_place_close(&p);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(racing_commands_get_one_keeper);
	T_RUN(a_lock_is_of_the_file_that_is_there);
	T_RUN(stopping_and_starting_at_once);
	return t_done();
}
