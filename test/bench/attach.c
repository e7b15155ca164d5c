/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long attaching stops a process, and ending it again, measured by the process itself: its first
 * thread looks at the clock all the time, writes to memory that is watched, and keeps the longest
 * gap. 100 mappings, three more threads; with 64 MiB and with 4 GiB of memory.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define N_ATTACH 100
#define N_MAPPINGS 100

static struct {
	_Atomic bool stop;
	_Atomic uint64_t gap_ns;
} *shared;

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static long op_watch_the_clock(long mem, long c, long b, long d)
{
	pthread_t t;
	uint64_t last;

	for (int i = 0; i < 3; i++)
		if (pthread_create(&t, NULL, sleeper, NULL))
			return -1;
	last = t_now();
	while (!shared->stop) {
		uint64_t now = t_now();

		if (now - last > shared->gap_ns)
			shared->gap_ns = now - last;
		last = now;
	}
	return 0;
}

static void prepare(struct t_target *tg, size_t size)
{
	size_t part = size / N_MAPPINGS / t_page_size();

	bench_reserve(tg, size);
	for (int i = 0; i < N_MAPPINGS; i++)
		t_map_touched(tg, part);
}

/* Of the longest gaps without an attach, in the same time as one takes. */
static double idle_gap_us(void)
{
	static double gap[N_ATTACH];

	for (int i = 0; i < N_ATTACH; i++) {
		shared->gap_ns = 0;
		t_sleep_ms(3);
		gap[i] = (double)shared->gap_ns / 1e3;
	}
	return quantile(gap, N_ATTACH, 0.5);
}

static void measure(size_t size)
{
	static double gap[N_ATTACH], own[N_ATTACH], end[N_ATTACH];
	struct softdirty_info info = { .size = sizeof(info) };
	T_TARGET tg;
	double idle;
	char what[64];

	BENCH_NEED(size + GIB);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	tg = t_start();
	prepare(&tg, size);
	t_post(&tg, op_watch_the_clock, 0, 0, 0);
	t_sleep_ms(50);
	idle = idle_gap_us();
	for (int i = 0; i < N_ATTACH; i++) {
		shared->gap_ns = 0;
		T_MUST(softdirty_open(tg.pid, NULL, &tg.sd) == 0);
		gap[i] = (double)shared->gap_ns / 1e3;
		softdirty_info(tg.sd, &info);
		own[i] = (double)info.attach_ns / 1e3;
		T_EQ(softdirty_clear(tg.sd, NULL), 0);
		shared->gap_ns = 0;
		softdirty_close(tg.sd);
		tg.sd = NULL;
		/* Who waits in a page fault wakes up a little later. */
		t_sleep_ms(2);
		end[i] = (double)shared->gap_ns / 1e3;
	}
	shared->stop = true;
	T_EQ(t_wait(&tg), 0);
	printf("%lu MiB: longest gap of the target in us: median %.0f, p90 %.0f, longest %.0f; "
	       "without attach %.0f; by the library %.0f; at the end of it median %.0f, p90 %.0f\n",
	       (unsigned long)(size / MIB), quantile(gap, N_ATTACH, 0.5),
	       quantile(gap, N_ATTACH, 0.9), quantile(gap, N_ATTACH, 1), idle,
	       quantile(own, N_ATTACH, 0.5), quantile(end, N_ATTACH, 0.5),
	       quantile(end, N_ATTACH, 0.9));
	snprintf(what, sizeof(what), "attach stop, %lu MiB", (unsigned long)(size / MIB));
	bench_line(what, quantile(gap, N_ATTACH, 0.5) / 1e3, "ms", 1);
}

static void attach_to_64_mib(void)
{
	measure(64 * MIB);
}

static void attach_to_4_gib(void)
{
	measure(4 * GIB);
}

int main(void)
{
	t_need_backend();
	T_RUN(attach_to_64_mib);
	T_RUN(attach_to_4_gib);
	return t_done();
}
