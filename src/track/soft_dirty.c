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
#include "track/known.h"
#include "track/probe.h"
#include "track/soft.h"
#include "track/untracked.h"

#define POPULATED (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)

/* --- what they mean ------------------------------------------------------------------------- */

static int push(struct sdi_soft_round *r, const struct sdi_vma *v, uint32_t why, uint32_t reason)
{
	uint64_t from = MAX(v->start, r->tr->from), to = MIN(v->end, r->tr->to);

	return sdi_ranges_push(r->found, from, to, why | sdi_vma_kind(v), reason);
}

/* Is it the content of this mapping that tells? */
static bool is_compared(void *arg, const struct sdi_vma *v)
{
	struct sdi_soft *s = arg;
	uint32_t kind = sdi_kinds_find(&s->kinds, v);

	return v->flags & SDI_VMA_SHARED && kind & SDI_SMAP_MAYWRITE &&
	       !(kind & (SDI_SMAP_HUGETLB | SDI_SMAP_SPECIAL));
}

static int compare_shared(struct sdi_soft_round *r, enum sdi_collect how)
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

static struct look look_at(const struct sdi_soft_round *r, const struct sdi_vma *v)
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
static bool was_one(const struct sdi_soft *s, const struct sdi_vma *v)
{
	const struct sdi_vma *old = sdi_maps_find(&s->known, v->start);

	return old && old->start <= v->start && old->end >= v->end;
}

/*
 * Empty pages are dirty only in a new mapping. Of what it merged with, the old part may be renewed. Or
 * the list of mappings is older than the bits, as the target was not stopped yet, and what is one mapping
 * there was cut since, and a part of it renewed.
 */
static int push_run(struct sdi_soft_round *r, const struct sdi_vma *v, const struct softdirty_range *run,
		    const struct look *l, bool merged)
{
	uint32_t why = merged ? SOFTDIRTY_UNTRACKED : SOFTDIRTY_WRITTEN;

	return sdi_ranges_push(r->found, MAX(run->start, l->from), MIN(run->end, l->to),
			       why | sdi_kind(v, run->flags),
			       merged ? SOFTDIRTY_REASON_MERGED : SOFTDIRTY_REASON_NONE);
}

static int push_bits(struct sdi_soft_round *r, const struct sdi_vma *v)
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

static int push_mapping(struct sdi_soft_round *r, const struct sdi_vma *v)
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
static int push_swapoff(struct sdi_soft_round *r)
{
	int ret = sdi_swapoff_ran(&r->s->swapoff);

	return ret <= 0 ? ret : sdi_push_untracked(r->tr, 0, UINT64_MAX, SOFTDIRTY_REASON_MOVED,
						   SOFTDIRTY_SHARED, r->found);
}

/* --- the backend ---------------------------------------------------------------------------- */

static int collect(struct sdi_soft_round *r, enum sdi_collect how)
{
	struct sdi_soft *s = r->s;
	int err = sdi_kinds_learn(&s->kinds, &r->tr->target, &r->tr->maps);

	if (!err)
		err = compare_shared(r, how);
	if (!err)
		err = sdi_migration_push(&s->moved, r->tr, r->found);
	if (!err)
		err = how == SDI_PEEK ? sdi_soft_read(r, true) : sdi_soft_take(r);
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
	struct sdi_soft *s = tr->state;
	struct sdi_soft_round r = { .tr = tr, .s = s, .found = found, .lost = s->failed };

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
		sdi_why(why, "cannot open its clear_refs: %s%s", sdi_strerror(-fd),
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
	struct sdi_soft *s = tr->state;

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
	struct sdi_soft *s = calloc(1, sizeof(*s));

	if (!s)
		return sdi_fail(ENOMEM, "out of memory");
	tr->attach_ns = 0;
	tr->state = s;
	sdi_mergeable_init(&s->mergeable);
	sdi_swapoff_init(&s->swapoff);
	s->clear_refs = sdi_target_openat(&tr->target, "clear_refs", O_WRONLY);
	if (s->clear_refs < 0)
		return sdi_fail(-s->clear_refs, "cannot open its clear_refs: %s",
				sdi_strerror(-s->clear_refs));
	int err = lock(s->clear_refs);
	if (err)
		return err;
	err = sdi_content_open(&tr->target, &s->content);
	if (err)
		return sdi_fail(-err, "cannot open its memory: %s", sdi_strerror(-err));
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
