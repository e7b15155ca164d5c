/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The target's loop, and how the driver starts, drives and ends it. Knows no step's meaning. */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spec.h"

/* Below 512 GiB, so that also CPUs with a small address space have it; nobody else maps there. */
static const uint64_t arena = 0x2000000000;

static char image[SPEC_IMAGE * 4096] __attribute__((aligned(4096)));
static struct control *shared;
static sigjmp_buf fault_return;

uint64_t target_address(const struct control *c, unsigned page)
{
	if (page < SPEC_ARENA)
		return arena + page * 4096ul;
	if (page < SPEC_HEAP_END)
		return c->heap + (page - SPEC_ARENA) * 4096ul;
	return c->image + (page - SPEC_HEAP_END) * 4096ul;
}

static void futex_wait(uint32_t *word, uint32_t value, int seconds)
{
	struct timespec t = { .tv_sec = seconds };

	syscall(SYS_futex, word, FUTEX_WAIT, value, seconds ? &t : NULL, NULL, 0);
}

static void hand_over(struct control *c, uint32_t turn)
{
	__atomic_store_n(&c->turn, turn, __ATOMIC_RELEASE);
	syscall(SYS_futex, &c->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void on_fault(int sig)
{
	siglongjmp(fault_return, sig);
}

/* A step that must not end the process: a fault is an answer too. */
static uint64_t protected_step(const struct op *op)
{
	if (sigsetjmp(fault_return, 1))
		return (uint64_t)-EFAULT;
	return step_do(shared, op);
}

/* Not to outlive the driver; forgotten at fork. */
static void follow_driver(const struct control *c)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != c->driver)
		_exit(1);
}

static void prepare(struct control *c)
{
	struct sigaction fault = { .sa_handler = on_fault };
	unsigned long brk = syscall(SYS_brk, 0);

	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	follow_driver(c);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	c->heap = (brk + 4095) & ~4095ul;
	if ((unsigned long)syscall(SYS_brk, c->heap) != c->heap)
		_exit(1);
	c->image = (uintptr_t)image;
	c->pid = getpid();
	if (!c->works)
		c->works = step_probe(c, protected_step);
}

void target_main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_CONTROL, 0);
	if (shared == MAP_FAILED)
		_exit(1);
	prepare(shared);
	for (;;) {
		hand_over(shared, 0);
		while (!__atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE))
			futex_wait(&shared->turn, 0, 0);
		for (uint32_t i = 0; i < shared->n; i++) {
			shared->result[i] = 0;
			shared->result[i] = protected_step(&shared->op[i]);
			if (shared->op[i].code == OP_FORK)
				follow_driver(shared);
		}
	}
}

/* Has it ended? Then *error says how. */
static bool is_dead(struct target *t, const char **error)
{
	static char how[80];
	int status = 0;

	if (waitpid(t->c->pid, &status, WNOHANG) != t->c->pid && !kill(t->c->pid, 0))
		return false;
	snprintf(how, sizeof(how), "HARM: the target died (status %#x)", status);
	*error = how;
	t->pid = -1;
	return true;
}

static int wait_turn(struct target *t, const char **error)
{
	for (unsigned i = 0; i < t->patience; i++) {
		if (!__atomic_load_n(&t->c->turn, __ATOMIC_ACQUIRE))
			return 0;
		futex_wait(&t->c->turn, 1, 1);
		if (is_dead(t, error))
			return -1;
	}
	*error = "HARM: the target hangs";
	return -1;
}

int target_run(struct target *t, const char **error)
{
	hand_over(t->c, 1);
	if (wait_turn(t, error))
		return -1;
	if (t->c->pid != t->pid) {	/* it forked, and the child went on */
		waitpid(t->pid, NULL, 0);
		t->pid = t->c->pid;
	}
	return 0;
}

/* On a disk rather than in memory where there is one. */
static int temporary_file(void)
{
	char on_disk[] = "/var/tmp/softdirty-model-XXXXXX", tmp[] = "/tmp/softdirty-model-XXXXXX";
	char *path = on_disk;
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0) {
		path = tmp;
		fd = mkostemp(path, O_CLOEXEC);
	}
	if (fd >= 0)
		unlink(path);
	return fd;
}

static void launch(const struct target *t)
{
	int high[3];

	for (int i = 0; i < 3; i++)
		high[i] = fcntl(t->fds[i], F_DUPFD, 10);
	for (int i = 0; i < 3; i++) {
		dup2(high[i], FD_CONTROL + i);
		close(high[i]);
	}
	execl("/proc/self/exe", "model", "--target", (char *)NULL);
	_exit(127);
}

int target_start(struct target *t, unsigned patience, const char **error)
{
	*error = "it cannot be made";
	*t = (struct target){ .pid = -1, .patience = patience, .fds = {
		memfd_create("control", MFD_CLOEXEC),
		memfd_create("model", MFD_CLOEXEC), temporary_file() } };
	for (int i = 0; i < 3; i++)
		if (t->fds[i] < 0 || ftruncate(t->fds[i], SPEC_OBJECT_PAGES * 4096))
			return -errno;
	t->c = mmap(NULL, sizeof(*t->c), PROT_READ | PROT_WRITE, MAP_SHARED, t->fds[0], 0);
	if (t->c == MAP_FAILED)
		return -errno;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	t->c->turn = 1;
	t->c->driver = getpid();
	t->pid = fork();
	if (t->pid < 0)
		return -errno;
	t->c->pid = t->pid;
	if (!t->pid)
		launch(t);
	return wait_turn(t, error) ? -ECHILD : 0;
}

void target_stop(struct target *t)
{
	if (t->pid > 0) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
	if (t->c && t->c != MAP_FAILED)
		munmap(t->c, sizeof(*t->c));
	for (int i = 0; i < 3; i++)
		if (t->fds[i] >= 0)
			close(t->fds[i]);
	*t = (struct target){ .pid = -1, .fds = { -1, -1, -1 } };
}
