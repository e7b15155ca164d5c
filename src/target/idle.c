/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/idle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "target/threads.h"

struct looking {
	const struct sdi_target *t;
	struct sdi_idle *ret;
	int n_threads;
};

/* Calls that a thread may sleep in and which fill no memory but through page faults. */
static bool fills_nothing(long nr)
{
	switch (nr) {
#ifdef __NR_epoll_wait
	case __NR_epoll_wait:
#endif
	case __NR_epoll_pwait:
	case __NR_write: case __NR_writev: case __NR_pwrite64: case __NR_pwritev:
		return true;
	}
	return sdi_call_is_taken_up(nr);
}

/*
 * The kernel gives an answer other than "running" only for a thread that is not on a CPU before and after
 * (task_current_syscall()); when it left it, its count of sleeps had grown already. One that is
 * stopped has left its call, also where that is to be made again.
 */
static bool sleeps_harmlessly(const struct sdi_target *t, pid_t tid, char state)
{
	char path[48], text[256];

	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	if (!strchr("SDTt", state) || sdi_read_text(t->procfd, path, text, sizeof(text)) <= 0 ||
	    !strncmp(text, "running", 7))
		return false;
	return state == 'T' || state == 't' || fills_nothing(strtol(text, NULL, 10));
}

/* The count of its sleeps, if it was the same before and after one moment at which it slept. */
static bool look_at_thread(const struct sdi_target *t, pid_t tid, long *sleeps)
{
	struct sdi_status before, after;

	if (sdi_thread_status(t, tid, &before) || !sleeps_harmlessly(t, tid, before.state) ||
	    sdi_thread_status(t, tid, &after))
		return false;
	*sleeps = after.sleeps;
	return before.state == after.state && before.sleeps == after.sleeps;
}

static uint64_t add_to_digest(uint64_t digest, uint64_t number)
{
	return (digest ^ number) * 0x100000001b3;
}

static int look_at(void *arg, pid_t tid)
{
	struct looking *l = arg;
	long sleeps;

	l->n_threads++;
	if (!look_at_thread(l->t, tid, &sleeps))
		return 1;
	l->ret->digest = add_to_digest(add_to_digest(l->ret->digest, tid), sleeps);
	return 0;
}

void sdi_idle_look(const struct sdi_target *t, struct sdi_idle *ret)
{
	enum { MAX_THREADS = 32 };	/* 0.1 ms for each: more are not begun with */
	struct looking l = { .t = t, .ret = ret };
	uint64_t n;

	*ret = (struct sdi_idle){ 0 };
	if (sdi_thread_count(t, &n) || n > MAX_THREADS)
		return;
	ret->asleep = !sdi_each_thread(t, look_at, &l) && l.n_threads;
}

bool sdi_idle_since(const struct sdi_target *t, const struct sdi_idle *then)
{
	struct sdi_idle now;

	if (!then->asleep)
		return false;
	sdi_idle_look(t, &now);
	return now.asleep && now.digest == then->digest;
}
