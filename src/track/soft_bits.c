/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the bits and clearing them are two steps. Between them nobody may write: neither a thread of the
 * target nor the kernel's for it, nor we ourselves where we are the target.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/pagemap.h"
#include "target/stop.h"
#include "track/soft.h"

static int note_dirty(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct sdi_soft_round *r = arg;

	if (r->fixed && r->dirty.n == r->dirty.cap)
		return -ENOSPC;
	return sdi_ranges_append(&r->dirty, start, end, categories, 0);
}

int sdi_soft_read(struct sdi_soft_round *r, bool gently)
{
	struct sdi_tracker *tr = r->tr;
	uint64_t any = PAGE_IS_SOFT_DIRTY;
	bool again;
	int err;

	do {
		r->dirty.n = 0;
		err = sdi_pages_each(r->fixed ? NULL : &tr->target, tr->pagemap, &tr->maps, any,
				     gently, tr->from, tr->to, note_dirty, r);
		/* Only now: of what was split before it was looked at, zero pages count as well. */
		again = !err && !(any & PAGE_IS_PFNZERO) && sdi_zero_split(&r->s->zero);
		any |= PAGE_IS_PFNZERO;
	} while (again);
	return err;
}

static int clear(const struct sdi_soft *s)
{
	return write(s->clear_refs, "4", 1) == 1 ? 0 : -errno;
}

/*
 * Of all who can write while the target is stopped: not of this thread, which is not. A count faults itself
 * in memory that was just cleared, and so does the kernel whenever it puts this thread on a CPU
 * (rseq). Such a fault must not come between the two numbers.
 */
static int count_faults(struct sdi_soft_round *r, uint64_t *ret)
{
	const struct sdi_target *t = &r->tr->target;
	uint64_t process = 0, ours, again = 0, kernel = 0;
	int err;

	do {
		ours = again;
		err = sdi_fault_count(t, &process);
		if (!err && t->self)
			err = sdi_task_faults(AT_FDCWD, "/proc/thread-self/stat", &again);
	} while (!err && ours != again);
	/* One that has ended may have written before. */
	if (!err && sdi_vhost_faults(&r->vhost, &kernel))
		r->vhost.unknown = true;
	*ret = process - ours + kernel;
	return err;
}

static int clear_twice(struct sdi_soft_round *r)
{
	int err = clear(r->s);

	if (!err)
		err = sdi_migration_look(&r->s->moved, r->tr, r->fixed);
	return err ? err : clear(r->s);
}

/*
 * With the target stopped. Nothing of it can write but the kernel's workers, among its threads
 * (io_uring) or not (vhost): their faults would show.
 */
static int read_and_clear(struct sdi_soft_round *r)
{
	uint64_t before = 0, after = 0, end = 0;
	int err = 0;

	for (int tries = 0; tries < 3 && !err; tries++) {
		err = count_faults(r, &before);
		if (!err)
			err = sdi_soft_read(r, false);
		if (!err)
			err = count_faults(r, &after);
		if (before == after)
			break;
	}
	if (err)
		return err;
	err = clear_twice(r);
	if (!err)
		err = count_faults(r, &end);
	r->lost |= err || r->vhost.unknown || end != before;
	return err;
}

static int take_other(struct sdi_soft_round *r)
{
	struct sdi_freezer *f = NULL;
	int err = r->tr->frozen ? 0 : sdi_freeze(&r->tr->target, false, &f);

	if (!err)
		err = read_and_clear(r);
	sdi_thaw(f);
	return err;
}

/* In memory that is written now. */
static int make_room(struct sdi_ranges *list)
{
	size_t room = list->n * 2 + 1024;
	int err = 0;

	while (list->n < room && !err)
		err = sdi_ranges_push(list, 0, 1, 0, 0);
	return err;
}

/* The first looks: they write to the lists, and so the second ones see these dirty. */
static int look_ahead(struct sdi_soft_round *r)
{
	int err = sdi_soft_read(r, false);

	if (!err)
		err = sdi_migration_look(&r->s->moved, r->tr, false);
	if (!err)
		err = make_room(&r->dirty);
	return err ? err : make_room(&r->s->moved.away);
}

/* -ENOSPC: the lists were too short after all. */
static int take_alone(struct sdi_soft_round *r)
{
	struct sdi_freezer *f = NULL;
	uint64_t n_threads;
	int err = sdi_thread_count(&r->tr->target, &n_threads);

	if (!err && n_threads > 1)
		err = sdi_freeze_others(&r->tr->target, &f);
	r->fixed = true;
	if (!err)
		err = read_and_clear(r);
	r->fixed = false;
	sdi_thaw(f);
	return err;
}

/*
 * Of our own process the other threads are stopped. Until the bits are clear this thread writes only
 * to its stack and to the lists, which may not grow any more, and no signal comes to it.
 */
static int take_self(struct sdi_soft_round *r)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	do {
		err = look_ahead(r);
		if (err)
			break;
		pthread_sigmask(SIG_BLOCK, &all, &old);
		err = take_alone(r);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	} while (err == -ENOSPC);
	return err;
}

int sdi_soft_take(struct sdi_soft_round *r)
{
	int err = sdi_vhost_find(&r->tr->target, &r->vhost);

	if (err)
		return err;
	return r->tr->target.self ? take_self(r) : take_other(r);
}
