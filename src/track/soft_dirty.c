/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * soft-dirty: the kernel's own bit (Linux 3.11). "4" written to clear_refs clears the bits of all
 * pages, and bit 55 of a pagemap entry is set by the first write after it. Reading and clearing are two
 * steps, so the target is stopped for SDI_TAKE, and only for these two.
 *
 * What the bits do not tell, and where it comes from instead:
 *  - hugetlb pages never have the bit: untracked (smaps says which mappings they are);
 *  - memory of drivers is written past the page tables: untracked;
 *  - a new mapping is dirty as a whole (VM_SOFTDIRTY), and with it all that it merges with:
 *
 *	known    |-----a-----|             all of it dirty, empty pages too:
 *	now      |-----a-----|             made anew at the old place: new
 *	now      |-----a---------|         grown: its old part is untracked, MERGED
 *
 *  - a page that KSM merges with others loses the bit: see mergeable.h;
 *  - a page that comes back because its swap space is taken away may lose it: see swapoff.h;
 *  - a page that the kernel moves elsewhere may lose it: see migration.h;
 *  - the bits of a shared page go with its page table entry (reclaim, MADV_DONTNEED), while the
 *    file keeps what was written: the content of shared memory is compared as well, as hash does.
 *
 * A write from another process (process_vm_writev(), a vfork() child) in the moment between the two
 * steps is lost. And whole page tables that mremap() moves (move_normal_pmd()) have no bits set, which is
 * not seen where the mapping looks as before. No other kernel interface closes that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/pagemap.h"
#include "target/smaps.h"
#include "target/stop.h"
#include "target/vhost.h"
#include "track/content.h"
#include "track/kinds.h"
#include "track/known.h"
#include "track/mergeable.h"
#include "track/migration.h"
#include "track/probe.h"
#include "track/swapoff.h"
#include "track/tracker.h"
#include "track/untracked.h"
#include "track/zero.h"

#define POPULATED (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)

struct soft {
	int clear_refs;
	struct sdi_maps known;		/* as of the last SDI_TAKE */
	struct sdi_kinds kinds;
	struct sdi_content *content;	/* of shared memory */
	struct sdi_zero zero;
	struct sdi_mergeable mergeable;
	struct sdi_swapoff swapoff;
	bool failed;			/* the last SDI_TAKE: what it left behind is not known */
	struct sdi_migration moved;
};

/* One collect(). */
struct round {
	struct sdi_tracker *tr;
	struct soft *s;
	struct sdi_ranges *found;
	struct sdi_ranges dirty;	/* as the kernel says; flags: PAGE_IS_* */
	struct sdi_vhost vhost;
	bool fixed;			/* dirty must not grow: others hold the lock of malloc() */
	bool lost;			/* something wrote between reading and clearing */
	struct sdi_ranges fresh;
};

/* --- the bits ------------------------------------------------------------------------------- */

static int note_dirty(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct round *r = arg;

	if (r->fixed && r->dirty.n == r->dirty.cap)
		return -ENOSPC;
	return sdi_ranges_append(&r->dirty, start, end, categories, 0);
}

static int read_bits(struct round *r, bool gently)
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

static int clear(const struct soft *s)
{
	return write(s->clear_refs, "4", 1) == 1 ? 0 : -errno;
}

/* Of all who can write while the target is stopped: not of this thread, which is not. */
static int count_faults(struct round *r, uint64_t *ret)
{
	const struct sdi_target *t = &r->tr->target;
	uint64_t process = 0, ours = 0, kernel = 0;
	int err = t->self ? sdi_task_faults(AT_FDCWD, "/proc/thread-self/stat", &ours) : 0;

	if (!err)
		err = sdi_fault_count(t, &process);
	/* One that has ended may have written before. */
	if (!err && sdi_vhost_faults(&r->vhost, &kernel))
		r->vhost.unknown = true;
	*ret = process - ours + kernel;
	return err;
}

static int clear_twice(struct round *r)
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
static int read_and_clear(struct round *r)
{
	const struct sdi_target *t = &r->tr->target;
	uint64_t before = 0, after = 0, end = 0;
	int err = 0;

	for (int tries = 0; tries < 3 && !err; tries++) {
		err = count_faults(r, &before);
		if (!err)
			err = read_bits(r, false);
		if (!err)
			err = count_faults(r, &after);
		if (before == after)
			break;
	}
	if (err)
		return err;
	err = clear_twice(r);
	/* In our own process a count itself faults, on memory that was just cleared; a second one not. */
	if (!err && t->self)
		err = count_faults(r, &end);
	if (!err)
		err = count_faults(r, &end);
	r->lost |= err || r->vhost.unknown || end != before;
	return err;
}

static int take_other(struct round *r)
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
static int look_ahead(struct round *r)
{
	int err = read_bits(r, false);

	if (!err)
		err = sdi_migration_look(&r->s->moved, r->tr, false);
	if (!err)
		err = make_room(&r->dirty);
	return err ? err : make_room(&r->s->moved.away);
}

/* -ENOSPC: the lists were too short after all. */
static int take_alone(struct round *r)
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
static int take_self(struct round *r)
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

static int take(struct round *r)
{
	int err = sdi_vhost_find(&r->tr->target, &r->vhost);

	if (err)
		return err;
	return r->tr->target.self ? take_self(r) : take_other(r);
}

/* --- what they mean ------------------------------------------------------------------------- */

static int push(struct round *r, const struct sdi_vma *v, uint32_t why, uint32_t reason)
{
	uint64_t from = MAX(v->start, r->tr->from), to = MIN(v->end, r->tr->to);

	return sdi_ranges_push(r->found, from, to, why | sdi_vma_kind(v), reason);
}

/* Is it the content of this mapping that tells? */
static bool is_compared(void *arg, const struct sdi_vma *v)
{
	struct soft *s = arg;
	uint32_t kind = sdi_kinds_find(&s->kinds, v);

	return v->flags & SDI_VMA_SHARED && kind & SDI_SMAP_MAYWRITE &&
	       !(kind & (SDI_SMAP_HUGETLB | SDI_SMAP_SPECIAL));
}

static int compare_shared(struct round *r, enum sdi_collect how)
{
	struct sdi_maps m = { 0 };
	int err = sdi_maps_select(&r->tr->maps, is_compared, r->s, &m);

	if (!err)
		err = sdi_content_look(r->s->content, r->tr, &m, how, r->found);
	sdi_maps_fini(&m);
	return err;
}

/* What the bits say of a part of a mapping: how much of it is dirty, and are empty pages? */
struct look {
	uint64_t from, to;
	uint64_t dirty;
	bool empty;
};

static struct look look_at(const struct round *r, const struct sdi_vma *v)
{
	struct look l = { .from = MAX(v->start, r->tr->from), .to = MIN(v->end, r->tr->to) };
	const struct sdi_ranges *d = &r->dirty;

	for (size_t i = sdi_ranges_find(d, l.from); i < d->n && d->r[i].start < l.to; i++) {
		if (!(d->r[i].flags & PAGE_IS_SOFT_DIRTY))
			continue;
		l.dirty += MIN(d->r[i].end, l.to) - MAX(d->r[i].start, l.from);
		l.empty |= !(d->r[i].flags & POPULATED);
	}
	return l;
}

static bool overlaps(const struct sdi_ranges *list, uint64_t start, uint64_t end)
{
	size_t i = sdi_ranges_find(list, start);

	return i < list->n && list->r[i].start < end;
}

/* Did one mapping cover all of it at the last SDI_TAKE? */
static bool was_one(const struct soft *s, const struct sdi_vma *v)
{
	const struct sdi_vma *old = sdi_maps_find(&s->known, v->start);

	return old && old->start <= v->start && old->end >= v->end;
}

/*
 * Empty pages are dirty only in a new mapping. Of what it merged with, the old part may be renewed. Or
 * the list of mappings is older than the bits, as the target was not stopped yet, and what is one mapping
 * there was cut since, and a part of it renewed.
 */
static int push_run(struct round *r, const struct sdi_vma *v, const struct softdirty_range *run,
		    const struct look *l, bool merged)
{
	uint32_t why = merged ? SOFTDIRTY_UNTRACKED : SOFTDIRTY_WRITTEN;

	return sdi_ranges_push(r->found, MAX(run->start, l->from), MIN(run->end, l->to),
			       why | sdi_kind(v, run->flags),
			       merged ? SOFTDIRTY_REASON_MERGED : SOFTDIRTY_REASON_NONE);
}

static int push_bits(struct round *r, const struct sdi_vma *v)
{
	const struct sdi_ranges *d = &r->dirty;
	struct look l = look_at(r, v);
	bool grown = overlaps(&r->fresh, l.from, l.to), merged = false;
	int err = 0;

	/* Only VM_SOFTDIRTY makes all of it dirty with empty pages, and new parts with old. */
	if (l.dirty == l.to - l.from && (l.empty || grown)) {
		if (!grown && was_one(r->s, v))
			return push(r, v, SOFTDIRTY_NEW, SOFTDIRTY_REASON_NONE);
		merged = true;
	}
	for (size_t i = sdi_ranges_find(d, l.from); i < d->n && d->r[i].start < l.to && !err; i++) {
		uint64_t is = d->r[i].flags;

		if (merged || !(is & PAGE_IS_GUARD))
			err = push_run(r, v, &d->r[i], &l, merged || !(is & POPULATED));
	}
	return err;
}

static int push_mapping(struct round *r, const struct sdi_vma *v)
{
	uint32_t kind = sdi_kinds_find(&r->s->kinds, v);

	if (v->flags & SDI_VMA_KERNEL || v->start >= r->tr->to || v->end <= r->tr->from)
		return 0;
	if (r->lost)
		return push(r, v, SOFTDIRTY_UNTRACKED, SOFTDIRTY_REASON_LOST);
	/* The file keeps what was written when the page table forgets the page. */
	if (kind & SDI_SMAP_HUGETLB && v->flags & SDI_VMA_SHARED)
		return push(r, v, SOFTDIRTY_UNTRACKED, SOFTDIRTY_REASON_HUGETLB);
	if (kind & SDI_SMAP_HUGETLB)
		return sdi_push_untracked(r->tr, v->start, v->end, SOFTDIRTY_REASON_HUGETLB, 0,
					  r->found);
	if (kind & SDI_SMAP_SPECIAL)
		return push(r, v, SOFTDIRTY_UNTRACKED, SOFTDIRTY_REASON_SPECIAL);
	return push_bits(r, v);
}

/* Shared memory keeps what was written, and is compared. */
static int push_swapoff(struct round *r)
{
	int ret = sdi_swapoff_ran(&r->s->swapoff);

	return ret <= 0 ? ret : sdi_push_untracked(r->tr, 0, UINT64_MAX, SOFTDIRTY_REASON_MOVED,
						   SOFTDIRTY_SHARED, r->found);
}

/* --- the backend ---------------------------------------------------------------------------- */

static int collect(struct round *r, enum sdi_collect how)
{
	struct soft *s = r->s;
	int err = sdi_kinds_learn(&s->kinds, &r->tr->target, &r->tr->maps);

	if (!err)
		err = compare_shared(r, how);
	if (!err)
		err = sdi_migration_push(&s->moved, r->tr, r->found);
	if (!err)
		err = how == SDI_PEEK ? read_bits(r, true) : take(r);
	if (!err)
		err = sdi_known_fresh(&s->known, &r->tr->maps, &r->fresh);
	if (!err)
		err = sdi_ranges_push_all(r->found, &r->fresh);
	for (size_t i = 0; i < r->tr->maps.n && !err; i++)
		err = push_mapping(r, &r->tr->maps.v[i]);
	if (!err)
		err = sdi_mergeable_push(&s->mergeable, r->tr, how, r->found);
	if (!err)
		err = push_swapoff(r);
	if (!err && how == SDI_TAKE)
		err = sdi_migration_judge(&s->moved, r->tr);
	if (!err && how == SDI_TAKE)
		err = sdi_known_set(&s->known, &r->tr->maps);
	return err;
}

static int soft_collect(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct soft *s = tr->state;
	struct round r = { .tr = tr, .s = s, .found = found, .lost = s->failed };

	sdi_zero_before(&r.s->zero, 0);
	int err = collect(&r, how);

	if (how == SDI_TAKE) {
		sdi_zero_taken(&r.s->zero);
		s->failed = err;
		if (!err)
			sdi_swapoff_taken(&s->swapoff);
	}
	sdi_ranges_fini(&r.dirty);
	sdi_ranges_fini(&r.fresh);
	return err;
}

static int soft_suits(const struct sdi_target *t, struct sdi_why *why)
{
	autoclose int fd = sdi_target_openat(t, "clear_refs", O_WRONLY);
	struct sdi_status st;

	if (fd < 0) {
		sdi_why(why, "cannot open its clear_refs: %s%s", strerror(-fd),
			fd == -EACCES || fd == -EPERM ? sdi_who_may() : "");
		return fd == -EACCES ? -EPERM : fd;
	}
	if (!t->self && !sdi_status_read(t->procfd, "status", &st) && st.tracer) {
		sdi_why(why, "process %d traces it (a debugger, strace?): end that first", st.tracer);
		return -EOPNOTSUPP;
	}
	sdi_why(why, "stops it for each read --clear");
	return 0;
}

/* Can it be stopped? Better known now than at the first read. */
static int try_stop(struct sdi_tracker *tr, struct sdi_why *why)
{
	struct sdi_freezer *f = NULL;
	uint64_t t0 = sdi_now_ns(), n_threads = 1;
	int err = sdi_thread_count(&tr->target, &n_threads);

	if (tr->frozen || err || (tr->target.self && n_threads == 1))
		return err;
	err = tr->target.self ? sdi_freeze_others(&tr->target, &f) :
	      sdi_freeze(&tr->target, false, &f);
	sdi_thaw(f);
	tr->attach_ns = sdi_now_ns() - t0;
	if (!err || err == -ESRCH)
		return err;
	sdi_why(why, "cannot stop it: %s", sdi_last_error());
	return -EOPNOTSUPP;
}

/*
 * The bits are one set for the whole machine, so there may be one tracker. The lock is on the file that
 * clears them: only who may clear can hold it, and it ends with its holder. (Each /proc mount has
 * locks of its own: a tracker in another container is not seen, nor is one that is not ours.)
 */
static int lock(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return sdi_fail(EBUSY, "another user of softdirty tracks it already (softdirty stop by "
				"that user ends that; hash can be used beside it)");
	return 0;
}

static void soft_detach(struct sdi_tracker *tr)
{
	struct soft *s = tr->state;

	if (!s)
		return;
	if (s->clear_refs >= 0)
		flock(s->clear_refs, LOCK_UN);	/* also of copies that forked children have */
	sdi_cleanup_fd(&s->clear_refs);
	sdi_maps_fini(&s->known);
	sdi_kinds_fini(&s->kinds);
	sdi_content_close(s->content);
	sdi_migration_fini(&s->moved);
	sdi_mergeable_fini(&s->mergeable);
	sdi_swapoff_fini(&s->swapoff);
	free(s);
	tr->state = NULL;
}

static int soft_attach(struct sdi_tracker *tr, struct sdi_why *why)
{
	struct soft *s = calloc(1, sizeof(*s));

	if (!s)
		return sdi_fail(ENOMEM, "out of memory");
	tr->attach_ns = 0;
	tr->state = s;
	sdi_mergeable_init(&s->mergeable);
	sdi_swapoff_init(&s->swapoff);
	s->clear_refs = sdi_target_openat(&tr->target, "clear_refs", O_WRONLY);
	if (s->clear_refs < 0)
		return sdi_fail(-s->clear_refs, "cannot open its clear_refs: %s",
				strerror(-s->clear_refs));
	int err = lock(s->clear_refs);
	if (err)
		return err;
	err = sdi_content_open(&tr->target, &s->content);
	if (err)
		return sdi_fail(-err, "cannot open its memory: %s", strerror(-err));
	return try_stop(tr, why);
}

const struct sdi_backend sdi_backend_soft_dirty = {
	.name = "soft-dirty",
	.probe = sdi_probe_soft_dirty,
	.suits = soft_suits,
	.attach = soft_attach,
	.collect = soft_collect,
	.detach = soft_detach,
};
