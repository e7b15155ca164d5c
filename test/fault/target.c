/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The target: threads that write, map and wait, and count what they do; see fault.h. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "keeper/keep.h"

#define PATIENCE_NS 20000000000ull

struct f_shared {
	_Atomic int error, where;		/* what a thread saw that it must not see */
	_Atomic uint64_t rounds[F_THREADS];
	_Atomic uint32_t begun[F_PAGES], ended[F_PAGES];
};

/* --- in the target -------------------------------------------------------------------------- */

static struct f_shared *shared;
static char *mem;

static void failed(int where)
{
	shared->error = errno;
	shared->where = where;
}

/* A value that the page never had, so that comparing contents sees it too. */
static void write_page(unsigned i)
{
	uint32_t value = atomic_fetch_add(&shared->begun[i], 1) + 1;

	*(volatile uint32_t *)(mem + i * F_PAGE) = value;
	atomic_fetch_add(&shared->ended[i], 1);
}

static void writer(unsigned *seed)
{
	for (int i = 0; i < 4; i++)
		write_page((unsigned)rand_r(seed) % F_PAGES);
	usleep(200);
}

static void mapper(unsigned *seed)
{
	size_t size = (1 + (size_t)rand_r(seed) % 32) * F_PAGE;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		failed(1);
		return;
	}
	memset(p, 1, size);
	if (munmap(p, size))
		failed(2);
	usleep(500);
}

/* Nothing ever comes: it must not be told that a signal did. */
static void waiter(unsigned *seed)
{
	static _Thread_local int fd = -1;
	struct epoll_event event;

	if (fd < 0)
		fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_wait(fd, &event, 1, 10))
		failed(3);
}

static void *run_thread(void *arg)
{
	void (*const what[F_THREADS])(unsigned *) = { writer, writer, mapper, waiter };
	uintptr_t i = (uintptr_t)arg;
	unsigned seed = (unsigned)i;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN + (int)i);	/* another mask for each */
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (;;) {
		what[i](&seed);
		atomic_fetch_add(&shared->rounds[i], 1);
	}
	return NULL;
}

static void sleep_for_ever(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static void run_target(void)
{
	pthread_t thread;

	prctl(PR_SET_CHILD_SUBREAPER, 0);
	memset(mem, 1, F_PAGES * F_PAGE);
	if (fork() == 0)
		sleep_for_ever();
	for (uintptr_t i = 0; i < F_THREADS; i++)
		if (pthread_create(&thread, NULL, run_thread, (void *)i))
			_exit(1);
	for (;;)
		pause();
}

/* --- in the test ---------------------------------------------------------------------------- */

static int count_files(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Threads with their masks and descriptors. False while one is stopped or traced. */
static bool picture(pid_t pid, char *out, size_t size)
{
	char path[300];
	size_t len = 0;
	bool runs = true;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)) && len < size;) {
		char text[128];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, e->d_name);
		runs &= t_proc_number(path, "TracerPid") == 0 && !strchr("tT", *t_proc_text(path, "State"));
		snprintf(text, sizeof(text), "%s", t_proc_text(path, "SigBlk"));
		len += (size_t)snprintf(out + len, size - len, "%.20s mask %s\n", e->d_name, text);
	}
	if (d)
		closedir(d);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	if (len < size)
		snprintf(out + len, size - len, "%d descriptors\n", count_files(path));
	return d && runs;
}

static bool moves(const struct f_target *t, int i)
{
	uint64_t before = t->shared->rounds[i];

	for (uint64_t end = t_now() + PATIENCE_NS; t->shared->rounds[i] < before + 2 && t_now() < end;)
		t_sleep_ms(1);
	return t->shared->rounds[i] >= before + 2;
}

struct f_target f_start(void)
{
	struct f_target t = { 0 };

	t.shared = shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t.mem = mem = mmap(NULL, F_PAGES * F_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_MUST(shared != MAP_FAILED && mem != MAP_FAILED);
	madvise(mem, F_PAGES * F_PAGE, MADV_NOHUGEPAGE);
	t.pid = t_fork();
	if (t.pid == 0)
		run_target();
	for (int i = 0; i < F_THREADS; i++)	/* then it has set its mask, too */
		T_MUST(moves(&t, i));
	T_MUST(picture(t.pid, t.before, sizeof(t.before)));
	return t;
}

void f_end(struct f_target *t)
{
	t_kill(t->pid);
	munmap(t->mem, F_PAGES * F_PAGE);
	munmap(t->shared, sizeof(*t->shared));
	t->pid = 0;
}

void f_interrupted(const struct f_target *t)
{
	int expected = EINTR;

	t_sleep_ms(20);		/* longer than any thread waits */
	atomic_compare_exchange_strong(&t->shared->error, &expected, 0);
}

bool f_as_before(const struct f_target *t, unsigned ms)
{
	uint64_t end = t_now() + ms * 1000000ull;
	char now[sizeof(t->before)] = "";

	/* A helper that was left alone may still be letting go. */
	while (!picture(t->pid, now, sizeof(now)) || strcmp(now, t->before)) {
		if (t_now() > end)
			return false;
		t_sleep_ms(1);
	}
	return true;
}

void f_unharmed(const struct f_target *t)
{
	if (!T_OK(f_as_before(t, PATIENCE_NS / 1000000))) {
		char now[sizeof(t->before)] = "";

		picture(t->pid, now, sizeof(now));
		T_STREQ(now, t->before);
	}
	for (int i = 0; i < F_THREADS; i++)
		T_OK(moves(t, i));
	if (!T_EQ(t->shared->error, 0))
		t_note("at step %d", t->shared->where);
	T_EQ(waitpid(t->pid, NULL, WNOHANG), 0);
}

void f_no_trace(const struct f_target *t)
{
	pid_t left[16];
	size_t n = f_children(t, left, 16);

	uint64_t end = t_now() + PATIENCE_NS;

	while ((n || k_protected(t->pid)) && t_now() < end) {
		t_sleep_ms(1);
		n = f_children(t, left, 16);
	}
	T_EQ(n, 0);
	for (size_t i = 0; i < n; i++) {
		char path[32], text[1024];

		snprintf(path, sizeof(path), "/proc/%d/stat", left[i]);
		t_note("%.100s", t_read_file(path, text, sizeof(text)) > 0 ? text : "?");
	}
	T_EQ(k_protected(t->pid), 0);
	T_EQ(k_count_files(t->pid), 0);
	f_unharmed(t);
}

/* --- what was told -------------------------------------------------------------------------- */

void f_before(const struct f_target *t, struct f_view *v)
{
	for (int i = 0; i < F_PAGES; i++)
		v->completed[i] = t->shared->ended[i];
}

/*
 * A page that is not told: had a write begun after the last time that it was told, and ended before
 * this read began, that write is lost.
 */
int f_after(const struct f_target *t, struct f_view *v, const bool *told)
{
	int lost = 0;

	for (int i = 0; i < F_PAGES; i++) {
		if (told[i])
			v->accounted[i] = t->shared->begun[i];
		else
			lost += (int32_t)(v->completed[i] - v->accounted[i]) > 0;
	}
	return lost;
}

void f_forget(const struct f_target *t, struct f_view *v)
{
	for (int i = 0; i < F_PAGES; i++)
		v->accounted[i] = t->shared->begun[i];
}

void f_tell(const struct f_target *t, bool *told, const struct softdirty_range *r, size_t n)
{
	uint64_t start = (uintptr_t)t->mem, end = start + F_PAGES * F_PAGE;

	for (size_t i = 0; i < n; i++)
		for (uint64_t at = r[i].start > start ? r[i].start : start;
		     at < r[i].end && at < end; at += F_PAGE)
			told[(at - start) / F_PAGE] = true;
}

/* "# PID NAME" stands before each list of a tree, in which children have the same addresses. */
void f_tell_text(const struct f_target *t, bool *told, const char *text)
{
	pid_t pid = t->pid;

	for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
		struct softdirty_range r = { 0 };

		if (sscanf(text, "# %d ", &pid) != 1 && pid == t->pid &&
		    sscanf(text, "%lx-%lx\t", &r.start, &r.end) == 2)
			f_tell(t, told, &r, 1);
	}
}
