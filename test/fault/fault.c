/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command as a child, and who else is one; see fault.h. */
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keep.h"

const char *f_backend;
static int command = -1;		/* open, so that an ordinary user needs no way to it */

static void need_backend(void)
{
	const struct softdirty_backend *b;
	size_t n;

	T_MUST(!softdirty_check(0, &b, &n));
	for (size_t i = 0; i < n; i++)
		if (!strcmp(b[i].name, f_backend) && !b[i].works)
			t_skip_all("%s", b[i].why);
}

void f_main(int argc, char **argv)
{
	k_main(argc, argv);
	f_backend = getenv("SOFTDIRTY_BACKEND");
	if (!f_backend)
		f_backend = "wp-async";
	setenv("SOFTDIRTY_BACKEND", f_backend, 1);
	need_backend();
	if (argc > 1) {
		command = open(argv[1], O_RDONLY | O_CLOEXEC);
		T_MUST(command >= 0);
	}
	if (argc > 2 && geteuid())
		t_skip_all("not root, so an ordinary user already");
	if (argc > 2)
		T_MUST(t_drop_privileges());
	if (geteuid())
		k_private_runtime_dir();
	T_MUST(!prctl(PR_SET_CHILD_SUBREAPER, 1));
}

bool f_has_command(void)
{
	return command >= 0;
}

/* --- chance --------------------------------------------------------------------------------- */

uint64_t f_random(uint64_t n)
{
	static uint64_t state;
	const char *text = getenv("SOFTDIRTY_TEST_SEED");

	if (!state) {
		state = text ? strtoull(text, NULL, 10) : t_now() % 1000000 + 1;
		printf("\tseed %llu\n", (unsigned long long)state);
	}
	state = state * 6364136223846793005u + 1442695040888963407u;
	return n ? (state >> 24) % n : 0;
}

void f_nap(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* --- the command ---------------------------------------------------------------------------- */

struct f_run f_run(const struct f_target *t, const char *const *words, void (*before)(void))
{
	struct f_run r = { .out = memfd_create("out", MFD_CLOEXEC),
			   .err = memfd_create("err", MFD_CLOEXEC) };
	char *argv[20] = { (char *)"softdirty" }, number[16];

	T_MUST(command >= 0 && r.out >= 0 && r.err >= 0);
	snprintf(number, sizeof(number), "%d", t->pid);
	for (int i = 0; words[i]; i++)
		argv[i + 1] = strcmp(words[i], "%") ? (char *)words[i] : number;
	r.began_ns = t_now();
	r.pid = t_fork();
	if (r.pid == 0) {
		dup2(r.out, 1);
		dup2(r.err, 2);
		if (before)
			before();
		fexecve(command, argv, environ);
		_exit(126);
	}
	return r;
}

int f_wait(struct f_run *r)
{
	int status;

	T_MUST(waitpid(r->pid, &status, 0) == r->pid);
	r->pid = 0;
	return status;
}

char *f_text(int fd)
{
	static char *text;
	off_t size = lseek(fd, 0, SEEK_END);

	free(text);
	text = calloc(1, (size_t)size + 1);
	T_MUST(size >= 0 && text && pread(fd, text, (size_t)size, 0) == size);
	return text;
}

void f_run_end(struct f_run *r)
{
	t_kill(r->pid);
	close(r->out);
	close(r->err);
}

/* --- other children ------------------------------------------------------------------------- */

static bool is_child(const char *pid)
{
	char path[300], text[512];
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	if (t_read_file(path, text, sizeof(text)) <= 0)
		return false;
	char *end = strrchr(text, ')');
	return end && sscanf(end, ") %*c %d", &parent) == 1 && parent == getpid();
}

/* Helpers and middle processes have no exit signal. */
static void reap_orphans(const struct f_target *t, const pid_t *pid, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pid[i] != t->pid)
			waitpid(pid[i], NULL, WNOHANG | __WALL);
}

static size_t list(const struct f_target *t, pid_t *ret, size_t max)
{
	DIR *d = opendir("/proc");
	size_t n = 0;

	T_MUST(d);
	for (struct dirent *e; n < max && (e = readdir(d));) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && pid != t->pid && is_child(e->d_name))
			ret[n++] = pid;
	}
	closedir(d);
	return n;
}

size_t f_children(const struct f_target *t, pid_t *ret, size_t max)
{
	size_t n = list(t, ret, max);

	reap_orphans(t, ret, n);
	return n ? list(t, ret, max) : 0;
}

pid_t f_keeper(const struct f_target *t)
{
	pid_t pid[16];
	size_t n = list(t, pid, 16);

	for (size_t i = 0; i < n; i++) {
		char path[32], text[64];

		snprintf(path, sizeof(path), "/proc/%d/cmdline", pid[i]);
		ssize_t len = t_read_file(path, text, sizeof(text));
		if (len <= 10 || strcmp(text + 10, "keeper"))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/comm", pid[i]);
		if (t_read_file(path, text, sizeof(text)) > 0 && strcmp(text, "softdirty-stop\n"))
			return pid[i];
	}
	return 0;
}

/* --- whole operations ----------------------------------------------------------------------- */

bool f_finish(const struct f_target *t, struct f_run *r, struct f_view *v)
{
	bool told[F_PAGES] = { false };
	bool done = f_wait(r) == 0;

	/* Also what was printed before it was killed; the rest must come again. */
	f_tell_text(t, told, f_text(r->out));
	int lost = f_after(t, v, told);
	if (done)
		T_EQ(lost, 0);
	return done;
}

void f_read_all(const struct f_target *t, struct f_view *v, const char *mark)
{
	const char *const words[] = { "read", "%", "--clear", "--mark", mark, "--format", "ranges",
				      NULL };

	f_before(t, v);
	struct f_run r = f_run(t, words, NULL);
	if (!T_OK(f_finish(t, &r, v)))
		t_note("%s", f_text(r.err));
	f_run_end(&r);
}

void f_stop(const struct f_target *t)
{
	const char *const words[] = { "stop", "%", "--tree", NULL };
	struct f_run r = f_run(t, words, NULL);

	if (!T_EQ(f_wait(&r), 0))
		t_note("%s", f_text(r.err));
	f_run_end(&r);
}
