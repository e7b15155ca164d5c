/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that is dropped from the page table and comes back all the time; with swap: event-swap. */
#include "drops.h"

static void shared_memory(void)
{
	T_DROP_ALL_THE_TIME(.make = t_op_memfd, .advice = { MADV_DONTNEED, MADV_PAGEOUT });
}

static void shared_memory_in_huge_pages(void)
{
	T_DROP_ALL_THE_TIME(.make = t_op_memfd, .advice = { MADV_DONTNEED, MADV_COLLAPSE });
}

static void a_file_on_a_disk(void)
{
	T_DROP_ALL_THE_TIME(.make = t_op_file, .advice = { MADV_DONTNEED, MADV_PAGEOUT });
}

static void private_memory_in_huge_pages(void)
{
	T_DROP_ALL_THE_TIME(.advice = { MADV_COLLAPSE, MADV_PAGEOUT });
}

int main(void)
{
	t_need_backend();
	T_RUN(shared_memory);
	T_RUN(shared_memory_in_huge_pages);
	T_RUN(a_file_on_a_disk);
	T_RUN(private_memory_in_huge_pages);
	return t_done();
}
