/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Content that goes away without a write: MADV_DONTNEED, MADV_FREE, hole punch, truncate. To the
 * kernel's write trackers these are no writes; hash reports them, because the content changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define WHY "nobody wrote, the content became zero"
#define FORGETS "the page table forgets what the file keeps"

static void dontneed_untouched_and_read_again(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_DONTNEED);
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "-DD-", .wp = "----", .sd = "----", .why = WHY);
}

static void dontneed_then_write(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 2));
	t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_DONTNEED);
	t_call(&tg, t_op_write, t_page(&tg, 2));
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "-DD-", .wp = "--D-", .sd = "--D-", .why = WHY);
}

static void write_then_dontneed(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_madvise, t_page(&tg, 1), tg.unit, MADV_DONTNEED);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .sd = "----", .why = WHY);
}

static size_t n_populated(const struct t_target *tg)
{
	const struct softdirty_range *r;
	size_t n, pages = 0;

	T_MUST(softdirty_pages(tg->sd, tg->mem, t_page(tg, tg->n), &r, &n) == 0);
	for (size_t i = 0; i < n; i++)
		pages += (r[i].end - r[i].start) / t_page_size();
	return pages;
}

static void free_then_reclaim(void)
{
	T_TARGET tg = t_begin(4);

	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_FREE))
		T_SKIP("no MADV_FREE");
	/* Both again: a page that is not on the LRU list yet is not taken off it. */
	for (int i = 0; i < 40 && n_populated(&tg) == 4; i++) {
		t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_FREE);
		t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_PAGEOUT);
		t_sleep_ms(20);
	}
	if (n_populated(&tg) != 2)
		T_SKIP("the kernel kept the freed pages (MADV_PAGEOUT: Linux 5.4)");
	T_EVENT(&tg, .want = "-DD-", .wp = "----", .sd = "----", .why = WHY);
}

static void free_then_write(void)
{
	T_TARGET tg = t_begin(4);

	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, MADV_FREE))
		T_SKIP("no MADV_FREE");
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

/* Untouched at the clear, written, dropped, read: nobody can tell it from a page only read. */
static void new_page_written_then_dropped(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_madvise, t_page(&tg, 1), tg.unit, MADV_DONTNEED);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----");
}

static int map_memfd(struct t_target *tg)
{
	int fd = (int)t_call(tg, t_op_memfd, 4 * t_page_size());

	T_MUST(fd >= 0);
	t_slot(tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(tg, t_op_mmap, tg->mem, 4 * tg->unit, MAP_SHARED, fd) == 0);
	return fd;
}

/* The file keeps what was written: it must be reported although the page table forgot it. */
static void memfd_written_then_unmapped_by_dontneed(void)
{
	T_TARGET tg = t_start();

	map_memfd(&tg);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, MADV_DONTNEED);
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_written_dropped_and_read_again(void)
{
	T_TARGET tg = t_start();

	map_memfd(&tg);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, MADV_DONTNEED);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_never_touched_written_then_dropped(void)
{
	T_TARGET tg = t_start();

	map_memfd(&tg);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, MADV_DONTNEED);
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void memfd_written_then_paged_out(void)
{
	T_TARGET tg = t_start();

	map_memfd(&tg);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	if (t_call(&tg, t_op_madvise, tg.mem, 4 * tg.unit, MADV_PAGEOUT))
		T_SKIP("no MADV_PAGEOUT (Linux 5.4)");
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static long op_punch(long fd, long start, long size, long d)
{
	return fallocate((int)fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, size) ? -errno
											   : 0;
}

static void hole_punched(void)
{
	T_TARGET tg = t_start();
	int fd = map_memfd(&tg);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_punch, fd, tg.unit, tg.unit) == 0);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .hash = "-u--", .sd = "-u--", .why = WHY,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void madv_remove(void)
{
	T_TARGET tg = t_start();

	map_memfd(&tg);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, t_op_madvise, t_page(&tg, 1), tg.unit, MADV_REMOVE) == 0);
	T_EVENT(&tg, .want = "-D--", .wp = "----", .hash = "-u--", .sd = "-u--", .why = WHY,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static long op_truncate(long fd, long size, long c, long d)
{
	return ftruncate((int)fd, size) ? -errno : 0;
}

static void truncated_and_grown(void)
{
	T_TARGET tg = t_start();
	int fd = map_memfd(&tg);

	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_truncate, fd, 2 * tg.unit) == 0);
	T_MUST(t_call(&tg, op_truncate, fd, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "--DD", .wp = "----", .hash = "--uu", .sd = "--uu", .why = WHY,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

int main(void)
{
	t_need_backend();
	T_RUN(dontneed_untouched_and_read_again);
	T_RUN(dontneed_then_write);
	T_RUN(write_then_dontneed);
	T_RUN(free_then_reclaim);
	T_RUN(free_then_write);
	T_RUN(new_page_written_then_dropped);
	T_RUN(memfd_written_then_unmapped_by_dontneed);
	T_RUN(memfd_written_dropped_and_read_again);
	T_RUN(memfd_never_touched_written_then_dropped);
	T_RUN(memfd_written_then_paged_out);
	T_RUN(hole_punched);
	T_RUN(madv_remove);
	T_RUN(truncated_and_grown);
	return t_done();
}
