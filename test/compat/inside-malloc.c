/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interface as a program uses it that may be in the middle of its own malloc(): a signal handler,
 * a collector that has stopped the other threads. malloc() is this file's, and tells when it is called
 * while one of the two files is read or written. Knows nothing of softdirty.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "iface.h"
#include "t.h"

/* --- malloc(): nothing is ever used again ---------------------------------------------------- */

enum { ARENA = 64 << 20, HEAD = 16 };

static _Alignas(HEAD) char arena[ARENA];
static atomic_size_t used;
static atomic_bool inside;
static atomic_int n_calls;

static void *take(size_t size, size_t align)
{
	size_t room = size + HEAD + align, at;

	n_calls += inside;
	if (size > ARENA || room > ARENA - used) {
		errno = ENOMEM;
		return NULL;
	}
	at = atomic_fetch_add(&used, (room + HEAD - 1) & -(size_t)HEAD) + HEAD;
	at = (at + align - 1) & -align;
	memcpy(arena + at - sizeof(size), &size, sizeof(size));
	return arena + at;
}

void *malloc(size_t size)
{
	return take(size, HEAD);
}

void *calloc(size_t n, size_t size)
{
	return take(n * size, HEAD);
}

void *realloc(void *old, size_t size)
{
	void *p = take(size, HEAD);
	size_t old_size;

	if (p && old) {
		memcpy(&old_size, (char *)old - sizeof(old_size), sizeof(old_size));
		memcpy(p, old, old_size < size ? old_size : size);
	}
	return p;
}

void *aligned_alloc(size_t align, size_t size)
{
	return take(size, align < HEAD ? HEAD : align);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	*ret = aligned_alloc(align, size);
	return *ret ? 0 : ENOMEM;
}

void free(void *p)
{
	n_calls += inside && p;
}

/* --- the claims ------------------------------------------------------------------------------ */

static int calls_of_a_read(pid_t pid, const void *addr)
{
	n_calls = 0;
	inside = true;
	iface_entry(pid, addr);
	inside = false;
	return n_calls;
}

static int calls_of_a_clear(pid_t pid)
{
	n_calls = 0;
	inside = true;
	iface_clear(pid);
	inside = false;
	return n_calls;
}

static void malloc_is_ours(void)
{
	inside = true;
	n_calls = 0;
	free(strdup("x"));
	inside = false;
	T_EQ(n_calls, 2);
}

static void a_process_never_cleared_is_read_without_malloc(void)
{
	T_EQ(calls_of_a_read(getpid(), arena), 0);
}

static void a_cleared_process_is_read_without_malloc(void)
{
	T_EQ(calls_of_a_clear(getpid()), 0);
	T_EQ(calls_of_a_read(getpid(), arena), 0);
	T_EQ(calls_of_a_clear(getpid()), 0);
}

static void *stay(void *ready)
{
	close(*(int *)ready);
	for (;;)
		pause();
	return NULL;
}

/* All threads of it have to be looked at, to know that it is alive. */
static void a_process_without_its_main_thread_is_read_without_malloc(void)
{
	static int ready[2];
	pthread_t thread;
	char path[64], c;

	if (geteuid() != 0)
		T_SKIP("the files of a dead main thread are root's");
	T_MUST(!pipe(ready));
	pid_t pid = t_fork();
	if (!pid) {
		pthread_create(&thread, NULL, stay, &ready[1]);
		syscall(SYS_exit, 0);
	}
	close(ready[1]);
	T_MUST(read(ready[0], &c, 1) == 0);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	while (t_proc_text(path, "State")[0] != 'Z')
		t_sleep_ms(1);
	n_calls = 0;
	inside = true;
	int fd = iface_open(pid, "clear_refs", O_WRONLY);
	T_MUST(write(fd, "4", 1) == 1);
	close(fd);
	inside = false;
	T_EQ(n_calls, 0);
	t_kill(pid);
}

int main(void)
{
	alarm(60);
	T_RUN(malloc_is_ours);
	T_RUN(a_process_never_cleared_is_read_without_malloc);
	T_RUN(a_process_without_its_main_thread_is_read_without_malloc);
	T_RUN(a_cleared_process_is_read_without_malloc);
	return t_done();
}
