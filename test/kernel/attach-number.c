/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The number that softdirty's descriptor has in the target for some microseconds. The test stands in
 * between: a filter in the thread that attaches stops each pidfd_getfd() of its helpers, until the test
 * has seen to what it finds.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "seccomp.h"
#include "target.h"
#include "uapi/syscalls.h"

enum { CONTINUE = 1 /* SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5 */ };

struct shared {
	_Atomic int number;	/* where a thread of the target is to put a file of its own; -1: nowhere */
	_Atomic bool stop;
};
static struct shared *shared;

/* --- in the target ------------------------------------------------------------------------- */

static int own_file;

static void *put_it_there(void *arg)
{
	while (!shared->stop) {
		int number = shared->number;

		if (number >= 0 && dup2(own_file, number) == number)
			shared->number = -1;
	}
	return NULL;
}

/* In two threads, of which at most one is stopped. */
static long op_two_threads(long a, long b, long c, long d)
{
	pthread_t other;

	own_file = memfd_create("own", 0);
	if (own_file < 0 || pthread_create(&other, NULL, put_it_there, NULL))
		return -1;
	put_it_there(NULL);
	pthread_join(other, NULL);
	return 0;
}

static long op_is_own_file(long number, long b, long c, long d)
{
	struct stat there, own;

	return !fstat((int)number, &there) && !fstat(own_file, &own) && there.st_ino == own.st_ino;
}

static long op_next_number(long a, long b, long c, long d)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* --- the thread that attaches, under the filter -------------------------------------------- */

struct attaching {
	pid_t pid;
	int err;
	_Atomic int listener;	/* 0: not yet, else a descriptor, or -errno */
	_Atomic bool done;
};

static void *attach(void *arg)
{
	struct attaching *at = arg;
	struct softdirty *sd = NULL;

	at->listener = t_filter(SYS_pidfd_getfd, SECCOMP_RET_USER_NOTIF,
				SECCOMP_FILTER_FLAG_NEW_LISTENER);
	if (at->listener > 0) {
		at->err = softdirty_open(at->pid, NULL, &sd);
		softdirty_close(sd);
	}
	at->done = true;
	return NULL;
}

/* --- the test ------------------------------------------------------------------------------ */

/* Answer one pidfd_getfd() with the error, or let it go on. Returns the number it is after. */
static int answer(int listener, int error, bool replace)
{
	struct seccomp_notif call = { 0 };
	struct seccomp_notif_resp resp = { 0 };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
		return -1;
	int number = (int)call.data.args[1];
	if (replace) {
		shared->number = number;
		for (int i = 0; i < 1000 && shared->number >= 0; i++)
			t_sleep_ms(1);
	}
	resp.id = call.id;
	resp.error = error;
	resp.flags = error ? 0 : CONTINUE;
	T_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp), 0);
	return number;
}

struct outcome {
	int err;	/* of softdirty_open(), -ENOSYS: calls cannot be intercepted */
	int number;	/* the first that pidfd_getfd() was after, or -1 */
	bool own_file;	/* is the target's own file there? */
	bool free;	/* is nothing there? */
};

static void attach_with(struct t_target *tg, int error, bool replace, struct outcome *ret)
{
	struct attaching at = { .pid = tg->pid };
	pthread_t thread;

	ret->number = -1;
	T_MUST(!pthread_create(&thread, NULL, attach, &at));
	while (!at.done) {
		struct pollfd p = { .fd = at.listener > 0 ? at.listener : -1, .events = POLLIN };

		if (poll(&p, 1, 10) <= 0 || !(p.revents & POLLIN))
			continue;
		int number = answer(at.listener, error, replace && ret->number < 0);
		if (ret->number < 0)
			ret->number = number;
	}
	pthread_join(thread, NULL);
	close(at.listener);
	ret->err = at.listener > 0 ? at.err : -ENOSYS;
}

static struct outcome attach_to_two_threads(int error, bool replace)
{
	struct outcome o;
	T_TARGET tg;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(shared != MAP_FAILED);
	shared->number = -1;
	tg = t_start();
	t_post(&tg, op_two_threads, 0, 0, 0);
	t_sleep_ms(20);
	attach_with(&tg, error, replace, &o);
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	o.own_file = t_call(&tg, op_is_own_file, o.number);
	o.free = t_call(&tg, op_next_number) == o.number;
	return o;
}

static void a_file_that_was_put_there_stays(void)
{
	struct outcome o = attach_to_two_threads(0, true);

	if (o.err == -ENOSYS || o.number < 0)
		T_SKIP("no calls can be intercepted here");
	T_EQ(o.err, 0);
	T_OK(o.own_file);
}

static void nothing_stays_when_it_could_not_be_taken(void)
{
	struct outcome o = attach_to_two_threads(-EPERM, false);

	if (o.err == -ENOSYS || o.number < 0)
		T_SKIP("no calls can be intercepted here");
	T_EQ(o.err, -EOPNOTSUPP);
	T_OK(o.free);
}

int main(void)
{
	if (t_backend() != T_WP_ASYNC)
		t_skip_all("only wp-async has a descriptor in the target");
	T_RUN(a_file_that_was_put_there_stays);
	T_RUN(nothing_stays_when_it_could_not_be_taken);
	return t_done();
}
