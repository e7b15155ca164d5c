/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mappings that come, go, move, grow and shrink: what is new counts as written, whole. */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static long op_mremap(long from, long old_size, long to, long new_size)
{
	void *p = mremap((void *)from, (size_t)old_size, (size_t)new_size,
			 MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to);

	return p == MAP_FAILED ? -errno : 0;
}

static long op_mremap_here(long from, long old_size, long new_size, long d)
{
	return mremap((void *)from, (size_t)old_size, (size_t)new_size, 0) == MAP_FAILED ? -errno
										       : 0;
}

static long op_mremap_leave(long from, long size, long to, long d)
{
	void *p = mremap((void *)from, (size_t)size, (size_t)size,
			 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, (void *)to);

	return p == MAP_FAILED ? -errno : 0;
}

/* n written pages, and the region is a hole for four, unmapped at the clear. Returns the former. */
static uintptr_t begin_before_a_hole(struct t_target *tg, size_t n_pages)
{
	uintptr_t from;

	*tg = t_start();
	t_map_touched(tg, n_pages);
	from = tg->mem;
	t_slot(tg, 4 * tg->unit, tg->unit);
	t_watch(tg);
	return from;
}

static void mremap_to_a_hole(void)
{
	T_TARGET tg;
	uintptr_t from = begin_before_a_hole(&tg, 4);

	T_MUST(t_call(&tg, op_mremap, from, 4 * tg.unit, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "nnnn");
}

static void mremap_over_another_mapping(void)
{
	T_TARGET tg = t_start();
	uintptr_t from;

	t_map_touched(&tg, 4);
	from = tg.mem;
	t_call(&tg, t_op_touch, from, 4, tg.unit);
	t_map_touched(&tg, 4);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_mremap, from, 4 * tg.unit, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "nnnn", .hash = "DDDD", .why = "by content");
}

static uintptr_t map_a_page_table(struct t_target *tg, size_t size)
{
	t_map(tg, 1, size, 0);
	t_call(tg, t_op_madvise, tg->mem, size, MADV_NOHUGEPAGE);
	t_call(tg, t_op_touch, tg->mem, size / t_page_size(), t_page_size());
	return tg->mem;
}

/* The kernel moves them in one step, without looking at pages. The mappings look the same afterwards. */
static void whole_page_tables_swapped(void)
{
	T_TARGET tg = t_start();
	size_t size = 512 * t_page_size();
	uintptr_t a = map_a_page_table(&tg, size), b = map_a_page_table(&tg, size), spare;

	t_call(&tg, t_op_touch, b, 512, t_page_size());
	spare = t_slot(&tg, size, size);
	tg.mem = a;
	t_watch(&tg);
	T_MUST(t_call(&tg, op_mremap, a, size, spare, size) == 0);
	T_MUST(t_call(&tg, op_mremap, b, size, a, size) == 0);
	T_MUST(t_call(&tg, op_mremap, spare, size, b, size) == 0);
	T_EVENT(&tg, .want = "n", .hash = "D", .sd = "-",
		.why = t_backend() == T_HASH ? "by content" : "the kernel sets no bits then");
}

static void mremap_that_grows_and_moves(void)
{
	T_TARGET tg;
	uintptr_t from = begin_before_a_hole(&tg, 2);

	T_MUST(t_call(&tg, op_mremap, from, 2 * tg.unit, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "nnnn");
}

static void mremap_twice(void)
{
	T_TARGET tg;
	uintptr_t a = begin_before_a_hole(&tg, 4), b = tg.mem - 16 * tg.unit;

	T_MUST(t_call(&tg, op_mremap, a, 4 * tg.unit, b, 4 * tg.unit) == 0);
	T_MUST(t_call(&tg, op_mremap, b, 4 * tg.unit, tg.mem, 4 * tg.unit) == 0);
	T_EVENT(&tg, .want = "nnnn");
}

static void mremap_away_and_back(void)
{
	T_TARGET tg;
	uintptr_t a = begin_before_a_hole(&tg, 4), b = tg.mem;

	T_MUST(t_call(&tg, op_mremap, a, 4 * tg.unit, b, 4 * tg.unit) == 0);
	T_MUST(t_call(&tg, op_mremap, b, 4 * tg.unit, a, 4 * tg.unit) == 0);
	tg.mem = a;
	T_EVENT(&tg, .want = "nnnn", .hash = "----", .why = "the content is the same");
}

/*
 * Moved away, tracked there, and moved back: the kernel joins it to its old neighbours and takes the
 * whole out of the userfaultfd, but leaves the protection of the pages (Linux 6.18). Writes to the
 * neighbours must be seen afterwards, the first and the second.
 */
static void write_next_to_what_was_moved_away_and_back(void)
{
	T_TARGET tg;
	uintptr_t a = begin_before_a_hole(&tg, 8), from = a + 4 * tg.unit, to = tg.mem;

	T_MUST(t_call(&tg, op_mremap, from, 4 * tg.unit, to, 4 * tg.unit) == 0);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "nnnn");
	T_MUST(t_call(&tg, op_mremap, to, 4 * tg.unit, from, 4 * tg.unit) == 0);
	tg.mem = a;
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, a, 4, tg.unit, (char[8]){ 0 });
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void mremap_dontunmap_new_place(void)
{
	T_TARGET tg;
	uintptr_t from = begin_before_a_hole(&tg, 4);

	if (t_call(&tg, op_mremap_leave, from, 4 * tg.unit, tg.mem))
		T_SKIP("no MREMAP_DONTUNMAP (Linux 5.7)");
	T_EVENT(&tg, .want = "nnnn");
}

static void mremap_dontunmap_old_place_read(void)
{
	T_TARGET tg;
	uintptr_t from = begin_before_a_hole(&tg, 4);

	if (t_call(&tg, op_mremap_leave, from, 4 * tg.unit, tg.mem))
		T_SKIP("no MREMAP_DONTUNMAP (Linux 5.7)");
	tg.mem = from;
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "DDDD", .wp = "----", .sd = "----",
		.why = "nobody wrote, the content became zero");
}

static void mremap_grow_in_place(void)
{
	T_TARGET tg = t_begin(2);

	T_MUST(t_call(&tg, op_mremap_here, tg.mem, 2 * tg.unit, 4 * tg.unit) == 0);
	tg.n = 4;
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "--nn");
}

static void mremap_shrink(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_mremap_here, tg.mem, 4 * tg.unit, 2 * tg.unit) == 0);
	T_EVENT(&tg, .want = "----");
}

/* Between two reads: the grown part looks as before, and holds zeros. */
static void mremap_shrink_and_grow(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_mremap_here, tg.mem, 4 * tg.unit, 2 * tg.unit) == 0);
	T_MUST(t_call(&tg, op_mremap_here, tg.mem, 2 * tg.unit, 4 * tg.unit) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 2));
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "--DD", .wp = "--D-", .sd = "--D-",
		.why = "nobody wrote, the content became zero");
}

static void munmap_and_mmap_again(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, t_op_munmap, tg.mem, 4 * tg.unit) == 0);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_PRIVATE | MAP_ANONYMOUS, -1) == 0);
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "nnnn", .hash = "DDDD", .why = "by content");
}

static void munmap_only(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, t_op_munmap, t_page(&tg, 1), 2 * tg.unit) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 0));
	T_EVENT(&tg, .want = "D---");
}

static void map_fixed_over_untouched(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_PRIVATE | MAP_ANONYMOUS, -1) == 0);
	T_EVENT(&tg, .want = "nnnn", .hash = "DDDD", .why = "by content");
}

static void map_fixed_over_the_middle(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, t_op_mmap, t_page(&tg, 1), 2 * tg.unit, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-nn-", .hash = "-DD-", .sd = "nnnn",
		.why = "by content; the kernel marks the whole mapping");
}

static void mmap_next_to_it(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, t_op_mmap, t_page(&tg, 4), 2 * tg.unit, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1) == 0);
	tg.n = 6;
	t_call(&tg, t_op_write, t_page(&tg, 4));
	T_EVENT(&tg, .want = "----nn", .sd = "uuuunn", .why = "the kernel marks merged neighbours",
		.again = "------", .reason = SOFTDIRTY_REASON_MERGED);
}

static void mmap_before_it(void)
{
	T_TARGET tg = t_begin(4);

	tg.mem -= 2 * tg.unit;
	tg.n = 6;
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 2 * tg.unit, MAP_PRIVATE | MAP_ANONYMOUS, -1) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 3));
	T_EVENT(&tg, .want = "nn-D--", .sd = "nnuuuu", .why = "the kernel marks merged neighbours",
		.again = "------", .reason = SOFTDIRTY_REASON_MERGED);
}

/* Again and again, so that new mappings merge with tracked ones between the reads. */
static void mmap_next_to_it_ten_times(void)
{
	T_TARGET tg = t_begin(4);
	char got[16], want[16];

	for (size_t n = 4; n < 14; n++) {
		T_MUST(t_call(&tg, t_op_mmap, t_page(&tg, n), tg.unit,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1) == 0);
		t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, tg.mem, n + 1, tg.unit, got);
		for (size_t i = 0; i <= n; i++)
			want[i] = i == n ? 'n' : t_backend() == T_SOFT_DIRTY ? got[i] : '-';
		want[n + 1] = '\0';
		if (t_backend() == T_SOFT_DIRTY && got[n] != '-')
			want[n] = got[n];
		T_STREQ(got, want);
	}
}

static long op_brk(long increment, long b, long c, long d)
{
	return (long)sbrk(increment);
}

static void brk_grow(void)
{
	T_TARGET tg = t_start();
	size_t page = t_page_size();
	uintptr_t end = (uintptr_t)t_call(&tg, op_brk, 0);

	end = (end + page - 1) / page * page;
	T_MUST(t_call(&tg, op_brk, (long)(end + 2 * page) - t_call(&tg, op_brk, 0)) != -1);
	tg.mem = end;
	t_call(&tg, t_op_touch, tg.mem, 2, page);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_brk, 2 * page) != -1);
	tg.n = 4;
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "--nn", .sd = "uunn", .why = "the kernel marks the whole heap",
		.again = "----", .reason = SOFTDIRTY_REASON_MERGED);
}

static void brk_shrink_and_grow(void)
{
	T_TARGET tg = t_start();
	size_t page = t_page_size();
	uintptr_t end = (uintptr_t)t_call(&tg, op_brk, 0);

	end = (end + page - 1) / page * page;
	T_MUST(t_call(&tg, op_brk, (long)(end + 4 * page) - t_call(&tg, op_brk, 0)) != -1);
	tg.mem = end;
	tg.n = 4;
	t_call(&tg, t_op_touch, tg.mem, 4, page);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_brk, -2 * (long)page) != -1);
	T_MUST(t_call(&tg, op_brk, 2 * page) != -1);
	T_EVENT(&tg, .want = "--nn", .hash = "--DD", .sd = "nnnn",
		.why = "by content; the kernel marks the whole heap", .again = "----");
}

static void stack_growth(void)
{
	T_TARGET tg = t_start();
	size_t page = t_page_size();

	t_map(&tg, 4, page, MAP_GROWSDOWN);
	t_call(&tg, t_op_touch, tg.mem, 4, page);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 0) - 2 * page);
	tg.mem -= 4 * page;
	tg.n = 8;
	T_EVENT(&tg, .want = "--nn----", .sd = "--nnuuuu", .why = "the kernel marks the whole stack",
		.again = "--------", .reason = SOFTDIRTY_REASON_MERGED);
}

static void write_below_the_top_of_the_stack(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), MAP_GROWSDOWN);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "--D-");
}

int main(void)
{
	t_need_backend();
	T_RUN(mremap_to_a_hole);
	T_RUN(mremap_over_another_mapping);
	T_RUN(whole_page_tables_swapped);
	T_RUN(mremap_that_grows_and_moves);
	T_RUN(mremap_twice);
	T_RUN(mremap_away_and_back);
	T_RUN(write_next_to_what_was_moved_away_and_back);
	T_RUN(mremap_dontunmap_new_place);
	T_RUN(mremap_dontunmap_old_place_read);
	T_RUN(mremap_grow_in_place);
	T_RUN(mremap_shrink);
	T_RUN(mremap_shrink_and_grow);
	T_RUN(munmap_and_mmap_again);
	T_RUN(munmap_only);
	T_RUN(map_fixed_over_untouched);
	T_RUN(map_fixed_over_the_middle);
	T_RUN(mmap_next_to_it);
	T_RUN(mmap_before_it);
	T_RUN(mmap_next_to_it_ten_times);
	T_RUN(brk_grow);
	T_RUN(brk_shrink_and_grow);
	T_RUN(stack_growth);
	T_RUN(write_below_the_top_of_the_stack);
	return t_done();
}
