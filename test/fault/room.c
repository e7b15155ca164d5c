/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No memory, no descriptors, no room in the runtime directory, at each step of what is done: the
 * limit is raised bit by bit until all succeeds. Each failure says in one line what and why, harms
 * nothing and loses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocs.h"
#include "fault.h"
#include "keeper/keep.h"

/* --- the library ---------------------------------------------------------------------------- */

static int open_it(pid_t pid, bool shared, struct softdirty **ret)
{
	*ret = NULL;
	return shared ? k_open(pid, 0, ret) : softdirty_open(pid, NULL, ret);
}

static bool clean_failure(int err, int want)
{
	if (T_OK(err == 0 || err == want) && T_OK(!err || *softdirty_error()))
		return !err;
	t_note("%d: %s", err, softdirty_error());
	return true;	/* no use in going on */
}

/* Open, and clear, with the n-th allocation failing, for each n. */
static void every_allocation_of_the_first_steps(void)
{
	struct k_target t = k_start();
	bool done = false;
	unsigned n = 1;

	for (; !done; n++) {
		struct softdirty *sd = NULL;

		t_allocs_fail(n, false);
		int err = softdirty_open(t.pid, NULL, &sd);
		if (!err)
			err = softdirty_clear(sd, "m");
		done = !t_allocs_end();
		clean_failure(err, -ENOMEM);
		softdirty_close(err && !sd ? NULL : sd);
		T_EQ(k_protected(t.pid), 0);
	}
	T_OK(n > 5);
	k_end(&t);
}

/*
 * Of two pages that were written the one waits in the mark already, the other is found by the read.
 * If that fails the next tells both; and the other mark is told in any case.
 */
static void fail_in_reads(bool and_later)
{
	struct k_target t = k_start();
	struct softdirty *sd;
	bool done = false;
	unsigned n = 1;

	T_MUST(!open_it(t.pid, false, &sd) && !softdirty_clear(sd, "m") &&
	       !softdirty_clear(sd, "other"));
	for (; !done && !t_failed(); n++) {
		const struct softdirty_range *r;
		size_t count;

		k_write(&t, n % 32);
		T_OK(k_read(sd, "other", SOFTDIRTY_READ_CLEAR, &t, NULL) >= 1);
		k_write(&t, 32 + n % 32);
		uint64_t start = (uintptr_t)t.mem;
		t_allocs_fail(n, and_later);
		int err = softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, start,
					 start + K_PAGES * K_PAGE, &r, &count);
		done = !t_allocs_end();
		clean_failure(err, -ENOMEM);
		if (err)
			T_OK(k_read(sd, "m", SOFTDIRTY_READ_CLEAR, &t, NULL) >= 2);
		T_OK(k_read(sd, "other", SOFTDIRTY_READ_CLEAR, &t, NULL) >= 1);
	}
	T_OK(n > 5);
	softdirty_close(sd);
	k_end(&t);
}

static void every_allocation_of_a_read(void)
{
	fail_in_reads(false);
}

static void every_allocation_of_a_read_and_all_later(void)
{
	fail_in_reads(true);
}

/* A mark that has nothing pending has no memory for it either. */
static void every_allocation_of_a_read_with_nothing_pending(void)
{
	struct k_target t = k_start();
	struct softdirty *sd;
	bool done = false;

	T_MUST(!open_it(t.pid, false, &sd));
	for (unsigned n = 1; !done && !t_failed(); n++) {
		const struct softdirty_range *r;
		size_t count;

		softdirty_forget(sd, "m");
		T_EQ(softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &count), 0);
		T_EQ(softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &count), 0);
		k_write(&t, n % K_PAGES);
		t_allocs_fail(n, true);
		int err = softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &count);
		done = !t_allocs_end();
		clean_failure(err, -ENOMEM);
		if (err)
			T_OK(k_read(sd, "m", SOFTDIRTY_READ_CLEAR, &t, NULL) >= 1);
	}
	softdirty_close(sd);
	k_end(&t);
}

static void limit(int what, rlim_t value)
{
	struct rlimit l = { .rlim_cur = value, .rlim_max = value };

	T_MUST(!setrlimit(what, &l));
}

static int count_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* In a child: with so many descriptors beside those that are open. 0 done, 2 failed well. */
static int with_descriptors(const struct k_target *t, bool shared, int n)
{
	struct rlimit all, few;
	struct softdirty *sd;
	int used = count_open(), fill[256], n_fill = 0;

	getrlimit(RLIMIT_NOFILE, &all);
	few = (struct rlimit){ .rlim_cur = 200, .rlim_max = all.rlim_max };
	T_MUST(!setrlimit(RLIMIT_NOFILE, &few));
	while (n_fill < 200 - used - n)
		T_MUST((fill[n_fill++] = dup(0)) >= 0);
	int err = open_it(t->pid, shared, &sd);
	if (!err)
		err = softdirty_clear(sd, "m");
	bool well = clean_failure(err, -EMFILE) || err == -EMFILE;
	softdirty_close(sd);
	T_EQ(count_open(), used + n_fill);
	return t_failed() || !well ? 1 : err ? 2 : 0;
}

static void every_missing_descriptor(void)
{
	for (int shared = 0; shared < 2; shared++) {
		struct k_target t = k_start();
		struct softdirty *sd;
		int status = 2 << 8, n = 0;

		for (; status == 2 << 8 && n < 64; n++) {
			pid_t pid = t_fork();

			if (pid == 0)
				_exit(with_descriptors(&t, shared, n));
			waitpid(pid, &status, 0);
		}
		T_EQ(status, 0);
		T_OK(n > 3);
		if (!k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd)) {
			softdirty_stop(sd);
			softdirty_close(sd);
		}
		T_EQ(k_protected(t.pid), 0);
		k_end(&t);
	}
}

/* --- a keeper at work ------------------------------------------------------------------------ */

static void limit_keeper(pid_t keeper, int what, rlim_t value)
{
	struct rlimit l;

	T_MUST(!prlimit(keeper, what, NULL, &l));
	l.rlim_cur = value == RLIM_INFINITY ? l.rlim_max : value;
	T_MUST(!prlimit(keeper, what, &l, NULL));
}

/* It has no room for the answer, and so moves nothing; then it has. */
static void a_keeper_without(int what, rlim_t value, int want)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	const struct softdirty_range *r;
	size_t n;

	T_EQ(softdirty_clear(sd, "m"), 0);
	k_write(&t, 3);
	limit_keeper(k_keeper(sd), what, value);
	int err = softdirty_read(sd, "m", SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n);
	clean_failure(err, want);
	limit_keeper(k_keeper(sd), what, RLIM_INFINITY);
	if (err)
		T_OK(k_read(sd, "m", SOFTDIRTY_READ_CLEAR, &t, NULL) >= 1);
	T_EQ(k_read(sd, "m", 0, &t, NULL), 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void a_keeper_without_descriptors(void)
{
	/* More than it polls, less than it has. */
	a_keeper_without(RLIMIT_NOFILE, 8, -EMFILE);
}

static void a_keeper_without_memory(void)
{
	a_keeper_without(RLIMIT_AS, 1, -ENOMEM);
}

/* --- the command ----------------------------------------------------------------------------- */

static rlim_t child_limit;
static int child_what;

static void limit_child(void)
{
	limit(child_what, child_limit);
}

/* One line that says what to do. */
static bool said_well(const char *text)
{
	const char *end = strchr(text, '\n');

	return end && !end[1] && end > text && end[-1] == ')' &&
	       strstr(text, "softdirty: cannot ") == text;
}

/* Returns whether it succeeded. */
static bool try_clear(const struct f_target *t)
{
	static const char *const words[] = { "clear", "%", NULL };
	struct f_run r = f_run(t, words, child_what < 0 ? NULL : limit_child);
	int status = f_wait(&r);
	const char *text = f_text(r.err);

	/* The dynamic linker needs room, too. */
	bool began = WIFEXITED(status) && !strstr(text, "error while loading");
	if (status && began && (!T_EQ(status, 1 << 8) || !T_OK(said_well(text))))
		t_note("%s", text);
	f_run_end(&r);
	return !status;
}

static void the_command_with_little(int what, rlim_t from, rlim_t step)
{
	struct f_target t = f_start();

	child_what = what;
	child_limit = from;
	/* A keeper that began has the same limit: it must not answer the next. */
	for (int i = 0; i < 400 && !t_failed() && !try_clear(&t); i++) {
		child_limit += step;
		f_stop(&t);
	}
	f_stop(&t);
	child_what = -1;
	T_OK(try_clear(&t));
	f_stop(&t);
	f_no_trace(&t);
	f_end(&t);
}

static void a_command_with_few_descriptors(void)
{
	the_command_with_little(RLIMIT_NOFILE, 4, 1);
}

static void a_command_with_little_memory(void)
{
	the_command_with_little(RLIMIT_AS, 2 << 20, 256 << 10);
}

/* --- the runtime directory ------------------------------------------------------------------- */

/* In a child with mounts of its own: /run with room for so many files. */
static void on_small_disk(const struct f_target *t)
{
	int inodes = 1;
	char options[32];

	T_MUST(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	T_MUST(!mount("tmpfs", "/run", "tmpfs", MS_RDONLY, "size=64k"));
	T_OK(!try_clear(t));
	for (;; inodes++) {
		snprintf(options, sizeof(options), "size=64k,nr_inodes=%d", inodes);
		T_MUST(!umount2("/run", MNT_DETACH) && !mount("tmpfs", "/run", "tmpfs", 0, options));
		if (try_clear(t) || t_failed())
			break;
	}
	T_EQ(inodes, 4);	/* the root, our directory, the lock, the socket */
	f_stop(t);
}

static void a_full_runtime_directory(void)
{
	struct f_target t;
	int status;

	if (geteuid())
		T_SKIP("needs root to make a small disk");
	t = f_start();
	pid_t pid = t_fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS))
			_exit(77);
		on_small_disk(&t);
		_exit(t_failed());
	}
	waitpid(pid, &status, 0);
	if (status == 77 << 8)
		t_skip("no mount namespaces here");
	else
		T_EQ(status, 0);
	f_no_trace(&t);
	f_end(&t);
}

int main(int argc, char **argv)
{
	child_what = -1;
	f_main(argc, argv);
	T_RUN(every_allocation_of_the_first_steps);
	T_RUN(every_allocation_of_a_read);
	T_RUN(every_allocation_of_a_read_and_all_later);
	T_RUN(every_allocation_of_a_read_with_nothing_pending);
	T_RUN(every_missing_descriptor);
	T_RUN(a_keeper_without_descriptors);
	T_RUN(a_keeper_without_memory);
	if (f_has_command()) {
		T_RUN(a_command_with_few_descriptors);
		T_RUN(a_command_with_little_memory);
		T_RUN(a_full_runtime_directory);
	}
	return t_done();
}
