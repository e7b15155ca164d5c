/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each step of a program as system calls and stores of the calling process. Decides nothing. */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spec.h"

/* Headers of Debian 12 lack some of these. Numbers are the kernel's <asm-generic/mman-common.h>. */
enum {
	ADV_COLD = 20, ADV_PAGEOUT = 21, ADV_POPULATE_READ = 22, ADV_POPULATE_WRITE = 23,
	ADV_GUARD_INSTALL = 102, ADV_GUARD_REMOVE = 103,
	REMAP_DONTUNMAP = 4,
};

static const unsigned slot_offset[4] = { 0, 1364, 2728, 4092 };

static char *address(const struct control *c, unsigned page)
{
	return (char *)(uintptr_t)target_address(c, page);
}

static uint64_t result(long ret)
{
	return ret < 0 ? (uint64_t)-errno : 0;
}

static void store(char *page, const struct op *op)
{
	*(volatile uint32_t *)(page + slot_offset[op->slot]) = op->tag;
}

static uint64_t store_all(const struct control *c, const struct op *op)
{
	for (unsigned i = 0; i < op->n; i++)
		store(address(c, op->page + i), op);
	return 0;
}

static uint64_t load_all(const struct control *c, const struct op *op)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < op->n; i++) {
		const char *page = address(c, op->page + i);
		struct spec_data data;

		for (int k = 0; k < 4; k++)
			data.slot[k] = *(volatile uint32_t *)(page + slot_offset[k]);
		sum = spec_fold(sum, &data);
	}
	return sum;
}

/* read(2) from a pipe into the page. */
static uint64_t sysread(char *to, const struct op *op)
{
	static int pipe_fd[2] = { -1, -1 };

	if (pipe_fd[0] < 0 && pipe2(pipe_fd, O_CLOEXEC))
		return result(-1);
	if (write(pipe_fd[1], &op->tag, sizeof(op->tag)) < 0)
		return result(-1);
	return result(read(pipe_fd[0], to, sizeof(op->tag)));
}

static uint64_t vmwrite(char *to, const struct op *op)
{
	struct iovec local = { (void *)&op->tag, sizeof(op->tag) };
	struct iovec remote = { to, sizeof(op->tag) };

	return result(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
}

static uint64_t memwrite(char *to, const struct op *op)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	uint64_t ret = result(pwrite(fd, &op->tag, sizeof(op->tag), (uintptr_t)to));

	close(fd);
	return ret;
}

static uint64_t kernel_writes(const struct control *c, const struct op *op)
{
	for (unsigned i = 0; i < op->n; i++) {
		char *to = address(c, op->page + i) + slot_offset[op->slot];
		uint64_t ret = op->code == OP_SYSREAD ? sysread(to, op) :
			       op->code == OP_VMWRITE ? vmwrite(to, op) : memwrite(to, op);

		if (ret)
			return ret;
	}
	return 0;
}

struct thread_arg {
	const struct control *c;
	const struct op *op;
};

static int thread_main(void *p)
{
	struct thread_arg *arg = p;

	store_all(arg->c, arg->op);
	return 0;
}

static uint64_t reap(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return result(-1);
	return status ? (uint64_t)-ECHILD : 0;
}

static uint64_t thread_writes(const struct control *c, const struct op *op)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct thread_arg arg = { c, op };
	pid_t pid = clone(thread_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
			  &arg);

	return pid < 0 ? result(-1) : reap(pid);
}

static uint64_t child_writes(const struct control *c, const struct op *op)
{
	pid_t pid = fork();

	if (pid < 0)
		return result(-1);
	if (!pid) {
		store_all(c, op);
		_exit(0);
	}
	return reap(pid);
}

static uint64_t file_write(const struct op *op)
{
	int fd = op->kind == SPEC_OBJECT_MEMFD ? FD_MEMFD : FD_FILE;
	off_t at = op->page * 4096l + slot_offset[op->slot];

	return result(pwrite(fd, &op->tag, sizeof(op->tag), at));
}

static uint64_t map(const struct control *c, const struct op *op)
{
	static const struct { int flags, fd; } how[SPEC_KINDS] = {
		[SPEC_ANON] = { MAP_PRIVATE | MAP_ANONYMOUS, -1 },
		[SPEC_SHANON] = { MAP_SHARED | MAP_ANONYMOUS, -1 },
		[SPEC_MEMFD] = { MAP_SHARED, FD_MEMFD },
		[SPEC_FILE] = { MAP_SHARED, FD_FILE },
		[SPEC_MEMFD_PRIV] = { MAP_PRIVATE, FD_MEMFD },
		[SPEC_FILE_PRIV] = { MAP_PRIVATE, FD_FILE },
	};
	void *p = mmap(address(c, op->page), op->n * 4096ul, op->prot,
		       MAP_FIXED | how[op->kind].flags, how[op->kind].fd,
		       how[op->kind].fd < 0 ? 0 : op->to * 4096l);

	return result(p == MAP_FAILED ? -1 : 0);
}

static uint64_t remap(const struct control *c, const struct op *op)
{
	char *from = address(c, op->page);
	size_t size = op->n * 4096ul;
	void *p;

	switch ((enum op_code)op->code) {
	case OP_MOVE:
		p = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, address(c, op->to));
		break;
	case OP_DONTUNMAP:
		p = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | REMAP_DONTUNMAP,
			   address(c, op->to));
		break;
	case OP_GROW:
		p = mremap(from, size, size + op->to * 4096ul, 0);
		break;
	default:
		p = mremap(from, size, op->to * 4096ul, 0);
	}
	return result(p == MAP_FAILED ? -1 : 0);
}

static uint64_t set_brk(const struct control *c, const struct op *op)
{
	unsigned long want = c->heap + op->n * 4096ul;

	return (unsigned long)syscall(SYS_brk, want) == want ? 0 : (uint64_t)-ENOMEM;
}

static uint64_t lock(void *p, size_t size)
{
	return result(mlock(p, size) || munlock(p, size) ? -1 : 0);
}

/* The child goes on in the same batch, once it belongs to the driver. */
static uint64_t fork_switch(struct control *c)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return result(-1);
	if (pid) {
		c->pid = pid;
		_exit(0);
	}
	while (getppid() == parent)
		usleep(100);
	return 0;
}

static int advice(enum op_code code)
{
	switch (code) {
	case OP_DONTNEED:	return MADV_DONTNEED;
	case OP_FREE:		return MADV_FREE;
	case OP_COLD:		return ADV_COLD;
	case OP_PAGEOUT:	return ADV_PAGEOUT;
	case OP_REMOVE:		return MADV_REMOVE;
	case OP_POPREAD:	return ADV_POPULATE_READ;
	case OP_POPWRITE:	return ADV_POPULATE_WRITE;
	case OP_WIPEONFORK:	return MADV_WIPEONFORK;
	case OP_KEEPONFORK:	return MADV_KEEPONFORK;
	case OP_DONTFORK:	return MADV_DONTFORK;
	case OP_DOFORK:		return MADV_DOFORK;
	case OP_GUARD:		return ADV_GUARD_INSTALL;
	case OP_UNGUARD:	return ADV_GUARD_REMOVE;
	default:		return -1;
	}
}

uint64_t step_do(const struct control *c, const struct op *op)
{
	char *p = address(c, op->page);
	size_t size = op->n * 4096ul;

	switch ((enum op_code)op->code) {
	case OP_STORE:		return store_all(c, op);
	case OP_LOAD:		return load_all(c, op);
	case OP_SYSREAD: case OP_VMWRITE: case OP_MEMWRITE: return kernel_writes(c, op);
	case OP_THREAD:		return thread_writes(c, op);
	case OP_FORKWRITE:	return child_writes(c, op);
	case OP_FILEWRITE:	return file_write(op);
	case OP_MMAP:		return map(c, op);
	case OP_MUNMAP:		return result(munmap(p, size));
	case OP_MPROTECT:	return result(mprotect(p, size, op->prot));
	case OP_MOVE: case OP_DONTUNMAP: case OP_GROW: case OP_SHRINK: return remap(c, op);
	case OP_BRK:		return set_brk(c, op);
	case OP_MLOCK:		return lock(p, size);
	case OP_FORK:		return fork_switch((struct control *)c);
	case OP_EXEC:
		execl("/proc/self/exe", "model", "--target", (char *)NULL);
		return result(-1);
	default:
		return result(madvise(p, size, advice(op->code)));
	}
}

/* Everything that some kernel, configuration or file system lacks is tried once. */
uint64_t step_probe(const struct control *c, uint64_t (*protect)(const struct op *))
{
	static const uint8_t optional[] = { OP_VMWRITE, OP_MEMWRITE, OP_DONTUNMAP, OP_FREE,
		OP_COLD, OP_PAGEOUT, OP_REMOVE, OP_POPREAD, OP_POPWRITE, OP_MLOCK, OP_WIPEONFORK,
		OP_KEEPONFORK, OP_GUARD, OP_UNGUARD };
	uint64_t works = (1ull << OP_TARGET_CODES) - 1;

	for (unsigned i = 0; i < sizeof(optional); i++) {
		bool remove = optional[i] == OP_REMOVE;
		struct op prepare = { .code = OP_MMAP, .n = 2, .prot = PROT_READ | PROT_WRITE,
				      .kind = remove ? SPEC_MEMFD : SPEC_ANON };
		struct op read_only = { .code = OP_MPROTECT, .n = 2, .prot = PROT_READ };
		struct op try = { .code = optional[i], .n = 2, .to = 4 };

		protect(&prepare);
		if (optional[i] == OP_MEMWRITE)
			protect(&read_only);
		if (protect(&try))
			works &= ~(1ull << optional[i]);
		munmap(address(c, 0), 6 * 4096);
	}
	return works;
}
