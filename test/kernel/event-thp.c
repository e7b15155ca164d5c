/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transparent huge pages: one 4 KiB write is one page, where the kernel can split them. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

#define HUGE_SIZE (2ul << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static bool is_huge(const struct t_target *tg)
{
	return t_mapping_kib(tg, "AnonHugePages") == (long)(HUGE_SIZE >> 10);
}

static void map_huge(struct t_target *tg)
{
	t_map(tg, 1, HUGE_SIZE, 0);
	t_call(tg, t_op_madvise, tg->mem, HUGE_SIZE, MADV_HUGEPAGE);
	tg->unit = t_page_size();
	tg->n = HUGE_SIZE / tg->unit;
}

static bool begin_huge(struct t_target *tg)
{
	map_huge(tg);
	t_call(tg, t_op_write, tg->mem);
	if (!is_huge(tg))
		return false;
	t_watch(tg);
	return true;
}

static void huge_page_not_written(void)
{
	T_TARGET tg = t_start();

	if (!begin_huge(&tg))
		T_SKIP("the kernel gives no huge page");
	t_call(&tg, t_op_read, t_page(&tg, 5));
	T_EVENT(&tg, .want = "-*512");
}

static void one_page_of_a_huge_page_written(void)
{
	T_TARGET tg = t_start();

	if (!begin_huge(&tg))
		T_SKIP("the kernel gives no huge page");
	t_call(&tg, t_op_write, t_page(&tg, 5));
	T_EVENT(&tg, .want = "-*5D-*506", .sd = "D*512", .why = "one bit for the huge page");
}

static void new_huge_page(void)
{
	T_TARGET tg = t_start();

	map_huge(&tg);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 5));
	if (!is_huge(&tg))
		T_SKIP("the kernel gives no huge page");
	T_EVENT(&tg, .want = "-*5D-*506", .wp = "D*512", .sd = "D*512",
		.why = "one fault fills the whole huge page");
}

/* One page was read, and all are there, but none of them takes memory. */
static bool has_huge_zero(const struct t_target *tg)
{
	return t_pagemap_entry(tg->pid, tg->mem) >> 63 &&
	       t_mapping_kib(tg, "AnonHugePages") == 0 && t_mapping_kib(tg, "Rss") == 0;
}

static void huge_zero_page_read(void)
{
	T_TARGET tg = t_start();

	map_huge(&tg);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 5));
	if (!has_huge_zero(&tg))
		T_SKIP("the kernel gives no huge zero page");
	T_EVENT(&tg, .want = "-*512");
}

static void write_into_the_huge_zero_page(void)
{
	T_TARGET tg = t_start();

	map_huge(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 5));
	if (!has_huge_zero(&tg))
		T_SKIP("the kernel gives no huge zero page");
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 5));
	T_EVENT(&tg, .want = "-*5D-*506", .wp = "D*512", .sd = "D*512",
		.why = "one fault fills the whole huge page");
}

/* What a userfaultfd protects is refused (SCAN_PTE_UFFD_WP): the pages stay as they are. */
static void collapse_of_clean_pages(void)
{
	T_TARGET tg = t_start();
	long err;

	t_map(&tg, 1, HUGE_SIZE, 0);
	t_call(&tg, t_op_madvise, tg.mem, HUGE_SIZE, MADV_NOHUGEPAGE);
	tg.unit = t_page_size();
	tg.n = HUGE_SIZE / tg.unit;
	t_call(&tg, t_op_touch, tg.mem, tg.n, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_madvise, tg.mem, HUGE_SIZE, MADV_HUGEPAGE);
	t_call(&tg, t_op_write, t_page(&tg, 5));
	err = t_call(&tg, t_op_madvise, tg.mem, HUGE_SIZE, MADV_COLLAPSE);
	if (err && !(t_backend() == T_WP_ASYNC && err == -EINVAL))
		T_SKIP("the kernel does not collapse them: %s", strerror((int)-err));
	T_EQ(is_huge(&tg), !err);
	T_EVENT(&tg, .want = "-*5D-*506", .wp = "D*512", .sd = "D*512",
		.why = "one bit for the collapsed page");
}

static void part_of_a_huge_page_unmapped(void)
{
	T_TARGET tg = t_start();

	if (!begin_huge(&tg))
		T_SKIP("the kernel gives no huge page");
	T_MUST(t_call(&tg, t_op_munmap, t_page(&tg, 100), 100 * tg.unit) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 300));
	T_EVENT(&tg, .want = "-*300D-*211", .sd = "D*100-*100D*312",
		.why = "one bit for the huge page");
}

/*
 * When the kernel splits a huge page, it replaces what holds nothing but zeros by the zero page. That
 * these were written is no less true.
 */
static void split_with_zeros(const char *name, bool lasting_reason)
{
	T_TARGET tg = t_start();

	map_huge(&tg);
	t_call(&tg, t_op_fill, tg.mem, HUGE_SIZE, 1);
	if (!is_huge(&tg))
		T_SKIP("the kernel gives no huge page");
	t_watch(&tg);
	t_call(&tg, t_op_fill, t_page(&tg, 5), tg.unit, 0);
	T_MUST(t_call(&tg, t_op_madvise, t_page(&tg, 100), tg.unit, MADV_FREE) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 100));
	T_EVENT_NAMED(&tg, name, .want = "-*5D-*94D-*411", .sd = "D*512",
		      .why = "one bit for the huge page", .lasting_reason = lasting_reason);
}

static void zeros_written_and_the_huge_page_split(void)
{
	split_with_zeros(__func__, false);
}

/* For us and the targets that we start from here on there is another /sys, with nothing in it. */
static bool cover_sys(void)
{
	int root = geteuid() ? CLONE_NEWUSER : 0;

	return !unshare(CLONE_NEWNS | root) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", "/sys", "tmpfs", 0, NULL);
}

/* Where nobody says whether huge pages were split, as in a chroot. */
static void zeros_written_and_split_without_sys(void)
{
	if (!cover_sys())
		T_SKIP("not allowed to mount something over /sys");
	/* The native bit does not tell one zero page from another. */
	split_with_zeros(__func__, t_backend() == T_SOFT_DIRTY);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	T_MUST(f && fputs(text, f) >= 0 && !fclose(f));
}

/*
 * The kernel counts a split a moment after it has put zero pages in: what was taken for only read until
 * then is told later.
 */
static void a_split_that_is_counted_late(void)
{
	static const char *const dirs[] = { "", "transparent_hugepage", "transparent_hugepage/hugepages-8kB",
					    "transparent_hugepage/hugepages-8kB/stats" };
	char path[128];

	if (t_backend() == T_SOFT_DIRTY)
		T_SKIP("the native bit is not taken away from zero pages");
	if (!cover_sys())
		T_SKIP("not allowed to mount something over /sys");
	T_MUST(!mkdir("/sys/kernel", 0755));
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/%s", dirs[i]);
		T_MUST(!mkdir(path, 0755));
	}
	strcat(path, "/split");
	put("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "8192");
	put(path, "0");
	T_TARGET tg = t_start();
	t_map(&tg, 4, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
	put(path, "1");
	const char *late = t_backend() == T_HASH ? "----" : "-D--";
	T_STREQ(t_pages(&tg, NULL, 0), late);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), late);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
}

int main(void)
{
	char text[128];

	t_need_backend();
	if (t_page_size() != 4096)
		t_skip_all("written for pages of 4096 bytes");
	if (t_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) < 0 ||
	    strstr(text, "[never]"))
		t_skip_all("no transparent huge pages on this kernel");
	T_RUN(huge_page_not_written);
	T_RUN(one_page_of_a_huge_page_written);
	T_RUN(new_huge_page);
	T_RUN(huge_zero_page_read);
	T_RUN(write_into_the_huge_zero_page);
	T_RUN(collapse_of_clean_pages);
	T_RUN(part_of_a_huge_page_unmapped);
	T_RUN(zeros_written_and_the_huge_page_split);
	T_RUN(zeros_written_and_split_without_sys);
	T_RUN(a_split_that_is_counted_late);
	return t_done();
}
