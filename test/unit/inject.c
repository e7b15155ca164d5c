/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the instruction for a call is found; a call that a thread does not come to in time is called off,
 * and the thread is as it was.
 */
#include "target/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "cgroup.h"
#include "t.h"
#include "target/threads.h"

static _Atomic uint64_t *rounds;	/* of the child */

struct child {
	pid_t pid;
	int procfd, mem;
	struct sdi_target target;
	struct sdi_inject in;
};

static void count(void)
{
	for (;;)
		++*rounds;
}

/* A child that runs that, which never calls the kernel nor ends. */
static void start_with(struct child *c, void (*run)(void))
{
	char path[32];

	*c = (struct child){ .pid = t_fork() };
	if (c->pid == 0)
		run();
	snprintf(path, sizeof(path), "/proc/%d", c->pid);
	c->procfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c->mem = openat(c->procfd, "mem", O_RDONLY | O_CLOEXEC);
	c->target = (struct sdi_target){ .pid = c->pid, .procfd = c->procfd };
	int maps = openat(c->procfd, "maps", O_RDONLY | O_CLOEXEC);
	c->in = (struct sdi_inject){ .tid = c->pid, .mem = c->mem };
	c->in.insn = sdi_find_insn(maps, c->mem);
	close(maps);
	T_MUST(c->in.insn);
}

static void start(struct child *c)
{
	start_with(c, count);
}

static void end(struct child *c)
{
	close(c->mem);
	close(c->procfd);
	t_kill(c->pid);
}

static void stop(struct child *c, struct sdi_held *held)
{
	*held = (struct sdi_held){ .tid = c->pid };
	T_MUST(!sdi_seize(&c->target, c->pid, PTRACE_O_TRACESYSGOOD));
	sdi_interrupt(&c->target, held);
	T_MUST(!sdi_wait_stop(&c->target, held, sdi_now_ns() + 10000000000u));
}

static void it_is_as_it_was(const struct child *c)
{
	struct sdi_regs now;
	uint64_t mask = 1;

	T_EQ(sdi_get_regs(c->pid, &now), 0);
	T_OK(!memcmp(&now, &c->in.saved, sizeof(now)));
	T_EQ(ptrace(PTRACE_GETSIGMASK, c->pid, sizeof(mask), &mask), 0);
	T_EQ(mask, c->in.saved_mask);
}

static void it_runs_on(void)
{
	uint64_t before = *rounds, end = t_now() + 10000000000u;

	while (*rounds < before + 2 && t_now() < end)
		t_sleep_ms(1);
	T_OK(*rounds >= before + 2);
}

/* The time is over at once: the interruption and the beginning of the call race. */
static void a_call_that_is_late(void)
{
	uint64_t until = t_deadline(2);
	struct child c;
	long off = 0, done = 0;

	start(&c);
	for (int i = 0; i < 2000 && !t_failed() && t_now() < until; i++) {
		struct sdi_held held;

		stop(&c, &held);
		T_MUST(!sdi_inject_begin(&c.in));
		long ret = sdi_inject_call(&c.in, SYS_getppid, (const uint64_t[3]){ 0 }, 1);
		T_OK(ret == -ECANCELED || ret == getpid());
		*(ret == -ECANCELED ? &off : &done) += 1;
		sdi_inject_end(&c.in);
		it_is_as_it_was(&c);
		sdi_release(&c.target, &held);
		it_runs_on();
	}
	t_note("%ld called off, %ld done", off, done);
	T_OK(off + done > 0);
	end(&c);
}

static void a_call_in_a_frozen_cgroup(void)
{
	struct sdi_held held;
	struct child c;
	char path[64];

	start(&c);
	if (!t_cgroup_make(c.pid, path)) {
		end(&c);
		T_SKIP("no cgroup of version 2 can be made here");
	}
	stop(&c, &held);
	T_MUST(!sdi_inject_begin(&c.in));
	T_OK(t_cgroup_freeze(path, true));
	T_EQ(sdi_inject_call(&c.in, SYS_getppid, (const uint64_t[3]){ 0 }, sdi_now_ns() + 50000000),
	     -ECANCELED);
	sdi_inject_end(&c.in);
	it_is_as_it_was(&c);
	sdi_release(&c.target, &held);
	T_OK(t_cgroup_freeze(path, false));
	it_runs_on();
	end(&c);
	T_EQ(rmdir(path), 0);
}

/* Its bytes across two instructions are none. */
static void an_instruction_begins_where_one_can(void)
{
	static const char map[] = "1000-3000 r-xp 00000000 00:00 0\n", insn[] = SDI_SYSCALL_INSN;
	int maps = memfd_create("maps", MFD_CLOEXEC), mem = memfd_create("mem", MFD_CLOEXEC);
	off_t first = SDI_INSN_ALIGN > 1 ? 0x1ffe : 0x1fff;	/* and across two blocks */

	T_MUST(maps >= 0 && mem >= 0 && !ftruncate(mem, 0x4000));
	T_EQ(write(maps, map, strlen(map)), strlen(map));
	T_EQ(pwrite(mem, insn, sizeof(insn) - 1, first), sizeof(insn) - 1);
	T_EQ(pwrite(mem, insn, sizeof(insn) - 1, 0x2ff0), sizeof(insn) - 1);
	lseek(maps, 0, SEEK_SET);
	T_EQ(sdi_find_insn(maps, mem), SDI_INSN_ALIGN > 1 ? 0x2ff0 : first);
	close(maps);
	close(mem);
}

#ifdef __aarch64__
enum { BTYPE = 0xc00, BTI = 0x10 };	/* of pstate; PROT_BTI */

/* The call is in a page that jumps may only enter at a landing pad, or NULL: there are none. */
static void *guarded_call(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_MUST(page != MAP_FAILED);
	memcpy(page, SDI_SYSCALL_INSN, sizeof(SDI_SYSCALL_INSN));
	return mprotect(page, 4096, PROT_READ | PROT_EXEC | BTI) ? NULL : page;
}

/* The thread stopped where a jump had just led. */
static void a_call_right_after_a_jump(void)
{
	void *call = guarded_call();
	struct sdi_held held;
	struct sdi_regs r;
	struct child c;

	if (!call)
		T_SKIP("this machine or kernel has no landing pads (BTI)");
	start(&c);
	c.in.insn = (uintptr_t)call;
	stop(&c, &held);
	T_EQ(sdi_get_regs(c.pid, &r), 0);
	r.u.pstate |= BTYPE;
	T_EQ(sdi_set_regs(c.pid, &r), 0);
	T_MUST(!sdi_inject_begin(&c.in));
	T_EQ(sdi_inject_call(&c.in, SYS_getppid, (const uint64_t[3]){ 0 }, 0), getpid());
	sdi_inject_end(&c.in);
	it_is_as_it_was(&c);
	T_OK(c.in.saved.u.pstate & BTYPE);
	sdi_release(&c.target, &held);
	it_runs_on();
	end(&c);
}

/* With what a system call that is to be made again returns, by chance. */
static void look_like_a_call(void)
{
	__asm__ volatile("mov x0, #-514\n\tnop\n1:\tb 1b" ::: "x0");
}

static void a_thread_is_not_taken_for_one_in_a_call(void)
{
	struct sdi_held held;
	struct sdi_regs r;
	struct child c;

	start_with(&c, look_like_a_call);
	t_sleep_ms(50);
	stop(&c, &held);
	T_MUST(!sdi_inject_begin(&c.in));
	T_EQ(sdi_inject_call(&c.in, SYS_getppid, (const uint64_t[3]){ 0 }, 0), getpid());
	sdi_inject_end(&c.in);
	it_is_as_it_was(&c);
	sdi_release(&c.target, &held);
	t_sleep_ms(50);
	stop(&c, &held);
	T_EQ(sdi_get_regs(c.pid, &r), 0);
	T_EQ(r.u.regs[0], -514);
	sdi_release(&c.target, &held);
	end(&c);
}
#else
static void a_call_right_after_a_jump(void)
{
	T_SKIP("only on arm64");
}

static void a_thread_is_not_taken_for_one_in_a_call(void)
{
	T_SKIP("only on arm64");
}
#endif

int main(void)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	rounds = mmap(NULL, sizeof(*rounds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	T_MUST(rounds != MAP_FAILED);
	alarm(50);
	T_RUN(an_instruction_begins_where_one_can);
	T_RUN(a_call_that_is_late);
	T_RUN(a_call_in_a_frozen_cgroup);
	T_RUN(a_call_right_after_a_jump);
	T_RUN(a_thread_is_not_taken_for_one_in_a_call);
	return t_done();
}
