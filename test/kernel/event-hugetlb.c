/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hugetlb: one huge page is the grain. Native soft-dirty never sees these writes, so that backend
 * has to say untracked. Root sets huge pages aside when there are none, and gives them back.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"

#define WANTED 16

static size_t huge_size;

/* The pools of pages that were made larger here, and what they were. */
static struct {
	size_t page;
	long before;
} grown[8];
static size_t n_grown;

static void pool_path(char path[96], size_t page, const char *file)
{
	snprintf(path, 96, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", page / 1024, file);
}

/* -1: there are no pages of that size. */
static long pool(size_t page, const char *file)
{
	char path[96], text[32];

	pool_path(path, page, file);
	return t_read_file(path, text, sizeof(text)) < 0 ? -1 : strtol(text, NULL, 10);
}

static int resize_pool(size_t page, long n)
{
	char path[96], text[32];

	pool_path(path, page, "nr_hugepages");
	snprintf(text, sizeof(text), "%ld", n);
	return t_write_file(path, text);
}

static void give_back(void)
{
	while (n_grown--)
		resize_pool(grown[n_grown].page, grown[n_grown].before);
}

/* Only root can, and large ones only where memory is not fragmented yet: see what is free then. */
static int set_aside(size_t page, long wanted)
{
	long before = pool(page, "nr_hugepages");

	if (pool(page, "free_hugepages") >= wanted)
		return 0;
	T_MUST(n_grown < sizeof(grown) / sizeof(*grown));
	int err = resize_pool(page, before + wanted);
	if (!err) {
		grown[n_grown].page = page;
		grown[n_grown++].before = before;
	}
	return err;
}

static void need_huge_pages(void)
{
	long long kib = t_proc_number("/proc/meminfo", "Hugepagesize");

	huge_size = kib > 0 ? (size_t)kib * 1024 : 0;
	if (!huge_size || pool(huge_size, "nr_hugepages") < 0)
		t_skip_all("no hugetlb on this kernel");
	atexit(give_back);
	if (set_aside(huge_size, WANTED))
		t_skip_all("no huge pages are set aside and only root can do that");
	if (pool(huge_size, "free_hugepages") < WANTED)
		t_skip_all("memory is too fragmented to set %d huge pages aside", WANTED);
}

static void map(struct t_target *tg, int flags)
{
	t_slot(tg, 4 * huge_size, huge_size);
	T_MUST(t_call(tg, t_op_mmap, tg->mem, 4 * huge_size, MAP_ANONYMOUS | MAP_HUGETLB | flags,
		      -1) == 0);
}

static void write_one(int flags)
{
	T_TARGET tg = t_start();

	map(&tg, flags);
	t_call(&tg, t_op_touch, tg.mem, 4, huge_size);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1) + 12345);
	T_EVENT(&tg, .want = "-D--", .sd = "uuuu", .why = "the native bit has no hugetlb",
		.reason = SOFTDIRTY_REASON_HUGETLB);
}

static void private_written(void)
{
	write_one(MAP_PRIVATE);
}

static void shared_written(void)
{
	write_one(MAP_SHARED);
}

/* The entry is empty then, and the kernel calls an empty entry of hugetlbfs clean. */
static void shared_written_then_dropped(void)
{
	T_TARGET tg = t_start();

	map(&tg, MAP_SHARED);
	t_call(&tg, t_op_touch, tg.mem, 4, huge_size);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), huge_size, MADV_DONTNEED))
		T_SKIP("pages of hugetlb cannot be dropped (before Linux 5.18)");
	T_EVENT(&tg, .want = "-D--", .hash = "-u--", .sd = "uuuu",
		.why = t_backend() == T_HASH ? "the page table forgets what the file keeps" :
					       "the native bit has no hugetlb",
		.reason = t_backend() == T_HASH ? SOFTDIRTY_REASON_UNREADABLE :
						  SOFTDIRTY_REASON_HUGETLB);
}

static void untouched_page_written(void)
{
	T_TARGET tg = t_start();

	map(&tg, MAP_PRIVATE);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .sd = "uuuu", .why = "the native bit has no hugetlb",
		.reason = SOFTDIRTY_REASON_HUGETLB);
}

static void untouched_pages_read(void)
{
	T_TARGET tg = t_start();

	map(&tg, MAP_PRIVATE);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----", .wp = "-D--", .hash = "-D--", .sd = "uuuu",
		.why = "there is no huge zero page of hugetlb", .reason = SOFTDIRTY_REASON_HUGETLB);
}

static void new_mapping(void)
{
	T_TARGET tg = t_start();

	t_watch(&tg);
	map(&tg, MAP_PRIVATE);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "nnnn", .again = t_backend() == T_SOFT_DIRTY ? "-u--" : NULL,
		.reason = SOFTDIRTY_REASON_HUGETLB);
}

static void many_written(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 12 * huge_size, huge_size);
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 12 * huge_size,
		      MAP_ANONYMOUS | MAP_HUGETLB | MAP_PRIVATE, -1) == 0);
	t_call(&tg, t_op_touch, tg.mem, 12, huge_size);
	t_watch(&tg);
	for (size_t i = 0; i < 12; i += 2)
		t_call(&tg, t_op_write, t_page(&tg, i));
	T_EVENT(&tg, .want = "D-D-D-D-D-D-", .sd = "u*12",
		.why = "the native bit has no hugetlb", .reason = SOFTDIRTY_REASON_HUGETLB);
}

/* A read restricted to a part of a huge page neither skips it nor ends in a loop. */
static void read_of_a_part_of_a_huge_page(void)
{
	T_TARGET tg = t_start();
	size_t page = t_page_size();
	char got[8];

	map(&tg, MAP_PRIVATE);
	t_call(&tg, t_op_touch, tg.mem, 4, huge_size);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1) + 4 * page);
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, t_page(&tg, 1) + 3 * page, 3, page, got);
	T_STREQ(got, t_backend() == T_WP_ASYNC ? "DDD" : t_backend() == T_HASH ? "-D-" : "uuu");
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, t_page(&tg, 1), 3, page, got);
	T_STREQ(got, t_backend() == T_WP_ASYNC ? "DDD" : t_backend() == T_HASH ? "---" : "uuu");
}

/* 0: none that so many can be set aside of. */
static size_t another_size(long wanted)
{
	DIR *d = opendir("/sys/kernel/mm/hugepages");
	struct dirent *e;
	size_t found = 0, kib;

	while (d && !found && (e = readdir(d))) {
		if (sscanf(e->d_name, "hugepages-%zukB", &kib) != 1 || kib * 1024 == huge_size)
			continue;
		if (!set_aside(kib * 1024, wanted) && pool(kib * 1024, "free_hugepages") >= wanted)
			found = kib * 1024;
	}
	if (d)
		closedir(d);
	return found;
}

static long op_map_huge(long size, long n, long c, long d)
{
	long flags = MAP_ANONYMOUS | MAP_HUGETLB | MAP_PRIVATE |
		     (long)__builtin_ctzl((unsigned long)size) << MAP_HUGE_SHIFT;

	return (long)mmap(NULL, (size_t)(size * n), PROT_READ | PROT_WRITE, (int)flags, -1, 0);
}

/* Kernels up to the middle of 2026 take only pages of 2 MiB. What they refuse is untracked. */
static void written_page_of_another_size(void)
{
	size_t size = another_size(2);
	T_TARGET tg = t_start();
	char got[4];

	if (!size)
		T_SKIP("no huge pages of another size, or only root can set them aside");
	long mem = t_call(&tg, op_map_huge, size, 2);
	t_call(&tg, t_op_touch, mem, 2, size);
	t_watch(&tg);
	for (int i = 0; i < 2; i++) {
		t_call(&tg, t_op_write, mem + (long)size + i);
		t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, mem, 2, size, got);
		t_note("pages of %zu KiB: %s", size / 1024, got);
		T_OK(!strcmp(got, t_backend() == T_SOFT_DIRTY ? "uu" : "-D") ||
		     (t_backend() == T_WP_ASYNC && !strcmp(got, "uu")));
	}
}

int main(void)
{
	t_need_backend();
	need_huge_pages();
	T_RUN(private_written);
	T_RUN(shared_written);
	T_RUN(shared_written_then_dropped);
	T_RUN(untouched_page_written);
	T_RUN(untouched_pages_read);
	T_RUN(new_mapping);
	T_RUN(many_written);
	T_RUN(read_of_a_part_of_a_huge_page);
	T_RUN(written_page_of_another_size);
	return t_done();
}
