/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of wp-async in shared memory. A page that was written and then dropped from the page table
 * (reclaim, MADV_DONTNEED) leaves an empty entry like any other, while the file keeps what was written.
 * So an empty entry counts as written unless it has a mark, which the kernel also leaves where a
 * protected page was dropped.
 *
 * A page may be dropped, and come back, at any moment. Whoever looks for what is written and for what
 * is empty one after the other can miss it both times. So one look tells what is open: either of
 * them. All of that is said, whatever becomes of it, and protected. What was protected at the look and
 * is written from then on is for the next round, if this one does not meet it.
 *
 *	look	|--written--|----protected----|--empty--|	open: written, empty
 *	take	|--written--|      |-written-|			in one step per page
 *	mark	                              |--empty--|	open, and not taken
 *
 * PAGEMAP_SCAN finds and marks empty entries only since the middle of 2026 (commits 07b4377bdbe7 and
 * 40de8160ca7f, also in stable kernels; 6.12.90 is without, 6.12.118 with them), and never those of
 * hugetlbfs. So on all kernels it is asked only for what is populated, which marks are.
 * Must not know how mappings come to be registered.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "target/pace.h"
#include "track/wp.h"
#include "uapi/userfaultfd.h"

enum { KIND = SOFTDIRTY_SHARED | SOFTDIRTY_FILE };

struct look {
	struct sdi_wp_round *r;
	bool marked;
	uint64_t at;		/* up to here the page table was seen */
};

static int push_hole(struct look *l, uint64_t end)
{
	if (l->at >= end)
		return 0;
	if (!l->marked)
		return sdi_ranges_push(l->r->found, l->at, end, SOFTDIRTY_UNTRACKED | KIND,
				       SOFTDIRTY_REASON_SPARSE);
	return sdi_ranges_append(&l->r->open, l->at, end, SOFTDIRTY_WRITTEN | KIND, 0);
}

static int see_populated(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct look *l = arg;
	int err = push_hole(l, start);

	l->at = end;
	if (err || !(categories & PAGE_IS_WRITTEN))
		return err;
	return sdi_ranges_append(&l->r->open, start, end, sdi_wp_flags(categories) | KIND, 0);
}

static int look(struct sdi_wp_round *r, bool marked, uint64_t start, uint64_t end)
{
	static const struct sdi_scan populated = {
		.anyof = SDI_WP_POPULATED, .ret = SDI_WP_SAID | PAGE_IS_WRITTEN,
	};
	struct look l = { .r = r, .marked = marked, .at = start };
	int err = sdi_scan(r->tr->pagemap, &populated, start, end, see_populated, &l);

	return err ? err : push_hole(&l, end);
}

static int append_taken(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	return sdi_ranges_append(arg, start, end, sdi_wp_flags(categories) | KIND, 0);
}

/*
 * So much takes 0.2 ms, the first time. What cannot be marked (it was unmapped meanwhile; it is a part of
 * a page of hugetlbfs that is larger than 2 MiB) will be said again.
 */
static void mark(int uffd, struct sdi_pace *pace, uint64_t start, uint64_t end)
{
	int err = 0;

	for (uint64_t at = start, cut; at < end && !err; at = cut) {
		uint64_t t0 = sdi_now_ns();

		cut = MIN(end, at + SDI_PIECE_START);
		err = sdi_wp_protect(uffd, UFFDIO_WRITEPROTECT_MODE_WP, at, cut);
		sdi_pace_keep(pace, sdi_now_ns() - t0, NULL);
	}
}

static int mark_rest(struct sdi_wp_round *r, struct sdi_pace *pace)
{
	int err = sdi_ranges_subtract(&r->open, &r->taken, &r->rest);

	for (size_t i = 0; i < r->rest.n && !err; i++)
		mark(r->wp->uffd, pace, r->rest.r[i].start, r->rest.r[i].end);
	return err;
}

int sdi_wp_scan_shared(struct sdi_wp_round *r, bool marked, struct sdi_pace *pace, uint64_t start,
		       uint64_t end)
{
	static const struct sdi_scan take = {
		.flags = PM_SCAN_WP_MATCHING, .mask = PAGE_IS_WRITTEN, .anyof = SDI_WP_POPULATED,
		.ret = SDI_WP_SAID,
	};

	sdi_ranges_reset(&r->open);
	sdi_ranges_reset(&r->taken);
	int err = look(r, marked, start, end);
	if (!err && r->how == SDI_TAKE)
		err = sdi_scan(r->tr->pagemap, &take, start, end, append_taken, &r->taken);
	if (!err && r->how == SDI_TAKE)
		err = mark_rest(r, pace);
	/* What was taken may have changed since the look. */
	int err2 = sdi_ranges_add(&r->taken, &r->open);
	if (!err2)
		err2 = sdi_ranges_push_all(r->found, &r->taken);
	return err ? err : err2;
}
