/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that a random program runs in, and its driver's hold on it. Both share one page of
 * memory: the driver writes a batch of steps, the target does them and writes the results, so that
 * a million steps need few switches. Knows nothing of spec.h's truth nor of softdirty.
 */
#ifndef MODEL_TARGET_H
#define MODEL_TARGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "op.h"

enum { BATCH = 64 };

struct control {
	uint32_t turn;			/* futex: 1 the target works, 0 it waits */
	pid_t pid, driver;
	uint64_t heap, image;		/* addresses of these areas */
	uint64_t works;			/* bit for each op_code this kernel can do */
	uint32_t n;
	struct op op[BATCH];
	uint64_t result[BATCH];
};

/* Steps that come last in their batch, because another process or another image goes on. */
static inline bool ends_batch(enum op_code code)
{
	return code == OP_FORK || code == OP_EXEC;
}

struct target {
	pid_t pid;
	struct control *c;
	int fds[3];			/* control, memfd, file */
	unsigned patience;
};

/*
 * Start one: this program anew. A batch that takes longer than patience seconds hangs. 0, or -errno
 * with *error set.
 */
int target_start(struct target *t, unsigned patience, const char **error);

/* Let it do the batch in t->c. 0, or -1 with *error set: it died, or hangs. */
int target_run(struct target *t, const char **error);

void target_stop(struct target *t);

/* Where a page of the specification is in the process. */
uint64_t target_address(const struct control *c, unsigned page);

/* main() of the target; never returns. */
void target_main(void) __attribute__((noreturn));

/* steps.c: do one step here. Returns its result, or (uint64_t)-errno. */
uint64_t step_do(const struct control *c, const struct op *op);

/* steps.c: find out which steps this kernel can do. */
uint64_t step_probe(const struct control *c, uint64_t (*protect)(const struct op *));

enum { FD_CONTROL = 3, FD_MEMFD, FD_FILE };

#endif
