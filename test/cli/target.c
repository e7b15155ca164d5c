/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that does to its memory what it is told on stdin, one command for each line, and says
 * "ok" after each. Its regions lie alone, at addresses that tests can name:
 *   100000000  64 pages, anonymous     101000000  16 pages of a memfd, shared
 * Ends when stdin does.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PAGE = 4096, ANON_PAGES = 64, SHARED_PAGES = 16 };
#define ANON UINT64_C(0x100000000)
#define SHARED UINT64_C(0x101000000)

static void *at(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static void must(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	_exit(1);
}

static void map(uint64_t addr, size_t pages, int flags, int fd)
{
	must(mmap(at(addr), pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd,
		  0) == at(addr), "mmap");
}

/* A child that only exists, until its parent ends. */
static void child(void)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	printf("%d ", pid);
}

static void obey(const char *line, char *self)
{
	uint64_t addr = 0;
	unsigned n = 1, value = 1;
	char what[16] = "";

	sscanf(line, "%15s %" SCNx64 " %u %u", what, &addr, &n, &value);
	if (!strcmp(what, "write"))
		for (unsigned i = 0; i < n; i++)
			*(volatile uint32_t *)at(addr + (uint64_t)i * PAGE) += value;
	else if (!strcmp(what, "read"))
		for (unsigned i = 0; i < n; i++)
			(void)*(volatile uint32_t *)at(addr + (uint64_t)i * PAGE);
	else if (!strcmp(what, "map"))
		map(addr, n, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	else if (!strcmp(what, "unmap"))
		must(!munmap(at(addr), (size_t)n * PAGE), "munmap");
	else if (!strcmp(what, "discard"))
		must(!madvise(at(addr), (size_t)n * PAGE, MADV_DONTNEED), "madvise");
	else if (!strcmp(what, "pwrite"))	/* to the memfd, not through the mapping */
		must(pwrite(3, &value, sizeof(value), addr) == sizeof(value), "pwrite");
	else if (!strcmp(what, "fork"))
		child();
	else if (!strcmp(what, "exec"))
		must(execl("/proc/self/exe", self, NULL), "exec");
	else
		must(0, line);
}

int main(int argc, char **argv)
{
	char line[128];

	setvbuf(stdout, NULL, _IOLBF, 0);
	map(ANON, ANON_PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(!madvise(at(ANON), ANON_PAGES * PAGE, MADV_NOHUGEPAGE) || errno == EINVAL, "madvise");
	close(3);
	must(memfd_create("test\tname", 0) == 3, "memfd_create");
	must(!ftruncate(3, SHARED_PAGES * PAGE), "ftruncate");
	map(SHARED, SHARED_PAGES, MAP_SHARED, 3);
	memset(at(ANON), 1, ANON_PAGES * PAGE);
	memset(at(SHARED), 1, SHARED_PAGES * PAGE);
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		obey(line, argv[0]);
		puts("ok");
	}
	return 0;
}
