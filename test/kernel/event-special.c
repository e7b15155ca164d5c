/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mappings that the kernel or the target itself keeps from being tracked. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"
#include "uapi/pagemap_scan.h"
#include "uapi/syscalls.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8		/* Linux 6.11 */
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* Letters of the whole mapping with that name, false if there is none. */
static bool letters_of(struct t_target *tg, const char *name, char *letters, size_t size)
{
	const struct softdirty_mapping *m;
	size_t n;

	T_MUST(softdirty_mappings(tg->sd, &m, &n) == 0);
	for (size_t i = 0; i < n; i++) {
		size_t pages = (m[i].end - m[i].start) / t_page_size();

		if (strcmp(m[i].name, name) || pages >= size)
			continue;
		t_letters(tg->sd, NULL, 0, m[i].start, pages, t_page_size(), letters);
		return true;
	}
	return false;
}

static void vdso_and_vvar_are_not_reported(void)
{
	static const char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]" };
	T_TARGET tg = t_begin(4);
	char got[64];

	for (size_t i = 0; i < 4; i++)
		if (letters_of(&tg, names[i], got, sizeof(got)) &&
		    !T_EQ(strspn(got, "-"), strlen(got)))
			t_note("%s is %s", names[i], got);
}

static long op_secret(long size, long b, long c, long d)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	return fd < 0 || ftruncate(fd, size) ? -errno : fd;
}

static void secret_memory_written(void)
{
	T_TARGET tg = t_start();
	long fd = t_call(&tg, op_secret, 4 * t_page_size());

	if (fd < 0)
		T_SKIP("no memfd_secret on this kernel (%s)", strerror((int)-fd));
	t_slot(&tg, 4 * t_page_size(), t_page_size());
	T_MUST(t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_SHARED, fd) == 0);
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .hash = "uuuu", .sd = "uuuu",
		.why = "nobody else can read secret memory", .reason = SOFTDIRTY_REASON_UNREADABLE);
}

static void droppable_memory_written(void)
{
	T_TARGET tg = t_start();

	t_slot(&tg, 4 * t_page_size(), t_page_size());
	if (t_call(&tg, t_op_mmap, tg.mem, 4 * tg.unit, MAP_ANONYMOUS | MAP_DROPPABLE, -1))
		T_SKIP("no MAP_DROPPABLE (Linux 6.11)");
	t_call(&tg, t_op_touch, tg.mem, 4, tg.unit);
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .wp = "uuuu", .why = "userfaultfd refuses droppable memory",
		.reason = SOFTDIRTY_REASON_SPECIAL);
}

static long op_own_uffd(long start, long size, long features, long d)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | (uint64_t)features,
	};
	struct uffdio_register reg = {
		.range = { (uint64_t)start, (uint64_t)size }, .mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

static long op_own_protection(long fd, long at, long size, long d)
{
	struct uffdio_writeprotect wp = {
		.range = { (uint64_t)at, (uint64_t)size }, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl((int)fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

static bool is_protected(pid_t pid, uintptr_t at)
{
	return t_pagemap_entry(pid, at) & PM_ENTRY_UFFD_WP;
}

/* It would find its memory taken; so another backend watches it. */
static void a_target_that_uses_userfaultfd(void)
{
	T_TARGET tg = t_start();
	struct softdirty_options o = { .size = sizeof(o), .backend = "wp-async" };
	struct softdirty_info info = { .size = sizeof(info) };
	long fd;

	if (t_backend() != T_WP_ASYNC)
		T_SKIP("only a userfaultfd owns mappings");
	t_map_touched(&tg, 4);
	fd = t_call(&tg, op_own_uffd, tg.mem, 4 * tg.unit);
	if (fd < 0)
		T_SKIP("no userfaultfd write protection here (%s)", strerror((int)-fd));
	T_EQ(softdirty_open(tg.pid, &o, &tg.sd), -EOPNOTSUPP);
	T_OK(strstr(softdirty_error(), "it uses userfaultfd itself"));
	T_MUST(!t_open_default(tg.pid, &tg.sd) && !softdirty_info(tg.sd, &info));
	T_OK(strcmp(info.backend, "wp-async"));
	T_EQ(softdirty_clear(tg.sd, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, 0), "-D--");
}

/* Descriptor fd of the target becomes one of the test only. */
static int take_over(struct t_target *tg, long fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, tg->pid, 0);
	int ret = (int)syscall(SYS_pidfd_getfd, pidfd, (int)fd, 0);

	close(pidfd);
	T_EQ(t_call(tg, t_op_close, fd), 0);
	return ret;
}

/* What is protected stays so: whoever has the descriptor waits for these faults. */
static void memory_under_a_userfaultfd_elsewhere(void)
{
	T_TARGET tg = t_start();
	bool protects;
	long fd;
	int ours;

	t_map_touched(&tg, 4);
	fd = t_call(&tg, op_own_uffd, tg.mem, 4 * tg.unit);
	if (fd < 0)
		T_SKIP("no userfaultfd write protection here (%s)", strerror((int)-fd));
	protects = !t_call(&tg, op_own_protection, fd, tg.mem, tg.unit) &&
		   is_protected(tg.pid, tg.mem);	/* shown since Linux 5.14 */
	ours = take_over(&tg, fd);
	if (ours < 0)
		T_SKIP("no descriptor can be taken over here (Linux 5.6)");
	t_watch(&tg);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_EVENT(&tg, .want = "-D--", .wp = "uuuu", .why = "a mapping has room for one userfaultfd",
		.reason = SOFTDIRTY_REASON_UFFD);
	T_EQ(is_protected(tg.pid, tg.mem), protects);
	close(ours);
}

/* Map it anew, take a userfaultfd as ours for it, write it all, protect it. */
static long op_renew(long start, long size, long c, long d)
{
	long fd;

	if (t_op_mmap(start, size, MAP_PRIVATE | MAP_ANONYMOUS, -1))
		return -errno;
	fd = op_own_uffd(start, size, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, 0);
	if (fd < 0)
		return fd;
	t_op_touch(start, size / (long)t_page_size(), (long)t_page_size(), 0);
	return op_own_protection(fd, start, size, 0) ? -errno : fd;
}

/* Its protection tells nothing, and is left alone; when it is gone, all is new. */
static void a_userfaultfd_made_while_it_is_watched(void)
{
	T_TARGET tg = t_begin(4);
	uintptr_t first = tg.mem;
	long fd, other;

	if (t_backend() != T_WP_ASYNC)
		T_SKIP("only a userfaultfd owns mappings");
	fd = t_call(&tg, op_renew, tg.mem, 4 * tg.unit);
	T_MUST(fd >= 0);
	T_STREQ(t_pages(&tg, NULL, 0), "uuuu");
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "uuuu");
	T_EQ(t_reason(&tg, NULL, 1), SOFTDIRTY_REASON_UFFD);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "uuuu");
	T_OK(is_protected(tg.pid, first));
	T_OK(!is_protected(tg.pid, first + tg.unit));

	/* By now it may have what was watched before, too. */
	other = t_call(&tg, op_own_uffd, tg.arena, t_page_size());
	T_OK(other >= 0);
	t_call(&tg, t_op_close, other);
	t_call(&tg, t_op_close, fd);
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "nnnn");
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "----");
	t_call(&tg, t_op_write, t_page(&tg, 2));
	T_STREQ(t_pages(&tg, NULL, SOFTDIRTY_READ_CLEAR), "--D-");
}

/* It inherits the descriptors for the others that are watched, and is none that uses them. */
static void a_fork_of_the_one_who_watches(void)
{
	T_TARGET first = t_begin(4);
	T_TARGET second = t_begin(4);

	t_call(&first, t_op_write, t_page(&first, 1));
	t_call(&second, t_op_write, t_page(&second, 2));
	T_STREQ(t_pages(&first, NULL, 0), "-D--");
	T_STREQ(t_pages(&second, NULL, 0), "--D-");
}

/* Read only to this process for ever: whatever happens to the file, it wrote nothing. */
static void shared_mapping_of_a_read_only_file(void)
{
	T_TARGET tg = t_start();
	const struct softdirty_mapping *m;
	size_t n;
	char got[8];
	void *p;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	/* Mapped by the test: the target inherits it only when it is forked after this. */
	p = mmap(NULL, 2 * t_page_size(), PROT_READ, MAP_SHARED, fd, 0);
	T_MUST(p != MAP_FAILED);
	t_stop(&tg);
	tg = t_begin(4);
	T_EQ(softdirty_mappings(tg.sd, &m, &n), 0);
	T_OK(n > 0);
	t_letters(tg.sd, NULL, 0, (uintptr_t)p, 2, t_page_size(), got);
	T_STREQ(got, "--");
	munmap(p, 2 * t_page_size());
	close(fd);
}

int main(void)
{
	t_need_backend();
	T_RUN(vdso_and_vvar_are_not_reported);
	T_RUN(secret_memory_written);
	T_RUN(droppable_memory_written);
	T_RUN(a_target_that_uses_userfaultfd);
	T_RUN(memory_under_a_userfaultfd_elsewhere);
	T_RUN(a_userfaultfd_made_while_it_is_watched);
	T_RUN(a_fork_of_the_one_who_watches);
	T_RUN(shared_mapping_of_a_read_only_file);
	return t_done();
}
