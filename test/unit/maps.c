/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser of /proc/PID/maps, and our own maps read through it while they change. */
#include "target/maps.h"
#include "target/procmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "softdirty.h"
#include "t.h"

static struct sdi_maps_line parsed(const char *line)
{
	struct sdi_maps_line l = { 0 };

	T_OK(sdi_maps_parse_line(line, &l));
	return l;
}

static void an_ordinary_line_is_understood(void)
{
	struct sdi_maps_line l = parsed("55d0c0a00000-55d0c0a02000 r-xp 00001000 fe:01 1234      "
					"                /usr/bin/cat");

	T_EQ(l.vma.start, 0x55d0c0a00000);
	T_EQ(l.vma.end, 0x55d0c0a02000);
	T_EQ(l.vma.flags, SDI_VMA_READ | SDI_VMA_EXEC | SDI_VMA_FILE);
	T_EQ(l.offset, 0x1000);
	T_EQ(l.inode, 1234);
	T_STREQ(l.name, "/usr/bin/cat");
	T_OK(l.vma.ident != 0);
}

static void a_line_without_a_name_is_understood(void)
{
	struct sdi_maps_line l = parsed("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ");

	T_EQ(l.vma.flags, SDI_VMA_READ | SDI_VMA_WRITE);
	T_EQ(l.vma.ident, 0);
	T_STREQ(l.name, "");
	T_STREQ(parsed("1000-2000 ---p 00000000 00:00 0").name, "");
}

static void odd_names_are_only_names(void)
{
	T_STREQ(parsed("1000-2000 rw-s 0 00:01 7 /memfd:a b\\012rwxp (deleted)").name,
		"/memfd:a b\\012rwxp (deleted)");
	T_STREQ(parsed("1000-2000 rw-p 0 00:01 7 /[vvar]").name, "/[vvar]");
	T_EQ(parsed("1000-2000 rw-p 0 00:01 7 [vvar]").vma.flags & SDI_VMA_KERNEL, 0);
	T_EQ(parsed("1000-2000 rw-p 0 00:00 0 [heap]").vma.flags & ~3u, 0);
	T_EQ(parsed("1000-2000 rw-p 0 00:00 0 [anon:[vvar]]").vma.flags & ~3u, 0);
}

static void mappings_of_the_kernel_are_told_apart(void)
{
	T_OK(parsed("1000-2000 r--p 0 00:00 0 [vvar]").vma.flags & SDI_VMA_KERNEL);
	T_OK(parsed("1000-2000 r--p 0 00:00 0 [vvar_vclock]").vma.flags & SDI_VMA_KERNEL);
	T_OK(parsed("ffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]").vma.flags &
	     SDI_VMA_KERNEL);
	T_OK(parsed("1000-2000 r-xp 0 00:00 0 [vdso]").vma.flags & SDI_VMA_VDSO);
	T_OK(parsed("1000-2000 rw-s 0 00:0e 9 /[aio] (deleted)").vma.flags & SDI_VMA_AIO);
	T_OK(parsed("1000-2000 rw-s 0 00:0e 9 anon_inode:[io_uring]").vma.flags & SDI_VMA_URING);
}

static void identity_is_device_inode_and_sharing(void)
{
	uint64_t a = parsed("1000-2000 rw-p 0 fe:01 5 /a").vma.ident;

	T_OK(a == parsed("9000-a000 r--p 3000 fe:01 5 /renamed").vma.ident);
	T_OK(a != parsed("1000-2000 rw-s 0 fe:01 5 /a").vma.ident);
	T_OK(a != parsed("1000-2000 rw-p 0 fe:02 5 /a").vma.ident);
	T_OK(a != parsed("1000-2000 rw-p 0 fe:01 6 /a").vma.ident);
}

static void base_is_where_the_file_would_begin(void)
{
	T_EQ(parsed("9000-a000 r--p 3000 fe:01 5 /a").vma.base, 0x6000);
	T_EQ(parsed("a000-b000 rw-p 4000 fe:01 5 /a").vma.base, 0x6000);
	T_EQ(parsed("a000-b000 rw-p 0 00:00 0").vma.base, 0);
}

static void what_is_not_a_maps_line_is_refused(void)
{
	static const char *const bad[] = {
		"", "x", "1000", "1000-", "1000-2000", "1000-2000 rw-p", "1000-2000 rw-p 0 00:00",
		"1000-2000 rw-p 0 00:00 ", "1000-2000 rw-p 0 00:00 x", "2000-1000 rw-p 0 00:00 0 ",
		"1000-1000 rw-p 0 00:00 0 ", "-2000 rw-p 0 00:00 0 ", "1000-2000 rw-x 0 00:00 0 ",
		"1000-2000 rwp 0 00:00 0 ", "1000-10000000000000000 rw-p 0 00:00 0 ",
		"1000-2000 rw-p 0 0000 0 ", " 1000-2000 rw-p 0 00:00 0 ", "1000-2000  rw-p 0 00:00 0",
		"1000-2000 rw-p 0 00:00 18446744073709551616 /x", "Size:                  4 kB",
	};
	struct sdi_maps_line l;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!T_OK(!sdi_maps_parse_line(bad[i], &l)))
			t_note("%s", bad[i]);
	T_EQ(parsed("0-ffffffffffffffff rw-p ffffffffffffffff 00:00 18446744073709551615 ").inode,
	     -1);
}

static void find_gives_the_mapping_or_the_next(void)
{
	struct sdi_vma v[] = { { .start = 0x1000, .end = 0x3000 }, { .start = 0x3000, .end = 0x4000 },
			       { .start = 0x8000, .end = 0x9000 } };
	struct sdi_maps m = { .v = v, .n = 3 };

	T_OK(sdi_maps_find(&m, 0) == &v[0]);
	T_OK(sdi_maps_find(&m, 0x2fff) == &v[0]);
	T_OK(sdi_maps_find(&m, 0x3000) == &v[1]);
	T_OK(sdi_maps_find(&m, 0x4000) == &v[2]);
	T_OK(sdi_maps_find(&m, 0x9000) == NULL);
	T_OK(sdi_maps_find(&(struct sdi_maps){ 0 }, 0) == NULL);
}

static void kind_follows_from_the_mapping(void)
{
	struct sdi_vma anon = { 0 }, file = { .flags = SDI_VMA_FILE };
	struct sdi_vma shared = { .flags = SDI_VMA_SHARED };

	T_EQ(sdi_vma_kind(&anon), 0);
	T_EQ(sdi_vma_kind(&file), SOFTDIRTY_FILE);
	T_EQ(sdi_vma_kind(&shared), SOFTDIRTY_SHARED | SOFTDIRTY_FILE);
}

static bool in_order(const struct sdi_maps *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].start >= m->v[i].end || (i && m->v[i].start < m->v[i - 1].end))
			return false;
	return true;
}

/* More text than any buffer holds, with a name that has a newline in it, read as one list. */
static void a_long_file_is_read_whole(void)
{
	enum { N = 3000 };
	const long page = sysconf(_SC_PAGESIZE);
	struct sdi_target t;
	struct sdi_maps m = { 0 };
	char name[240];

	memset(name, '\n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	int fd = memfd_create(name, MFD_CLOEXEC);
	T_MUST(fd >= 0 && !ftruncate(fd, page));
	char *base = mmap(NULL, N * 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_MUST(base != MAP_FAILED);
	for (int i = 0; i < N; i++)
		T_MUST(mmap(base + i * 2 * page, page, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) !=
		       MAP_FAILED);

	T_MUST(!sdi_target_open(0, &t));
	T_EQ(sdi_maps_read(&t, &m), 0);
	T_OK(in_order(&m));
	int found = 0;
	for (int i = 0; i < N; i++) {
		uint64_t at = (uintptr_t)base + i * 2 * page;
		const struct sdi_vma *v = sdi_maps_find(&m, at);
		found += v && v->start == at && v->end == at + page &&
			 v->flags == (SDI_VMA_READ | SDI_VMA_SHARED | SDI_VMA_FILE |
				      SDI_VMA_SHMEM);
	}
	T_EQ(found, N);
	sdi_maps_fini(&m);
	sdi_target_close(&t);
	munmap(base, N * 2 * page);
	close(fd);
}

/* Flags of a shared mapping of a new file in that directory; 0: no file there. */
static uint32_t flags_in(const char *dir)
{
	const long page = sysconf(_SC_PAGESIZE);
	struct sdi_target t;
	struct sdi_maps m = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "%s/softdirty-maps-XXXXXX", dir);
	int fd = mkstemp(path);
	if (fd < 0)
		return 0;
	unlink(path);
	T_MUST(!ftruncate(fd, page));
	char *at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	T_MUST(at != MAP_FAILED && !sdi_target_open(0, &t) && !sdi_maps_read(&t, &m));
	const struct sdi_vma *v = sdi_maps_find(&m, (uintptr_t)at);
	uint32_t flags = v && v->start == (uintptr_t)at ? v->flags : 0;
	sdi_maps_fini(&m);
	sdi_target_close(&t);
	munmap(at, page);
	close(fd);
	return flags;
}

static void a_file_is_memory_where_tmpfs_is_mounted(void)
{
	const uint32_t shared = SDI_VMA_READ | SDI_VMA_WRITE | SDI_VMA_SHARED | SDI_VMA_FILE;
	struct statfs fs;
	const char *disk = "/var/tmp";

	if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC || access("/dev/shm", W_OK))
		T_SKIP("no tmpfs in /dev/shm");
	T_EQ(flags_in("/dev/shm"), shared | SDI_VMA_SHMEM);
	if (statfs(disk, &fs) || fs.f_type == TMPFS_MAGIC || access(disk, W_OK))
		T_SKIP("no disk in /var/tmp");
	T_EQ(flags_in(disk), shared);
}

static int same_as_asked(void *arg, const struct sdi_maps_line *l)
{
	char line[SDI_PROCMAP_LINE];
	struct sdi_maps_line asked;
	int err = sdi_procmap_line(*(int *)arg, l->vma.start, line);

	if (l->vma.flags & SDI_VMA_KERNEL)
		return 0;
	if (err)
		return err;
	T_OK(sdi_maps_parse_line(line, &asked));
	T_OK(asked.vma.start == l->vma.start && asked.vma.end == l->vma.end);
	T_OK(asked.vma.flags == l->vma.flags && asked.vma.ident == l->vma.ident);
	T_OK(asked.vma.base == l->vma.base && asked.offset == l->offset);
	T_STREQ(asked.name, l->name);
	return 0;
}

/* One by one, as gaps are. */
static void asked_for_one_mapping_the_kernel_says_the_same(void)
{
	const long page = sysconf(_SC_PAGESIZE);
	char *ring = mmap(NULL, 3 * page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	char line[SDI_PROCMAP_LINE];
	struct sdi_target t;

	T_MUST(!sdi_target_open(0, &t) && !munmap(ring + page, page));
	int err = sdi_maps_each(&t, same_as_asked, &fd);
	if (err == -ENOTTY)
		t_skip("no PROCMAP_QUERY (Linux 6.11)");
	else
		T_EQ(err, 0);
	T_OK(err || sdi_procmap_line(fd, UINT64_MAX - page, line) == -ENOENT);
	sdi_target_close(&t);
	close(fd);
	munmap(ring, page);
	munmap(ring + 2 * page, page);
}

/* Maps and unmaps pages at random places of a reserved area until it is killed. */
static void churn(char *base, long page)
{
	for (unsigned x = 1;; x = x * 1103515245 + 12345) {
		char *at = base + (x >> 8) % 500 * page;
		int prot = x & 1 << 30 ? PROT_READ : PROT_WRITE;
		mprotect(at, (1 + (x >> 20) % 8) * page, prot);
	}
}

static void maps_that_change_meanwhile_stay_in_order(void)
{
	const long page = sysconf(_SC_PAGESIZE);
	char *base = mmap(NULL, 600 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sdi_target t;
	struct sdi_maps m = { 0 };

	pid_t pid = t_fork();
	if (!pid)
		churn(base, page);
	T_MUST(!sdi_target_open(pid, &t));
	for (int i = 0; i < 300; i++) {
		T_EQ(sdi_maps_read(&t, &m), 0);
		T_OK(in_order(&m));
		/* The area itself was never away: no page of it may be missing. */
		uint64_t at = (uintptr_t)base, end = at + 600 * page;
		for (const struct sdi_vma *v; at < end; at = v->end) {
			v = sdi_maps_find(&m, at);
			if (!T_OK(v && v->start <= at))
				break;
		}
	}
	t_kill(pid);
	T_EQ(sdi_maps_read(&t, &m), -ESRCH);
	sdi_maps_fini(&m);
	sdi_target_close(&t);
	munmap(base, 600 * page);
}

int main(void)
{
	T_RUN(an_ordinary_line_is_understood);
	T_RUN(a_line_without_a_name_is_understood);
	T_RUN(odd_names_are_only_names);
	T_RUN(mappings_of_the_kernel_are_told_apart);
	T_RUN(identity_is_device_inode_and_sharing);
	T_RUN(base_is_where_the_file_would_begin);
	T_RUN(what_is_not_a_maps_line_is_refused);
	T_RUN(find_gives_the_mapping_or_the_next);
	T_RUN(kind_follows_from_the_mapping);
	T_RUN(a_long_file_is_read_whole);
	T_RUN(a_file_is_memory_where_tmpfs_is_mounted);
	T_RUN(asked_for_one_mapping_the_kernel_says_the_same);
	T_RUN(maps_that_change_meanwhile_stay_in_order);
	return t_done();
}
