/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The documented soft-dirty interface, used by a process on itself and on its children: the same
 * source with the same expectations on a kernel that has it, under `softdirty exec` and on the files
 * of `softdirty mount` (--proc DIR). Where native kernels report more than was written, the claim
 * only asks for what may never be missing.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iface.h"
#include "t.h"

static volatile char sink;

static void a_process_never_cleared_is_dirty(void)
{
	char *mem = iface_map_written(2);

	T_EQ(iface_dirty_pages(mem, 2), 3);
}

static void one_written_page_is_the_dirty_one(void)
{
	char *mem = iface_map_written(8);

	iface_clear(getpid());
	T_EQ(iface_dirty_pages(mem, 8), 0);
	mem[3 * iface_page() + 5] = 2;
	T_EQ(iface_dirty_pages(mem, 8), 1 << 3);
	T_EQ(iface_dirty_pages(mem, 8), 1 << 3);
}

static void each_clear_begins_anew(void)
{
	char *mem = iface_map_written(4);

	for (int i = 0; i < 4; i++) {
		iface_clear(getpid());
		mem[i * iface_page()]++;
		T_EQ(iface_dirty_pages(mem, 4), 1 << i);
	}
}

static void reading_leaves_pages_clean(void)
{
	char *mem = iface_map_written(4);

	iface_clear(getpid());
	for (int i = 0; i < 4; i++)
		sink = mem[i * iface_page()];
	T_EQ(iface_dirty_pages(mem, 4), 0);
}

static void an_untouched_page_reads_as_zero(void)
{
	char *mem = iface_map(4);

	iface_clear(getpid());
	sink = mem[0];
	mem[2 * iface_page()] = 1;
	T_EQ(iface_entry(getpid(), mem + iface_page()), 0);
	T_EQ(iface_entry(getpid(), mem + 3 * iface_page()), 0);
	T_OK(iface_entry(getpid(), mem + 2 * iface_page()) & PRESENT);
	T_OK(iface_dirty(mem + 2 * iface_page()));
}

static void no_trace_of_tracking_shows(void)
{
	char *mem = iface_map_written(2), *shared = mmap(NULL, 4 * iface_page(),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	T_MUST(shared != MAP_FAILED);
	shared[0] = 1;
	iface_clear(getpid());
	T_EQ(iface_entry(getpid(), mem) & (UFFD_WP | SWAPPED | SOFT_DIRTY), 0);
	T_EQ(iface_entry(getpid(), shared) & (UFFD_WP | SWAPPED | SOFT_DIRTY), 0);
	T_EQ(iface_entry(getpid(), shared + iface_page()), 0);
	T_EQ(iface_entry(getpid(), mem - iface_page()), 0);
}

static void memory_mapped_after_the_clear_is_dirty(void)
{
	iface_clear(getpid());
	char *mem = iface_map_written(2);
	T_EQ(iface_dirty_pages(mem, 2), 3);
}

static void an_address_used_again_is_dirty(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);

	iface_clear(getpid());
	T_MUST(!munmap(mem, 4 * page));
	T_MUST(mmap(mem, 4 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mem);
	T_EQ(iface_dirty_pages(mem, 4), 0xf);
	mem[0] = 1;
	T_EQ(iface_dirty_pages(mem, 4), 0xf);
}

static void a_mapping_put_over_another_is_dirty(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);

	iface_clear(getpid());
	T_MUST(mmap(mem + page, 2 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mem + page);
	T_EQ(iface_dirty_pages(mem, 4) & 6, 6);
}

static void moved_pages_are_dirty_at_their_new_address(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4), *to = iface_map(4);

	iface_clear(getpid());
	T_MUST(mremap(mem, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	T_EQ(iface_dirty_pages(to, 4), 0xf);
	iface_clear(getpid());
	to[page] = 2;
	T_EQ(iface_dirty_pages(to, 4), 2);
}

static void a_page_written_in_a_grown_mapping_is_dirty(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);

	T_MUST(!munmap(mem + 2 * page, 2 * page));
	iface_clear(getpid());
	T_MUST(mremap(mem, 2 * page, 4 * page, 0) == mem);
	mem[3 * page] = 1;
	T_OK(iface_dirty(mem + 3 * page));
}

static void a_change_of_protection_leaves_pages_clean(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);

	iface_clear(getpid());
	T_MUST(!mprotect(mem + page, page, PROT_READ));
	T_EQ(iface_dirty_pages(mem, 4), 0);
	T_MUST(!mprotect(mem + page, page, PROT_READ | PROT_WRITE));
	T_EQ(iface_dirty_pages(mem, 4), 0);
	mem[page] = 2;
	T_EQ(iface_dirty_pages(mem, 4), 2);
}

static void a_page_dropped_and_written_is_dirty(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);

	iface_clear(getpid());
	T_MUST(!madvise(mem, 4 * page, MADV_DONTNEED));
	mem[page] = 2;
	T_EQ(iface_dirty_pages(mem, 4), 2);
}

static void a_write_to_a_huge_page_is_seen(void)
{
	const size_t huge = 2 << 20;
	char *all = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)all + huge - 1) & ~(huge - 1));

	T_MUST(all != MAP_FAILED);
	if (madvise(mem, huge, MADV_HUGEPAGE))
		T_SKIP("no huge pages: %s", strerror(errno));
	memset(mem, 1, huge);
	iface_clear(getpid());
	T_EQ(iface_dirty_pages(mem, 64), 0);
	mem[7 * iface_page()] = 2;
	T_OK(iface_dirty_pages(mem, 64) & 1 << 7);
	munmap(all, 2 * huge);
}

static char *map_file(int flags)
{
	FILE *f = tmpfile();
	char *mem;

	T_MUST(f && !ftruncate(fileno(f), 4 * iface_page()));
	mem = mmap(NULL, 4 * iface_page(), PROT_READ | PROT_WRITE, flags, fileno(f), 0);
	T_MUST(mem != MAP_FAILED);
	fclose(f);
	for (int i = 0; i < 4; i++)
		sink = mem[i * iface_page()];
	return mem;
}

static void writes_to_a_private_file_mapping_are_seen(void)
{
	char *mem = map_file(MAP_PRIVATE);

	iface_clear(getpid());
	T_EQ(iface_dirty_pages(mem, 4), 0);
	mem[2 * iface_page()] = 1;
	T_EQ(iface_dirty_pages(mem, 4), 4);
	T_EQ(iface_entry(getpid(), mem + 2 * iface_page()) & IS_FILE, 0);
	T_OK(iface_entry(getpid(), mem) & IS_FILE);
}

static void writes_to_a_shared_file_mapping_are_seen(void)
{
	char *mem = map_file(MAP_SHARED);

	iface_clear(getpid());
	T_EQ(iface_dirty_pages(mem, 4), 0);
	mem[2 * iface_page()] = 1;
	T_EQ(iface_dirty_pages(mem, 4), 4);
}

static void writes_to_shared_memory_are_seen(void)
{
	size_t page = iface_page();
	char *mem = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	T_MUST(mem != MAP_FAILED);
	memset(mem, 1, 4 * page);
	iface_clear(getpid());
	T_EQ(iface_dirty_pages(mem, 4), 0);
	mem[page] = 2;
	T_EQ(iface_dirty_pages(mem, 4), 2);
}

static void writes_by_the_kernel_are_seen(void)
{
	size_t page = iface_page();
	char *mem = iface_map_written(4);
	int p[2];

	T_MUST(!pipe(p) && write(p[1], "abc", 3) == 3);
	iface_clear(getpid());
	T_EQ(read(p[0], mem + 2 * page, 3), 3);
	T_EQ(iface_dirty_pages(mem, 4), 4);
	close(p[0]);
	close(p[1]);
}

static void the_stack_and_the_heap_take_part(void)
{
	char *volatile heap = malloc(64 << 10);
	char *page = (char *)(((uintptr_t)heap + (16 << 10)) & ~(iface_page() - 1));
	volatile char on_stack;

	memset(heap, 1, 64 << 10);
	iface_clear(getpid());
	on_stack = 1;
	T_OK(!iface_dirty(page));
	page[0] = 2;
	T_OK(iface_dirty(page));
	T_OK(iface_dirty((const char *)&on_stack));
	free(heap);
}

static void *write_two(void *mem)
{
	((char *)mem)[2 * iface_page()] = 9;
	return NULL;
}

static void writes_of_other_threads_are_seen(void)
{
	char *mem = iface_map_written(4);
	pthread_t thread;

	iface_clear(getpid());
	T_MUST(!pthread_create(&thread, NULL, write_two, mem));
	T_MUST(!pthread_join(thread, NULL));
	T_EQ(iface_dirty_pages(mem, 4), 4);
}

static void *clear_and_look(void *mem)
{
	iface_clear(getpid());
	return (void *)(uintptr_t)iface_dirty_pages(mem, 4);
}

static void any_thread_may_clear_and_look(void)
{
	char *mem = iface_map_written(4);
	pthread_t thread;
	void *bits;

	T_MUST(!pthread_create(&thread, NULL, clear_and_look, mem));
	T_MUST(!pthread_join(thread, &bits));
	T_EQ((uintptr_t)bits, 0);
}

static char *in_handler;
static volatile int n_handled, n_wrong;

static void clear_and_look_in_handler(int sig)
{
	int before = errno;

	in_handler[0]++;
	n_wrong += !iface_dirty(in_handler);
	iface_clear(getpid());
	n_wrong += iface_dirty(in_handler);
	n_handled++;
	errno = before;
}

/* Also while the program is anywhere in malloc(): the interface is system calls. */
static void a_signal_handler_may_clear_and_look(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, off = { 0 };
	void *volatile kept[64] = { NULL };
	unsigned i = 0;

	in_handler = iface_map_written(1);
	signal(SIGVTALRM, clear_and_look_in_handler);
	T_MUST(!setitimer(ITIMER_VIRTUAL, &often, NULL));
	while (n_handled < 100) {
		free(kept[i % 64]);
		kept[i % 64] = malloc(i * 7919 % 100000);
		i++;
	}
	T_MUST(!setitimer(ITIMER_VIRTUAL, &off, NULL));
	T_EQ(n_wrong, 0);
	for (i = 0; i < 64; i++)
		free(kept[i]);
}

/* A child that writes page 1 of mem when told, and ends when told once more. */
static pid_t start_child(char *mem, int tell[2], int told[2])
{
	T_MUST(!pipe(tell) && !pipe(told));
	pid_t pid = t_fork();

	if (!pid) {
		char c = 0;

		if (read(tell[0], &c, 1) == 1) {
			mem[iface_page()] = 7;
			(void)!write(told[1], &c, 1);
		}
		(void)!read(tell[0], &c, 1);
		_exit(0);
	}
	return pid;
}

static void a_child_is_watched_from_outside(void)
{
	char *mem = iface_map_written(4), c = 0;
	int tell[2], told[2];
	pid_t pid = start_child(mem, tell, told);

	iface_clear(pid);
	T_EQ(iface_entry(pid, mem) & SOFT_DIRTY, 0);
	T_EQ(iface_entry(pid, mem + iface_page()) & SOFT_DIRTY, 0);
	T_MUST(write(tell[1], &c, 1) == 1 && read(told[0], &c, 1) == 1);
	T_EQ(iface_entry(pid, mem) & SOFT_DIRTY, 0);
	T_OK(iface_entry(pid, mem + iface_page()) & SOFT_DIRTY);
	t_kill(pid);
}

static void writes_of_a_child_stay_its_own(void)
{
	char *mem = iface_map_written(4), c = 0;
	int tell[2], told[2];

	iface_clear(getpid());
	pid_t pid = start_child(mem, tell, told);
	T_MUST(write(tell[1], &c, 1) == 1 && read(told[0], &c, 1) == 1);
	T_EQ(iface_dirty_pages(mem, 4), 0);
	mem[0] = 3;
	T_EQ(iface_dirty_pages(mem, 4), 1);
	T_OK(iface_entry(pid, mem + iface_page()) & SOFT_DIRTY);
	t_kill(pid);
}

static void a_child_may_clear_itself(void)
{
	char *mem = iface_map_written(4);
	int status;

	iface_clear(getpid());
	mem[0] = 2;
	pid_t pid = t_fork();
	if (!pid) {
		iface_clear(getpid());
		mem[2 * iface_page()] = 3;
		_exit(iface_dirty_pages(mem, 4));
	}
	T_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	T_EQ(WEXITSTATUS(status), 4);
	T_EQ(iface_dirty_pages(mem, 4), 1);
}

/* Run again as a new program: all of its memory is dirty, and its own clear works at once. */
static int after_exec(void)
{
	char *mem = iface_map_written(4);

	if (iface_dirty_pages(mem, 4) != 0xf || !iface_dirty((void *)&sink))
		return 2;
	iface_clear(getpid());
	mem[iface_page()]++;
	return iface_dirty_pages(mem, 4) == 2 ? 0 : 3;
}

static void a_new_program_in_this_process_is_dirty(void)
{
	int status;
	pid_t pid = t_fork();

	if (!pid) {
		iface_clear(getpid());
		execl("/proc/self/exe", "selftest", "--after-exec", NULL);
		_exit(127);
	}
	T_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	T_EQ(WEXITSTATUS(status), 0);
}

/* A kernel without it takes the clear and does nothing. Tried in a child: we stay uncleared. */
static bool is_there(void)
{
	pid_t pid = t_fork();
	int status;

	if (!pid) {
		char *mem = iface_map_written(1);

		iface_clear(getpid());
		mem[0] = 2;
		_exit(!iface_dirty(mem));
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	return !status;
}

/* [--must] [--proc DIR]: must: not to have the interface is a failure. */
int main(int argc, char **argv)
{
	bool must = false;

	alarm(60);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--after-exec"))
			return after_exec();
		must |= !strcmp(argv[i], "--must");
		if (!strcmp(argv[i], "--proc") && i + 1 < argc)
			iface_set_proc(argv[++i]);
	}
	if (!must && !is_there())
		t_skip_all("this kernel has no soft-dirty");
	T_RUN(a_process_never_cleared_is_dirty);
	T_RUN(one_written_page_is_the_dirty_one);
	T_RUN(each_clear_begins_anew);
	T_RUN(reading_leaves_pages_clean);
	T_RUN(an_untouched_page_reads_as_zero);
	T_RUN(no_trace_of_tracking_shows);
	T_RUN(memory_mapped_after_the_clear_is_dirty);
	T_RUN(an_address_used_again_is_dirty);
	T_RUN(a_mapping_put_over_another_is_dirty);
	T_RUN(moved_pages_are_dirty_at_their_new_address);
	T_RUN(a_page_written_in_a_grown_mapping_is_dirty);
	T_RUN(a_change_of_protection_leaves_pages_clean);
	T_RUN(a_page_dropped_and_written_is_dirty);
	T_RUN(a_write_to_a_huge_page_is_seen);
	T_RUN(writes_to_a_private_file_mapping_are_seen);
	T_RUN(writes_to_a_shared_file_mapping_are_seen);
	T_RUN(writes_to_shared_memory_are_seen);
	T_RUN(writes_by_the_kernel_are_seen);
	T_RUN(the_stack_and_the_heap_take_part);
	T_RUN(writes_of_other_threads_are_seen);
	T_RUN(any_thread_may_clear_and_look);
	T_RUN(a_signal_handler_may_clear_and_look);
	T_RUN(a_child_is_watched_from_outside);
	T_RUN(writes_of_a_child_stay_its_own);
	T_RUN(a_child_may_clear_itself);
	if (iface_is_proc())
		T_RUN(a_new_program_in_this_process_is_dirty);
	iface_file_claims();
	if (iface_is_proc())
		iface_name_claims();
	iface_scan_claims();
	return t_done();
}
