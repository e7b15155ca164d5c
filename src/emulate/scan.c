/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ioctl(PAGEMAP_SCAN) with a true PAGE_IS_SOFT_DIRTY (Linux 6.7 commit 52526ca7fdb9). The kernel is
 * asked what the pages are; what is dirty comes from the library; both are cut into pieces that are
 * alike throughout, and the caller's filter is applied to these:
 *
 *   kernel   |--present--|--zero--|---present---|
 *   dirty        |------------------|
 *   pieces   |---|-------|--------|-|-----------|
 *
 * The kernel first: what appears in between is dirty then, and not new and clean.
 */
#include <stdlib.h>
#include <unistd.h>

#include "arch/tags.h"
#include "base/cleanup.h"
#include "emulate/known.h"
#include "emulate/output.h"
#include "emulate/raw.h"

/* Those that neither soft-dirty nor tracking by userfaultfd has a part in. */
#define OWN_CATEGORIES \
	(PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_GUARD)
#define SOFT_DIRTY ((uint64_t)PAGE_IS_SOFT_DIRTY)

enum {
	CALL = 512,	/* with more regions in one call the kernel's walk_end cannot be trusted */
	BATCH = 32 * CALL, /* regions for which the library is asked at once */
};

struct scan {
	const struct sdi_view *v;
	int pagemap;
	struct pm_scan_arg *arg;
	uint64_t page;
	struct page_region *batch;
	struct sdi_known known;		/* about the batch */
	struct output out;
};

static uint64_t all_masks(const struct pm_scan_arg *arg)
{
	return arg->category_inverted | arg->category_mask | arg->category_anyof_mask |
	       arg->return_mask;
}

bool sdi_scan_concerns(const struct pm_scan_arg *arg)
{
	return arg->flags || (all_masks(arg) & ~(uint64_t)OWN_CATEGORIES);
}

/* --- one region of the kernel --------------------------------------------------------------- */

static int filter(struct scan *s, uint64_t start, uint64_t end, uint64_t categories)
{
	const struct pm_scan_arg *arg = s->arg;
	uint64_t c = categories ^ arg->category_inverted;

	if ((c & arg->category_mask) != arg->category_mask ||
	    (arg->category_anyof_mask && !(c & arg->category_anyof_mask)))
		return 0;
	return output_add(&s->out, start, end, categories & arg->return_mask);
}

/*
 * What a kernel with soft-dirty, and without our tracking, would say of such pages. It calls all
 * populated pages WRITTEN where no userfaultfd is, and so empty ones that have a page table.
 */
static uint64_t shown(const struct scan *s, uint64_t categories,
		      const struct softdirty_range *dirty)
{
	if (sdi_marks_are_ours(&s->known, dirty)) {
		categories &= ~(uint64_t)PAGE_IS_WPALLOWED;
		if (categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
			categories |= PAGE_IS_WRITTEN;
	}
	return dirty ? categories | SOFT_DIRTY : categories & ~SOFT_DIRTY;
}

static int alike(struct scan *s, uint64_t start, uint64_t end, uint64_t categories)
{
	int err = 0;

	while (!err && start < end) {
		uint64_t until;
		const struct softdirty_range *dirty = sdi_dirty_at(&s->known, start, &until);

		until = MIN(until, end);
		err = filter(s, start, until, shown(s, categories, dirty));
		start = until;
	}
	return err;
}

static int swapped_page(struct scan *s, uint64_t addr, uint64_t entry, uint64_t categories)
{
	uint64_t until;
	const struct softdirty_range *dirty = sdi_dirty_at(&s->known, addr, &until);

	if (sdi_marks_are_ours(&s->known, dirty)) {
		enum sdi_swapped is = sdi_swapped(&s->known, addr, entry);

		if (is == SDI_SWAP_MARKER)
			categories = PAGE_IS_WRITTEN;
		categories = shown(s, categories, dirty);
		if (is == SDI_SWAP_EITHER)
			categories |= SOFT_DIRTY;
	}
	return filter(s, addr, addr + s->page, categories);
}

/* A region of swapped and protected pages: take it apart page by page. */
static int swapped(struct scan *s, uint64_t start, uint64_t end, uint64_t categories)
{
	uint64_t entries[CALL];
	int err = 0;

	while (!err && start < end) {
		uint64_t n = MIN((end - start) / s->page, (uint64_t)CALL);
		ssize_t got = raw_pread(s->pagemap, entries, n * 8, start / s->page * 8);

		if (got <= 0)
			return got < 0 ? (int)got : -ESRCH;
		for (ssize_t i = 0; !err && i < got / 8; i++, start += s->page)
			err = swapped_page(s, start, entries[i], categories);
	}
	return err;
}

static int pieces(struct scan *s, const struct page_region *r)
{
	uint64_t bits = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE | PAGE_IS_GUARD |
			PAGE_IS_WRITTEN;

	if (s->known.leaves_marks && (r->categories & bits) == PAGE_IS_SWAPPED)
		return swapped(s, r->start, r->end, r->categories);
	return alike(s, r->start, r->end, r->categories);
}

/* --- without flags: look only --------------------------------------------------------------- */

/* Let the kernel leave out what the caller cannot want whatever the library says. */
static struct pm_scan_arg question(const struct pm_scan_arg *arg, uint64_t start, uint64_t end)
{
	uint64_t own = OWN_CATEGORIES, own_any = own | PAGE_IS_SWAPPED;
	struct pm_scan_arg q = { .size = sizeof(q), .start = start, .end = end };

	q.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN | PAGE_IS_FILE |
			(all_masks(arg) & ~SOFT_DIRTY);
	q.category_inverted = arg->category_inverted & own;
	q.category_mask = arg->category_mask & own;
	/* Less than the kernel says may be shown as swapped, never more. */
	if (!(arg->category_anyof_mask & ~own_any) && !(arg->category_inverted & PAGE_IS_SWAPPED))
		q.category_anyof_mask = arg->category_anyof_mask;
	return q;
}

/* Fill the batch from *start on, which then says how far it reaches. The count or -errno. */
static int fill_batch(struct scan *s, uint64_t *start, uint64_t end)
{
	int n = 0;

	while (*start < end && n + CALL <= BATCH) {
		struct pm_scan_arg q = question(s->arg, *start, end);
		int got;

		q.vec = (uintptr_t)(s->batch + n);
		q.vec_len = CALL;
		got = raw_scan(s->pagemap, &q);
		if (got < 0)
			return got;
		n += got;
		*start = got < CALL ? end : MAX(q.walk_end, s->batch[n - 1].end);
	}
	return n;
}

static int look(struct scan *s, uint64_t start, uint64_t end)
{
	int err = 0;

	while (!err && start < end) {
		uint64_t from = start;
		int n = fill_batch(s, &start, end);

		if (n < 0)
			return n;
		sdi_known_init(&s->known, s->v, from, start);
		for (int i = 0; i < n && !err; i++)
			err = pieces(s, &s->batch[i]);
		sdi_known_fini(&s->known);
	}
	return err;
}

/* [whole_start, whole_end) stands out: it is said to be there and dirty. */
static int look_all(struct scan *s, uint64_t start, uint64_t end)
{
	uint64_t from = MAX(start, s->v->whole_start), to = MIN(end, s->v->whole_end);
	int err;

	if (from >= to)
		return look(s, start, end);
	err = look(s, start, from);
	if (!err)
		err = filter(s, from, to, PAGE_IS_PRESENT | PAGE_IS_WRITTEN | SOFT_DIRTY);
	return err ? err : look(s, to, end);
}

/* --- passed on: the kernel's own bit, and flags for the process's own userfaultfd -------------- */

/*
 * Where SOFT_DIRTY is the same for all pages the kernel can apply the filter: false if it then
 * matches nothing.
 */
static bool fix_soft_dirty(struct pm_scan_arg *q, bool is_dirty)
{
	bool set = is_dirty != !!(q->category_inverted & SOFT_DIRTY);
	bool in_anyof = q->category_anyof_mask & SOFT_DIRTY;

	if ((q->category_mask & SOFT_DIRTY) && !set)
		return false;
	q->category_mask &= ~SOFT_DIRTY;
	q->category_inverted &= ~SOFT_DIRTY;
	q->return_mask &= ~SOFT_DIRTY;
	q->category_anyof_mask &= ~SOFT_DIRTY;
	if (in_anyof && set)
		q->category_anyof_mask = 0;
	return !in_anyof || set || q->category_anyof_mask;
}

static int pass_on(struct scan *s, uint64_t start, uint64_t end, bool is_dirty)
{
	uint64_t also = is_dirty && !s->v->native ? s->arg->return_mask & SOFT_DIRTY : 0;
	struct page_region vec[CALL];
	int err = 0;

	while (!err && start < end) {
		struct pm_scan_arg q = *s->arg;
		int n;

		if (!s->v->native && !fix_soft_dirty(&q, is_dirty))
			return 0;
		q.start = start;
		q.end = end;
		q.vec = q.vec_len ? (uintptr_t)vec : 0;
		q.vec_len = MIN(q.vec_len - s->out.n_out, (uint64_t)CALL);
		q.max_pages = q.max_pages ? output_room(&s->out) : 0;
		if (q.vec && (!q.vec_len || (s->arg->max_pages && !q.max_pages))) {
			s->arg->walk_end = start;
			return -ENOSPC;
		}
		n = raw_scan(s->pagemap, &q);
		if (n < 0)
			return n;
		for (int i = 0; i < n && !err; i++)
			err = output_add(&s->out, vec[i].start, vec[i].end,
					 vec[i].categories | also);
		start = q.vec && (uint64_t)n == q.vec_len ? MAX(q.walk_end, vec[n - 1].end) :
			q.walk_end > start ? q.walk_end : end;
	}
	return err;
}

/*
 * What our tracking protects must not be protected by others: writes would be lost. The kernel
 * skips mappings without userfaultfd, or fails at them with PM_SCAN_CHECK_WPASYNC; so do these.
 */
static int protect(struct scan *s, uint64_t start, uint64_t end)
{
	uint64_t until;
	int err = 0;

	sdi_known_init(&s->known, s->v, start, end);
	if ((s->arg->flags & PM_SCAN_CHECK_WPASYNC) && sdi_maps_others(&s->known, start, end))
		err = -EPERM;
	for (; !err && start < end; start = until) {
		const struct softdirty_range *dirty = sdi_dirty_at(&s->known, start, &until);

		until = MIN(until, end);
		if (!sdi_marks_are_ours(&s->known, dirty))
			err = pass_on(s, start, until, dirty);
	}
	sdi_known_fini(&s->known);
	return err;
}

/* --- the call ------------------------------------------------------------------------------- */

/* The kernel judges the arguments: the same call over no page at all. */
static int check_arguments(int pagemap, struct pm_scan_arg arg)
{
	arg.end = arg.start;
	if (!arg.vec_len)
		arg.vec = 0;
	/* Kernels from before it was a category would refuse the one that is answered here. */
	arg.category_inverted &= ~SOFT_DIRTY;
	arg.category_mask &= ~SOFT_DIRTY;
	arg.category_anyof_mask &= ~SOFT_DIRTY;
	arg.return_mask &= ~SOFT_DIRTY;
	return raw_scan(pagemap, &arg);
}

static int run(struct scan *s, uint64_t start, uint64_t end)
{
	if (s->v->native)
		return pass_on(s, start, end, false);
	if (s->arg->flags)
		return protect(s, start, end);
	/* Without room for an answer the kernel walks for nothing. */
	return s->arg->vec_len ? look_all(s, start, end) : 0;
}

int sdi_emulate_scan(const struct sdi_view *v, int pagemap, pid_t caller, int caller_pidfd,
		     struct pm_scan_arg *arg)
{
	struct scan s = {
		.v = v, .pagemap = pagemap, .arg = arg, .page = sysconf(_SC_PAGESIZE),
		.out = {
			.arg = arg, .caller = caller, .caller_pidfd = caller_pidfd,
			.page = sysconf(_SC_PAGESIZE),
		},
	};
	uint64_t start = arg->start, last = arg->end;
	autofree struct page_region *batch = malloc(BATCH * sizeof(*batch));
	int err = batch ? check_arguments(pagemap, *arg) : -ENOMEM;

	if (err)
		return err;
	sdi_untag(&start, &last);
	uint64_t end = (last + s.page - 1) & ~(s.page - 1);
	if (end < start || end < last)
		return -EFAULT;
	s.batch = batch;
	err = run(&s, start, end);
	if (!err)
		arg->walk_end = end;
	if (!err || err == -ENOSPC)
		err = output_flush(&s.out);
	return err ? err : (int)s.out.n_out;
}
