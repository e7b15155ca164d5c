/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of wp-async: how each kind of mapping is asked, and in which pieces. Must not know how
 * mappings come to be registered.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/pace.h"
#include "track/content.h"
#include "track/wp.h"

/*
 * The marks of empty pages, see wp_shared.c, cost 2 MiB of page table per GiB. Beyond this much shared
 * memory, empty pages count as untracked.
 */
#define MAX_MARKED (16ull << 30)

#define SECOND 1000000000ull

/*
 * How mappings are asked. Private memory: a clean page of a file was only read, and so was the zero
 * page (but see zero.h; it is protected like others, so that it is met once). The FILE category costs a
 * look at struct page (10 against 3 ns), so anonymous memory goes without. Shared memory: see
 * wp_shared.c.
 *
 * Files on a disk are not protected at all, what the process made of them is compared. When the kernel
 * drops a protected page of a file mapping (reclaim, a hole in the file, MADV_DONTNEED), it leaves a
 * marker; and a marker over a page that is not in the page cache makes the next access of a locked
 * mapping, or mlock(2) itself, hang for ever: filemap_fault() takes it for a fault that somebody else
 * has resolved. Since Linux 6.9, commit 58f327f2ce80 ("filemap: avoid unnecessary major faults in
 * filemap_fault()"). Files in memory have fault handlers of their own and are safe.
 */
enum class { ANON, PRIVATE, SHARED, SPARSE, DISK, N_CLASSES };

static struct sdi_scan question(enum class class, enum sdi_collect how)
{
	uint64_t unwanted = sdi_scan_guard() | (class == PRIVATE ? PAGE_IS_FILE : 0);

	return (struct sdi_scan){
		.flags = how == SDI_TAKE ? PM_SCAN_WP_MATCHING : 0,
		.inverted = unwanted,
		.mask = PAGE_IS_WRITTEN | unwanted,
		.anyof = SDI_WP_POPULATED,
		.ret = SDI_WP_SAID | PAGE_IS_PFNZERO,
	};
}

static int push_written(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct sdi_wp_round *r = arg;

	return sdi_ranges_push(categories & PAGE_IS_PFNZERO ? &r->zeros : r->found, start, end,
			       sdi_wp_flags(categories), 0);
}

/* How much to ask for at once: to step over, see skip_protected(), and to take. */
struct stride {
	struct sdi_pace pace;
	uint64_t skip, take, hop;
	bool dense;	/* much was found in the last piece: no step before the next */
	unsigned empty;	/* so many pieces with hardly a page in them */
	unsigned vast;	/* from that many on it is worth while to step over more of that */
};

enum { SEEMS_VAST = 4 };

static struct stride first_stride(const struct sdi_wp_round *r)
{
	return (struct stride){ .pace.hurry = r->tr->frozen, .skip = SDI_PIECE_START,
				.take = SDI_PIECE_START, .hop = SDI_PIECE_MAX, .vast = SEEMS_VAST };
}

#define HUGE (2ull << 20)
#define HUGEST (1ull << 30)

static uint64_t next_cut(uint64_t at, uint64_t end, uint64_t piece, uint64_t unit)
{
	uint64_t cut = (at + piece) & ~(unit - 1);

	if (cut <= at)
		cut = (at | (unit - 1)) + 1;
	return MIN(cut, end);
}

/* Memory that is scanned in one go. */
struct span {
	enum class class;
	uint64_t start, end;
	const struct sdi_vma *last;	/* the mapping that end lies in */
};

/*
 * Step to the first page in [*at, end) that is not protected, or to end. To ask for nothing else is the
 * kernel's shortest way: 1 against 3 ns for each page, and most memory is not written most of the
 * time. An empty entry is not protected either, so this decides nothing about a page. Only anonymous
 * memory is surely none of hugetlbfs.
 */
static int skip_protected(struct sdi_wp_round *r, const struct span *span, struct stride *stride,
			  uint64_t *at, uint64_t end)
{
	static const struct sdi_scan open = { .mask = PAGE_IS_WRITTEN, .ret = PAGE_IS_WRITTEN };

	while (span->class == ANON && !stride->dense && *at < end) {
		uint64_t t0 = sdi_now_ns(), cut = next_cut(*at, end, stride->skip, HUGE);
		int err = sdi_scan_first(r->tr->pagemap, &open, *at, cut, at);

		/* One that ended early tells nothing of how long others take. */
		sdi_pace_keep(&stride->pace, sdi_now_ns() - t0,
			      *at < cut ? NULL : &stride->skip);
		if (err || *at < cut)
			return err;
	}
	return 0;
}

/* Vast reservations (20 TiB of a sanitizer's shadow) are scanned in no time, but in many calls. */
static int skip_empty(struct sdi_wp_round *r, const struct span *span, struct stride *stride,
		      uint64_t *at, uint64_t end)
{
	uint64_t from = *at;

	if (span->class != ANON || stride->empty < stride->vast)
		return 0;
	int err = sdi_scan_empty(r->tr->pagemap, &stride->pace, &stride->hop, from, end, at);
	/* It goes over the same page tables as the calls that it is to save. */
	stride->vast = *at - from < 16 * SDI_PIECE_MAX ? stride->vast * 2 : SEEMS_VAST;
	stride->empty = 0;
	return err;
}

static int scan_piece(struct sdi_wp_round *r, enum class class, struct sdi_pace *pace,
		      uint64_t start, uint64_t end)
{
	if (class >= SHARED)
		return sdi_wp_scan_shared(r, class == SHARED, pace, start, end);
	struct sdi_scan q = question(class, r->how);

	return sdi_scan(r->tr->pagemap, &q, start, end, push_written, r);
}

/* A run in every 2 MiB, or one that goes on: then a step costs more than it saves. */
static bool is_dense(const struct sdi_ranges *found, size_t before, uint64_t at, uint64_t cut)
{
	size_t n = found->n - before;

	return n > (cut - at) / HUGE || (n && found->r[found->n - 1].end == cut);
}

static int scan_span(struct sdi_wp_round *r, const struct span *span, struct stride *stride)
{
	uint64_t at = r->how == SDI_PEEK ? MAX(span->start, r->tr->from) : span->start;
	uint64_t end = r->how == SDI_PEEK ? MIN(span->end, r->tr->to) : span->end;
	int err = 0;

	if (span->class == DISK)
		return 0;
	while (at < end && !err) {
		err = skip_empty(r, span, stride, &at, end);
		if (!err)
			err = skip_protected(r, span, stride, &at, end);
		if (err || at == end)
			break;
		uint64_t t0 = sdi_now_ns(), cut = next_cut(at, end, stride->take, HUGE);
		size_t before = r->found->n;

		err = scan_piece(r, span->class, &stride->pace, at, cut);
		/* The cut was in a page of hugetlbfs, of which the kernel takes all or nothing. */
		if (err == -EINVAL) {
			at = MAX(at & ~(HUGEST - 1), span->start);
			cut = next_cut(at, end, HUGEST, HUGEST);
			err = scan_piece(r, span->class, &stride->pace, at, cut);
		}
		/* Kernels up to the middle of 2026 take no pages of other sizes than 2 MiB at all. */
		if (err == -EINVAL)
			err = sdi_ranges_push(r->found, at, cut, SOFTDIRTY_UNTRACKED,
					      SOFTDIRTY_REASON_HUGETLB);
		uint64_t took = sdi_now_ns() - t0;

		sdi_pace_keep(&stride->pace, took, &stride->take);
		stride->dense = is_dense(r->found, before, at, cut);
		if (cut - at > SDI_PIECE_MAX / 2 && sdi_pace_is_quick(took))
			stride->empty++;
		else
			stride->empty = 0;
		at = cut;
	}
	return err;
}

/*
 * The kernel stops at the first mapping that is not registered (ENOENT): one that was unmapped or moved
 * meanwhile, and will be fresh again. What comes after it has to be done all the same, so the halves
 * are tried, and theirs, as far as needed.
 */
static int unprotect(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	uint64_t unit = end - start > 2 * HUGE ? HUGE : sdi_page_size();
	int err = sdi_wp_protect(*(int *)arg, 0, start, end);

	if (err != -ENOENT)
		return err;
	if (end - start <= unit)
		return 0;
	uint64_t middle = (start + (end - start) / 2) & ~(unit - 1);
	err = unprotect(arg, start, middle, categories);
	return err ? err : unprotect(arg, middle, end, categories);
}

/*
 * What was just registered may have protected pages all the same. When mremap() joins a moved mapping
 * to neighbours, the kernel takes the whole out of the userfaultfd and leaves their protection
 * (Linux 6.18, mremap_userfaultfd_prep() after a merge; before Linux 6.13 commit 0cef0bb836e3 moved
 * pages kept it too). A write then makes the page writable and leaves the mark that says clean: it
 * would never be seen again. So all such marks go, once the mapping is ours. Those in a mapping of the
 * target's own userfaultfd are its business, and the kernel would drop them for anybody.
 */
int sdi_wp_drop_stale(struct sdi_wp_round *r)
{
	static const struct sdi_scan what = {
		.inverted = PAGE_IS_WRITTEN, .mask = PAGE_IS_WRITTEN, .anyof = SDI_WP_POPULATED,
		.ret = PAGE_IS_WRITTEN,
	};
	struct stride stride = first_stride(r);
	struct sdi_ranges ours = { 0 };
	int err = sdi_ranges_intersect(&r->fresh, &r->wp->known, &ours);

	for (size_t i = 0; i < ours.n && !err; i++) {
		uint64_t at = ours.r[i].start, end = ours.r[i].end;

		while (at < end && !err) {
			uint64_t t0 = sdi_now_ns(), cut = next_cut(at, end, stride.take, HUGEST);

			err = sdi_scan(r->tr->pagemap, &what, at, cut, unprotect, &r->wp->uffd);
			sdi_pace_keep(&stride.pace, sdi_now_ns() - t0, &stride.take);
			at = cut;
		}
	}
	sdi_ranges_fini(&ours);
	return err;
}

/* Shared memory is watched without markers once the budget is used up. */
static enum class classify(const struct sdi_vma *v, uint64_t *budget)
{
	if (v->flags & SDI_VMA_FILE && !(v->flags & SDI_VMA_SHMEM))
		return DISK;
	if (!(v->flags & SDI_VMA_SHARED))
		return v->flags & SDI_VMA_FILE ? PRIVATE : ANON;
	if (v->end - v->start > *budget)
		return SPARSE;
	*budget -= v->end - v->start;
	return SHARED;
}

/*
 * Does the piece [start, ...) of v continue the span? Also over a small gap with nothing in it:
 * what is mapped there meanwhile is not registered, so a scan that protects steps over it. But each
 * mapping is a span of its own where holes are looked for: a call that marks them is for one. And where
 * it may be of hugetlbfs: a call that takes other things as well would hide that it took none of that.
 */
static bool continues(const struct span *s, enum class class, const struct sdi_vma *v,
		      uint64_t start)
{
	const uint64_t max_gap = 1ull << 30;

	if (class != s->class)
		return false;
	if (class != ANON)
		return v == s->last && start == s->end;
	return start == s->end || (v == s->last + 1 && s->end == s->last->end &&
				   start == v->start && start - s->end < max_gap);
}

static int scan_known(struct sdi_wp_round *r)
{
	const struct sdi_ranges *known = &r->wp->known;
	struct stride stride = first_stride(r);
	struct span span = { .class = N_CLASSES };
	uint64_t budget = MAX_MARKED;
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; i < r->tr->maps.n && !err; i++) {
		const struct sdi_vma *v = &r->tr->maps.v[i];
		enum class class = classify(v, &budget);

		while (k < known->n && known->r[k].end <= v->start)
			k++;
		for (size_t j = k; j < known->n && known->r[j].start < v->end && !err; j++) {
			uint64_t start = MAX(v->start, known->r[j].start);

			if (!continues(&span, class, v, start)) {
				err = scan_span(r, &span, &stride);
				span = (struct span){ .class = class, .start = start };
			}
			span.end = MIN(v->end, known->r[j].end);
			span.last = v;
		}
	}
	return err ? err : scan_span(r, &span, &stride);
}

/* What could not be registered is pushed as such, or cannot be written. */
static bool is_compared(void *arg, const struct sdi_vma *v)
{
	const struct sdi_ranges *known = &((struct sdi_wp_round *)arg)->wp->known;
	uint64_t budget = 0;
	size_t i = sdi_ranges_find(known, v->start);

	return classify(v, &budget) == DISK && i < known->n && known->r[i].start < v->end;
}

static int compare_files(struct sdi_wp_round *r)
{
	struct sdi_maps files = { 0 };
	struct sdi_wp *wp = r->wp;
	int err = sdi_maps_select(&r->tr->maps, is_compared, r, &files);

	if (!err && files.n && !wp->files)
		err = sdi_content_open(&r->tr->target, &wp->files);
	/* Also without any: the last ones may have been unmapped, and are to be forgotten. */
	if (!err && wp->files)
		err = sdi_content_look(wp->files, r->tr, &files, r->how, r->found);
	sdi_maps_fini(&files);
	return err;
}

/*
 * The kernel counts a split when it is over, and may take its time after it has put zero pages in, and
 * these are protected from then on. So what was taken for only read stays doubtful for a while.
 */
static int put_aside(struct sdi_wp *wp, struct sdi_ranges *zeros)
{
	uint64_t now = sdi_now_ns();

	if (now - wp->doubtful_ns > SECOND)
		sdi_ranges_reset(&wp->doubtful);
	if (!zeros->n)
		return 0;
	wp->doubtful_ns = now;
	int err = sdi_ranges_sort(zeros);
	return err ? err : sdi_ranges_add(&wp->doubtful, zeros);
}

static int push_zeros(struct sdi_wp_round *r)
{
	struct sdi_wp *wp = r->wp;
	bool any = r->zeros.n || wp->doubtful.n, take = r->how == SDI_TAKE;

	if (!any || !sdi_zero_may_be_written(&wp->zero))
		return take ? put_aside(wp, &r->zeros) : 0;
	int err = sdi_ranges_push_all(r->found, &r->zeros);
	if (!err)
		err = sdi_ranges_push_all(r->found, &wp->doubtful);
	if (!err && take)
		sdi_ranges_reset(&wp->doubtful);
	return err;
}

int sdi_wp_scan(struct sdi_wp_round *r)
{
	struct sdi_zero *zero = &r->wp->zero;

	sdi_zero_before(zero, SECOND);
	int err = scan_known(r);
	if (!err)
		err = push_zeros(r);
	if (r->how == SDI_TAKE)
		sdi_zero_taken(zero);
	return err ? err : compare_files(r);
}
