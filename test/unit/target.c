/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who a process is: odd names, dead leaders, zombies, threads, reused numbers. */
#include "target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "target/maps.h"
#include "t.h"

static pid_t child_that(void (*does)(void))
{
	int ready[2];

	T_MUST(!pipe(ready));
	pid_t pid = t_fork();
	if (!pid) {
		does();
		close(ready[1]);
		for (;;)
			pause();
	}
	char c;
	close(ready[1]);
	T_MUST(read(ready[0], &c, 1) == 0);
	close(ready[0]);
	return pid;
}

static void nothing(void)
{
}

/* Field 22 counted by hand, from a name without surprises. */
static unsigned long long plain_start_time(pid_t pid)
{
	char path[64], stat[2048];
	unsigned long long value = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	T_MUST(t_read_file(path, stat, sizeof(stat)) > 0);
	sscanf(stat, "%*d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
	       "%*s %*s %*s %llu", &value);
	return value;
}

static void call_it_names(void)
{
	prctl(PR_SET_NAME, ") Z 0 (\n) 1 2");
}

static void a_name_may_hold_anything(void)
{
	pid_t plain = child_that(nothing), odd = child_that(call_it_names);
	struct sdi_target a, b;
	struct sdi_status st;

	T_EQ(sdi_target_open(plain, &a), 0);
	T_EQ(a.start_time, plain_start_time(plain));
	T_EQ(sdi_target_open(odd, &b), 0);
	T_OK(b.start_time >= a.start_time && b.start_time < a.start_time + 1000);
	T_EQ(sdi_status_read(b.procfd, "status", &st), 0);
	T_EQ(st.tgid, odd);
	T_OK(st.state == 'S' || st.state == 'R');
	T_EQ(sdi_target_alive(&b), 0);
	sdi_target_close(&a);
	sdi_target_close(&b);
	t_kill(plain);
	t_kill(odd);
}

static void *stay(void *ready)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	close(*(int *)ready);
	for (;;)
		pause();
	return NULL;
}

/* The main thread ends, another runs on. */
static pid_t dead_leader(pid_t *tid)
{
	static int ready[2];
	char c, path[64];
	struct sdi_status st;

	T_MUST(!pipe(ready));
	pid_t pid = t_fork();
	if (!pid) {
		pthread_t thread;
		pthread_create(&thread, NULL, stay, &ready[1]);
		syscall(SYS_exit, 0);
	}
	close(ready[1]);
	T_MUST(read(ready[0], &c, 1) == 0);
	close(ready[0]);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	do {
		t_sleep_ms(1);
		T_MUST(!sdi_status_read(AT_FDCWD, path, &st));
	} while (st.state != 'Z');
	*tid = 0;
	for (pid_t t = pid + 1; !*tid && t < pid + 5000; t++) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, t);
		if (!access(path, F_OK))
			*tid = t;
	}
	return pid;
}

static void a_process_lives_on_without_its_main_thread(void)
{
	pid_t tid, pid = dead_leader(&tid);
	struct sdi_target t;
	struct sdi_status st;
	struct sdi_maps m = { 0 };
	char path[64];

	if (!T_EQ(sdi_target_open(pid, &t), 0))
		return t_kill(pid);
	T_EQ(sdi_target_alive(&t), 0);
	T_EQ(sdi_maps_read(&t, &m), 0);
	T_OK(m.n > 3);
	int fd = sdi_target_openat(&t, "pagemap", O_RDONLY);
	T_OK(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "task/%d/status", tid);
	T_EQ(sdi_status_read(t.procfd, path, &st), 0);
	T_EQ(st.tgid, pid);
#if !defined(__SANITIZE_THREAD__)	/* it has a thread of its own, with a mask of its own */
	T_EQ(st.blocked, 1ull << (SIGUSR1 - 1));
#endif
	sdi_target_close(&t);
	T_EQ(sdi_target_open(tid, &t), -EINVAL);
	T_OK(strstr(sdi_last_error(), "thread"));
	sdi_maps_fini(&m);
	t_kill(pid);
}

static void the_dead_are_gone_before_they_are_reaped(void)
{
	pid_t pid = child_that(nothing);
	struct sdi_target t, same;
	struct sdi_maps m = { 0 };

	T_MUST(!sdi_target_open(pid, &t));
	struct sdi_target no_pidfd = t;
	no_pidfd.pidfd = -1;
	T_EQ(sdi_target_alive(&no_pidfd), 0);
	kill(pid, SIGKILL);
	siginfo_t info;
	T_MUST(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	T_EQ(sdi_target_alive(&t), -ESRCH);
	T_EQ(sdi_target_alive(&no_pidfd), -ESRCH);
	T_EQ(sdi_maps_read(&t, &m), -ESRCH);
	T_EQ(sdi_target_open(pid, &same), -ESRCH);
	T_OK(strstr(sdi_last_error(), "zombie"));
	T_MUST(waitpid(pid, NULL, 0) == pid);
	T_EQ(sdi_target_alive(&t), -ESRCH);
	T_EQ(sdi_target_alive(&no_pidfd), -ESRCH);
	T_EQ(sdi_maps_read(&t, &m), -ESRCH);
	T_EQ(sdi_target_openat(&t, "pagemap", O_RDONLY), -ESRCH);
	T_EQ(sdi_target_open(pid, &same), -ESRCH);
	sdi_maps_fini(&m);
	sdi_target_close(&t);
}

static void what_is_no_process_is_refused(void)
{
	struct sdi_target t;
	struct sdi_status st;

	T_EQ(sdi_target_open(-1, &t), -ESRCH);
	T_EQ(sdi_target_open(0x7ffffff0, &t), -ESRCH);
	if (sdi_status_read(AT_FDCWD, "/proc/2/status", &st) || !st.kernel_thread)
		T_SKIP("pid 2 is no kernel thread here");
	T_EQ(sdi_target_open(2, &t), -EINVAL);
	T_OK(strstr(sdi_last_error(), "kernel thread"));
}

static void the_caller_is_itself(void)
{
	struct sdi_target t;

	T_EQ(sdi_target_open(0, &t), 0);
	T_OK(t.self && t.pid == getpid());
	T_EQ(t.start_time, plain_start_time(getpid()));
	sdi_target_close(&t);
	T_EQ(sdi_target_open(getpid(), &t), 0);
	T_OK(t.self);
	sdi_target_close(&t);
}

/* "Groups:" comes before most of what is asked, and may be longer than any buffer. */
static void many_groups_hide_nothing(void)
{
	enum { N = 20000 };
	static gid_t groups[N];

	for (int i = 0; i < N; i++)
		groups[i] = 1000000000 + i;
	pid_t pid = t_fork();
	if (!pid) {
		if (setgroups(N, groups))
			_exit(77);
		struct sdi_status st;
		_exit(sdi_status_read(AT_FDCWD, "/proc/self/status", &st) || st.seccomp < 0 ||
		      st.kernel_thread);
	}
	int status;
	T_MUST(waitpid(pid, &status, 0) == pid);
	if (WEXITSTATUS(status) == 77)
		T_SKIP("not allowed to have other groups");
	T_EQ(status, 0);
}

int main(void)
{
	T_RUN(a_name_may_hold_anything);
	T_RUN(a_process_lives_on_without_its_main_thread);
	T_RUN(the_dead_are_gone_before_they_are_reaped);
	T_RUN(what_is_no_process_is_refused);
	T_RUN(the_caller_is_itself);
	T_RUN(many_groups_hide_nothing);
	return t_done();
}
