/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations that fail when a test wants it. Programs that use this (allocs_dep) have the linker give
 * them all allocations of what they are linked with statically. For the calling process only.
 */
#ifndef T_ALLOCS_H
#define T_ALLOCS_H

#include <stdbool.h>

/* The n-th allocation from now on fails (1: the next); all after it as well if and_later. */
void t_allocs_fail(unsigned n, bool and_later);

/* No more. Did one fail? Else there were fewer than n. */
bool t_allocs_end(void);

#endif
