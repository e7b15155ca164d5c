/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty mount DIR: how a server begins, ends, and what it leaves: nothing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "softdirty.h"
#include "view.h"

static struct server must_serve(const char *dir)
{
	struct server s = serve(dir, NULL);

	if (!s.pid)
		t_note("%s", s.line);
	T_MUST(s.pid);
	return s;
}

static bool has_keeper(pid_t pid)
{
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED | SOFTDIRTY_OPEN_EXISTING,
	};
	struct softdirty *sd;

	if (softdirty_open(pid, &o, &sd))
		return false;
	softdirty_close(sd);
	return true;
}

/* Keepers that were told to end take a moment. */
static bool keeper_goes(pid_t pid)
{
	for (int i = 0; i < 100 && has_keeper(pid); i++)
		t_sleep_ms(20);
	return !has_keeper(pid);
}

static void it_says_one_line_when_it_is_ready(void)
{
	struct server s = must_serve(NULL);
	char want[128], rest;

	snprintf(want, sizeof(want), "softdirty: serving %s until Ctrl-C", s.dir);
	T_STREQ(s.line, want);
	T_EQ(count_mounts(s.dir), 1);
	kill(s.pid, SIGTERM);
	T_EQ(read(s.out, &rest, 1), 0);
	T_EQ(server_end(&s, 0), 0);
	server_done(&s);
}

static void ended_by(int sig)
{
	struct server s = must_serve(NULL);
	struct target t = target_start();

	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	T_OK(has_keeper(t.pid));
	T_EQ(server_end(&s, sig), 0);
	T_EQ(count_mounts(s.dir), 0);
	T_OK(keeper_goes(t.pid));
	T_EQ(rmdir(s.dir), 0);
	target_write(&t, 1);	/* it runs on */
	target_end(&t);
}

static void ctrl_c_ends_it_and_leaves_nothing(void)
{
	ended_by(SIGINT);
}

static void sigterm_ends_it_and_leaves_nothing(void)
{
	ended_by(SIGTERM);
}

static void sighup_ends_it_and_leaves_nothing(void)
{
	ended_by(SIGHUP);
}

static void umount_ends_it(void)
{
	struct server s = must_serve(NULL);
	char command[128];

	snprintf(command, sizeof(command), "%s %s", geteuid() ? "fusermount3 -u" : "umount", s.dir);
	T_EQ(system(command), 0);
	T_EQ(server_end(&s, 0), 0);
	server_done(&s);
}

/* Marks of others stay, and so does the keeper that has them. */
static void it_forgets_only_its_own(void)
{
	struct server s = must_serve(NULL);
	struct target t = target_start();
	char command[128];

	snprintf(command, sizeof(command), "%s clear %d", softdirty, t.pid);
	T_EQ(system(command), 0);
	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	server_done(&s);
	t_sleep_ms(50);
	T_OK(has_keeper(t.pid));
	snprintf(command, sizeof(command), "%s stop %d", softdirty, t.pid);
	T_EQ(system(command), 0);
	target_end(&t);
}

static void a_killed_server_is_replaced_and_nothing_is_lost(void)
{
	struct server s = must_serve(NULL), dead;
	struct target t = target_start();

	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	target_write(&t, 3);
	dead = s;
	server_end(&s, SIGKILL);
	T_EQ(dirty_pages(&dead, &t), -ENOTCONN);
	T_EQ(count_mounts(dead.dir), 1);
	target_write(&t, 5);
	s = must_serve(dead.dir);
	T_EQ(count_mounts(s.dir), 1);
	T_EQ(dirty_pages(&s, &t), 1 << 3 | 1 << 5);
	server_done(&s);
	T_EQ(count_mounts(dead.dir), 0);
	target_end(&t);
}

static void two_cannot_serve_one_directory(void)
{
	struct server s = must_serve(NULL), second = serve(s.dir, NULL);
	struct target t = target_start();

	T_EQ(second.pid, 0);
	T_OK(strstr(second.line, "is mounted already"));
	T_EQ(clear_refs(&s, t.pid, "4"), 0);
	target_end(&t);
	server_done(&s);
}

static void what_is_no_directory_is_refused(void)
{
	T_OK(strstr(serve("/nonexistent", NULL).line, "No such file"));
	T_OK(strstr(serve("/etc/passwd", NULL).line, "Not a directory"));
}

static int status(const char *words)
{
	char command[256];

	snprintf(command, sizeof(command), "%s mount %s >/dev/null 2>&1", softdirty, words);
	return system(command) >> 8;
}

static void wrong_usage_is_status_2(void)
{
	T_EQ(status(""), 2);
	T_EQ(status("/tmp /tmp"), 2);
	T_EQ(status("--nonsense /tmp"), 2);
	T_EQ(status("--over"), 2);
	T_EQ(status("--over 12x"), 2);
	T_EQ(status("--over 0"), 2);
	T_EQ(status("--help"), 0);
	T_EQ(status("/nonexistent"), 1);
}

static struct server busy;
static struct target looked_at;

static void *look(void *arg)
{
	int *calls = arg;

	while (dirty_pages(&busy, &looked_at) >= 0)
		(*calls)++;
	return NULL;
}

static void it_ends_under_load(void)
{
	pthread_t thread[4];
	int calls[4] = { 0 };

	busy = must_serve(NULL);
	looked_at = target_start();
	T_EQ(clear_refs(&busy, looked_at.pid, "4"), 0);
	for (int i = 0; i < 4; i++)
		T_MUST(!pthread_create(&thread[i], NULL, look, &calls[i]));
	t_sleep_ms(200);
	T_EQ(server_end(&busy, SIGTERM), 0);
	for (int i = 0; i < 4; i++) {
		T_MUST(!pthread_join(thread[i], NULL));
		T_OK(calls[i] > 0);
	}
	T_EQ(count_mounts(busy.dir), 0);
	server_done(&busy);
	target_end(&looked_at);
}

int main(int argc, char **argv)
{
	view_setup(argc, argv);
	if (!have_shell())
		t_skip_all("no shell here");
	T_RUN(it_says_one_line_when_it_is_ready);
	T_RUN(ctrl_c_ends_it_and_leaves_nothing);
	T_RUN(sigterm_ends_it_and_leaves_nothing);
	T_RUN(sighup_ends_it_and_leaves_nothing);
	T_RUN(umount_ends_it);
	T_RUN(it_forgets_only_its_own);
	T_RUN(a_killed_server_is_replaced_and_nothing_is_lost);
	T_RUN(two_cannot_serve_one_directory);
	T_RUN(what_is_no_directory_is_refused);
	T_RUN(wrong_usage_is_status_2);
	T_RUN(it_ends_under_load);
	return t_done();
}
