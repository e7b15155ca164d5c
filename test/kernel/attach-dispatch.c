/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Syscall user dispatch: a target that has the kernel hand it back system calls from certain code, as
 * Wine does, has that also after an attach. x86_64 only: the code that is dispatched is in bytes.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "target.h"

enum { SET_DISPATCH = 59, EXCLUSIVE = 1, INCLUSIVE = 2 };	/* PR_SET_SYSCALL_USER_DISPATCH */

struct shared {
	volatile int n, stop;
	volatile char blocked;	/* the selector */
};
static struct shared *shared;

/* getppid(), which no C library calls from there. */
static const unsigned char code[] = { 0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3 };

static void on_sigsys(int signo)
{
	shared->blocked = 0;
	shared->n++;
}

static long op_dispatch(long page, long mode, long offset, long size)
{
	struct sigaction sa = { .sa_handler = on_sigsys };

	if (mmap((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	memcpy((void *)page, code, sizeof(code));
	sigaction(SIGSYS, &sa, NULL);
	return prctl(SET_DISPATCH, mode, offset, size, &shared->blocked) ? -errno : 0;
}

/* It is attached to while calls are dispatched, and makes one afterwards. */
static long op_spin_and_call(long page, long b, long c, long d)
{
	shared->blocked = 1;
	while (!shared->stop)
		;
	((long (*)(void))page)();
	shared->blocked = 0;
	return 0;
}

static void it_is_kept(long mode, long from, long size)
{
	T_TARGET tg;
	uintptr_t page;
	long err;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T_MUST(shared != MAP_FAILED);
	tg = t_start();
	page = t_slot(&tg, 2 * 4096, 4096);
	err = t_call(&tg, op_dispatch, page, mode, size ? page + from : 0, size);
	if (err)
		T_SKIP("this kernel does not dispatch system calls like that: %s", strerror((int)-err));
	for (int i = 1; i <= 3; i++) {
		struct softdirty *sd = NULL;

		shared->stop = 0;
		t_post(&tg, op_spin_and_call, page, 0, 0);
		t_sleep_ms(20);
		if (!T_EQ(softdirty_open(tg.pid, NULL, &sd), 0))
			t_note("%s", softdirty_error());
		softdirty_close(sd);
		shared->stop = 1;
		T_EQ(t_wait(&tg), 0);
		T_EQ(shared->n, i);
	}
}

static void all_calls_are_dispatched(void)
{
	it_is_kept(EXCLUSIVE, 0, 0);
}

static void all_calls_but_from_a_range(void)
{
	it_is_kept(EXCLUSIVE, 4096, 4096);
}

/* Since Linux 6.17. */
static void calls_from_a_range(void)
{
	it_is_kept(INCLUSIVE, 0, 4096);
}

int main(void)
{
	t_need_backend();
	T_RUN(all_calls_are_dispatched);
	T_RUN(all_calls_but_from_a_range);
	T_RUN(calls_from_a_range);
	return t_done();
}
