/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See iface.h. Must not know which claims are made. */
#include "iface.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t.h"

static const char *proc = "/proc";

void iface_set_proc(const char *dir)
{
	proc = dir;
}

bool iface_is_proc(void)
{
	return !strcmp(proc, "/proc");
}

size_t iface_page(void)
{
	return sysconf(_SC_PAGESIZE);
}

const char *iface_path(pid_t pid, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%d/%s", proc, pid, name);
	return path;
}

int iface_open(pid_t pid, const char *name, int flags)
{
	int fd = open(iface_path(pid, name), flags | O_CLOEXEC);

	T_MUST(fd >= 0);
	return fd;
}

void iface_clear(pid_t pid)
{
	int fd = iface_open(pid, "clear_refs", O_WRONLY);

	T_MUST(write(fd, "4", 1) == 1);
	close(fd);
}

uint64_t iface_entry(pid_t pid, const void *addr)
{
	int fd = iface_open(pid, "pagemap", O_RDONLY);
	uint64_t entry;

	T_MUST(pread(fd, &entry, 8, (uintptr_t)addr / iface_page() * 8) == 8);
	close(fd);
	return entry;
}

bool iface_dirty(const void *addr)
{
	return iface_entry(getpid(), addr) & SOFT_DIRTY;
}

uint64_t iface_dirty_pages(const void *addr, size_t n)
{
	int fd = iface_open(getpid(), "pagemap", O_RDONLY);
	uint64_t entries[64], bits = 0;

	T_MUST(n <= 64);
	T_MUST(pread(fd, entries, n * 8, (uintptr_t)addr / iface_page() * 8) == (ssize_t)n * 8);
	close(fd);
	for (size_t i = 0; i < n; i++)
		bits |= (uint64_t)!!(entries[i] & SOFT_DIRTY) << i;
	return bits;
}

/* Between pages without access: neighbours that merge share their newness on native kernels. */
char *iface_map(size_t n)
{
	size_t page = iface_page();
	char *all = mmap(NULL, (n + 2) * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_MUST(all != MAP_FAILED);
	T_MUST(!mprotect(all + page, n * page, PROT_READ | PROT_WRITE));
	T_MUST(!madvise(all + page, n * page, MADV_NOHUGEPAGE) || errno == EINVAL);
	return all + page;
}

char *iface_map_written(size_t n)
{
	char *mem = iface_map(n);

	memset(mem, 1, n * iface_page());
	return mem;
}
