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

static bool wait_for_merge(long pages)
{
	for (int i = 0; i < 100; i++) {
		if (number(KSM "pages_sharing") >= pages)
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
	if (!wait_for_merge(7))
		T_SKIP("KSM merged nothing in five seconds");
	T_EVENT_NAMED(&tg, "ksm_merged", .want = "-*8", .wp = want,
		      .why = "the merge replaces the page table entry", .lasting_reason = true);
	t_call(&tg, t_op_write, t_page(&tg, 3));
	t_letters(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, tg.mem, 8, tg.unit, want);
	T_EQ(want[3], 'D');
}

/* Filled with zeros, and replaced by the zero page: what it holds was written. */
static void written_with_zeros_and_merged(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 8, t_page_size(), 0);
	t_call(&tg, t_op_fill, tg.mem, 8 * tg.unit, 0x5a);
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
		T_EVENT(&tg, .want = "D*8");
	t_write_file(KSM "use_zero_pages", "0");
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
	T_RUN(written_with_zeros_and_merged);
	return t_done();
}
