/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The soft-dirty backend where the kernel has the bit, and its refusal where the kernel only
 * pretends. A child does what it is told with 8 pages; the answer is drawn as one character for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "t.h"
#include "target/smaps.h"
#include "track/probe.h"
#include "track/tracker.h"
#include "uapi/pagemap_scan.h"

enum { N = 8 };

static uint64_t page;
static bool has_bit;

/* --- a child that does what it is told ------------------------------------------------------ */

struct order {
	void (*fn)(char *p, int i);
	char *p;
	int i;
};

static pid_t pid;
static int orders[2], done[2];
static struct sdi_tracker *tr;

static void obey(void)
{
	struct order o;

	while (read(orders[0], &o, sizeof(o)) == sizeof(o)) {
		o.fn(o.p, o.i);
		if (write(done[1], "", 1) != 1)
			break;
	}
	_exit(0);
}

static void start(void)
{
	T_MUST(!pipe(orders) && !pipe(done));
	pid = t_fork();
	if (!pid)
		obey();
	T_MUST(!sdi_tracker_open(pid, "soft-dirty", -1, &tr));
	T_MUST(!sdi_tracker_clear(tr, ""));
}

static void stop(void)
{
	sdi_tracker_close(tr);
	t_kill(pid);
	for (int i = 0; i < 2; i++)
		close(orders[i]), close(done[i]);
}

static void tell(void (*fn)(char *, int), char *p, int i)
{
	struct order o = { fn, p, i };
	char c;

	T_MUST(write(orders[1], &o, sizeof(o)) == sizeof(o));
	T_MUST(read(done[0], &c, 1) == 1);
}

static void do_write(char *p, int i)
{
	p[i * page]++;
}

static void do_read(char *p, int i)
{
	(void)*(volatile char *)(p + i * page);
}

static void do_unmap(char *p, int i)
{
	munmap(p + i * page, page);
}

static void do_map(char *p, int i)
{
	mmap(p, i * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	madvise(p, i * page, MADV_NOHUGEPAGE);
}

static void do_map_shared(char *p, int i)
{
	mmap(p, i * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void do_unmap_all(char *p, int i)
{
	munmap(p, i * page);
}

static void do_move(char *p, int i)
{
	if (mremap(p, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, p + i * page) == MAP_FAILED)
		abort();
}

/* N pages in the child with a hole before and behind them. */
static char *arena(void (*map)(char *, int))
{
	char *p = mmap(NULL, 64 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_MUST(p != MAP_FAILED && !munmap(p, 64 * page));
	p += 16 * page;
	tell(do_unmap_all, p - 16 * page, 64);
	tell(map, p, N);
	return p;
}

static const char *answer_of(struct sdi_tracker *t, const char *p, bool clear)
{
	static char drawn[N + 1];
	struct sdi_ranges r = { 0 };
	uint64_t from = (uintptr_t)p;

	if (!T_EQ(sdi_tracker_read(t, "", clear, from, from + N * page, &r), 0))
		t_note("%s", sdi_last_error());
	for (int i = 0; i < N; i++) {
		size_t k = sdi_ranges_find(&r, from + i * page);
		bool in = k < r.n && r.r[k].start <= from + i * page;
		uint32_t f = in ? r.r[k].flags : 0;
		drawn[i] = !in ? '-' : f & SOFTDIRTY_NEW ? 'n' : f & SOFTDIRTY_WRITTEN ? 'w' :
			   r.r[k].reason == SOFTDIRTY_REASON_MERGED ? 'm' :
			   r.r[k].reason == SOFTDIRTY_REASON_HUGETLB ? 'h' : 'u';
	}
	sdi_ranges_fini(&r);
	return drawn;
}

static const char *take(const char *p)
{
	return answer_of(tr, p, true);
}

static const char *peek(const char *p)
{
	return answer_of(tr, p, false);
}

/* --- claims --------------------------------------------------------------------------------- */

/* What the kernel really does, found out without the library. */
static bool kernel_has_bit(void)
{
	int status;

	pid_t child = t_fork();
	if (!child) {
		int pagemap = open("/proc/self/pagemap", O_RDONLY);
		int clear_refs = open("/proc/self/clear_refs", O_WRONLY);
		uint64_t e[2] = { 0 };
		volatile char *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*p = 1;
		ssize_t n = write(clear_refs, "4", 1);
		n += pread(pagemap, &e[0], 8, (uintptr_t)p / page * 8);
		*p = 2;
		n += pread(pagemap, &e[1], 8, (uintptr_t)p / page * 8);
		_exit(n == 17 && !(e[0] & PM_ENTRY_SOFT_DIRTY) && (e[1] & PM_ENTRY_SOFT_DIRTY));
	}
	T_MUST(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_probe_is_not_fooled_and_clears_nothing_of_ours(void)
{
	struct sdi_why why = { 0 };
	volatile char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	*p = 1;
	T_EQ(sdi_probe_soft_dirty(&why), has_bit ? 0 : -EOPNOTSUPP);
	t_note("%s", why.text);
	T_OK(why.text[0]);
	T_EQ(pread(fd, &entry, 8, (uintptr_t)p / page * 8), 8);
	T_EQ(!!(entry & PM_ENTRY_SOFT_DIRTY), has_bit);
	T_EQ(waitpid(-1, NULL, WNOHANG), -1);
	close(fd);
	munmap((void *)p, page);
}

static void a_write_is_reported_once(void)
{
	start();
	char *p = arena(do_map);
	T_STREQ(take(p), "nnnnnnnn");
	for (int i = 0; i < 6; i++)
		tell(do_write, p, i);
	T_STREQ(take(p), "wwwwww--");
	T_STREQ(take(p), "--------");
	tell(do_write, p, 1);
	tell(do_read, p, 2);
	tell(do_read, p, 7);
	T_STREQ(peek(p), "-w------");
	T_STREQ(peek(p), "-w------");
	T_STREQ(take(p), "-w------");
	T_STREQ(peek(p), "--------");
	tell(do_write, p, 7);
	T_STREQ(take(p), "-------w");
	stop();
}

static void a_mapping_made_anew_is_new_with_its_empty_pages(void)
{
	start();
	char *p = arena(do_map);
	for (int i = 0; i < N; i++)
		tell(do_write, p, i);
	take(p);
	tell(do_unmap_all, p, N);
	tell(do_map, p, N);
	tell(do_write, p, 2);
	T_STREQ(take(p), "nnnnnnnn");
	tell(do_unmap, p, 3);
	T_STREQ(take(p), "--------");
	tell(do_map, p + 3 * page, 1);
	T_STREQ(peek(p)[3] == 'n' ? "new" : peek(p), "new");
	take(p);
	T_STREQ(take(p), "--------");
	stop();
}

static void the_old_part_of_a_grown_mapping_is_untracked(void)
{
	start();
	char *p = arena(do_map);
	for (int i = 0; i < 4; i++)
		tell(do_write, p, i);
	take(p);
	tell(do_map, p + N * page, 2);		/* the kernel merges it with the one before */
	const char *got = take(p);
	/* A kernel may have learned to keep them apart. */
	T_OK(!strcmp(got, "mmmmmmmm") || !strcmp(got, "--------"));
	t_note("%s", got);
	T_STREQ(take(p), "--------");
	tell(do_write, p, 1);
	T_STREQ(take(p), "-w------");
	stop();
}

/* The list of mappings is read before the target is stopped. */
static void a_part_made_anew_after_the_list_was_read_is_reported(void)
{
	struct sdi_ranges found = { 0 };

	start();
	char *p = arena(do_map);
	for (int i = 0; i < N; i++)
		tell(do_write, p, i);
	take(p);
	T_MUST(!sdi_maps_read(&tr->target, &tr->maps));
	tell(do_map, p + 2 * page, 2);
	tell(do_unmap, p, 6);		/* so that not all of what the list has is dirty */
	T_EQ(tr->backend->collect(tr, SDI_TAKE, &found), 0);
	T_EQ(sdi_ranges_sort(&found), 0);
	T_OK(sdi_ranges_cover(&found, (uintptr_t)(p + 2 * page), (uintptr_t)(p + 4 * page)));
	T_OK(!sdi_ranges_cover(&found, (uintptr_t)(p + 6 * page), (uintptr_t)(p + 7 * page)));
	sdi_ranges_fini(&found);
	stop();
}

static void a_moved_page_counts_at_its_new_place(void)
{
	start();
	char *p = arena(do_map);
	for (int i = 0; i < N; i++)
		tell(do_write, p, i);
	take(p);
	tell(do_move, p + 1 * page, 4);
	const char *got = take(p);
	T_OK(got[5] != '-');
	t_note("%s", got);
	T_STREQ(take(p), "--------");
	stop();
}

static void do_drop(char *p, int i)
{
	madvise(p + i * page, page, MADV_DONTNEED);
}

/* Its bits go with the page table entries, so its content is compared. */
static void shared_memory_is_compared(void)
{
	start();
	char *p = arena(do_map_shared);
	for (int i = 0; i < 4; i++)
		tell(do_write, p, i);
	T_STREQ(take(p), "nnnnnnnn");
	tell(do_write, p, 1);
	tell(do_read, p, 2);
	tell(do_write, p, 6);
	T_STREQ(take(p), "-w--uuwu");
	T_STREQ(take(p), "----uu-u");
	tell(do_write, p, 2);
	tell(do_drop, p, 2);
	tell(do_read, p, 2);
	tell(do_drop, p, 3);
	T_STREQ(take(p), "--wuuu-u");
	T_STREQ(take(p), "---uuu-u");
	tell(do_map_shared, p, N);
	T_STREQ(take(p), "nnnnnnnn");
	stop();
}

static void do_hugetlb(char *p, int i)
{
	char *q = mmap(p, i, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);

	if (q != MAP_FAILED)
		*q = 1;
}

static void hugetlb_is_untracked_where_there_is_a_page(void)
{
	enum { HUGE = 2 << 20 };
	char was[32];

	if (t_read_file("/proc/sys/vm/nr_hugepages", was, sizeof(was)) < 0 ||
	    t_write_file("/proc/sys/vm/nr_hugepages", "4") ||
	    t_proc_number("/proc/meminfo", "HugePages_Free") < 2)
		T_SKIP("no hugetlb pages to be had");
	start();
	char *p = mmap(NULL, 4 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	munmap(p, 4 * HUGE);
	tell(do_hugetlb, at, 2 * HUGE);
	take(at);
	T_STREQ(take(at), "hhhhhhhh");
	T_STREQ(take(at + HUGE), "nnnnnnnn");	/* outside the windows so far */
	T_STREQ(take(at + HUGE), "--------");
	stop();
	t_write_file("/proc/sys/vm/nr_hugepages", was);
}

static void there_is_one_tracker_at_a_time(void)
{
	struct sdi_tracker *second = NULL;

	start();
	T_EQ(sdi_tracker_open(pid, "soft-dirty", -1, &second), -EBUSY);
	t_note("%s", sdi_last_error());
	sdi_tracker_close(tr);
	T_EQ(sdi_tracker_open(pid, "soft-dirty", -1, &tr), 0);
	stop();
}

/* --- nothing is lost ------------------------------------------------------------------------ */

enum { MANY = 8192, WRITERS = 3 };

struct race {
	char *mem;
	atomic_int next, running, rounds;
};

/* Each page is written exactly once: if that one write is missed, it shows. */
static void *write_once(void *arg)
{
	struct race *r = arg;
	int i;

	while ((i = atomic_fetch_add(&r->next, 1)) < MANY) {
		/* a slow reader gets its rounds, too */
		while (i > (r->rounds + 1) * (MANY / 8))
			t_sleep_ms(1);
		r->mem[(i * 4099 % MANY) * page] = 1;
		if (i % 64 == 0)
			t_sleep_ms(1);
	}
	atomic_fetch_sub(&r->running, 1);
	return NULL;
}

static void start_writers(struct race *r, pthread_t *threads)
{
	r->running = WRITERS;
	for (int i = 0; i < WRITERS; i++)
		T_MUST(!pthread_create(&threads[i], NULL, write_once, r));
}

static struct race *new_race(void)
{
	struct race *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			      -1, 0);

	T_MUST(r != MAP_FAILED);
	r->mem = mmap(NULL, MANY * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_MUST(r->mem != MAP_FAILED);
	madvise(r->mem, MANY * page, MADV_NOHUGEPAGE);
	memset(r->mem, 2, MANY * page);
	return r;
}

/* Take until all writers are done, and once more; count the pages that were never reported. */
static int missed_while(struct race *r, struct sdi_tracker *t)
{
	static bool seen[MANY];
	struct sdi_ranges list = { 0 };
	uint64_t from = (uintptr_t)r->mem;
	int missed = 0;

	memset(seen, 0, sizeof(seen));
	for (bool last = false, end = false; !end; end = last) {
		last = !atomic_load(&r->running);
		T_EQ(sdi_tracker_read(t, "", true, from, from + MANY * page, &list), 0);
		for (size_t i = 0; i < list.n; i++) {
			T_OK(list.r[i].reason != SOFTDIRTY_REASON_LOST);
			for (uint64_t at = list.r[i].start; at < list.r[i].end; at += page)
				seen[(at - from) / page] = true;
		}
		r->rounds++;
	}
	for (int i = 0; i < MANY; i++)
		missed += !seen[i];
	sdi_ranges_fini(&list);
	return missed;
}

static void no_write_of_another_process_is_lost(void)
{
	struct race *r = new_race();

	r->running = WRITERS;
	pid = t_fork();
	if (!pid) {
		pthread_t threads[WRITERS];
		while (!r->next)
			t_sleep_ms(1);
		r->next = 0;
		start_writers(r, threads);
		for (;;)
			pause();
	}
	T_MUST(!sdi_tracker_open(pid, "soft-dirty", -1, &tr));
	T_MUST(!sdi_tracker_clear(tr, ""));
	r->next = 1;
	T_EQ(missed_while(r, tr), 0);
	t_note("%d rounds", r->rounds);
	T_OK(r->rounds >= 7);
	sdi_tracker_close(tr);
	t_kill(pid);
	munmap(r->mem, MANY * page);
}

static void no_write_of_our_own_threads_is_lost(void)
{
	struct race *r = new_race();
	pthread_t threads[WRITERS];

	if (sdi_tracker_open(0, "soft-dirty", -1, &tr))
		T_SKIP("%s", sdi_last_error());
	T_MUST(!sdi_tracker_clear(tr, ""));
	start_writers(r, threads);
	T_EQ(missed_while(r, tr), 0);
	t_note("%d rounds", r->rounds);
	T_OK(r->rounds >= 7);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	sdi_tracker_close(tr);
	munmap(r->mem, MANY * page);
}

static void our_own_single_thread_sees_its_writes(void)
{
	char *p = mmap(NULL, N * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(p, N * page, MADV_NOHUGEPAGE);
	T_MUST(!sdi_tracker_open(0, "soft-dirty", -1, &tr));
	memset(p, 1, N * page);
	T_STREQ(take(p), "nnnnnnnn");
	T_STREQ(take(p), "--------");
	p[3 * page] = 2;
	T_STREQ(take(p), "---w----");
	T_STREQ(take(p), "--------");
	sdi_tracker_close(tr);
	munmap(p, N * page);
}

/* --- smaps, which tells what the bits do not ------------------------------------------------- */

struct seen {
	uint64_t at;
	uint32_t flags;
	int n;
};

static int look(void *arg, const struct sdi_smap *m)
{
	struct seen *s = arg;

	if (m->vma.start <= s->at && s->at < m->vma.end)
		s->flags = m->flags;
	s->n++;
	return 0;
}

static uint32_t smap_of(const void *p)
{
	struct seen s = { .at = (uintptr_t)p };
	struct sdi_target self;

	T_MUST(!sdi_target_open(0, &self));
	T_EQ(sdi_smaps_each(&self, look, &s), 0);
	T_OK(s.n > 5);
	sdi_target_close(&self);
	return s.flags & ~SDI_SMAP_NEW;
}

static void smaps_tells_what_a_mapping_is(void)
{
	/* between two pages of another kind, so that it merges with nothing */
	char *none = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *anon = none + page;
	char *shm = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *file = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);

	mprotect(anon, page, PROT_READ | PROT_WRITE);
	T_EQ(smap_of(anon), SDI_SMAP_MAYWRITE);
	*anon = 1;
	T_EQ(smap_of(anon), SDI_SMAP_MAYWRITE | SDI_SMAP_POPULATED);
	T_EQ(smap_of(shm), SDI_SMAP_MAYWRITE);
	if (file != MAP_FAILED) {
		do_read(file, 0);
		T_EQ(smap_of(file), SDI_SMAP_POPULATED);
		munmap(file, page);
	}
	munmap(none, 3 * page);
	munmap(shm, page);
	close(fd);
}

int main(void)
{
	page = sysconf(_SC_PAGESIZE);
	has_bit = kernel_has_bit();
	T_RUN(the_probe_is_not_fooled_and_clears_nothing_of_ours);
	T_RUN(smaps_tells_what_a_mapping_is);
	if (!has_bit) {
		t_note("this kernel has no soft-dirty bit: nothing more to try");
		return t_done();
	}
	T_RUN(a_write_is_reported_once);
	T_RUN(a_mapping_made_anew_is_new_with_its_empty_pages);
	T_RUN(the_old_part_of_a_grown_mapping_is_untracked);
	T_RUN(a_part_made_anew_after_the_list_was_read_is_reported);
	T_RUN(a_moved_page_counts_at_its_new_place);
	T_RUN(shared_memory_is_compared);
	T_RUN(hugetlb_is_untracked_where_there_is_a_page);
	T_RUN(there_is_one_tracker_at_a_time);
	T_RUN(our_own_single_thread_sees_its_writes);
	T_RUN(no_write_of_another_process_is_lost);
	T_RUN(no_write_of_our_own_threads_is_lost);
	return t_done();
}
