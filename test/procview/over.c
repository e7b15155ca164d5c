/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty mount --over: the files of a process in /proc itself. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "view.h"

#define EVERY ((1 << N_PAGES) - 1)

static struct server must_cover(pid_t pid)
{
	struct server s = serve_over((pid_t[]){ pid, 0 });

	if (!s.pid)
		t_note("%s", s.line);
	T_MUST(s.pid);
	return s;
}

static bool is_covered(pid_t pid, const char *name)
{
	struct server proc = { .dir = "/proc" };
	struct statfs fs;

	T_MUST(!statfs(file_of(&proc, pid, name), &fs));
	return fs.f_type != PROC_SUPER_MAGIC;
}

static void proc_itself_speaks_soft_dirty(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid), task;

	T_OK(is_covered(t.pid, "pagemap"));
	T_EQ(dirty_pages(&s, &t), EVERY);
	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	T_EQ(dirty_pages(&s, &t), 0);
	target_write(&t, 12);
	T_EQ(dirty_pages(&s, &t), 1 << 12);
	/* The files of its main thread are the same ones. */
	task = s;
	snprintf(task.dir, sizeof(task.dir), "/proc/%d/task", t.pid);
	T_EQ(dirty_pages(&task, &t), 1 << 12);
	T_EQ(clear_refs(&task, t.pid, "4"), 0);
	T_EQ(dirty_pages(&s, &t), 0);
	server_done(&s);
	target_end(&t);
}

static void it_is_undone_at_the_end(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid);

	T_EQ(count_mounts("/proc"), 4);
	T_EQ(server_end(&s, SIGTERM), 0);
	T_EQ(count_mounts("/proc"), 0);
	T_OK(!is_covered(t.pid, "pagemap"));
	T_OK(!is_covered(t.pid, "clear_refs"));
	target_write(&t, 0);
	target_end(&t);
}

static void the_end_of_the_process_ends_it(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid);

	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	target_end(&t);
	T_EQ(server_end(&s, 0), 0);
	T_EQ(count_mounts("/proc"), 0);
}

static void several_processes_are_covered_until_all_have_ended(void)
{
	struct target a = target_start(), b = target_start();
	struct server s = serve_over((pid_t[]){ a.pid, b.pid, 0 });

	T_MUST(s.pid);
	T_EQ(clear_refs(&s, a.pid, "4"), 0);
	target_end(&a);
	t_sleep_ms(100);
	T_EQ(clear_refs(&s, b.pid, "4"), 0);
	T_EQ(dirty_pages(&s, &b), 0);
	target_end(&b);
	T_EQ(server_end(&s, 0), 0);
}

static void a_killed_server_is_replaced_and_nothing_is_lost(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid);

	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	target_write(&t, 4);
	server_end(&s, SIGKILL);
	T_EQ(dirty_pages(&s, &t), -ENOTCONN);
	s = must_cover(t.pid);
	T_EQ(count_mounts("/proc"), 4);
	T_EQ(dirty_pages(&s, &t), 1 << 4);
	server_done(&s);
	T_EQ(count_mounts("/proc"), 0);
	target_end(&t);
}

static void covering_twice_is_refused(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid), second = serve_over((pid_t[]){ t.pid, 0 });

	T_EQ(second.pid, 0);
	T_OK(strstr(second.line, "covered already"));
	T_EQ(count_mounts("/proc"), 4);
	server_done(&s);
	target_end(&t);
}

static void a_process_that_is_not_there_is_refused(void)
{
	struct target t = target_start();

	target_end(&t);
	T_OK(strstr(serve_over((pid_t[]){ t.pid, 0 }).line, "No such process"));
	T_EQ(count_mounts("/proc"), 0);
}

/* It must not see an error that it would not have seen. */
static void a_covered_process_can_still_read_itself(void)
{
	struct target t = target_start();

	target_tell(&t, T_NOBODY);
	T_OK(target_reads_itself(&t));
	struct server s = must_cover(t.pid);
	T_OK(target_reads_itself(&t));
	server_done(&s);
	target_end(&t);
}

static int look(void *arg)
{
	return -dirty_pages(&(struct server){ .dir = "/proc" }, arg);
}

static void strangers_are_kept_out_as_ever(void)
{
	struct target t = target_start();
	struct server s = must_cover(t.pid);

	T_EQ(as(NOBODY, 0, look, &t), EACCES);
	server_done(&s);
	target_end(&t);
}

static int run(const char *command, pid_t pid)
{
	char line[256];

	snprintf(line, sizeof(line), "%s %s %d > /dev/null", softdirty, command, pid);
	return system(line);
}

static void read_ranges(const struct target *t, char text[static 64])
{
	char line[256];

	snprintf(line, sizeof(line), "%s read --clear %d --format ranges --range %lx-%lx | cut -f 2,3",
		 softdirty, t->pid, (long)t->mem, (long)(t->mem + N_PAGES * PAGE));
	FILE *f = popen(line, "r");
	T_MUST(f);
	text[fread(text, 1, 63, f)] = '\0';
	pclose(f);
}

/* The covering files hide write protection, so tracking through them would call all pages clean. */
static void softdirty_itself_sees_through(void)
{
	struct target t;
	struct server s;
	char text[64];

	if (!have_shell())
		T_SKIP("no shell here");
	t = target_start();
	s = must_cover(t.pid);
	T_EQ(run("clear", t.pid), 0);
	target_write(&t, 2);
	read_ranges(&t, text);
	T_STREQ(text, "1\twritten\n");
	target_write(&t, 8);
	read_ranges(&t, text);
	T_STREQ(text, "1\twritten\n");
	T_EQ(run("stop", t.pid), 0);
	server_done(&s);
	target_end(&t);
}

int main(int argc, char **argv)
{
	struct target t;
	struct server s;

	view_setup(argc, argv);
	if (geteuid() != 0)
		t_skip_all("only root can mount over /proc");
	t = target_start();
	s = serve_over((pid_t[]){ t.pid, 0 });
	if (!s.pid)
		t_skip_all("%s", s.line);
	server_done(&s);
	target_end(&t);
	T_RUN(proc_itself_speaks_soft_dirty);
	T_RUN(it_is_undone_at_the_end);
	T_RUN(the_end_of_the_process_ends_it);
	T_RUN(several_processes_are_covered_until_all_have_ended);
	T_RUN(a_killed_server_is_replaced_and_nothing_is_lost);
	T_RUN(covering_twice_is_refused);
	T_RUN(a_process_that_is_not_there_is_refused);
	T_RUN(a_covered_process_can_still_read_itself);
	T_RUN(strangers_are_kept_out_as_ever);
	T_RUN(softdirty_itself_sees_through);
	return t_done();
}
