/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a program twice at once, in the specification and in a process that softdirty watches, and
 * compares: each step's result, and each answer page by page.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "op.h"
#include "spec.h"

struct run_config {
	const char *backend;
	unsigned patience;	/* seconds after which a target counts as hanging */
	const char *keeper;	/* the softdirty command: answers come through a keeper; or NULL */
};

struct run_stats {
	uint64_t steps, reads, pages, exact;
	uint64_t superset[SPEC_REASONS], omitted[SPEC_OMISSIONS];
};

enum { RUN_TEXT = 1024 };

/* Where and how the two differed. */
struct run_failure {
	char text[RUN_TEXT];
	char class[24];		/* its first word: LOST:, FALSE, HARM:, ... */
};

/* 0 equal, 1 different (*failure says how), -errno: could not be tried (*failure says why). */
int run_replay(const struct run_config *cfg, const struct program *p, struct run_stats *stats,
	       struct run_failure *failure);

/* The same for a random program of that many steps; *done is what was run. */
int run_random(const struct run_config *cfg, uint64_t seed, size_t length, struct program *done,
	       struct run_stats *stats, struct run_failure *failure);

/* shrink.c: leave out whatever is not needed for the same class of failure. */
void shrink(const struct run_config *cfg, struct program *p, struct run_failure *failure);

/* Programs that once failed, each with a comment, separated by empty lines. */
extern const char replays[];

#endif
