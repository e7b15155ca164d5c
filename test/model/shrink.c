/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a long program that fails to a short one: leave out halves, quarters, ... single steps as
 * long as the same class of failure stays. Steps that became invalid are skipped by the replay.
 */
#include <string.h>

#include "run.h"

enum { TRIES = 1500 };

static bool still_fails(const struct run_config *cfg, const struct program *p,
			struct run_failure *failure)
{
	struct run_config hasty = *cfg;
	struct run_failure now = { .text = "" };
	struct run_stats stats = { 0 };

	hasty.patience = 5;
	if (run_replay(&hasty, p, &stats, &now) != 1 || strcmp(now.class, failure->class))
		return false;
	*failure = now;
	return true;
}

static struct program without(const struct program *p, size_t first, size_t n)
{
	struct program ret = { 0 };

	for (size_t i = 0; i < p->n; i++)
		if (i < first || i >= first + n)
			program_add(&ret, &p->op[i]);
	return ret;
}

/* Try to do with fewer pages in each step. */
static void fewer_pages(const struct run_config *cfg, struct program *p,
			struct run_failure *failure)
{
	for (size_t i = 0; i < p->n; i++) {
		uint16_t n = p->op[i].n;

		if (n < 2)
			continue;
		p->op[i].n = 1;
		if (!still_fails(cfg, p, failure))
			p->op[i].n = n;
	}
}

void shrink(const struct run_config *cfg, struct program *p, struct run_failure *failure)
{
	int tries = 0;

	for (size_t chunk = p->n / 2; chunk; chunk = chunk > 1 ? chunk / 2 : 0) {
		bool again = true;

		while (again && tries < TRIES) {
			again = false;
			for (size_t at = 0; at < p->n && tries < TRIES; ) {
				struct program less = without(p, at, chunk);

				tries++;
				if (still_fails(cfg, &less, failure)) {
					program_free(p);
					*p = less;
					again = true;
				} else {
					program_free(&less);
					at += chunk;
				}
			}
			again &= chunk == 1;
		}
	}
	fewer_pages(cfg, p, failure);
}
