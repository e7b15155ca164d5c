/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients of one keeper may expect of it and of each other. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"

static void tracking_outlives_the_handle(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	unsigned reason;

	T_EQ(k_read(sd, NULL, 0, &t, &reason), K_PAGES);
	T_EQ(reason, SOFTDIRTY_REASON_NEVER);
	T_EQ(softdirty_clear(sd, NULL), 0);
	softdirty_close(sd);
	k_write(&t, 7);
	sd = k_must_open(t.pid);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 1);
	T_EQ(k_read(sd, NULL, SOFTDIRTY_READ_CLEAR, &t, NULL), 1);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
	T_EQ(softdirty_stop(sd), 0);
	softdirty_close(sd);
	k_end(&t);
}

static void two_clients_share_one_keeper(void)
{
	struct k_target t = k_start();
	struct softdirty *a = k_must_open(t.pid), *b = k_must_open(t.pid);

	T_EQ(k_keeper(a), k_keeper(b));
	T_EQ(k_count_keepers(t.pid), 1);
	T_EQ(softdirty_clear(a, "m"), 0);
	k_write(&t, 3);
	T_EQ(k_read(b, "m", 0, &t, NULL), 1);
	softdirty_stop(a);
	softdirty_close(a);
	softdirty_close(b);
	k_end(&t);
}

static void marks_do_not_steal(void)
{
	struct k_target t = k_start();
	struct softdirty *a = k_must_open(t.pid), *b = k_must_open(t.pid);

	T_EQ(softdirty_clear(a, "a"), 0);
	T_EQ(softdirty_clear(b, "b"), 0);
	k_write(&t, 1);
	T_EQ(k_read(a, "a", SOFTDIRTY_READ_CLEAR, &t, NULL), 1);
	k_write(&t, 2);
	T_EQ(k_read(b, "b", SOFTDIRTY_READ_CLEAR, &t, NULL), 2);
	T_EQ(k_read(a, "a", SOFTDIRTY_READ_CLEAR, &t, NULL), 1);
	T_EQ(softdirty_forget(a, "a"), 0);
	T_EQ(softdirty_forget(a, "a"), -ENOENT);
	T_EQ(k_read(b, "b", 0, &t, NULL), 0);
	softdirty_stop(a);
	softdirty_close(a);
	softdirty_close(b);
	k_end(&t);
}

/* A child reads and clears, then dies without softdirty_close() or with it. */
static void read_in_child(const struct k_target *t, int properly)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		struct softdirty *sd = k_must_open(t->pid);
		int pages = k_read(sd, "c", SOFTDIRTY_READ_CLEAR, t, NULL);

		if (properly)
			softdirty_close(sd);
		_exit(pages);
	}
	int status;
	T_MUST(waitpid(pid, &status, 0) == pid);
	T_EQ(WEXITSTATUS(status), 1);
}

static void killed_client_loses_nothing(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);

	T_EQ(softdirty_clear(sd, "c"), 0);
	k_write(&t, 9);
	read_in_child(&t, 0);
	k_write(&t, 11);
	T_EQ(k_read(sd, "c", SOFTDIRTY_READ_CLEAR, &t, NULL), 2);
	k_write(&t, 12);
	read_in_child(&t, 1);
	T_EQ(k_read(sd, "c", 0, &t, NULL), 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void stop_leaves_nothing(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	pid_t keeper = k_keeper(sd);

	T_EQ(softdirty_clear(sd, NULL), 0);
	T_OK(k_protected(t.pid) >= 0);
	T_EQ(k_count_files(t.pid), 2);
	T_EQ(softdirty_stop(sd), 0);
	T_EQ(k_count_files(t.pid), 0);
	T_EQ(k_protected(t.pid), 0);
	T_OK(k_gone(keeper, 5000));
	T_EQ(softdirty_stop(sd), 0);
	T_EQ(k_count_keepers(t.pid), 0);
	softdirty_close(sd);
	k_end(&t);
}

static void existing_does_not_start_one(void)
{
	struct k_target t = k_start();
	struct softdirty *sd;

	T_EQ(k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd), -ENOENT);
	T_EQ(k_count_keepers(t.pid), 0);
	struct softdirty *a = k_must_open(t.pid);
	T_EQ(k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd), 0);
	softdirty_stop(a);
	/* "m" was never cleared anywhere, so it must not look clean: there is nobody to ask. */
	const struct softdirty_range *r;
	size_t n;
	T_EQ(softdirty_read(sd, "m", 0, 0, 0, &r, &n), -ENOENT);
	T_OK(*softdirty_error());
	softdirty_close(sd);
	softdirty_close(a);
	k_end(&t);
}

static void another_backend_is_refused(void)
{
	struct k_target t = k_start();
	struct softdirty *a = k_must_open(t.pid), *b;
	struct softdirty_info info = { .size = sizeof(info) };
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED, .keeper = k_self(),
	};
	const struct softdirty_backend *list;
	size_t n;

	T_MUST(!softdirty_info(a, &info));
	T_MUST(!softdirty_check(0, &list, &n));
	for (size_t i = 0; i < n; i++) {
		o.backend = list[i].name;
		int err = softdirty_open(t.pid, &o, &b);
		T_EQ(err, strcmp(o.backend, info.backend) ? -EBUSY : 0);
		if (!err)
			softdirty_close(b);
	}
	o.backend = "none such";
	T_EQ(softdirty_open(t.pid, &o, &b), -EINVAL);
	softdirty_stop(a);
	softdirty_close(a);
	k_end(&t);
}

static int count_fds(const char *dir, const char *unlike)
{
	DIR *d = opendir(dir);
	int n = 0;

	T_MUST(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[400], link[200] = "";

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.' && readlink(path, link, sizeof(link) - 1) > 0)
			n += strcmp(link, unlike) != 0;
	}
	closedir(d);
	return n;
}

/* The number of a descriptor in the keeper that is the same file as fd here. */
static int has_same(pid_t keeper, int fd)
{
	char dir[64], mine[64], a[200] = "";
	int all, others;

	snprintf(mine, sizeof(mine), "/proc/self/fd/%d", fd);
	T_MUST(readlink(mine, a, sizeof(a) - 1) > 0);
	snprintf(dir, sizeof(dir), "/proc/%d/fd", keeper);
	all = count_fds(dir, "");
	others = count_fds(dir, a);
	return all - others;
}

static void keeper_keeps_nothing_of_its_parent(void)
{
	struct k_target t = k_start();
	int pipefd[2];
	char path[64], link[64] = "", text[64];

	T_MUST(!pipe(pipefd) && !setenv("SECRET", "x", 1) && !setenv("LD_PRELOAD", "", 1));
	struct softdirty *sd = k_must_open(t.pid);
	pid_t keeper = k_keeper(sd);
	unsetenv("LD_PRELOAD");

	T_EQ(has_same(keeper, pipefd[0]), 0);
	for (int fd = 0; fd < 3; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", keeper, fd);
		memset(link, 0, sizeof(link));
		T_OK(readlink(path, link, sizeof(link) - 1) > 0);
		T_STREQ(link, "/dev/null");
	}
	memset(link, 0, sizeof(link));
	snprintf(path, sizeof(path), "/proc/%d/cwd", keeper);
	T_OK(readlink(path, link, sizeof(link) - 1) > 0);
	T_STREQ(link, "/");
	T_EQ(getsid(keeper), keeper);
	snprintf(path, sizeof(path), "/proc/%d/environ", keeper);
	ssize_t size = t_read_file(path, text, sizeof(text));
	T_OK(size <= 0 || (!memmem(text, size, "SECRET", 6) && !memmem(text, size, "PRELOAD", 7)));
	T_EQ(k_count_keepers(t.pid), 1);
	softdirty_stop(sd);
	softdirty_close(sd);
	close(pipefd[0]);
	close(pipefd[1]);
	k_end(&t);
}

static volatile sig_atomic_t n_sigchld;

static void on_sigchld(int sig)
{
	n_sigchld++;
}

static void host_notices_no_child(void)
{
	struct k_target t = k_start();
	struct sigaction sa = { .sa_handler = on_sigchld }, old;
	int before = count_fds("/proc/self/fd", "");

	T_MUST(!sigaction(SIGCHLD, &sa, &old));
	n_sigchld = 0;
	for (int i = 0; i < 3; i++) {
		struct softdirty *sd = k_must_open(t.pid);
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_EQ(waitpid(-1, NULL, WNOHANG), 0);	/* only the target, which runs */
		T_EQ(softdirty_stop(sd), 0);
		softdirty_close(sd);
	}
	T_EQ(n_sigchld, 0);
	T_EQ(count_fds("/proc/self/fd", ""), before);
	sigaction(SIGCHLD, &old, NULL);
	k_end(&t);
}

static void a_missing_command_is_named(void)
{
	struct k_target t = k_start();
	struct softdirty *sd;
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED, .keeper = "/none/such",
	};

	T_EQ(softdirty_open(t.pid, &o, &sd), -ENOENT);
	T_OK(strstr(softdirty_error(), "/none/such"));
	o.keeper = "/bin/true";
	if (!access(o.keeper, X_OK)) {
		T_EQ(softdirty_open(t.pid, &o, &sd), -EIO);
		T_OK(strstr(softdirty_error(), o.keeper));
	}
	o.keeper = NULL;
	setenv("SOFTDIRTY_COMMAND", k_self(), 1);
	T_EQ(softdirty_open(t.pid, &o, &sd), 0);
	unsetenv("SOFTDIRTY_COMMAND");
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void wrong_arguments_are_refused(void)
{
	struct softdirty *sd;
	struct {
		struct softdirty_options o;
		char more[8];
	} big = { .o = { .size = sizeof(big) } };
	struct k_target t = k_start();

	T_EQ(k_open(0, 0, &sd), -EINVAL);
	T_EQ(k_open(t.pid, 1 << 20, &sd), -EINVAL);
	T_EQ(k_open(-5, 0, &sd), -ESRCH);
	big.more[3] = 1;
	T_EQ(softdirty_open(t.pid, &big.o, &sd), -E2BIG);
	big.more[3] = 0;
	T_EQ(softdirty_open(t.pid, &big.o, &sd), 0);
	softdirty_close(sd);
	sd = k_must_open(t.pid);
	const struct softdirty_range *r;
	size_t n;
	T_EQ(softdirty_read(sd, NULL, 2, 0, 0, &r, &n), -EINVAL);
	T_EQ(softdirty_read(sd, NULL, 0, 1, 0, &r, &n), -EINVAL);
	T_EQ(softdirty_read(sd, NULL, 0, 8 * K_PAGE, 4 * K_PAGE, &r, &n), -EINVAL);
	T_EQ(softdirty_clear(sd, "a\nb"), -EINVAL);
	T_EQ(softdirty_clear(sd, "0123456789012345678901234567890123456789"
			     "012345678901234567890123"), -EINVAL);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(tracking_outlives_the_handle);
	T_RUN(two_clients_share_one_keeper);
	T_RUN(marks_do_not_steal);
	T_RUN(killed_client_loses_nothing);
	T_RUN(stop_leaves_nothing);
	T_RUN(existing_does_not_start_one);
	T_RUN(another_backend_is_refused);
	T_RUN(keeper_keeps_nothing_of_its_parent);
	T_RUN(host_notices_no_child);
	T_RUN(a_missing_command_is_named);
	T_RUN(wrong_arguments_are_refused);
	return t_done();
}
