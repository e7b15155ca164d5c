/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaching to programs with threads: under load none of them sees an error, whichever thread is
 * chosen, and nothing stays behind: descriptors, mappings, masks, handlers, threads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"
#include "uring.h"

#define MAX_SECONDS 20			/* on a slow machine */

struct shared {
	_Atomic uint64_t rounds[8], broken_off;
	_Atomic int error, where;
	_Atomic bool stop;
};
static struct shared *shared;

static void failed(int where, int error)
{
	shared->where = where;
	shared->error = error ? error : -1;
}

/* Each returns the number of the step that failed, with errno set. */
static int map_things(void)
{
	char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	p[0] = p[40000] = 1;
	if (mprotect(p, 4096, PROT_READ))
		return 2;
	return munmap(p, 65536) ? 3 : 0;
}

static int pipe_things(void)
{
	char buf[300];
	int fd[2];

	if (pipe(fd))
		return 11;
	if (write(fd[1], buf, 300) != 300 || read(fd[0], buf, 300) != 300)
		return 12;
	return close(fd[0]) || close(fd[1]) ? 13 : 0;
}

static int wait_things(void)
{
	struct timespec ts = { 0, 200000 };
	struct epoll_event e;
	int ep = epoll_create1(0);
	int n = epoll_wait(ep, &e, 1, 1), error = errno;

	close(ep);
	errno = error;
	if (n)
		return 21;
	if (poll(NULL, 0, 1))
		return 22;
	return nanosleep(&ts, NULL) ? 23 : 0;
}

static int signal_things(void)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &set, &old) || raise(SIGUSR2))
		return 31;
	if (sigwaitinfo(&set, NULL) != SIGUSR2)
		return 32;
	if (sigprocmask(SIG_SETMASK, &old, NULL))
		return 33;
	sigprocmask(SIG_SETMASK, NULL, &set);
	return memcmp(&set, &old, 8) ? 34 : 0;
}

static int random_things(void)
{
	char buf[256];		/* more may come in part when the thread is stopped, see getrandom(2) */

	return getrandom(buf, sizeof(buf), 0) == sizeof(buf) ? 0 : 41;
}

static int (*const things[])(void) = {
	map_things, pipe_things, wait_things, signal_things, random_things,
};

/*
 * On arm64 a call that begins in the very moment of a stop cannot be begun again: its first argument was
 * not noted before, and is not among the registers any more.
 */
static bool is_broken_off(int where, int error)
{
#ifdef __aarch64__
	return where == 21 && error == EINTR;
#else
	return false;
#endif
}

static void *load(void *arg)
{
	size_t i = (size_t)arg;

	while (!shared->stop) {
		int where = things[i % 5]();

		if (where && is_broken_off(where, errno))
			atomic_fetch_add(&shared->broken_off, 1);
		else if (where)
			failed(where, errno);
		atomic_fetch_add(&shared->rounds[i], 1);
	}
	return NULL;
}

static long op_load(long a, long b, long c, long d)
{
	pthread_t t[5];

	for (size_t i = 0; i < 5; i++)
		if (pthread_create(&t[i], NULL, load, (void *)i))
			return -errno;
	for (size_t i = 0; i < 5; i++)
		pthread_join(t[i], NULL);
	return 0;
}

static void new_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
}

static struct softdirty *open_it(pid_t pid)
{
	struct softdirty *sd;

	if (T_EQ(softdirty_open(pid, NULL, &sd), 0))
		return sd;
	t_note("%s", softdirty_error());
	return NULL;
}

static void open_and_clear(pid_t pid)
{
	struct softdirty *sd = open_it(pid);

	if (sd)
		T_EQ(softdirty_clear(sd, NULL), 0);
	softdirty_close(sd);
}

static void use_library(pid_t pid)
{
	const struct softdirty_range *r;
	struct softdirty *sd = open_it(pid);
	size_t n;

	if (!sd)
		return;
	T_EQ(softdirty_clear(sd, NULL), 0);
	T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	T_EQ(softdirty_freeze(sd), 0);
	softdirty_thaw(sd);
	softdirty_close(sd);
}

static void threads_under_load_see_no_error(void)
{
	uint64_t end = t_deadline(MAX_SECONDS);
	T_TARGET tg;
	int n = 0;

	new_shared();
	tg = t_start();
	t_post(&tg, op_load, 0, 0, 0);
	t_sleep_ms(100);
	for (; n < 100 && !t_failed() && t_now() < end; n++)
		use_library(tg.pid);
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	T_OK(n > 0);
	if (!T_EQ(shared->error, 0))
		t_note("step %d: %s", shared->where, strerror(shared->error));
	for (int i = 0; i < 5; i++)
		T_OK(shared->rounds[i] > 0);
	if (shared->broken_off)
		t_note("%llu of %llu calls broken off as they began",
		       (unsigned long long)shared->broken_off,
		       (unsigned long long)shared->rounds[2]);
}

/* --- nothing stays behind --- */

static size_t list_dir(pid_t pid, const char *name, bool links, char *out, size_t size)
{
	char path[300], link[200];
	struct dirent *e;
	size_t len = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	d = opendir(path);
	while (d && (e = readdir(d)) && len + 300 < size) {
		ssize_t n = links ? readlinkat(dirfd(d), e->d_name, link, sizeof(link)) : 0;

		if (e->d_name[0] != '.')
			len += (size_t)snprintf(out + len, size - len, "%s %.*s\n", e->d_name,
						n > 0 ? (int)n : 0, link);
	}
	if (d)
		closedir(d);
	return len;
}

/* Everything of a process that an attach could leave traces in. */
static void picture(pid_t pid, char *out, size_t size)
{
	static const char *const keys[] = {
		"Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
		"TracerPid", "Seccomp", "FDSize", "CapEff", "NoNewPrivs",
	};
	char path[64];
	size_t len = list_dir(pid, "fd", true, out, size);

	len += list_dir(pid, "task", false, out + len, size - len);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	len += (size_t)t_read_file(path, out + len, size - len);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		len += (size_t)snprintf(out + len, size - len, "%s %s\n", keys[i],
					t_proc_text(path, keys[i]));
}

static bool has_uffd_mark(pid_t pid)
{
	static char text[1 << 20];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	T_MUST(t_read_file(path, text, sizeof(text)) > 0);
	return strstr(text, " uw ") || strstr(text, " uw\n");
}

static void *sleeper(void *arg)
{
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (;;)
		pause();
	return NULL;
}

static long op_threads(long n, long b, long c, long d)
{
	pthread_t t;

	for (long i = 0; i < n; i++)
		if (pthread_create(&t, NULL, sleeper, NULL))
			return -EAGAIN;
	return 0;
}

static void nothing_stays_behind(void)
{
	static char before[1 << 16], during[1 << 16], after[1 << 16];
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	T_MUST(t_call(&tg, op_threads, 4) == 0);
	t_sleep_ms(50);
	picture(tg.pid, before, sizeof(before));
	t_watch(&tg);
	t_sleep_ms(20);
	picture(tg.pid, during, sizeof(during));
	T_STREQ(during, before);
	softdirty_close(tg.sd);
	tg.sd = NULL;
	for (int i = 0; i < 20; i++)
		use_library(tg.pid);
	t_sleep_ms(20);
	picture(tg.pid, after, sizeof(after));
	T_STREQ(after, before);
	T_OK(strlen(before) > 500);
	T_OK(!has_uffd_mark(tg.pid));
}

static void the_caller_keeps_nothing(void)
{
	static char before[1 << 16], after[1 << 16];
	T_TARGET tg = t_start();

	use_library(tg.pid);
	list_dir(getpid(), "fd", true, before, sizeof(before));
	for (int i = 0; i < 10; i++)
		use_library(tg.pid);
	list_dir(getpid(), "fd", true, after, sizeof(after));
	T_STREQ(after, before);
}

/* --- unusual threads --- */

static void *unshared_files(void *arg)
{
	if (unshare(CLONE_FILES))
		failed(61, errno);
	for (;;)
		pause();
	return NULL;
}

static long op_unshare_thread(long a, long b, long c, long d)
{
	pthread_t t;

	if (pthread_create(&t, NULL, unshared_files, NULL))
		return -EAGAIN;
	t_sleep_ms(20);
	return 0;
}

static size_t n_descriptors(pid_t pid)
{
	char path[32];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		static char list[1 << 16];
		char name[300];

		snprintf(name, sizeof(name), "task/%s/fd", e->d_name);
		if (e->d_name[0] == '.')
			continue;
		list[list_dir(pid, name, false, list, sizeof(list))] = '\0';
		for (char *p = list; (p = strchr(p, '\n')); p++)
			n++;
	}
	closedir(d);
	return n;
}

static void a_thread_with_its_own_descriptors(void)
{
	T_TARGET tg;
	size_t before;

	new_shared();
	tg = t_start();
	T_MUST(t_call(&tg, op_unshare_thread) == 0 && shared->error == 0);
	before = n_descriptors(tg.pid);
	T_OK(before > 0);
	for (int i = 0; i < 20; i++)
		use_library(tg.pid);
	T_EQ(n_descriptors(tg.pid), before);
}

static void *write_when_told(void *arg)
{
	while (!shared->stop)
		t_sleep_ms(1);
	t_op_write((long)arg, 0, 0, 0);
	atomic_fetch_add(&shared->rounds[0], 1);
	for (;;)
		pause();
	return NULL;
}

static long op_leader_ends(long page, long b, long c, long d)
{
	pthread_t t;

	if (pthread_create(&t, NULL, write_when_told, (void *)page))
		return -EAGAIN;
	atomic_fetch_add(&shared->rounds[1], 1);
	syscall(SYS_exit, 0);
	return 0;
}

static void the_first_thread_has_ended(void)
{
	T_TARGET tg;
	int ret;

	new_shared();
	tg = t_start();
	t_map_touched(&tg, 4);
	t_post(&tg, op_leader_ends, (long)t_page(&tg, 1), 0, 0);
	t_sleep_ms(100);
	T_MUST(shared->rounds[1] == 1);
	ret = softdirty_open(tg.pid, NULL, &tg.sd);
	if (!T_EQ(ret, 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	T_STREQ(t_pages(&tg, NULL, 0), "----");
	shared->stop = true;
	while (shared->rounds[0] == 0)
		t_sleep_ms(1);
	T_STREQ(t_pages(&tg, NULL, 0), "-D--");
}

/* Starts the next one, and ends. */
static void *short_thread(void *arg)
{
	pthread_t t;

	atomic_fetch_add(&shared->rounds[0], 1);
	if (!shared->stop) {
		while (pthread_create(&t, NULL, short_thread, arg))
			t_sleep_ms(1);
		pthread_detach(t);
	} else if (write((int)(intptr_t)arg, "x", 1) != 1) {
		failed(71, errno);
	}
	return NULL;
}

/* Waits in a call that a stop breaks off, so that one of the short ones is chosen. */
static long op_short_threads(long a, long b, long c, long d)
{
	char byte;
	int fd[2];

	if (pipe(fd))
		return -errno;
	pthread_t t;
	if (pthread_create(&t, NULL, short_thread, (void *)(intptr_t)fd[1]))
		return -EAGAIN;
	pthread_detach(t);
	return read(fd[0], &byte, 1) == 1 ? 0 : -errno;
}

/* One that was chosen has ended when it should stop: not the process, and nothing is forbidden. */
static void threads_that_end_are_passed_over(void)
{
	uint64_t end = t_deadline(MAX_SECONDS);
	T_TARGET tg;
	int n = 0;

	new_shared();
	tg = t_start();
	t_post(&tg, op_short_threads, 0, 0, 0);
	for (; n < 1000 && !t_failed() && t_now() < end; n++) {
		tg.sd = open_it(tg.pid);
		softdirty_close(tg.sd);
		tg.sd = NULL;
	}
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	t_note("%d times, beside %llu threads", n, (unsigned long long)shared->rounds[0]);
	T_OK(n > 0 && shared->rounds[0] > 0);
}

/* Waits in a call that a stop breaks off: the ring's thread, which is idle, seems the better choice. */
static long op_wait_beside_a_worker(long fd, long b, long c, long d)
{
	static struct t_uring ring = {
		.p = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 10 },
	};
	struct epoll_event e = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int err = t_uring_open_with(&ring);

	if (err)
		return err;
	epoll_ctl(ep, EPOLL_CTL_ADD, (int)fd, &e);
	return epoll_wait(ep, &e, 1, -1) < 0 ? -errno : 0;
}

/* It would never make the call for us, and we would wait for it for ever. */
static void a_thread_of_the_kernel_is_left_alone(void)
{
	T_TARGET tg;
	int fd[2];

	T_MUST(pipe(fd) == 0);
	tg = t_start();
	t_post(&tg, op_wait_beside_a_worker, fd[0], 0, 0);
	t_sleep_ms(200);
	if (!t_idle(&tg)) {
		alarm(60);
		for (int i = 0; i < 5; i++)
			use_library(tg.pid);
		alarm(0);
	}
	T_MUST(write(fd[1], "x", 1) == 1);
	long ret = t_wait(&tg);
	close(fd[0]);
	close(fd[1]);
	if (ret == -ENOSYS || ret == -EPERM)
		T_SKIP("no io_uring here");
	T_EQ(ret, 0);
}

static long op_large_write(long fd, long size, long c, long d)
{
	char *block = calloc(1, (size_t)size);
	pthread_t t;
	ssize_t n;

	if (pthread_create(&t, NULL, sleeper, NULL))
		return -EAGAIN;
	n = write((int)fd, block, (size_t)size);
	return n < 0 ? -errno : n;
}

/* A stop would cut it short, as SIGSTOP does; so another thread is chosen, if there is one. */
static void a_large_write_that_waits_is_left_alone(void)
{
	const size_t size = 1 << 20;
	T_TARGET tg;
	char *block = malloc(size);
	struct pollfd end;
	int fd[2];

	T_MUST(pipe(fd) == 0);
	tg = t_start();
	t_post(&tg, op_large_write, fd[1], (long)size, 0);
	t_sleep_ms(100);
	for (int i = 0; i < 5; i++)
		open_and_clear(tg.pid);
	end = (struct pollfd){ .fd = fd[0], .events = POLLIN };
	while (!t_idle(&tg) && poll(&end, 1, 100) >= 0)
		if (end.revents && read(fd[0], block, size) < 0)
			break;
	T_EQ(t_wait(&tg), size);
	close(fd[0]);
	close(fd[1]);
	free(block);
}

static long op_use_all_descriptors(long limit, long b, long c, long d)
{
	struct rlimit r = { (rlim_t)limit, (rlim_t)limit };

	if (setrlimit(RLIMIT_NOFILE, &r))
		return -errno;
	while (dup(0) >= 0)
		;
	return errno == EMFILE ? 0 : -errno;
}

/* Refused, or worked around; the target keeps what it has and can open as many as before. */
static void no_descriptor_is_free(void)
{
	T_TARGET tg = t_start();
	size_t before;
	int ret;

	t_map_touched(&tg, 4);
	T_MUST(t_call(&tg, op_use_all_descriptors, 64) == 0);
	before = n_descriptors(tg.pid);
	ret = softdirty_open(tg.pid, NULL, &tg.sd);
	T_EQ(n_descriptors(tg.pid), before);
	if (ret) {
		T_EQ(ret, -EOPNOTSUPP);
		t_note("refused: %s", softdirty_error());
		return;
	}
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, 0), "-D--");
}

int main(void)
{
	t_need_backend();
	T_RUN(threads_under_load_see_no_error);
	T_RUN(nothing_stays_behind);
	T_RUN(the_caller_keeps_nothing);
	T_RUN(a_thread_with_its_own_descriptors);
	T_RUN(the_first_thread_has_ended);
	T_RUN(threads_that_end_are_passed_over);
	T_RUN(a_thread_of_the_kernel_is_left_alone);
	if (t_backend() != T_SOFT_DIRTY)	/* which stops every thread */
		T_RUN(a_large_write_that_waits_is_left_alone);
	T_RUN(no_descriptor_is_free);
	return t_done();
}
