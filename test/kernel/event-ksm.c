/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages merged by KSM: the content stays, but the kernel drops the write protection (Linux 6.18). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "target.h"

#define KSM "/sys/kernel/mm/ksm/"

static void stop_ksm(void)
{
	t_write_file(KSM "run", "2");	/* take the merged pages apart */
	t_write_file(KSM "run", "0");
}

static long number(const char *path)
{
	char text[32];

	return t_read_file(path, text, sizeof(text)) < 0 ? -1 : strtol(text, NULL, 10);
}

/* Of that process (Linux 5.19), or of all of them. */
static bool wait_for_merge(pid_t pid, long pages)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", pid);
	for (int i = 0; i < 100; i++) {
		long merged = number(path);

		if ((merged < 0 ? number(KSM "pages_sharing") : merged) >= pages)
			return true;
		t_sleep_ms(50);
	}
	return false;
}

static void merged_then_written(void)
{
	T_TARGET tg = t_start();
	char want[] = "DDDDDDDD";

	t_map(&tg, 8, t_page_size(), 0);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x5a);
	t_watch(&tg);
	if (t_call(&tg, t_op_madvise, tg.mem, 8 * tg.unit, MADV_MERGEABLE))
		T_SKIP("no KSM on this kernel");
	if (!wait_for_merge(tg.pid, 7))
		T_SKIP("KSM merged nothing in five seconds");
	T_EVENT_NAMED(&tg, "ksm_merged", .want = "-*8", .wp = want, .sd = "u*8",
		      .why = "a merge replaces the page table entry", .lasting_reason = true,
		      .reason = SOFTDIRTY_REASON_KSM);
	t_call(&tg, t_op_write, t_page(&tg, 3));
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, tg.mem, 8, tg.unit, want);
	T_EQ(want[3], t_backend() == T_SOFT_DIRTY ? 'u' : 'D');
}

/* Merged before anybody looked: the new page table entry is as if nobody had written. */
static void written_and_merged(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 8, t_page_size(), 0);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x5a);
	t_watch(&tg);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x6b);
	if (t_call(&tg, t_op_madvise, tg.mem, 8 * tg.unit, MADV_MERGEABLE))
		T_SKIP("no KSM on this kernel");
	if (!wait_for_merge(tg.pid, 7))
		T_SKIP("KSM merged nothing in five seconds");
	T_EVENT(&tg, .want = "D*8", .sd = "u*8", .why = "a merged page loses the bit",
		.lasting_reason = true, .reason = SOFTDIRTY_REASON_KSM);
}

/* Each page is a copy of what was merged then, without the bit (Linux 7.2; up to 6.12 with it). */
static bool merge_and_take_apart(struct t_target *tg)
{
	if (!wait_for_merge(tg->pid, 7)) {
		t_skip("KSM merged nothing in five seconds");
		return false;
	}
	T_MUST(t_call(tg, t_op_madvise, tg->mem, 8 * tg->unit, MADV_UNMERGEABLE) == 0);
	return true;
}

static void merged_then_not_mergeable_any_more(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 8, t_page_size(), 0);
	for (size_t i = 0; i < 8; i++)
		t_call(&tg, t_op_fill, t_page(&tg, i), tg.unit, 1 + i);
	if (t_call(&tg, t_op_madvise, tg.mem, 8 * tg.unit, MADV_MERGEABLE))
		T_SKIP("no KSM on this kernel");
	t_watch(&tg);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x6b);
	if (!merge_and_take_apart(&tg))
		return;
	T_EVENT(&tg, .want = "D*8", .sd = "u*8", .why = "a merged page loses the bit",
		.lasting_reason = true, .reason = SOFTDIRTY_REASON_KSM);
}

static void mergeable_for_a_moment(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 8, t_page_size(), 0);
	t_watch(&tg);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x6b);
	if (t_call(&tg, t_op_madvise, tg.mem, 8 * tg.unit, MADV_MERGEABLE))
		T_SKIP("no KSM on this kernel");
	if (!merge_and_take_apart(&tg))
		return;
	T_EVENT(&tg, .want = "D*8", .sd = "-*8", .lasting_reason = true,
		.why = "a merged page loses the bit, and nothing shows that there was one");
}

/* Memory that was not zero before. */
static void map_anonymous(struct t_target *tg)
{
	t_map(tg, 8, t_page_size(), 0);
	t_call(tg, t_op_fill, tg->mem, 8 * tg->unit, 0x5a);
}

static void map_private_file(struct t_target *tg)
{
	int fd = (int)t_call(tg, t_op_file, 8 * t_page_size());

	T_MUST(fd >= 0);
	t_slot(tg, 8 * t_page_size(), t_page_size());
	T_MUST(t_call(tg, t_op_mmap, tg->mem, 8 * tg->unit, MAP_PRIVATE, fd) == 0);
}

/* Filled with zeros, and replaced by the zero page: what it holds was written. */
static void fill_with_zeros_and_merge(void (*map)(struct t_target *), const char *name)
{
	T_TARGET tg = t_start();

	map(&tg);
	t_watch(&tg);
	if (t_call(&tg, t_op_madvise, tg.mem, 8 * tg.unit, MADV_MERGEABLE))
		T_SKIP("no KSM on this kernel");
	if (t_write_file(KSM "use_zero_pages", "1"))
		T_SKIP("KSM has no use_zero_pages (Linux 4.12)");
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0);
	for (int i = 0; i < 100 && number(KSM "ksm_zero_pages") < 8; i++)
		t_sleep_ms(50);
	if (number(KSM "ksm_zero_pages") < 8)
		t_skip("KSM merged nothing in five seconds, or does not tell (Linux 6.6)");
	else
		T_EVENT_NAMED(&tg, name, .want = "D*8", .sd = "u*8", .reason = SOFTDIRTY_REASON_KSM,
			      .lasting_reason = t_backend() == T_SOFT_DIRTY);
	t_write_file(KSM "use_zero_pages", "0");
}

static void written_with_zeros_and_merged(void)
{
	fill_with_zeros_and_merge(map_anonymous, t_name());
}

static void file_page_written_with_zeros_and_merged(void)
{
	fill_with_zeros_and_merge(map_private_file, t_name());
}

int main(void)
{
	t_need_backend();
	if (number(KSM "run") != 0)
		t_skip_all("no KSM, or it is in use on this machine");
	if (t_write_file(KSM "run", "1"))
		t_skip_all("only root can start KSM");
	atexit(stop_ksm);
	t_write_file(KSM "sleep_millisecs", "20");
	t_write_file(KSM "pages_to_scan", "1000");
	T_RUN(merged_then_written);
	T_RUN(written_and_merged);
	T_RUN(merged_then_not_mergeable_any_more);
	T_RUN(mergeable_for_a_moment);
	T_RUN(written_with_zeros_and_merged);
	T_RUN(file_page_written_with_zeros_and_merged);
	return t_done();
}
