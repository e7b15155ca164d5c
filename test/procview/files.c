/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty mount DIR: what the files say and do. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softdirty.h"
#include "view.h"

#define EVERY ((1 << N_PAGES) - 1)

static struct server server;

/* The first three digits of the entries of the first two pages. */
static void shell(const struct target *t, const char *before, char text[static 32])
{
	char command[512];
	FILE *f;

	snprintf(command, sizeof(command), "cd %s/%d && %s "
		 "dd if=pagemap bs=8 skip=%llu count=2 status=none | od -v -A n -t x8 -w8 | "
		 "cut -c 2-4", server.dir, t->pid, before, (uintptr_t)t->mem / PAGE);
	memset(text, 0, 32);
	f = popen(command, "r");
	T_MUST(f && fread(text, 1, 31, f));
	pclose(f);
}

static void the_documented_recipe_works_in_a_shell(void)
{
	struct target t;
	char text[32];

	if (!have_shell())
		T_SKIP("no shell here");
	t = target_start();
	shell(&t, "echo 4 > clear_refs &&", text);
	T_STREQ(text, "810\n810\n");	/* present, mapped once, not dirty */
	target_write(&t, 1);
	shell(&t, "", text);
	T_STREQ(text, "810\n818\n");
	target_end(&t);
}

static void pages_written_since_the_clear_are_dirty(void)
{
	struct target t = target_start();

	T_EQ(dirty_pages(&server, &t), EVERY);
	T_EQ(clear_refs(&server, t.pid, "4\n"), 0);
	T_EQ(dirty_pages(&server, &t), 0);
	target_write(&t, 3);
	target_write(&t, 9);
	T_EQ(dirty_pages(&server, &t), 1 << 3 | 1 << 9);
	T_EQ(dirty_pages(&server, &t), 1 << 3 | 1 << 9);
	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	T_EQ(dirty_pages(&server, &t), 0);
	target_end(&t);
}

static void other_commands_are_the_kernels(void)
{
	struct target t = target_start();

	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	target_write(&t, 2);
	T_EQ(clear_refs(&server, t.pid, "1"), 0);
	T_EQ(clear_refs(&server, t.pid, "5"), 0);
	T_EQ(dirty_pages(&server, &t), 1 << 2);
	T_EQ(clear_refs(&server, t.pid, "0"), -EINVAL);
	T_EQ(clear_refs(&server, t.pid, "9"), -EINVAL);
	T_EQ(clear_refs(&server, t.pid, "four"), -EINVAL);
	T_EQ(clear_refs(&server, t.pid, "4x"), -EINVAL);
	T_EQ(dirty_pages(&server, &t), 1 << 2);
	target_end(&t);
}

/* All that is not soft-dirty is as the kernel has it, at every offset and of every length. */
static void reads_agree_with_proc(void)
{
	static const off_t offsets[] = { 0, 8, 4, 0x3ffffbfff0, 0x7ffffffff8, 1ll << 52 };
	static uint64_t ours[1 << 16], real[1 << 16];
	const uint64_t all_but = ~(PM_ENTRY_SOFT_DIRTY | PM_ENTRY_UFFD_WP);
	struct target t = target_start();
	struct server proc = { .dir = "/proc" };
	int a, b, differ = 0;

	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	a = open(file_of(&server, t.pid, "pagemap"), O_RDONLY | O_CLOEXEC);
	b = open(file_of(&proc, t.pid, "pagemap"), O_RDONLY | O_CLOEXEC);
	T_MUST(a >= 0 && b >= 0);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		T_EQ(pread(a, ours, 64, offsets[i]), pread(b, real, 64, offsets[i]));
		T_EQ(pread(a, ours, 63, offsets[i]), -1);
		T_EQ(errno, EINVAL);
	}
	off_t at = (uintptr_t)t.mem / PAGE * 8 - sizeof(ours) / 2;
	T_EQ(pread(a, ours, sizeof(ours), at), pread(b, real, sizeof(real), at));
	for (size_t i = 0; i < sizeof(ours) / 8; i++)
		differ += (ours[i] & all_but) != (real[i] & all_but);
	T_EQ(differ, 0);
	T_EQ(write(a, ours, 8), -1);
	T_EQ(errno, EBADF);
	close(a);
	close(b);
	target_end(&t);
}

/* Out of the process, over the memory of which no byte changes hands but through the kernel. */
static void a_scan_is_answered_into_the_callers_memory(void)
{
	struct target t = target_start();
	struct page_region vec[4];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)t.mem, .vec = (uintptr_t)vec, .vec_len = 4,
		.end = (uintptr_t)t.mem + N_PAGES * PAGE, .category_mask = PAGE_IS_SOFT_DIRTY,
		.return_mask = PAGE_IS_SOFT_DIRTY | PAGE_IS_PRESENT,
	};
	int n, fd;

	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	target_write(&t, 5);
	target_write(&t, 6);
	target_write(&t, 11);
	fd = open(file_of(&server, t.pid, "pagemap"), O_RDONLY | O_CLOEXEC);
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (n < 0 && errno == ENOTTY)
		T_SKIP("this kernel has no PAGEMAP_SCAN");
	T_EQ(n, 2);
	T_EQ(arg.walk_end, arg.end);
	T_EQ((vec[0].start - arg.start) / PAGE, 5);
	T_EQ((vec[0].end - arg.start) / PAGE, 7);
	T_EQ((vec[1].start - arg.start) / PAGE, 11);
	T_EQ(vec[1].categories, PAGE_IS_SOFT_DIRTY | PAGE_IS_PRESENT);
	arg.vec_len = 1;
	T_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 1);
	T_EQ((arg.walk_end - arg.start) / PAGE, 11);
	arg.vec = PAGE;
	T_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), -1);
	T_EQ(errno, EFAULT);
	arg.size = 1;
	T_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), -1);
	T_EQ(errno, EINVAL);
	close(fd);
	target_end(&t);
}

enum { TOO_SLOW = 2, SLOW_TRIES = 5 };	/* a timeout strikes each time, a busy machine not */

static void clear_self(struct target *t)
{
	uint64_t before = t_now();

	t->pid = getpid();
	memset(t->mem, 1, N_PAGES * PAGE);
	if (clear_refs(&server, t->pid, "4"))
		_exit(1);
	if (t_now() - before > 900000000)
		_exit(TOO_SLOW);
	if (dirty_pages(&server, t))
		_exit(3);
	t->mem[2 * PAGE]++;
	_exit(dirty_pages(&server, t) == 1 << 2 ? 0 : 4);
}

/* The thread that asks cannot be stopped while it waits for the answer. */
static void a_process_clears_itself(void)
{
	struct target t = target_start();
	int status = 0;

	target_end(&t);
	t.mem = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	T_MUST(t.mem != MAP_FAILED);
	for (int i = 0; i < SLOW_TRIES && (!i || WEXITSTATUS(status) == TOO_SLOW); i++) {
		pid_t child = t_fork();

		if (!child)
			clear_self(&t);
		T_MUST(waitpid(child, &status, 0) == child);
	}
	T_EQ(status, 0);
	munmap(t.mem, N_PAGES * PAGE);
}

/* A new program has other memory, which nobody attached. */
static void a_process_clears_itself_again_after_exec(void)
{
	char command[512];

	if (!have_shell())
		T_SKIP("no shell here");
	snprintf(command, sizeof(command),
		 "echo 4 > %s/$$/clear_refs && exec sh -c 'echo 4 > %s/$$/clear_refs && "
		 "echo 4 > %s/self/clear_refs'", server.dir, server.dir, server.dir);
	bool slow = true;
	for (int i = 0; i < SLOW_TRIES && slow; i++) {
		uint64_t before = t_now();

		T_EQ(system(command), 0);
		slow = t_now() - before > 3000000000;
	}
	T_OK(!slow);
}

static void self_is_who_looks(void)
{
	char path[128], text[16] = "", number[16];

	snprintf(path, sizeof(path), "%s/self", server.dir);
	T_OK(readlink(path, text, sizeof(text) - 1) > 0);
	snprintf(number, sizeof(number), "%d", getpid());
	T_STREQ(text, number);
}

static void files_look_as_in_proc(void)
{
	struct server proc = { .dir = "/proc" };
	struct stat a, b;

	for (int i = 0; i < 2; i++) {
		const char *name = i ? "pagemap" : "clear_refs";

		T_EQ(stat(file_of(&server, getpid(), name), &a), 0);
		T_EQ(stat(file_of(&proc, getpid(), name), &b), 0);
		T_EQ(a.st_mode, b.st_mode);
		T_EQ(a.st_uid, b.st_uid);
		T_EQ(a.st_size, 0);
	}
	T_EQ(chmod(file_of(&server, getpid(), "clear_refs"), 0666), -1);
	T_EQ(errno, EPERM);
	T_EQ(unlink(file_of(&server, getpid(), "clear_refs")), -1);
	T_EQ(open(file_of(&server, getpid(), "maps"), O_RDONLY), -1);
	T_EQ(errno, ENOENT);
}

static void what_has_ended_is_gone(void)
{
	struct target t = target_start();
	int p = open(file_of(&server, t.pid, "pagemap"), O_RDONLY | O_CLOEXEC);
	int c = open(file_of(&server, t.pid, "clear_refs"), O_WRONLY | O_CLOEXEC);
	uint64_t entry;

	T_MUST(p >= 0 && c >= 0);
	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	target_end(&t);
	T_EQ(pread(p, &entry, 8, 0), 0);
	T_EQ(write(c, "4", 1), -1);
	T_EQ(errno, ESRCH);
	T_EQ(open(file_of(&server, t.pid, "pagemap"), O_RDONLY), -1);
	T_EQ(errno, ENOENT);
	close(p);
	close(c);
}

/* A handle through a keeper, as the other commands have. */
static struct softdirty *kept(pid_t pid)
{
	struct softdirty_options o = { .size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED,
				       .keeper = softdirty };
	struct softdirty *sd;

	T_MUST(softdirty_open(pid, &o, &sd) == 0);
	return sd;
}

/* Where only the kernel's own bit works, the files are the kernel's. */
static bool is_native(void)
{
	const struct softdirty_backend *b;
	size_t n;

	T_MUST(!softdirty_check(0, &b, &n) && n > 1 && !strcmp(b[1].name, "soft-dirty"));
	return !b[0].works && b[1].works;
}

/* softdirty stop takes the tracking away: nothing is known then, and reading does not attach. */
static void a_stopped_process_is_dirty_and_left_alone(void)
{
	struct target t;
	struct softdirty *sd;

	if (is_native())
		T_SKIP("the kernel's bit is always there");
	t = target_start();
	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	T_EQ(dirty_pages(&server, &t), 0);
	sd = kept(t.pid);
	T_EQ(softdirty_stop(sd), 0);
	softdirty_close(sd);
	T_EQ(dirty_pages(&server, &t), EVERY);
	T_EQ(dirty_pages(&server, &t), EVERY);
	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	T_EQ(dirty_pages(&server, &t), 0);
	target_write(&t, 0);
	T_EQ(dirty_pages(&server, &t), 1);
	target_end(&t);
}

static void other_marks_lose_nothing(void)
{
	const struct softdirty_range *r;
	struct softdirty *sd;
	struct target t;
	size_t n = 0;

	if (is_native())
		T_SKIP("the kernel's bit has one user");
	t = target_start();
	sd = kept(t.pid);
	T_EQ(softdirty_clear(sd, NULL), 0);
	target_write(&t, 4);
	T_EQ(clear_refs(&server, t.pid, "4"), 0);
	T_EQ(softdirty_read(sd, NULL, 0, (uintptr_t)t.mem, (uintptr_t)t.mem + N_PAGES * PAGE, &r,
			    &n), 0);
	if (T_EQ(n, 1)) {
		T_EQ(r->start, (uintptr_t)t.mem + 4 * PAGE);
		T_EQ(r->end, (uintptr_t)t.mem + 5 * PAGE);
		T_EQ(r->flags & SOFTDIRTY_WHY, SOFTDIRTY_WRITTEN);
	}
	T_EQ(dirty_pages(&server, &t), 0);
	softdirty_close(sd);
	target_end(&t);
}

/* --- many at once --------------------------------------------------------------------------- */

static struct target busy;
static atomic_bool done;

static void *look_around(void *arg)
{
	while (!done) {
		dirty_pages(&server, &busy);
		clear_refs(&server, busy.pid, "1");
	}
	return NULL;
}

/* One clears and checks, others keep the server busy with the same process. */
static void many_callers_lose_no_write(void)
{
	pthread_t thread[12];
	int lost = 0;

	busy = target_start();
	done = false;
	for (int i = 0; i < 12; i++)
		T_MUST(!pthread_create(&thread[i], NULL, look_around, NULL));
	for (int i = 0; i < (t_is_slow() ? 10 : 100); i++) {
		T_EQ(clear_refs(&server, busy.pid, "4"), 0);
		target_write(&busy, i % N_PAGES);
		lost += dirty_pages(&server, &busy) != 1 << i % N_PAGES;
	}
	done = true;
	for (int i = 0; i < 12; i++)
		pthread_join(thread[i], NULL);
	T_EQ(lost, 0);
	target_end(&busy);
}

int main(int argc, char **argv)
{
	view_setup(argc, argv);
	server = serve(NULL, NULL);
	if (!server.pid)
		t_skip_all("cannot mount: %s", server.line);
	T_RUN(the_documented_recipe_works_in_a_shell);
	T_RUN(pages_written_since_the_clear_are_dirty);
	T_RUN(other_commands_are_the_kernels);
	T_RUN(reads_agree_with_proc);
	T_RUN(a_scan_is_answered_into_the_callers_memory);
	T_RUN(a_process_clears_itself);
	T_RUN(a_process_clears_itself_again_after_exec);
	T_RUN(self_is_who_looks);
	T_RUN(files_look_as_in_proc);
	T_RUN(what_has_ended_is_gone);
	T_RUN(a_stopped_process_is_dirty_and_left_alone);
	T_RUN(other_marks_lose_nothing);
	T_RUN(many_callers_lose_no_write);
	server_done(&server);
	return t_done();
}
