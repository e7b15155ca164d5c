/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hash backend on our own memory: what it compares, what its table forgets, and a random writer
 * against a plain copy of the contents.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "t.h"
#include "track/tracker.h"

enum { N = 8 };

static struct sdi_tracker *tr;
static uint64_t page;

static char *map_at(void *at, size_t n, int prot, int flags, int fd)
{
	char *p = mmap(at, n * page, prot, flags | (at ? MAP_FIXED : 0), fd, 0);

	T_MUST(p != MAP_FAILED);
	return p;
}

static char *map(void)
{
	char *p = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, N * page, MADV_NOHUGEPAGE);
	return p;
}

/* One character for each page of the answer: written, new, untracked, or nothing. */
static const char *answer(const char *p, bool clear)
{
	static char drawn[N + 1];
	struct sdi_ranges r = { 0 };
	uint64_t start = (uintptr_t)p;

	T_EQ(sdi_tracker_read(tr, "", clear, start, start + N * page, &r), 0);
	for (int i = 0; i < N; i++) {
		size_t k = sdi_ranges_find(&r, start + i * page);
		bool in = k < r.n && r.r[k].start <= start + i * page;
		uint32_t f = in ? r.r[k].flags : 0;
		drawn[i] = !in ? '-' : f & SOFTDIRTY_NEW ? 'n' : f & SOFTDIRTY_UNTRACKED ? 'u' :
			   f & SOFTDIRTY_WRITTEN ? 'w' : '?';
	}
	sdi_ranges_fini(&r);
	return drawn;
}

static const char *take(const char *p)
{
	return answer(p, true);
}

static const char *peek(const char *p)
{
	return answer(p, false);
}

static void a_changed_page_is_reported_once(void)
{
	char *p = map();

	T_STREQ(take(p), "nnnnnnnn");
	T_STREQ(take(p), "--------");
	p[0] = p[3 * page + 77] = 1;
	T_STREQ(peek(p), "w--w----");
	T_STREQ(peek(p), "w--w----");
	T_STREQ(take(p), "w--w----");
	T_STREQ(take(p), "--------");
	p[0] = 1;
	T_STREQ(take(p), "--------");
	munmap(p, N * page);
}

static void zeros_are_what_anonymous_memory_is_born_as(void)
{
	char *p = map();

	take(p);
	(void)*(volatile char *)p;
	p[page] = 0;
	T_STREQ(take(p), "--------");
	memset(p, 1, 2 * page);
	T_STREQ(take(p), "ww------");
	memset(p, 0, page);
	T_STREQ(take(p), "w-------");
	munmap(p, N * page);
}

static void dropped_content_counts_as_written(void)
{
	char *p = map();

	memset(p, 1, N * page);
	take(p);
	madvise(p + page, page, MADV_DONTNEED);
	madvise(p + 2 * page, page, MADV_DONTNEED);
	(void)*(volatile char *)(p + 2 * page);
	T_STREQ(take(p), "-ww-----");
	T_STREQ(take(p), "--------");
	memset(p + page, 1, page);
	T_STREQ(take(p), "-w------");
	munmap(p, N * page);
}

static void another_thing_at_the_address_is_new(void)
{
	char *p = map();
	int fd = memfd_create("thing", MFD_CLOEXEC);

	T_MUST(fd >= 0 && !ftruncate(fd, N * page));
	memset(p, 1, N * page);
	take(p);
	map_at(p + 2 * page, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	munmap(p + 6 * page, page);
	T_STREQ(take(p), "--nn----");
	map_at(p + 6 * page, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	p[7 * page] = 2;
	T_STREQ(take(p), "--uu--nw");
	munmap(p, N * page);
	close(fd);
}

static void private_file_pages_count_when_they_become_own(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	T_MUST(fd >= 0 && !ftruncate(fd, N * page));
	char *shared = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memset(shared, 5, N * page);
	char *p = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	take(p);
	take(shared);
	(void)*(volatile char *)p;
	p[page] = 6;
	memset(p + 2 * page, 0, page);	/* zeros are not what a file page is born as */
	memset(p + 3 * page, 5, page);
	T_STREQ(take(p), "-www----");
	T_STREQ(take(p), "--------");
	madvise(p + page, page, MADV_DONTNEED);
	(void)*(volatile char *)(p + page);
	T_STREQ(take(p), "-w------");
	T_STREQ(take(shared), "--------");
	shared[7 * page] = 1;
	T_STREQ(take(shared), "-------w");
	munmap(p, N * page);
	munmap(shared, N * page);
	close(fd);
}

static void a_shared_page_that_appears_may_have_been_written(void)
{
	char *p = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	take(p);
	p[page] = 1;
	(void)*(volatile char *)(p + 2 * page);
	T_STREQ(take(p), "uwwuuuuu");
	T_STREQ(take(p), "u--uuuuu");
	munmap(p, N * page);
}

static void shared_memory_without_a_page_is_untracked(void)
{
	char *p = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	take(p);
	p[page] = 1;
	madvise(p + page, page, MADV_DONTNEED);
	T_STREQ(take(p), "uuuuuuuu");
	munmap(p, N * page);
}

static void pages_without_access_are_read_all_the_same(void)
{
	char *p = map();

	memset(p, 1, N * page);
	take(p);
	p[page] = 2;
	mprotect(p, 4 * page, PROT_NONE);
	if (!strcmp(peek(p), "uuuu----"))
		T_SKIP("this kernel lets nobody read PROT_NONE pages");
	T_STREQ(take(p), "-w------");
	T_STREQ(take(p), "--------");
	munmap(p, N * page);
}

static void what_nobody_may_read_is_untracked(void)
{
	int fd = syscall(447 /* memfd_secret */, 0);

	if (fd < 0)
		T_SKIP("memfd_secret: %s", strerror(errno));
	T_MUST(!ftruncate(fd, N * page));
	char *p = map_at(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	take(p);
	p[page] = 1;
	T_STREQ(take(p), "uuuuuuuu");
	T_STREQ(take(p), "uuuuuuuu");
	munmap(p, N * page);
	close(fd);
}

/* Guard pages (Linux 6.13) read as swapped, and have no content. */
static void guard_pages_are_nothing(void)
{
	char *p = map();

	take(p);
	p[0] = 1;
	if (madvise(p + page, page, 102 /* MADV_GUARD_INSTALL */)) {
		munmap(p, N * page);
		T_SKIP("no guard pages: %s", strerror(errno));
	}
	T_STREQ(take(p), "w-------");
	munmap(p, N * page);
}

static uint64_t seed = 0x243f6a8885a308d3;

static unsigned rnd(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % below;
}

/* Pages scattered over 1 GiB come and go; the table must follow, block by block. */
static void a_random_writer_is_followed_exactly(void)
{
	enum { PAGES = 300, SPREAD = 850 };
	const int n_rounds = t_is_slow() ? 15 : 60;
	static unsigned now[PAGES], then[PAGES];
	char *base = map_at(NULL, PAGES * SPREAD, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	struct sdi_ranges r = { 0 };
	uint64_t start = (uintptr_t)base, end = start + PAGES * SPREAD * page;

	madvise(base, PAGES * SPREAD * page, MADV_NOHUGEPAGE);
	T_EQ(sdi_tracker_read(tr, "", true, start, end, &r), 0);
	for (int round = 0; round < n_rounds; round++) {
		for (unsigned n = rnd(2 * PAGES); n > 0; n--) {
			int i = rnd(PAGES);
			char *p = base + i * SPREAD * page;
			if (rnd(3)) {
				now[i] = rnd(4);
				memcpy(p + 8, &now[i], sizeof(now[i]));
			} else {
				now[i] = 0;
				madvise(p, page, MADV_DONTNEED);
			}
		}
		T_EQ(sdi_tracker_read(tr, "", round % 3, start, end, &r), 0);
		int wrong = 0;
		for (int i = 0; i < PAGES; i++) {
			uint64_t at = start + i * SPREAD * page;
			size_t k = sdi_ranges_find(&r, at);
			bool in = k < r.n && r.r[k].start == at && r.r[k].end == at + page;
			wrong += in != (now[i] != then[i]);
		}
		T_EQ(wrong, 0);
		if (round % 3)
			memcpy(then, now, sizeof(then));
	}
	munmap(base, PAGES * SPREAD * page);
	T_EQ(sdi_tracker_clear(tr, ""), 0);
	sdi_ranges_fini(&r);
}

static void the_table_has_8_bytes_for_each_page(void)
{
	enum { PAGES = 64 * 1024 };
	char *p = map_at(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!mallinfo2().uordblks)
		T_SKIP("this malloc() does not count");
	for (int i = 0; i < PAGES; i++)
		p[i * page] = 1;
	T_EQ(sdi_tracker_clear(tr, ""), 0);
	size_t before = mallinfo2().uordblks;
	munmap(p, PAGES * page);
	T_EQ(sdi_tracker_clear(tr, ""), 0);
	size_t freed = before - mallinfo2().uordblks;
	T_OK(freed >= PAGES * 8 && freed < PAGES * 9);
}

int main(void)
{
	page = sysconf(_SC_PAGESIZE);
	T_MUST(!sdi_tracker_open(0, "hash", -1, &tr));
	T_MUST(!sdi_tracker_clear(tr, ""));
	T_RUN(a_changed_page_is_reported_once);
	T_RUN(zeros_are_what_anonymous_memory_is_born_as);
	T_RUN(dropped_content_counts_as_written);
	T_RUN(another_thing_at_the_address_is_new);
	T_RUN(private_file_pages_count_when_they_become_own);
	T_RUN(a_shared_page_that_appears_may_have_been_written);
	T_RUN(shared_memory_without_a_page_is_untracked);
	T_RUN(pages_without_access_are_read_all_the_same);
	T_RUN(what_nobody_may_read_is_untracked);
	T_RUN(guard_pages_are_nothing);
	T_RUN(a_random_writer_is_followed_exactly);
	T_RUN(the_table_has_8_bytes_for_each_page);
	sdi_tracker_close(tr);
	return t_done();
}
