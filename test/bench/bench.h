/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the measurements share. They print figures and goals and never fail on one. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "target.h"

#define MIB (1ul << 20)
#define GIB (1ul << 30)

static inline long bench_op_reserve(long size, long b, long c, long d)
{
	return (long)mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* The arena of a target is too small for measurements: another one, with room for size bytes. */
static inline void bench_reserve(struct t_target *tg, size_t size)
{
	tg->arena = t_call(tg, bench_op_reserve, size + GIB);
	tg->arena_end = tg->arena + size + GIB;
}

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The value below which the fraction q of them lies. Sorts them. */
static inline double quantile(double *value, size_t n, double q)
{
	size_t i = (size_t)(q * (double)n);

	qsort(value, n, sizeof(*value), by_value);
	return value[i < n ? i : n - 1];
}

static inline void bench_line(const char *what, double value, const char *unit, double goal)
{
	printf("bench %s: %.3f %s (goal: at most %.3g) %s\n", what, value, unit, goal,
	       value <= goal ? "reached" : "MISSED");
}

/* Skip the claim when the machine has too little memory for it. */
#define BENCH_NEED(bytes) do { \
	if (t_available_memory() < (bytes)) \
		T_SKIP("needs %lu MiB of free memory", (unsigned long)((bytes) / MIB)); \
} while (0)

#endif
