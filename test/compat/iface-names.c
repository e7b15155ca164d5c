/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors whose name in /proc/self/fd is that of another process, or is not to be had. No claim
 * asks that they work as well as others: only that no page is called clean that was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iface.h"
#include "t.h"

static char *mem;

static bool is_dirty(int pagemap)
{
	uint64_t entry;
	off_t at = (uintptr_t)mem / iface_page() * 8;

	return pread(pagemap, &entry, 8, at) == 8 && entry & SOFT_DIRTY;
}

/* Run does() in a child; its exit status. 77: it could not be tried. */
static int in_child(int (*does)(void))
{
	pid_t pid = t_fork();
	int status;

	if (!pid)
		_exit(does());
	T_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* --- another pid namespace ------------------------------------------------------------------- */

/* fork() whose child is process 1 in namespaces of its own, with a /proc that says so. */
static pid_t fork_first(void)
{
	pid_t pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL))
		_exit(77);
	return 0;
}

/* A process 1 below us has written the page. Open its file by its own /proc, which calls it 1. */
static int open_first(pid_t pid, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/proc/1/%s", pid, name);
	return open(path, flags);
}

static pid_t start_writer(void)
{
	int ready[2];
	char c;

	T_MUST(!pipe(ready));
	pid_t pid = fork_first();
	if (!pid) {
		mem[0] = 3;
		(void)!write(ready[1], "", 1);
		pause();
	}
	close(ready[1]);
	if (pid > 0 && read(ready[0], &c, 1) != 1)
		_exit(77);
	close(ready[0]);
	return pid;
}

/* As process 1, with another process 1 below. */
static int two_are_the_first(void)
{
	mem = iface_map_written(1);
	iface_clear(getpid());
	pid_t pid = start_writer();
	if (pid < 0)
		return 77;
	int pagemap = open_first(pid, "pagemap", O_RDONLY);
	int clear_refs = open_first(pid, "clear_refs", O_WRONLY);
	if (pagemap < 0 || clear_refs < 0)
		return 77;
	if (iface_dirty(mem))
		return 2;
	if (!is_dirty(pagemap))
		return 3;
	mem[0] = 2;
	(void)!write(clear_refs, "4", 1);
	return iface_dirty(mem) ? 0 : 4;
}

static int in_a_namespace(void)
{
	pid_t pid = fork_first();
	int status;

	if (pid < 0)
		return 77;
	if (!pid)
		_exit(two_are_the_first());
	T_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void another_process_of_the_same_number_is_not_taken_for_us(void)
{
	int status = in_child(in_a_namespace);

	if (status == 77)
		T_SKIP("no pid namespaces");
	T_EQ(status, 0);
}

/* --- a number used again --------------------------------------------------------------------- */

static void a_number_used_again_is_another_process(void)
{
	uint64_t entry;

	mem = iface_map_written(1);
	pid_t pid = t_fork();
	if (!pid)
		pause();
	int pagemap = iface_open(pid, "pagemap", O_RDONLY);
	int clear_refs = iface_open(pid, "clear_refs", O_WRONLY);
	t_kill(pid);
	pid_t again = t_fork_as(pid);
	int err = errno;
	T_EQ(write(clear_refs, "4", 1), -1);
	T_EQ(errno, ESRCH);
	T_EQ(pread(pagemap, &entry, 8, (uintptr_t)mem / iface_page() * 8), 0);
	close(clear_refs);
	close(pagemap);
	if (again < 0)
		T_SKIP("a number cannot be chosen: %s", strerror(err));
	T_OK(iface_entry(again, mem) & SOFT_DIRTY);
	t_kill(again);
}

/* --- no /proc to ask ------------------------------------------------------------------------- */

/* A directory that is gone is as good a root as any. */
static bool leave_proc(void)
{
	char dir[] = P_tmpdir "/selftest-XXXXXX";

	if (!mkdtemp(dir))
		return false;
	int fd = open(dir, O_PATH | O_DIRECTORY);
	return !rmdir(dir) && !fchdir(fd) && (geteuid() == 0 || !unshare(CLONE_NEWUSER)) &&
	       !chroot(".");
}

static int without_proc(void)
{
	mem = iface_map_written(1);
	int pagemap = iface_open(getpid(), "pagemap", O_RDONLY);
	int clear_refs = iface_open(getpid(), "clear_refs", O_WRONLY);
	iface_clear(getpid());
	if (is_dirty(pagemap))
		return 2;
	if (!leave_proc())
		return 77;
	mem[0] = 2;
	if (!is_dirty(pagemap))
		return 3;
	(void)!write(clear_refs, "4", 1);
	mem[0] = 3;
	return is_dirty(pagemap) ? 0 : 4;
}

static void written_pages_are_dirty_without_proc(void)
{
	int status = in_child(without_proc);

	if (status == 77)
		T_SKIP("no chroot()");
	T_EQ(status, 0);
}

static int others_without_proc(void)
{
	char first[16], now[16];
	int fd = open("/proc/self/auxv", O_RDONLY), pagemap = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, first, 16, 0) != 16)
		return 77;
	/* The number of a pagemap is that of another file now. */
	if (syscall(SYS_dup3, fd, pagemap, O_CLOEXEC) != pagemap || !leave_proc())
		return 77;
	if (pread(pagemap, now, 16, 0) != 16)
		return 2;
	return memcmp(now, first, 16) ? 3 : 0;
}

static void other_files_are_left_alone_without_proc(void)
{
	int status = in_child(others_without_proc);

	if (status == 77)
		T_SKIP("no chroot()");
	T_EQ(status, 0);
}

void iface_name_claims(void)
{
	T_RUN(another_process_of_the_same_number_is_not_taken_for_us);
	T_RUN(a_number_used_again_is_another_process);
	T_RUN(written_pages_are_dirty_without_proc);
	T_RUN(other_files_are_left_alone_without_proc);
}
