/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaching to a process whose only thread waits in a system call: the call goes on as if nothing
 * had happened. No EINTR, no early timeout, nothing lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target.h"
#include "uring.h"

#define WAIT_S 3		/* of calls that end by themselves */
#define WAIT_MS (1000 * WAIT_S)
#define N_ATTACH (t_is_slow() ? 2 : 4)

static long ms_since(uint64_t start)
{
	return (long)((t_now() - start) / 1000000);
}

/* 0 if a call that should have waited WAIT_MS did, and failed with the error it fails with. */
static long timed(uint64_t start, long ret, long want)
{
	long ms = ms_since(start);

	if (ret < 0)
		ret = -errno;
	if (ret != want)
		return ret < 0 ? ret : -EPROTO;
	return ms < WAIT_MS - 5 ? -ETIME : 0;
}

static long op_read_pipe(long fd, long b, long c, long d)
{
	char byte;
	ssize_t n = read((int)fd, &byte, 1);

	return n < 0 ? -errno : n;
}

static long op_poll(long fd, long b, long c, long d)
{
	struct pollfd p = { .fd = (int)fd, .events = POLLIN };
	int n = poll(&p, 1, -1);

	return n < 0 ? -errno : n;
}

static long op_poll_timed(long fd, long b, long c, long d)
{
	struct pollfd p = { .fd = (int)fd, .events = POLLIN };
	uint64_t start = t_now();

	return timed(start, poll(&p, 1, WAIT_MS), 0);
}

static long op_ppoll_timed(long fd, long b, long c, long d)
{
	struct pollfd p = { .fd = (int)fd, .events = POLLIN };
	struct timespec ts = { WAIT_S, 0 };
	uint64_t start = t_now();

	return timed(start, ppoll(&p, 1, &ts, NULL), 0);
}

static long op_select_timed(long fd, long b, long c, long d)
{
	struct timeval tv = { WAIT_S, 0 };
	uint64_t start = t_now();
	fd_set set;

	FD_ZERO(&set);
	FD_SET((int)fd, &set);
	return timed(start, select((int)fd + 1, &set, NULL, NULL, &tv), 0);
}

static int epoll_of(int fd)
{
	struct epoll_event e = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	return ep;
}

static long op_epoll(long fd, long b, long c, long d)
{
	struct epoll_event e;
	int n = epoll_wait(epoll_of((int)fd), &e, 1, -1);

	return n < 0 ? -errno : n;
}

static long op_epoll_timed(long fd, long b, long c, long d)
{
	struct epoll_event e;
	uint64_t start = t_now();

	return timed(start, epoll_wait(epoll_of((int)fd), &e, 1, WAIT_MS), 0);
}

static long op_epoll_pwait(long fd, long b, long c, long d)
{
	struct epoll_event e;
	sigset_t mask, before, after;
	int n;

	sigfillset(&mask);
	sigprocmask(SIG_SETMASK, NULL, &before);
	n = epoll_pwait(epoll_of((int)fd), &e, 1, -1, &mask);
	sigprocmask(SIG_SETMASK, NULL, &after);
	if (n < 0)
		return -errno;
	return memcmp(&before, &after, 8) ? -EPROTO : n;
}

static long op_nanosleep(long a, long b, long c, long d)
{
	struct timespec ts = { WAIT_S, 0 };
	uint64_t start = t_now();

	return timed(start, nanosleep(&ts, NULL), 0);
}

static long op_clock_nanosleep(long a, long b, long c, long d)
{
	uint64_t start = t_now(), end = start + WAIT_MS * 1000000ull;
	struct timespec ts = { (time_t)(end / 1000000000), (long)(end % 1000000000) };

	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	return timed(start, errno ? -1 : 0, 0);
}

static long op_futex_timed(long a, long b, long c, long d)
{
	static uint32_t word;
	struct timespec ts = { WAIT_S, 0 };
	uint64_t start = t_now();

	return timed(start, syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0), -ETIMEDOUT);
}

static long op_sigtimedwait(long a, long b, long c, long d)
{
	struct timespec ts = { WAIT_S, 0 };
	uint64_t start = t_now();
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return timed(start, sigtimedwait(&set, NULL, &ts), -EAGAIN);
}

static long op_semtimedop(long a, long b, long c, long d)
{
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf op = { 0, -1, 0 };
	struct timespec ts = { WAIT_S, 0 };
	uint64_t start = t_now();
	long ret;

	if (id < 0)
		return errno == ENOSYS ? 0 : -errno;
	ret = timed(start, semtimedop(id, &op, 1, &ts), -EAGAIN);
	semctl(id, 0, IPC_RMID);
	return ret;
}

static long op_msgrcv(long a, long b, long c, long d)
{
	int id = msgget(IPC_PRIVATE, 0600);
	struct {
		long type;
		char text[8];
	} msg = { .type = 1 };
	pid_t pid;
	long ret;

	if (id < 0)
		return errno == ENOSYS ? 1 : -errno;
	pid = fork();
	if (pid == 0) {
		t_sleep_ms(WAIT_MS);
		_exit(msgsnd(id, &msg, 8, 0) ? 1 : 0);
	}
	ret = msgrcv(id, &msg, 8, 0, 0) == 8 ? 1 : -errno;
	waitpid(pid, NULL, 0);
	msgctl(id, IPC_RMID, NULL);
	return ret;
}

static long op_recv_timed(long a, long b, long c, long d)
{
	struct timeval tv = { WAIT_S, 0 };
	uint64_t start;
	char byte;
	int fd[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
	setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	start = t_now();
	return timed(start, recv(fd[0], &byte, 1, 0), -EAGAIN);
}

static long op_accept_timed(long a, long b, long c, long d)
{
	struct timeval tv = { WAIT_S, 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	sa_family_t family = AF_UNIX;
	uint64_t start;

	/* An address of two bytes: the kernel chooses an abstract name. */
	bind(fd, (struct sockaddr *)&family, sizeof(family));
	listen(fd, 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	start = t_now();
	return timed(start, accept(fd, NULL, NULL), -EAGAIN);
}

static long op_wait4(long a, long b, long c, long d)
{
	pid_t pid = fork(), got;
	int status;

	if (pid == 0) {
		t_sleep_ms(WAIT_MS);
		_exit(7);
	}
	got = waitpid(pid, &status, 0);
	if (got != pid)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 1 : -EPROTO;
}

static long op_uring(long fd, long b, long c, long d)
{
	static struct t_uring ring;
	static char byte;
	int ret = t_uring_open(&ring);

	if (ret)
		return 1;
	ret = t_uring_submit_read(&ring, IORING_OP_READ, (int)fd, &byte, 1, (uint64_t)-1);
	return ret ? ret : t_uring_wait(&ring);
}

static void on_alarm(int signo)
{
}

static void start_alarm(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval it = { .it_value = { WAIT_S, 0 } };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

static long op_pause(long a, long b, long c, long d)
{
	uint64_t start = t_now();

	start_alarm();
	return timed(start, pause(), -EINTR);
}

static long op_sigsuspend(long a, long b, long c, long d)
{
	uint64_t start = t_now();
	sigset_t block, none, after;

	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, NULL);
	start_alarm();
	if (timed(start, sigsuspend(&none), -EINTR))
		return -ETIME;
	sigprocmask(SIG_SETMASK, NULL, &after);
	return sigismember(&after, SIGALRM) ? 0 : -EPROTO;
}

static long op_lock(long a, long b, long c, long d)
{
	char path[64];
	int fd = t_temp_file(path), other, ready[2];
	char byte;
	pid_t pid;

	if (fd < 0 || pipe(ready))
		return -errno;
	other = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	pid = fork();
	if (pid == 0) {
		flock(other, LOCK_EX);
		close(ready[0]);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		t_sleep_ms(WAIT_MS);
		_exit(0);
	}
	close(other);
	if (read(ready[0], &byte, 1) != 1)
		return -errno;
	if (flock(fd, LOCK_EX))
		return -errno;
	waitpid(pid, NULL, 0);
	return 1;
}

static long op_timerfd(long a, long b, long c, long d)
{
	struct itimerspec it = { .it_value = { WAIT_S, 0 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t n = 0, start = t_now();

	timerfd_settime(fd, 0, &it, NULL);
	if (timed(start, read(fd, &n, 8), 8))
		return -ETIME;
	return (long)n;
}

static long op_vfork(long a, long b, long c, long d)
{
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		struct timespec ts = { WAIT_S, 0 };

		syscall(SYS_nanosleep, &ts, NULL);
		_exit(5);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WEXITSTATUS(status) == 5 ? 1 : -EPROTO;
}

static const struct call {
	const char *name;
	t_fn *fn;
	long want;
	bool ends_by_pipe;
} calls[] = {
	{ "read of a pipe", op_read_pipe, 1, true },
	{ "poll", op_poll, 1, true },
	{ "poll with a timeout", op_poll_timed, 0, false },
	{ "ppoll with a timeout", op_ppoll_timed, 0, false },
	{ "select with a timeout", op_select_timed, 0, false },
	{ "epoll_wait", op_epoll, 1, true },
	{ "epoll_wait with a timeout", op_epoll_timed, 0, false },
	{ "epoll_pwait with all signals blocked", op_epoll_pwait, 1, true },
	{ "nanosleep", op_nanosleep, 0, false },
	{ "clock_nanosleep to a time", op_clock_nanosleep, 0, false },
	{ "futex with a timeout", op_futex_timed, 0, false },
	{ "sigtimedwait", op_sigtimedwait, 0, false },
	{ "semtimedop", op_semtimedop, 0, false },
	{ "msgrcv", op_msgrcv, 1, false },
	{ "recv with SO_RCVTIMEO", op_recv_timed, 0, false },
	{ "accept with SO_RCVTIMEO", op_accept_timed, 0, false },
	{ "wait4", op_wait4, 1, false },
	{ "io_uring_enter", op_uring, 1, true },
	{ "pause until a signal", op_pause, 0, false },
	{ "sigsuspend until a signal", op_sigsuspend, 0, false },
	{ "flock", op_lock, 1, false },
	{ "read of a timerfd", op_timerfd, 1, false },
	{ "vfork", op_vfork, 1, false },
};

/* Attaches, clears, reads, detaches. Refusing is allowed, harming is not. */
static void use_library(pid_t pid, bool freeze)
{
	const struct softdirty_range *r;
	struct softdirty *sd;
	size_t n;

	if (softdirty_open(pid, NULL, &sd)) {
		t_note("not opened: %s", softdirty_error());
		return;
	}
	if (freeze && softdirty_freeze(sd) == 0) {
		t_sleep_ms(5);
		softdirty_thaw(sd);
	} else if (!freeze) {
		T_EQ(softdirty_clear(sd, NULL), 0);
		T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	}
	softdirty_close(sd);
}

#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

struct caller {
	const struct call *call;
	struct t_target tg;
	int fd[2];
};

static struct caller start(const struct call *call)
{
	struct caller c = { .call = call };

	T_MUST(pipe(c.fd) == 0);
	c.tg = t_start();
	t_post(&c.tg, call->fn, c.fd[0], 0, 0);
	return c;
}

static void end(struct caller *c)
{
	long ret;

	if (c->call->ends_by_pipe)
		T_MUST(write(c->fd[1], "x", 1) == 1);
	ret = t_wait(&c->tg);
	if (!T_EQ(ret, c->call->want))
		t_note("%s: %s", c->call->name, ret < 0 ? strerror((int)-ret) : "wrong result");
	t_stop(&c->tg);
	close(c->fd[0]);
	close(c->fd[1]);
}

/* All of them wait at the same time, one process each. */
static void try_calls(bool freeze)
{
	struct caller c[N_CALLS];

	for (size_t i = 0; i < N_CALLS; i++)
		c[i] = start(&calls[i]);
	t_sleep_ms(60);
	for (int n = 0; n < N_ATTACH; n++)
		for (size_t i = 0; i < N_CALLS; i++)
			if (!freeze || calls[i].fn != op_vfork)
				use_library(c[i].tg.pid, freeze);
	for (size_t i = 0; i < N_CALLS; i++)
		end(&c[i]);
}

static void waiting_calls_go_on_after_attach(void)
{
	try_calls(false);
}

static void waiting_calls_go_on_after_freeze(void)
{
	try_calls(true);
}

int main(void)
{
	t_need_backend();
	T_RUN(waiting_calls_go_on_after_attach);
	T_RUN(waiting_calls_go_on_after_freeze);
	return t_done();
}
