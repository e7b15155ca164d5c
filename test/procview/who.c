/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty mount by root for everybody: who sees, reads and clears what. The kernel's /proc is the
 * judge: whatever it allows or denies, the mounted files must, too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "view.h"

#define CAP(name) (1ull << CAP_##name)

static struct server server, proc = { .dir = "/proc" };

static struct target roots, nobodys, hidden;	/* hidden: nobody's, but not dumpable */

/* --- one by one ----------------------------------------------------------------------------- */

static bool is_listed(pid_t pid)
{
	DIR *d = opendir(server.dir);
	struct dirent *e;
	bool found = false;

	while (d && (e = readdir(d)))
		found |= atoi(e->d_name) == pid;
	if (d)
		closedir(d);
	return found;
}

static int list_as_nobody(void *arg)
{
	return is_listed(nobodys.pid) | is_listed(roots.pid) << 1 | is_listed(hidden.pid) << 2;
}

static void nobody_sees_only_processes_of_its_own(void)
{
	T_EQ(as(NOBODY, 0, list_as_nobody, NULL), 1);
	T_EQ(list_as_nobody(NULL), 7);
}

static int stat_as_nobody(void *arg)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/%d", server.dir, roots.pid);
	if (!stat(path, &st) || errno != ENOENT)
		return 1;
	return stat(file_of(&server, roots.pid, "pagemap"), &st) && errno == ENOENT ? 0 : 2;
}

static void what_nobody_cannot_see_is_not_there(void)
{
	T_EQ(as(NOBODY, 0, stat_as_nobody, NULL), 0);
}

static int clear_own(void *arg)
{
	if (clear_refs(&server, nobodys.pid, "4"))
		return 1;
	if (dirty_pages(&server, &nobodys))
		return 2;
	target_write(&nobodys, 7);
	return dirty_pages(&server, &nobodys) == 1 << 7 ? 0 : 3;
}

static void nobody_clears_a_process_of_its_own(void)
{
	T_EQ(as(NOBODY, 0, clear_own, NULL), 0);
}

static int try_clear(void *arg)
{
	if (dirty_pages(&server, &roots) < 0)
		return 1;
	return clear_refs(&server, roots.pid, "4") == -EACCES ? 0 : 2;
}

static void readers_cannot_clear(void)
{
	T_EQ(as(NOBODY, CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH), try_clear, NULL), 0);
	T_EQ(as(0, CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH), try_clear, NULL), 2);	/* owner */
}

static int frame_number(void *arg)
{
	uint64_t entry = 0;
	int fd = open(file_of(&server, nobodys.pid, "pagemap"), O_RDONLY);

	if (pread(fd, &entry, 8, (uintptr_t)nobodys.mem / PAGE * 8) != 8)
		return 2;
	return !!(entry & ((1ull << 55) - 1));
}

static void page_frame_numbers_are_for_administrators(void)
{
	T_EQ(as(NOBODY, 0, frame_number, NULL), 0);
	T_EQ(frame_number(NULL), 1);
}

static int scan_as_nobody(void *arg)
{
	struct page_region vec[4];
	struct pm_scan_arg a = {
		.size = sizeof(a), .start = (uintptr_t)nobodys.mem, .vec = (uintptr_t)vec,
		.end = (uintptr_t)nobodys.mem + N_PAGES * PAGE, .vec_len = 4,
		.category_mask = PAGE_IS_PRESENT, .return_mask = PAGE_IS_PRESENT,
	};
	int fd = open(file_of(&server, nobodys.pid, "pagemap"), O_RDONLY);

	if (ioctl(fd, PAGEMAP_SCAN, &a) != 1)
		return errno == ENOTTY ? 77 : 1;
	return vec[0].start == a.start && vec[0].end == a.end ? 0 : 2;
}

static void a_scan_works_for_nobody(void)
{
	int ret = as(NOBODY, 0, scan_as_nobody, NULL);

	if (ret == 77)
		T_SKIP("this kernel has no PAGEMAP_SCAN");
	T_EQ(ret, 0);
}

/* All capabilities, but none that counts outside. */
static int from_user_namespace(void *arg)
{
	if (unshare(CLONE_NEWUSER))
		return 77;
	return is_listed(roots.pid) || dirty_pages(&server, &roots) != -ENOENT;
}

static void capabilities_of_a_user_namespace_do_not_count(void)
{
	int ret = as(NOBODY, 0, from_user_namespace, NULL);

	if (ret == 77)
		T_SKIP("users may not make user namespaces");
	T_EQ(ret, 0);
}

/* --- all against all ------------------------------------------------------------------------ */

static int try_open(const struct server *s, const struct target *t, const char *name, int flags)
{
	int fd = open(file_of(s, t->pid, name), flags | O_CLOEXEC), err = fd < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static const struct {
	const char *name;
	int flags;
} ways[] = {
	{ "pagemap", O_RDONLY }, { "pagemap", O_WRONLY }, { "pagemap", O_RDWR },
	{ "clear_refs", O_RDONLY }, { "clear_refs", O_WRONLY }, { "clear_refs", O_RDWR },
};

/* Who may not read pagemap does not see the process; all else must be the kernel's error. */
static int compare(void *arg)
{
	struct target *const targets[] = { &roots, &nobodys, &hidden };
	int differ = 0;

	for (size_t i = 0; i < 3; i++) {
		int hide = try_open(&proc, targets[i], "pagemap", O_RDONLY) ? ENOENT : 0;

		for (size_t j = 0; j < sizeof(ways) / sizeof(*ways); j++) {
			int want = try_open(&proc, targets[i], ways[j].name, ways[j].flags);
			int got = try_open(&server, targets[i], ways[j].name, ways[j].flags);

			differ += got != (hide ? hide : want);
		}
	}
	return differ;
}

static void everybody_may_what_the_kernel_allows(void)
{
	static const uint64_t caps[] = {
		0, CAP(SYS_PTRACE), CAP(DAC_OVERRIDE), CAP(DAC_READ_SEARCH), CAP(SYS_ADMIN),
		CAP(SYS_PTRACE) | CAP(DAC_OVERRIDE), CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH),
	};
	static const uid_t uids[] = { 0, NOBODY, 12345 };

	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < sizeof(caps) / sizeof(*caps); j++)
			T_EQ(as(uids[i], caps[j], compare, NULL), 0);
	T_EQ(compare(NULL), 0);
}

/* --- doors that stay shut ------------------------------------------------------------------- */

static int enter(void *dir)
{
	return open(dir, O_RDONLY | O_DIRECTORY) < 0 ? errno : 0;
}

static void others_stay_out_unless_allowed(void)
{
	struct server s = serve(NULL, NULL);

	T_EQ(enter(s.dir), 0);
	T_EQ(as(NOBODY, 0, enter, s.dir), EACCES);
	server_done(&s);
}

static int let_others_in(void *option)
{
	struct server s = serve(server.dir, option);

	return s.pid || !strstr(s.line, "is for root");
}

static void only_root_lets_others_in(void)
{
	T_EQ(as(NOBODY, 0, let_others_in, "--allow-other"), 0);
}

int main(int argc, char **argv)
{
	view_setup(argc, argv);
	if (geteuid() != 0)
		t_skip_all("only root can serve others");
	server = serve(NULL, "--allow-other");
	if (!server.pid)
		t_skip_all("cannot mount: %s", server.line);
	T_MUST(!chmod(server.dir, 0755) || errno == EPERM);
	roots = target_start();
	nobodys = target_start();
	hidden = target_start();
	target_tell(&nobodys, T_NOBODY);
	target_tell(&hidden, T_NOBODY);
	target_tell(&hidden, T_UNDUMPABLE);
	T_RUN(nobody_sees_only_processes_of_its_own);
	T_RUN(what_nobody_cannot_see_is_not_there);
	T_RUN(nobody_clears_a_process_of_its_own);
	T_RUN(readers_cannot_clear);
	T_RUN(page_frame_numbers_are_for_administrators);
	T_RUN(a_scan_works_for_nobody);
	T_RUN(capabilities_of_a_user_namespace_do_not_count);
	T_RUN(everybody_may_what_the_kernel_allows);
	T_RUN(others_stay_out_unless_allowed);
	T_RUN(only_root_lets_others_in);
	target_end(&roots);
	target_end(&nobodys);
	target_end(&hidden);
	server_done(&server);
	return t_done();
}
