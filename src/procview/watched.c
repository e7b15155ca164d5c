/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two locks. `table` guards the list and who attaches; never held while the library works. Each
 * process has one for its handle. Attaching happens outside of both: it may have to wait for a
 * thread of the process that waits, itself, for one of our answers.
 */
#include "procview/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "emulate/emulate.h"
#include "procview/proc.h"

struct watched {
	struct watched *next;
	pid_t pid;
	uint64_t start_time;
	unsigned refs;			/* open files */
	bool attaching;
	bool cleared;			/* by us */
	pthread_mutex_t handle;
	struct softdirty *sd;		/* only uses a keeper, never starts one; or NULL */
	int pagemap;			/* of the memory that we attached; -1 */
};

static const struct sdi_procview *options;
static struct watched *list;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t attached = PTHREAD_COND_INITIALIZER;

void watched_setup(const struct sdi_procview *o)
{
	options = o;
}

/* --- the list ------------------------------------------------------------------------------- */

static void release(struct watched *w)
{
	softdirty_close(w->sd);
	sdi_cleanup_fd(&w->pagemap);
	pthread_mutex_destroy(&w->handle);
	free(w);
}

static bool has_ended(const struct watched *w)
{
	autoclose int dir = proc_dir(w->pid);

	return dir < 0 || proc_start_time(dir) != w->start_time;
}

static void sweep(void)
{
	for (struct watched **at = &list; *at; ) {
		struct watched *w = *at;

		if (!w->refs && has_ended(w)) {
			*at = w->next;
			release(w);
		} else {
			at = &w->next;
		}
	}
}

static struct watched *add(pid_t pid, uint64_t start_time)
{
	struct watched *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	sweep();
	*w = (struct watched){
		.pid = pid, .start_time = start_time, .pagemap = -1, .next = list,
	};
	pthread_mutex_init(&w->handle, NULL);
	list = w;
	return w;
}

struct watched *watched_get(pid_t pid, uint64_t start_time)
{
	pthread_mutex_lock(&table);
	struct watched *w = list;
	while (w && (w->pid != pid || w->start_time != start_time))
		w = w->next;
	if (!w)
		w = add(pid, start_time);
	if (w)
		w->refs++;
	pthread_mutex_unlock(&table);
	return w;
}

void watched_ref(struct watched *w)
{
	pthread_mutex_lock(&table);
	w->refs++;
	pthread_mutex_unlock(&table);
}

void watched_put(struct watched *w)
{
	pthread_mutex_lock(&table);
	w->refs--;
	pthread_mutex_unlock(&table);
}

struct softdirty *watched_lock(struct watched *w)
{
	pthread_mutex_lock(&w->handle);
	return w->sd;
}

void watched_unlock(struct watched *w)
{
	pthread_mutex_unlock(&w->handle);
}

/* --- attaching ------------------------------------------------------------------------------ */

/* The file may be older than the process that has the number now: then its process has ended. */
static bool is_that_process(const struct watched *w, struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	return !softdirty_info(sd, &info) && info.start_time == w->start_time;
}

static int open_handle(const struct watched *w, unsigned flags, int uffd, struct softdirty **ret)
{
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED | flags, .uffd = uffd,
		.keeper = options->keeper,
	};
	struct softdirty *sd;
	int err = has_ended(w) ? -ESRCH : softdirty_open(w->pid, &o, &sd);

	if (err)
		return err;
	if (!is_that_process(w, sd)) {
		softdirty_close(sd);
		return -ESRCH;
	}
	*ret = sd;
	return 0;
}

/* A process that was attached and has called exec has other memory, and that is not. */
static bool memory_is_attached(const struct watched *w)
{
	uint64_t entry;

	return w->pagemap >= 0 && pread(w->pagemap, &entry, sizeof(entry), 0) > 0;
}

bool watched_begin_attach(struct watched *w)
{
	pthread_mutex_lock(&table);
	while (w->attaching)
		pthread_cond_wait(&attached, &table);
	bool must = !memory_is_attached(w);
	w->attaching = must;
	pthread_mutex_unlock(&table);
	return must;
}

static int open_pagemap(const struct watched *w)
{
	autoclose int dir = proc_dir(w->pid);

	return dir < 0 ? -1 : openat(dir, "pagemap", O_RDONLY | O_CLOEXEC);
}

/* pagemap: of what was attached; consumed. */
static void end_attach(struct watched *w, struct softdirty *sd, int pagemap)
{
	pthread_mutex_lock(&w->handle);
	pthread_mutex_lock(&table);
	if (sd) {
		softdirty_close(w->sd);
		w->sd = sd;
	}
	sdi_cleanup_fd(&w->pagemap);
	w->pagemap = pagemap;
	w->attaching = false;
	pthread_cond_broadcast(&attached);
	pthread_mutex_unlock(&table);
	pthread_mutex_unlock(&w->handle);
}

/* One handle starts the keeper; the one that stays uses it, and starts no other after a "stop". */
int watched_attach(struct watched *w, int uffd)
{
	struct softdirty *starter, *sd = NULL;
	int pagemap = open_pagemap(w);	/* before: if it calls exec now, it is attached once more */
	int err = open_handle(w, uffd < 0 ? 0 : SOFTDIRTY_OPEN_UFFD, uffd, &starter);

	if (!err) {
		err = open_handle(w, SOFTDIRTY_OPEN_EXISTING, -1, &sd);
		softdirty_close(starter);
	}
	if (err) {
		sdi_cleanup_fd(&pagemap);
		pagemap = -1;
	}
	end_attach(w, sd, pagemap);
	return err;
}

void watched_give_up(struct watched *w)
{
	end_attach(w, NULL, -1);
}

void watched_look(struct watched *w)
{
	struct softdirty *sd = NULL;

	pthread_mutex_lock(&table);
	bool look = !w->attaching && !w->sd;
	w->attaching |= look;
	pthread_mutex_unlock(&table);
	if (!look)
		return;
	open_handle(w, SOFTDIRTY_OPEN_EXISTING, -1, &sd);
	end_attach(w, sd, -1);
}

/* --- clearing ------------------------------------------------------------------------------- */

static int clear_once(struct watched *w)
{
	struct softdirty *sd = watched_lock(w);
	int err = sd ? softdirty_clear(sd, SDI_KERNEL_MARK) : -ENOENT;

	if (!err)
		w->cleared = true;
	watched_unlock(w);
	return err;
}

/* Its keeper was stopped meanwhile. */
static int clear_again(struct watched *w)
{
	pthread_mutex_lock(&table);
	sdi_cleanup_fd(&w->pagemap);
	w->pagemap = -1;
	pthread_mutex_unlock(&table);
	int err = watched_begin_attach(w) ? watched_attach(w, -1) : 0;

	return err ? err : clear_once(w);
}

/* A kernel that cannot track says EINVAL. */
static int as_kernel(int err)
{
	return err == -EOPNOTSUPP ? -EINVAL : err == -ENOENT ? -ESRCH : err;
}

int watched_clear(struct watched *w)
{
	int err = watched_begin_attach(w) ? watched_attach(w, -1) : 0;

	if (!err)
		err = clear_once(w);
	if (err == -ENOENT)
		err = clear_again(w);
	if (err && err != -ESRCH)
		options->say("cannot clear %d: %s", w->pid, softdirty_error());
	return as_kernel(err);
}

/* --- the end -------------------------------------------------------------------------------- */

static void forget(struct watched *w)
{
	struct softdirty_info info = { .size = sizeof(info) };

	if (w->cleared && w->sd && !softdirty_forget(w->sd, SDI_KERNEL_MARK) &&
	    !softdirty_info(w->sd, &info) && !info.n_marks)
		softdirty_stop(w->sd);
}

void watched_finish(void)
{
	while (list) {
		struct watched *w = list;

		list = w->next;
		forget(w);
		release(w);
	}
}
