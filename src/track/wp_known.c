/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mappings of wp-async: which are new since the last SDI_TAKE, and how they come to be registered
 * with the userfaultfd. Must not know pages.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/pace.h"
#include "track/wp.h"
#include "uapi/userfaultfd.h"

/* What is mapped, so that something else at the same address is noticed: also of the same file. */
static uint32_t tag(const struct sdi_vma *v)
{
	uint64_t x = v->ident ^ v->base * 0x9e3779b97f4a7c15u;

	return x ^ x >> 32;
}

int sdi_wp_register(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = {
		.range = { start, end - start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int sdi_wp_protect(int uffd, uint64_t mode, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect wp = { .range = { start, end - start }, .mode = mode };

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

/* --- what is new ---------------------------------------------------------------------------- */

static int append_region(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	return sdi_ranges_append(arg, start, end, 0, 0);
}

/* One that is not hugetlbfs' and so large that it is worth a call of its own. */
static bool is_vast(const struct sdi_vma *v)
{
	return !(v->flags & SDI_VMA_FILE) && v->end - v->start >= 1ull << 30;
}

static int append_unregistered(const struct sdi_tracker *tr, const struct sdi_maps *m,
			       uint64_t start, uint64_t end, struct sdi_ranges *ret)
{
	static const struct sdi_scan what = {
		.inverted = PAGE_IS_WPALLOWED, .mask = PAGE_IS_WPALLOWED, .ret = PAGE_IS_WPALLOWED,
	};

	return sdi_scan_mappings(tr->pagemap, m, &what, tr->frozen, start, end, append_region, ret);
}

/* A mapping is watched as a whole, so of a vast one the first page tells. */
int sdi_wp_unregistered(const struct sdi_tracker *tr, const struct sdi_maps *m,
			struct sdi_ranges *ret)
{
	uint64_t from = 0;
	int err = 0;

	for (size_t i = 0; i < m->n && !err; i++) {
		const struct sdi_vma *v = &m->v[i];
		uint64_t first = v->start + sdi_page_size();
		bool vast = is_vast(v), last = i + 1 == m->n || v[1].flags & SDI_VMA_KERNEL;

		if (v->flags & SDI_VMA_KERNEL || !(vast || last))
			continue;
		err = append_unregistered(tr, m, from, vast ? first : v->end, ret);
		from = v->end;
		if (!err && ret->n && vast && ret->r[ret->n - 1].end == first)
			err = sdi_ranges_append(ret, first, v->end, 0, 0);
	}
	return err;
}

static int tagged_maps(const struct sdi_tracker *tr, struct sdi_ranges *ret)
{
	for (size_t i = 0; i < tr->maps.n; i++) {
		const struct sdi_vma *v = &tr->maps.v[i];
		int err = v->flags & SDI_VMA_KERNEL ? 0 :
			  sdi_ranges_append(ret, v->start, v->end, tag(v), 0);
		if (err)
			return err;
	}
	return 0;
}

/* The parts of list (by tag) that are still the same thing in now (by tag). */
static int still_same(const struct sdi_ranges *list, const struct sdi_ranges *now,
		      struct sdi_ranges *ret)
{
	size_t j = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct softdirty_range *a = &list->r[i];

		while (j < now->n && now->r[j].end <= a->start)
			j++;
		for (size_t k = j; k < now->n && now->r[k].start < a->end; k++) {
			const struct softdirty_range *b = &now->r[k];
			int err = a->flags != b->flags ? 0 :
				  sdi_ranges_append(ret, MAX(a->start, b->start),
						    MIN(a->end, b->end), a->flags, a->reason);
			if (err)
				return err;
		}
	}
	return 0;
}

int sdi_wp_find_fresh(struct sdi_wp_round *r)
{
	struct sdi_ranges unreg = { 0 }, now = { 0 }, same = { 0 };
	struct sdi_wp *wp = r->wp;
	int err = sdi_wp_unregistered(r->tr, &r->tr->maps, &unreg);

	if (!err)
		err = tagged_maps(r->tr, &now);
	if (!err)
		err = still_same(&wp->known, &now, &same);
	if (!err)
		err = sdi_ranges_subtract(&same, &unreg, &wp->known);
	sdi_ranges_reset(&same);
	if (!err)
		err = still_same(&wp->refused, &now, &same);
	if (!err) {
		sdi_ranges_swap(&wp->refused, &same);
		err = sdi_ranges_subtract(&now, &wp->known, &same);
	}
	if (!err)
		err = sdi_ranges_subtract(&same, &wp->refused, &r->fresh);
	sdi_ranges_fini(&unreg);
	sdi_ranges_fini(&now);
	sdi_ranges_fini(&same);
	return err;
}

/* --- registering ---------------------------------------------------------------------------- */

/* As a whole? */
static bool is_fresh(const struct sdi_wp_round *r, const struct sdi_vma *v)
{
	return !(v->flags & SDI_VMA_KERNEL) && sdi_ranges_cover(&r->fresh, v->start, v->end);
}

/* Why a refused mapping is as it is; NONE: this process cannot write it at all. */
static uint32_t refusal(const struct sdi_vma *v, int err)
{
	if (err == -EPERM && (v->flags & SDI_VMA_SHARED))
		return SOFTDIRTY_REASON_NONE;	/* no VM_MAYWRITE: read-only descriptor */
	if (v->flags & SDI_VMA_VDSO)
		return SOFTDIRTY_REASON_SPECIAL;
	if (err == -EBUSY)
		return SOFTDIRTY_REASON_UFFD;
	return err == -EINVAL ? SOFTDIRTY_REASON_SPECIAL : SOFTDIRTY_REASON_REFUSED;
}

static int note(struct sdi_wp_round *r, const struct sdi_vma *v, int result)
{
	struct sdi_wp *wp = r->wp;

	if (result == -ENOENT)
		return 0;	/* unmapped meanwhile */
	if (!result)
		return sdi_ranges_push(&wp->known, v->start, v->end, tag(v), 0);
	return sdi_ranges_push(&wp->refused, v->start, v->end, tag(v), refusal(v, result));
}

/*
 * A run of mappings that are fresh as a whole. One call for all of them, and one for each if that
 * fails, because one bad mapping fails them all: 177 instead of 346 ns for each mapping.
 */
static int register_run(struct sdi_wp_round *r, size_t from, size_t to)
{
	const struct sdi_vma *v = r->tr->maps.v;
	int all = sdi_wp_register(r->wp->uffd, v[from].start, v[to - 1].end);
	int err = 0;

	for (size_t i = from; i < to && !err; i++)
		err = note(r, &v[i], all ? sdi_wp_register(r->wp->uffd, v[i].start, v[i].end) : 0);
	return err;
}

/*
 * A part of v. The whole mapping, if it has grown: a part of it would split it, see sdi_wp_join_split().
 * Not if some of it is known, see sdi_wp_register_fresh().
 */
static int register_again(struct sdi_wp_round *r, const struct sdi_vma *v, uint64_t start,
			  uint64_t end)
{
	const struct sdi_ranges *known = &r->wp->known;
	size_t k = sdi_ranges_find(known, v->start);

	if (k < known->n && known->r[k].start < v->end)
		return sdi_wp_register(r->wp->uffd, start, end);
	return sdi_wp_register(r->wp->uffd, v->start, v->end);
}

/* Mappings that were refused and touch are one run, but each has its own answer. */
static int retry_run(struct sdi_wp_round *r, const struct softdirty_range *q, struct sdi_ranges *keep)
{
	const struct sdi_maps *m = &r->tr->maps;
	const struct sdi_vma *v = sdi_maps_find(m, q->start);
	int err = 0;

	for (; v && v < m->v + m->n && v->start < q->end && !err; v++) {
		uint64_t start = MAX(q->start, v->start), end = MIN(q->end, v->end);
		int result = register_again(r, v, start, end);

		if (!result)
			err = sdi_ranges_push(&r->fresh, start, end, q->flags, 0);
		else
			err = sdi_ranges_append(keep, start, end, q->flags,
						result == -ENOENT ? q->reason : refusal(v, result));
	}
	return err;
}

/*
 * A refusal may pass: the target gave up its own userfaultfd, memory is there again, the mapping was
 * gone for just that moment, or the same file is mapped there again and can be written now. What
 * registers was not watched until now: new, until the next SDI_TAKE knows it.
 */
int sdi_wp_retry_refused(struct sdi_wp_round *r)
{
	struct sdi_ranges keep = { 0 };
	int err = 0;

	for (size_t i = 0; i < r->wp->refused.n && !err; i++)
		err = retry_run(r, &r->wp->refused.r[i], &keep);
	sdi_ranges_swap(&r->wp->refused, &keep);
	sdi_ranges_fini(&keep);
	return err ? err : sdi_ranges_sort(&r->fresh);
}

/* A mapping that grew: only what is fresh of it. */
static int register_parts(struct sdi_wp_round *r, const struct sdi_vma *v)
{
	int err = 0;

	for (size_t i = sdi_ranges_find(&r->fresh, v->start); i < r->fresh.n && !err; i++) {
		struct sdi_vma part = *v;

		part.start = MAX(v->start, r->fresh.r[i].start);
		part.end = MIN(v->end, r->fresh.r[i].end);
		if (part.start >= part.end)
			break;
		err = note(r, &part, sdi_wp_register(r->wp->uffd, part.start, part.end));
	}
	return err;
}

/*
 * Nothing but what is fresh: the kernel may take a known mapping out of the userfaultfd at any moment
 * (see sdi_wp_drop_stale()), and registering it in passing would hide that. What is fresh is not
 * registered, so it is whole mappings, and none is split.
 */
int sdi_wp_register_fresh(struct sdi_wp_round *r)
{
	enum { MAX_RUN = 1000 };	/* about 0.2 ms */
	const struct sdi_maps *m = &r->tr->maps;
	struct sdi_pace pace = { .hurry = r->tr->frozen };
	int err = 0;

	for (size_t i = 0; i < m->n && !err && r->fresh.n; i++) {
		uint64_t t0 = sdi_now_ns();
		size_t from = i;

		while (i < m->n && i - from < MAX_RUN && is_fresh(r, &m->v[i]))
			i++;
		if (i > from)
			err = register_run(r, from, i);
		if (i < m->n && !err)
			err = register_parts(r, &m->v[i]);
		sdi_pace_keep(&pace, sdi_now_ns() - t0, NULL);
	}
	if (!err)
		err = sdi_ranges_sort(&r->wp->known);
	return err ? err : sdi_ranges_sort(&r->wp->refused);
}

/*
 * What was taken out of the userfaultfd since the first look (it was moved, it was mapped anew, a moved
 * one joined it) is not known any more, so the scan does not meet it. It was there for the first look,
 * so it may have been written before it. To leave it to the next round is not enough: it may be away for
 * the first look of that one, and back for the scan, and so on.
 */
static int forget(struct sdi_wp_round *r, const struct sdi_ranges *unreg)
{
	struct sdi_ranges gone = { 0 };
	int err = sdi_ranges_intersect(&r->wp->known, unreg, &gone);

	if (!err)
		err = sdi_ranges_remove(&r->wp->known, &gone);
	for (size_t i = 0; i < gone.n && !err; i++)
		err = sdi_ranges_push(r->found, gone.r[i].start, gone.r[i].end, SOFTDIRTY_NEW, 0);
	sdi_ranges_fini(&gone);
	return err;
}

/*
 * The list of mappings is a moment old. One that was replaced by a larger one since is registered in
 * part now, and thereby split: mremap(2) of the whole would fail with EFAULT. So the rest of it is
 * registered as well. What the kernel took out of the userfaultfd meanwhile comes back in passing, and
 * may have kept marks that say clean: see sdi_wp_drop_stale(). Nothing of this is known any more.
 */
int sdi_wp_join_split(struct sdi_wp_round *r)
{
	struct sdi_ranges *known = &r->wp->known, unreg = { 0 };
	struct sdi_maps now = { 0 };
	int err = r->fresh.n ? sdi_maps_read(&r->tr->target, &now) : 0;

	if (!err)
		err = sdi_wp_unregistered(r->tr, &now, &unreg);
	for (size_t i = 0; i < unreg.n && !err; i++) {
		const struct softdirty_range *u = &unreg.r[i];
		size_t k = sdi_ranges_find(known, u->start - 1);

		if (k < known->n && known->r[k].start <= u->end)
			sdi_wp_register(r->wp->uffd, u->start, u->end);
	}
	if (!err)
		err = forget(r, &unreg);
	sdi_ranges_fini(&unreg);
	sdi_maps_fini(&now);
	return err;
}

int sdi_wp_push_fresh(struct sdi_wp_round *r)
{
	int err = 0;

	for (size_t i = 0; i < r->fresh.n && !err; i++)
		err = sdi_ranges_push(r->found, r->fresh.r[i].start, r->fresh.r[i].end,
				      SOFTDIRTY_NEW, 0);
	return err;
}

int sdi_wp_push_gone(struct sdi_wp_round *r)
{
	struct sdi_ranges unreg = { 0 };
	int err = sdi_wp_unregistered(r->tr, &r->tr->maps, &unreg);

	if (!err)
		err = forget(r, &unreg);
	sdi_ranges_fini(&unreg);
	return err;
}
