/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fork, vfork, clone and exec, and what the kernel writes when threads begin and end. */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

static long op_fork_write(long child_page, long parent_page, long c, long d)
{
	pid_t pid = fork();

	if (pid == 0) {
		t_op_write(child_page, 0, 0, 0);
		_exit(0);
	}
	if (parent_page)
		t_op_write(parent_page, 0, 0, 0);
	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

static void fork_and_both_write(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_fork_write, t_page(&tg, 2), t_page(&tg, 1)) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static void fork_and_the_child_writes(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_fork_write, t_page(&tg, 2), 0) == 0);
	T_EVENT(&tg, .want = "----");
}

static void write_after_a_child_has_gone(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_fork_write, t_page(&tg, 2), 0) == 0);
	t_call(&tg, t_op_write, t_page(&tg, 3));
	T_EVENT(&tg, .want = "---D");
}

static long op_fork_sleep(long a, long b, long c, long d)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static long op_kill_child(long pid, long b, long c, long d)
{
	kill((pid_t)pid, SIGKILL);
	return waitpid((pid_t)pid, NULL, 0);
}

/* Its pages are shared with the parent, tracking is not: it was never cleared. */
static void forked_child_is_all_new(void)
{
	T_TARGET tg = t_begin(4);
	pid_t pid = (pid_t)t_call(&tg, op_fork_sleep);
	struct softdirty *child;
	char got[8];

	T_MUST(pid > 0);
	T_MUST(softdirty_open(pid, NULL, &child) == 0);
	t_letters(child, NULL, 0, tg.mem, 4, tg.unit, got);
	T_STREQ(got, "nnnn");
	T_EQ(softdirty_clear(child, NULL), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1));
	t_letters(child, NULL, 0, tg.mem, 4, tg.unit, got);
	T_STREQ(got, "----");
	softdirty_close(child);
	T_EVENT(&tg, .want = "-D--");
	t_call(&tg, op_kill_child, pid);
}

static long op_vfork_write(long address, long b, long c, long d)
{
	pid_t pid = vfork();

	if (pid == 0) {
		*(volatile char *)address += 1;
		_exit(0);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

static void vfork_child_writes(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_vfork_write, t_page(&tg, 1)) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static int write_and_end(void *arg)
{
	*(volatile char *)arg += 1;
	return 0;
}

static long op_clone_vm_write(long address, long b, long c, long d)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(write_and_end, stack + sizeof(stack), CLONE_VM | SIGCHLD,
			  (void *)address);

	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

static void clone_vm_child_writes(void)
{
	T_TARGET tg = t_begin(4);

	T_MUST(t_call(&tg, op_clone_vm_write, t_page(&tg, 1)) == 0);
	T_EVENT(&tg, .want = "-D--");
}

static int just_end(void *arg)
{
	return 0;
}

static long op_clone_tid(long set, long clear, long c, long d)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(just_end, stack + sizeof(stack),
			  CLONE_VM | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, NULL,
			  NULL, NULL, (void *)set);

	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

/* The kernel writes the thread id when it begins and 0 when it ends: by content nothing. */
static void thread_id_set_and_cleared(void)
{
	T_TARGET tg = t_start();

	t_map(&tg, 4, t_page_size(), 0);
	t_call(&tg, t_op_write, t_page(&tg, 1) + 64);
	t_watch(&tg);
	T_MUST(t_call(&tg, op_clone_tid, t_page(&tg, 1)) == 0);
	T_EVENT(&tg, .want = "-D--", .hash = "----", .why = "the content is the same");
}

static int end_with_robust_list(void *arg)
{
	struct robust_list_head *head = arg;
	uint32_t *futex = (uint32_t *)((char *)head + 256);

	head->list.next = (struct robust_list *)((char *)head + 128);
	head->list.next->next = &head->list;
	head->futex_offset = 128;
	head->list_op_pending = NULL;
	*futex = (uint32_t)syscall(SYS_gettid);
	syscall(SYS_set_robust_list, head, sizeof(*head));
	return 0;
}

static long op_die_with_lock(long address, long b, long c, long d)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(end_with_robust_list, stack + sizeof(stack), CLONE_VM | SIGCHLD,
			  (void *)address);

	if (waitpid(pid, NULL, 0) != pid)
		return -errno;
	return (*(uint32_t *)(address + 256) & FUTEX_OWNER_DIED) ? 0 : -EINVAL;
}

static void robust_lock_of_a_dead_thread(void)
{
	T_TARGET tg = t_begin(4);

	T_EQ(t_call(&tg, op_die_with_lock, t_page(&tg, 1)), 0);
	T_EVENT(&tg, .want = "-D--");
}

/* The kernel calls it by the last part of the path, which is /proc/self/exe. */
static bool sleeps_as_another_program(pid_t pid)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0, asleep = 0; i < 1000 && asleep < 10; i++) {
		t_sleep_ms(20);
		if (t_read_file(path, text, sizeof(text)) < 0)
			return false;
		asleep = strstr(text, "(exe) S") ? asleep + 1 : 0;
	}
	return strstr(text, "(exe) S");
}

static uint64_t generation(const struct t_target *tg)
{
	struct softdirty_info info = { .size = sizeof(info) };

	T_EQ(softdirty_info(tg->sd, &info), 0);
	return info.generation;
}

/* Everything that the new program has is new; pages it does not have are not reported. */
static void exec_makes_everything_new(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_range *dirty, *pages;
	uint64_t before = generation(&tg);
	size_t n, n_pages;
	uint64_t end = 0;

	t_post(&tg, t_op_exec, 0, 0, 0);
	T_MUST(sleeps_as_another_program(tg.pid));
	T_EQ(softdirty_read(tg.sd, NULL, 0, 0, 0, &dirty, &n), 0);
	T_OK(n > 0);
	for (size_t i = 0; i < n; i++) {
		if ((dirty[i].flags & SOFTDIRTY_WHY) == SOFTDIRTY_UNTRACKED)
			continue;
		T_EQ(dirty[i].flags & SOFTDIRTY_WHY, SOFTDIRTY_NEW);
		T_EQ(dirty[i].reason, SOFTDIRTY_REASON_EXEC);
		end = dirty[i].end;
	}
	T_OK(generation(&tg) > before);
	T_EQ(softdirty_pages(tg.sd, 0, 0, &pages, &n_pages), 0);
	T_OK(n_pages > 0 && end >= pages[0].start);
	T_EQ(softdirty_read(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &dirty, &n), 0);
	T_EQ(softdirty_read(tg.sd, NULL, 0, 0, 0, &dirty, &n), 0);
	/* soft-dirty stops it, and then the kernel itself writes: struct rseq of the thread */
	for (size_t i = 0; i < n; i++)
		T_OK((dirty[i].flags & SOFTDIRTY_WHY) == SOFTDIRTY_UNTRACKED ||
		     (t_backend() == T_SOFT_DIRTY && (dirty[i].flags & SOFTDIRTY_WRITTEN)));
}

static void end_of_the_target(void)
{
	T_TARGET tg = t_begin(4);
	const struct softdirty_range *r;
	size_t n;

	t_kill(tg.pid);
	tg.pid = 0;
	T_EQ(softdirty_read(tg.sd, NULL, 0, 0, 0, &r, &n), -ESRCH);
	T_EQ(softdirty_read(tg.sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), -ESRCH);
	T_EQ(softdirty_clear(tg.sd, NULL), -ESRCH);
	T_OK(softdirty_error()[0] != '\0');
}

int main(void)
{
	t_need_backend();
	T_RUN(fork_and_both_write);
	T_RUN(fork_and_the_child_writes);
	T_RUN(write_after_a_child_has_gone);
	T_RUN(forked_child_is_all_new);
	T_RUN(vfork_child_writes);
	T_RUN(clone_vm_child_writes);
	T_RUN(thread_id_set_and_cleared);
	T_RUN(robust_lock_of_a_dead_thread);
	T_RUN(exec_makes_everything_new);
	T_RUN(end_of_the_target);
	return t_done();
}
