/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel has both, wp-async and soft-dirty watch the same process at the same time, and each
 * page that they report is compared with the other's answer and with what the process was told to
 * do. Random steps; the seed is printed, and may be given as the argument.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "target.h"

enum { N = 96, N_PRIVATE = 64, MAX_STEPS = 24 };

static struct softdirty *both[2];
static const char *const name[2] = { "wp-async", "soft-dirty" };
static uint64_t state;

static unsigned pick(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

/* The kernel writes: the page gets another value than it had. */
static long op_pread(long at, long b, long c, long d)
{
	char value = (char)(*(volatile char *)at + 1);
	int fd[2];
	ssize_t n = -1;

	if (pipe(fd))
		return -errno;
	if (write(fd[1], &value, 1) == 1)
		n = read(fd[0], (void *)at, 1);
	close(fd[0]);
	close(fd[1]);
	return n == 1 ? 0 : -EIO;
}

static long op_fork_and_write(long at, long b, long c, long d)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		++*(volatile char *)at;
		_exit(0);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

static long op_toggle(long at, long size, long c, long d)
{
	if (mprotect((void *)at, (size_t)size, PROT_NONE))
		return -errno;
	return mprotect((void *)at, (size_t)size, PROT_READ | PROT_WRITE) ? -errno : 0;
}

/* One step in the target. What it does to page i is noted in want: 'D' written, 'n' renewed. */
static void step(struct t_target *tg, char *want)
{
	size_t i = pick(N);
	uintptr_t at = t_page(tg, i);

	switch (pick(12)) {
	case 0:
		t_call(tg, t_op_read, at);
		return;
	case 1:
		T_EQ(t_call(tg, op_fork_and_write, t_page(tg, pick(N_PRIVATE))), 0);
		return;
	case 2:
		T_EQ(t_call(tg, op_toggle, at, tg->unit), 0);
		return;
	case 3:
		T_EQ(t_call(tg, op_pread, at), 0);
		break;
	case 4:
		i = pick(N_PRIVATE);
		at = t_page(tg, i);
		T_EQ(t_call(tg, t_op_mmap, at, tg->unit, MAP_PRIVATE | MAP_ANONYMOUS, -1), 0);
		T_EQ(t_call(tg, t_op_write, at), 0);
		want[i] = 'n';
		return;
	default:
		T_EQ(t_call(tg, t_op_write, at), 0);
	}
	if (want[i] != 'n')
		want[i] = 'D';
}

/* Natively renewed pages look written, and make their neighbours untracked (merged). */
static bool agrees(int which, char got, char want)
{
	if (which == 1 && (got == 'u' || (got == 'D' && want == 'n')))
		return true;
	return got == want;
}

static void judge(const char got[2][N + 1], const char *want, unsigned round, unsigned *extra)
{
	for (size_t i = 0; i < N && !t_failed(); i++) {
		for (int b = 0; b < 2; b++)
			if (!T_OK(agrees(b, got[b][i], want[i])))
				t_note("round %u: page %zu is '%c' by %s, '%c' by %s, and should be "
				       "'%c'", round, i, got[b][i], name[b], got[!b][i], name[!b],
				       want[i]);
		*extra += want[i] == '-' && got[1][i] == 'u';
	}
}

static void prepare(struct t_target *tg)
{
	size_t page = t_page_size();
	int fd = (int)t_call(tg, t_op_memfd, (N - N_PRIVATE) * page);

	T_MUST(fd >= 0);
	t_slot(tg, N * page, page);
	T_MUST(!t_call(tg, t_op_mmap, tg->mem, N_PRIVATE * page, MAP_PRIVATE | MAP_ANONYMOUS, -1));
	T_MUST(!t_call(tg, t_op_mmap, t_page(tg, N_PRIVATE), (N - N_PRIVATE) * page, MAP_SHARED, fd));
	t_call(tg, t_op_madvise, tg->mem, N_PRIVATE * page, MADV_NOHUGEPAGE);
	T_MUST(!t_call(tg, t_op_touch, tg->mem, N, page));
	tg->n = N;
}

static void both_backends_and_the_truth_agree(void)
{
	T_TARGET tg = t_start();
	char want[N + 1], got[2][N + 1];
	unsigned extra = 0, n_rounds = t_is_slow() ? 100 : 400;

	prepare(&tg);
	for (int b = 0; b < 2; b++) {
		struct softdirty_options o = { .size = sizeof(o), .backend = name[b] };

		T_MUST(!softdirty_open(tg.pid, &o, &both[b]) && !softdirty_clear(both[b], NULL));
	}
	for (unsigned round = 0; round < n_rounds && !t_failed(); round++) {
		memset(want, '-', N);
		want[N] = '\0';
		for (unsigned n = pick(MAX_STEPS); n > 0; n--)
			step(&tg, want);
		for (int b = 0; b < 2; b++)
			t_letters(both[b], NULL, SOFTDIRTY_READ_CLEAR, tg.mem, N, tg.unit, got[b]);
		judge(got, want, round, &extra);
	}
	t_note("%u rounds of %d pages; natively %u pages too many, untracked", n_rounds, N, extra);
	for (int b = 0; b < 2; b++)
		softdirty_close(both[b]);
}

static const char *missing(void)
{
	static char why[300];
	const struct softdirty_backend *list;
	size_t n;

	T_MUST(!softdirty_check(0, &list, &n));
	for (size_t i = 0; i < n; i++) {
		for (int b = 0; b < 2; b++) {
			if (strcmp(list[i].name, name[b]) || list[i].works)
				continue;
			snprintf(why, sizeof(why), "%s does not work: %s", name[b], list[i].why);
			return why;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *why = missing();

	if (why)
		t_skip_all("%s", why);
	state = argc > 1 ? strtoull(argv[1], NULL, 0) : t_now();
	printf("seed %llu\n", (unsigned long long)state);
	T_RUN(both_backends_and_the_truth_agree);
	return t_done();
}
