/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mprotect, guard pages, mseal, KSM, compaction: the protection changes, the content does not. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"

#define GUARD_INSTALL 102	/* MADV_GUARD_INSTALL, Linux 6.13 */
#define GUARD_REMOVE 103
#ifndef SYS_mseal
#define SYS_mseal 462		/* Linux 6.10 */
#endif

static void mprotect_and_back(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ | PROT_WRITE);
	T_EVENT(&tg, .want = "----");
}

static void mprotect_none_and_back_then_write(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_NONE);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ | PROT_WRITE);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void mprotect_that_splits_then_write(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_mprotect, t_page(&tg, 2), tg.unit, PROT_READ);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_write, t_page(&tg, 3));
	T_EVENT(&tg, .want = "-D-D");
}

static void write_then_mprotect_to_read_only(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ);
	T_EVENT(&tg, .want = "-D--");
}

/* What others can read of PROT_NONE depends on the kernel: proc_mem.force_override, Linux 6.12. */
static void unreadable_at_clear_then_written(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_NONE);
	t_watch(&tg);
	t_call(&tg, t_op_mprotect, tg.mem, 4 * tg.unit, PROT_READ | PROT_WRITE);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "DDDD",
		.why = "the kernel let nobody read it at the clear");
}

static void guard_install(void)
{
	T_TARGET tg = t_begin(4);

	if (t_call(&tg, t_op_madvise, t_page(&tg, 2), tg.unit, GUARD_INSTALL))
		T_SKIP("no MADV_GUARD_INSTALL (Linux 6.13)");
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-DD-", .wp = "-D--", .hash = "-Du-", .sd = "-D--",
		.why = "nobody wrote, the content is gone; a guarded page cannot be read",
		.reason = SOFTDIRTY_REASON_UNREADABLE);
	T_EQ(t_call(&tg, t_op_poke, t_page(&tg, 2)), -EFAULT);
}

/*
 * The kernel clears an entry and expects it to be empty then, but in shared memory a marker stays: it tries
 * again and again (guard_install_pte_entry(), Linux 6.15 to 7.2). It has to end with the watching.
 */
static void guard_install_in_shared_memory(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED | MAP_ANONYMOUS, -1) == 0);
	if (t_call(&tg, t_op_madvise, t_page(&tg, 1), tg.unit, GUARD_INSTALL))
		T_SKIP("no MADV_GUARD_INSTALL in shared memory (Linux 6.15)");
	t_watch(&tg);
	t_post(&tg, t_op_madvise, t_page(&tg, 2), tg.unit, GUARD_INSTALL);
	t_sleep_ms(100);
	t_note("the call has %s", t_idle(&tg) ? "returned" : "to wait for the end of the watching");
	softdirty_close(tg.sd);
	tg.sd = NULL;
	T_EQ(t_wait(&tg), 0);
	T_EQ(t_call(&tg, t_op_poke, t_page(&tg, 2)), -EFAULT);
}

static void guard_in_place_at_clear(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, t_op_madvise, t_page(&tg, 2), tg.unit, GUARD_INSTALL))
		T_SKIP("no MADV_GUARD_INSTALL (Linux 6.13)");
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "-Du-", .why = "a guarded page cannot be read",
		.reason = SOFTDIRTY_REASON_UNREADABLE);
	T_EQ(t_call(&tg, t_op_poke, t_page(&tg, 2)), -EFAULT);
}

static void guard_removed_then_written(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, t_op_madvise, t_page(&tg, 2), tg.unit, GUARD_INSTALL))
		T_SKIP("no MADV_GUARD_INSTALL (Linux 6.13)");
	t_watch(&tg);
	t_call(&tg, t_op_madvise, t_page(&tg, 2), tg.unit, GUARD_REMOVE);
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_EVENT(&tg, .want = "--D-");
}

static long op_mseal(long start, long size, long c, long d)
{
	return syscall(SYS_mseal, start, size, 0) ? -errno : 0;
}

static void write_of_a_sealed_mapping(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	if (t_call(&tg, op_mseal, tg.mem, 4 * tg.unit))
		T_SKIP("no mseal (Linux 6.10)");
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

static void sealed_after_the_clear(void)
{
	T_TARGET tg = t_begin(4);

	if (t_call(&tg, op_mseal, tg.mem, 4 * tg.unit))
		T_SKIP("no mseal (Linux 6.10)");
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--");
}

/* pte_mkdirty() in remove_migration_pte(), Linux 6.1 commit 2e3468778dbe. */
#define MIGRATED "a page that the kernel moves is made dirty again, and the bit set with that"

static void compaction(void)
{
	T_TARGET tg = t_begin(64);

	if (t_write_file("/proc/sys/vm/compact_memory", "1"))
		T_SKIP("may not compact memory");
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D-*62", .sd = "D*64", .why = MIGRATED);
}

int main(void)
{
	t_need_backend();
	T_RUN(mprotect_and_back);
	T_RUN(mprotect_none_and_back_then_write);
	T_RUN(mprotect_that_splits_then_write);
	T_RUN(write_then_mprotect_to_read_only);
	T_RUN(unreadable_at_clear_then_written);
	T_RUN(guard_install);
	T_RUN(guard_install_in_shared_memory);
	T_RUN(guard_in_place_at_clear);
	T_RUN(guard_removed_then_written);
	T_RUN(write_of_a_sealed_mapping);
	T_RUN(sealed_after_the_clear);
	T_RUN(compaction);
	return t_done();
}
