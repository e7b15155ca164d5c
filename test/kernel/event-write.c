/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loads and stores of private anonymous memory: each page written is reported, no other. */
#include <sys/mman.h>

#include "target.h"

static void plain_write(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void nothing_written(void)
{
	T_TARGET tg = t_begin(4);

	T_EVENT(&tg, .want = "----");
}

static void every_page_written(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_touch, tg.mem, 4, t_page_size());
	T_EVENT(&tg, .want = "DDDD");
}

static long op_store_same(long a, long b, long c, long d)
{
	volatile char *p = (char *)a;

	*p = *p;
	return 0;
}

static void store_of_the_same_value(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, op_store_same, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "----", .why = "the content is the same");
}

static void write_then_back_to_the_old_value(void)
{
	T_TARGET tg = t_begin(4);

	for (int i = 0; i < 256; i++)
		t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "----", .why = "the content is the same");
}

static void write_of_a_page_only_read_before(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void write_of_a_never_touched_page(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void read_of_never_touched_pages(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "----");
}

static void read_of_written_pages(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----");
}

static void populate_read_of_untouched_pages(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, 22 /* MADV_POPULATE_READ */))
		T_SKIP("no MADV_POPULATE_READ (Linux 5.14)");
	T_EVENT(&tg, .want = "----");
}

static void populate_write_of_untouched_pages(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), 2 * tg.unit, 23 /* MADV_POPULATE_WRITE */))
		T_SKIP("no MADV_POPULATE_WRITE (Linux 5.14)");
	T_EVENT(&tg, .want = "-DD-", .hash = "----", .why = "the content is still zero");
}

static void mlock_of_untouched_pages(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	if (t_call(&tg, t_op_mlock, tg.mem, 2 * tg.unit))
		T_SKIP("mlock is not allowed");
	T_EVENT(&tg, .want = "----", .wp = "DD--", .sd = "DD--",
		.why = "mlock faults pages in for writing");
}

static void write_of_a_locked_page(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, t_op_mlock, tg.mem, 4 * tg.unit))
		T_SKIP("mlock is not allowed");
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

int main(void)
{
	t_need_backend();
	T_RUN(plain_write);
	T_RUN(nothing_written);
	T_RUN(every_page_written);
	T_RUN(store_of_the_same_value);
	T_RUN(write_then_back_to_the_old_value);
	T_RUN(write_of_a_page_only_read_before);
	T_RUN(write_of_a_never_touched_page);
	T_RUN(read_of_never_touched_pages);
	T_RUN(read_of_written_pages);
	T_RUN(populate_read_of_untouched_pages);
	T_RUN(populate_write_of_untouched_pages);
	T_RUN(mlock_of_untouched_pages);
	T_RUN(write_of_a_locked_page);
	return t_done();
}
