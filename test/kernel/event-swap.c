/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that go to swap and come back: neither is a write. Root adds a swap file or a zram disk
 * for the time of the test when the machine has no swap.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "drops.h"
#include "target.h"

#define SWAP_SIZE (32l << 20)
#define ENOUGH (8l << 20)

static char swap_path[64];
static bool used_zram;

static void remove_swap(void)
{
	swapoff(swap_path);
	if (used_zram)
		t_write_file("/sys/block/zram0/reset", "1");
	else
		unlink(swap_path);
}

/* What mkswap(8) writes: a page with a version, the last page's number and a signature. */
static bool make_swap(int fd)
{
	size_t page = t_page_size();
	char *header = calloc(1, page);
	uint32_t info[2] = { 1, (uint32_t)(SWAP_SIZE / (long)page - 1) };
	bool done;

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	done = pwrite(fd, header, page, 0) == (ssize_t)page && fsync(fd) == 0;
	free(header);
	return done;
}

/* fd is closed: zram cannot be reset while it is open. */
static bool swap_on(int fd)
{
	bool made = make_swap(fd);

	close(fd);
	if (!made || swapon(swap_path, 0))
		return false;
	atexit(remove_swap);
	return true;
}

static bool file_swap(void)
{
	int fd;
	char *zeros = calloc(1, 1 << 20);
	bool done;

	fd = t_temp_file(swap_path);
	if (fd < 0)
		return false;
	for (long i = 0; i < SWAP_SIZE; i += 1 << 20)
		if (write(fd, zeros, 1 << 20) != 1 << 20)
			break;
	free(zeros);
	done = swap_on(fd);
	if (!done)
		unlink(swap_path);
	return done;
}

static bool zram_swap(void)
{
	int fd;

	strcpy(swap_path, "/dev/zram0");
	if (t_write_file("/sys/block/zram0/disksize", "32M"))
		return false;
	used_zram = true;
	fd = open(swap_path, O_RDWR | O_CLOEXEC);
	return fd >= 0 && swap_on(fd);
}

static void need_swap(void)
{
	if (t_proc_number("/proc/meminfo", "SwapFree") * 1024 >= ENOUGH)
		return;
	if (geteuid() != 0)
		t_skip_all("no swap, and only root can add it");
	if (!file_swap() && !zram_swap())
		t_skip_all("no swap, and neither a file nor zram can be used for it");
}

/* The only swap space, if it is the test's or a zram disk, which is as good as memory. */
static bool swap_off_and_on(void)
{
	char path[64] = "", other[64];
	FILE *f = fopen("/proc/swaps", "re");
	int n = f ? fscanf(f, "%*[^\n] %63s %*[^\n] %63s", path, other) : 0;

	if (f)
		fclose(f);
	return n == 1 && (!strcmp(path, swap_path) || !strncmp(path, "/dev/zram", 9)) &&
	       !swapoff(path) && !swapon(path, 0);
}

/* Did all of it go to swap? The page table does not tell that of shared memory. */
static bool is_out(const struct t_target *tg)
{
	return t_mapping_kib(tg, "Swap") == (long)(tg->n * tg->unit >> 10);
}

#define KEPT "the kernel did not swap the pages out"

static bool page_out(struct t_target *tg)
{
	for (int i = 0; i < 20; i++) {
		t_call(tg, t_op_madvise, tg->mem, tg->n * tg->unit, MADV_PAGEOUT);
		if (is_out(tg))
			return true;
		t_sleep_ms(50);
	}
	return false;
}

static void swapped_out(void)
{
	T_TARGET tg = t_begin(4);

	if (!page_out(&tg))
		T_SKIP(KEPT);
	T_EVENT(&tg, .want = "----");
}

static void swapped_out_and_read(void)
{
	T_TARGET tg = t_begin(4);

	if (!page_out(&tg))
		T_SKIP(KEPT);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----");
}

static void written_then_swapped_out(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	if (!page_out(&tg))
		T_SKIP(KEPT);
	T_EVENT(&tg, .want = "-D--");
}

static void swapped_at_clear_then_written_or_read(void)
{
	T_TARGET tg = t_start();

	t_map_touched(&tg, 4);
	t_watch(&tg);
	if (!page_out(&tg))
		T_SKIP(KEPT);
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "-D--");
}

#define FORGETS "the page table forgets who wrote"

static void shared(struct t_target *tg)
{
	t_slot(tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(tg, t_op_mmap, tg->mem, 4 * tg->unit, MAP_SHARED | MAP_ANONYMOUS, -1) == 0);
	t_call(tg, t_op_touch, tg->mem, 4, tg->unit);
}

static void shared_memory_swapped_out_and_read(void)
{
	T_TARGET tg = t_start();

	shared(&tg);
	t_watch(&tg);
	if (!page_out(&tg))
		T_SKIP(KEPT);
	t_call(&tg, t_op_read, t_page(&tg, 1));
	T_EVENT(&tg, .want = "----", .hash = "uDuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void shared_memory_written_and_swapped_out(void)
{
	T_TARGET tg = t_start();

	shared(&tg);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	if (!page_out(&tg))
		T_SKIP(KEPT);
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu", .why = FORGETS,
		.reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void shared_memory_swapped_at_clear_then_written(void)
{
	T_TARGET tg = t_start();

	shared(&tg);
	t_watch(&tg);
	if (!page_out(&tg))
		T_SKIP(KEPT);
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_call(&tg, t_op_read, t_page(&tg, 2));
	T_EVENT(&tg, .want = "-D--", .hash = "uDDu", .sd = "uDDu",
		.why = FORGETS, .reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void private_memory_swapped_all_the_time(void)
{
	T_DROP_ALL_THE_TIME(.swapped = true, .advice = { MADV_PAGEOUT, MADV_PAGEOUT });
}

static void private_memory_swapped_and_made_huge_all_the_time(void)
{
	T_DROP_ALL_THE_TIME(.swapped = true, .advice = { MADV_PAGEOUT, MADV_COLLAPSE });
}

static void shared_memory_swapped_all_the_time(void)
{
	T_DROP_ALL_THE_TIME(.swapped = true, .make = t_op_memfd, .advice = { MADV_PAGEOUT, MADV_DONTNEED });
}

/* As the kernel does it by itself. */
static void private_memory_swapped_and_made_huge_from_outside(void)
{
	T_DROP_ALL_THE_TIME(.swapped = true, .advice = { MADV_PAGEOUT, MADV_COLLAPSE },
			    .from_outside = true);
}

static void private_memory_swapped_and_moved_from_outside(void)
{
	T_DROP_ALL_THE_TIME(.swapped = true, .advice = { MADV_PAGEOUT, MADV_PAGEOUT },
			    .from_outside = true, .compacted = true);
}

/* Before Linux 5.19 what comes back has lost its soft-dirty bit. */
static void written_then_swapped_out_and_swapoff(void)
{
	T_TARGET tg = t_begin(4);

	t_call(&tg, t_op_write, t_page(&tg, 1));
	if (!page_out(&tg))
		T_SKIP(KEPT);
	if (!swap_off_and_on())
		T_SKIP("not allowed to take the swap space away");
	T_EQ(t_mapping_kib(&tg, "Swap"), 0);
	T_EVENT(&tg, .want = "-D--", .sd = "uuuu", .again = "----",
		.why = "taking swap space away may make the kernel forget",
		.reason = SOFTDIRTY_REASON_MOVED);
}

int main(void)
{
	t_need_backend();
	need_swap();
	T_RUN(swapped_out);
	T_RUN(swapped_out_and_read);
	T_RUN(written_then_swapped_out);
	T_RUN(written_then_swapped_out_and_swapoff);
	T_RUN(swapped_at_clear_then_written_or_read);
	T_RUN(shared_memory_swapped_out_and_read);
	T_RUN(shared_memory_written_and_swapped_out);
	T_RUN(shared_memory_swapped_at_clear_then_written);
	T_RUN(private_memory_swapped_all_the_time);
	T_RUN(private_memory_swapped_and_made_huge_all_the_time);
	T_RUN(shared_memory_swapped_all_the_time);
	T_RUN(private_memory_swapped_and_made_huge_from_outside);
	T_RUN(private_memory_swapped_and_moved_from_outside);
	return t_done();
}
