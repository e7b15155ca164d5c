/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver: batches for the target, questions to the library, comparison. Public API only. */
#include "run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocs.h"
#include "gen.h"
#include "softdirty.h"
#include "target.h"

static const char *const mark_name[SPEC_MARKS] = { NULL, "a", "b" };

struct run {
	const struct run_config *cfg;
	enum spec_backend backend;
	struct spec spec;
	struct target target;
	struct softdirty *sd;
	uint64_t expected[BATCH];
	bool checked[BATCH];
	struct spec_report report[SPEC_PAGES];
	struct run_stats *stats;
	struct run_failure *failure;
};

static int fail(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->failure->text, sizeof(r->failure->text), fmt, ap);
	va_end(ap);
	snprintf(r->failure->class, sizeof(r->failure->class), "%.*s",
		 (int)strcspn(r->failure->text, " "), r->failure->text);
	return 1;
}

/* Nobody watches: shows that the specification knows what the target does. */
static bool nobody(const struct run *r)
{
	return !strcmp(r->cfg->backend, "none");
}

static int open_handle(struct run *r)
{
	if (nobody(r))
		return 0;
	struct softdirty_options o = { .size = sizeof(o), .backend = r->cfg->backend,
				       .keeper = r->cfg->keeper,
				       .flags = r->cfg->keeper ? SOFTDIRTY_OPEN_SHARED : 0 };
	int err = softdirty_open(r->target.pid, &o, &r->sd);

	return err ? fail(r, "CALL: open: %s", softdirty_error()) : 0;
}

static void close_handle(struct run *r)
{
	if (r->sd && r->cfg->keeper)
		softdirty_stop(r->sd);
	softdirty_close(r->sd);
	r->sd = NULL;
}

/* Let the target do what has gathered, and compare what its steps returned. */
static int flush(struct run *r)
{
	struct control *c = r->target.c;
	const char *error;
	bool forked = false;

	if (!c->n)
		return 0;
	if (target_run(&r->target, &error))
		return fail(r, "%s", error);
	for (uint32_t i = 0; i < c->n; i++) {
		char text[128];

		forked |= c->op[i].code == OP_FORK;
		if (!r->checked[i] || c->result[i] == r->expected[i])
			continue;
		op_print(&c->op[i], text, sizeof(text));
		return fail(r, "HARM: %s: returned %#llx, expected %#llx", text,
			    (unsigned long long)c->result[i], (unsigned long long)r->expected[i]);
	}
	c->n = 0;
	if (!forked)
		return 0;
	close_handle(r);
	return open_handle(r);
}

static int target_step(struct run *r, const struct op *op)
{
	struct control *c = r->target.c;

	c->op[c->n] = *op;
	r->expected[c->n] = spec_result(&r->spec, op, &r->checked[c->n]);
	spec_apply(&r->spec, op);
	c->n++;
	return c->n == BATCH || ends_batch(op->code) ? flush(r) : 0;
}

/* Spread the answer over the pages. Also: ascending, disjoint, aligned, inside what was asked. */
static int gather(struct run *r, uint64_t start, uint64_t end,
		  const struct softdirty_range *ranges, size_t n)
{
	uint64_t last = start;
	size_t k;

	for (k = 0; k < n; k++) {
		if (ranges[k].start < last || ranges[k].start >= ranges[k].end ||
		    (end && ranges[k].end > end) || (ranges[k].start | ranges[k].end) & 4095)
			return fail(r, "LIST: bad range %#llx-%#llx",
				    (unsigned long long)ranges[k].start,
				    (unsigned long long)ranges[k].end);
		last = ranges[k].end;
	}
	memset(r->report, 0, sizeof(r->report));
	for (unsigned i = 0; i < SPEC_PAGES; i++) {
		uint64_t at = target_address(r->target.c, i);

		for (k = 0; k < n && ranges[k].end <= at; k++)
			;
		if (k < n && ranges[k].start <= at)
			r->report[i] = (struct spec_report){ true, ranges[k].flags,
							     ranges[k].reason };
	}
	return 0;
}

static int describe(struct run *r, const struct op *op, unsigned i, const char *error)
{
	const struct spec_page *p = &r->spec.page[i];
	const struct spec_report *rep = &r->report[i];

	return fail(r, "%s: %s mark=%s page %u at %#llx\n"
		    "  reported=%d flags=%#x reason=%s\n"
		    "  spec: mapped=%d kind=%d prot=%d pte=%d guard=%d unsure=%d new=%#x written=%#x"
		    " regrown=%#x emptied=%#x zapped=%#x alias=%#x merged=%#x moved-in=%#x hole=%#x", error,
		    op_name(op->code), mark_name[op->kind] ? mark_name[op->kind] : "default", i,
		    (unsigned long long)target_address(r->target.c, i), rep->reported, rep->flags,
		    softdirty_reason_text(rep->reason), p->mapped, p->vma.kind, p->vma.prot,
		    p->pte, p->guard, p->unsure, p->new, p->written, p->regrown, p->emptied,
		    p->may[SPEC_ZAPPED], p->may[SPEC_ALIAS], p->may[SPEC_MERGED],
		    p->may[SPEC_MOVED_IN], p->may[SPEC_HOLE]);
}

static int judge(struct run *r, const struct op *op, unsigned first, unsigned n)
{
	struct run_stats *stats = r->stats;
	const char *error;
	int which;

	stats->reads++;
	stats->pages += n;
	for (unsigned i = first; i < first + n; i++) {
		switch (spec_judge(&r->spec, r->backend, op->kind, i, &r->report[i], &which,
				   &error)) {
		case SPEC_EXACT:    stats->exact++; break;
		case SPEC_SUPERSET: stats->superset[which]++; break;
		case SPEC_OMITTED:  stats->omitted[which]++; break;
		case SPEC_WRONG:    return describe(r, op, i, error);
		}
	}
	return 0;
}

/* failing: allocations may fail, as op says. */
static int do_read(struct run *r, const struct op *op, unsigned flags, bool failing)
{
	unsigned first = op->n ? op->page : 0, n = op->n ? op->n : SPEC_PAGES;
	uint64_t start = op->n ? target_address(r->target.c, first) : 0;
	uint64_t end = op->n ? start + n * 4096ull : 0;
	const struct softdirty_range *ranges;
	size_t n_ranges;

	if (failing)
		t_allocs_fail(op->to + 1, op->slot & 1);
	int err = softdirty_read(r->sd, mark_name[op->kind], flags, start, end, &ranges, &n_ranges);
	failing = t_allocs_end();
	if (failing && flags & SOFTDIRTY_READ_CLEAR)
		spec_mark_failed(&r->spec);
	if (failing && err == -ENOMEM)
		return 0;
	if (err)
		return fail(r, "CALL: read: %d, %s", err, softdirty_error());
	if (gather(r, start, end, ranges, n_ranges) || judge(r, op, first, n))
		return 1;
	if (flags & SOFTDIRTY_READ_CLEAR)
		spec_mark_clear(&r->spec, op->kind, first, n);
	return 0;
}

static int do_pages(struct run *r, const struct op *op)
{
	unsigned first = op->n ? op->page : 0, n = op->n ? op->n : SPEC_PAGES;
	uint64_t start = op->n ? target_address(r->target.c, first) : 0;
	uint64_t end = op->n ? start + n * 4096ull : 0;
	const struct softdirty_range *ranges;
	size_t n_ranges;

	if (softdirty_pages(r->sd, start, end, &ranges, &n_ranges))
		return fail(r, "CALL: pages: %s", softdirty_error());
	if (gather(r, start, end, ranges, n_ranges))
		return 1;
	for (unsigned i = first; i < first + n; i++) {
		const char *error = spec_judge_populated(&r->spec, i, &r->report[i]);

		if (error)
			return describe(r, op, i, error);
	}
	return 0;
}

static int do_forget(struct run *r, const struct op *op)
{
	int want = r->spec.marks & 1 << op->kind ? 0 : -ENOENT;
	int err = softdirty_forget(r->sd, mark_name[op->kind]);

	spec_mark_forget(&r->spec, op->kind);
	return err == want ? 0 : fail(r, "CALL: forget: %d, expected %d", err, want);
}

static int consumer_step(struct run *r, const struct op *op)
{
	int err;

	switch ((enum op_code)op->code) {
	case OP_CLEAR:
		if (softdirty_clear(r->sd, mark_name[op->kind]))
			return fail(r, "CALL: clear: %s", softdirty_error());
		spec_mark_clear(&r->spec, op->kind, 0, SPEC_PAGES);
		return 0;
	case OP_READ:
		return do_read(r, op, 0, false);
	case OP_READCLEAR:
		return do_read(r, op, SOFTDIRTY_READ_CLEAR, false);
	case OP_FAILREAD:
		return do_read(r, op, 0, true);
	case OP_FAILCLEAR:
		return do_read(r, op, SOFTDIRTY_READ_CLEAR, true);
	case OP_PAGES:
		return do_pages(r, op);
	case OP_FORGET:
		return do_forget(r, op);
	case OP_FREEZE:
		if (softdirty_freeze(r->sd))
			return fail(r, "CALL: freeze: %s", softdirty_error());
		err = do_read(r, op, 0, false);
		softdirty_thaw(r->sd);
		return err;
	default:
		close_handle(r);
		spec_reopen(&r->spec);
		return open_handle(r);
	}
}

static int step(struct run *r, const struct op *op)
{
	r->stats->steps++;
	if (op->code < OP_TARGET_CODES)
		return target_step(r, op);
	return flush(r) || (!nobody(r) && consumer_step(r, op));
}

/* With PAGEMAP_SCAN, which wp-async needs too. */
static bool zero_is_known(void)
{
	static int known = -1;
	const struct softdirty_backend *b;
	size_t n;

	if (known < 0)
		known = !softdirty_check(0, &b, &n) && n && b[0].works;
	return known;
}

static int begin(struct run *r)
{
	static const char *const names[] = { "wp-async", "soft-dirty", "hash" };

	while (!nobody(r) && strcmp(names[r->backend], r->cfg->backend))
		if (++r->backend == SPEC_BACKENDS)
			return -EINVAL;
	spec_init(&r->spec);
	r->spec.zero_known = zero_is_known();
	const char *error;
	int err = target_start(&r->target, r->cfg->patience, &error);
	if (err) {
		fail(r, "START: the target does not start: %s (%s)", error, strerror(-err));
		return err;
	}
	return open_handle(r);
}

static void end(struct run *r, int err)
{
	/* A target that spins in the kernel holds what closing the handle needs. */
	if (err)
		target_stop(&r->target);
	close_handle(r);
	if (!err)
		target_stop(&r->target);
	free(r);
}

static struct run *create(const struct run_config *cfg, struct run_stats *stats,
			  struct run_failure *failure)
{
	struct run *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	r->cfg = cfg;
	r->stats = stats;
	r->failure = failure;
	return r;
}

int run_replay(const struct run_config *cfg, const struct program *p, struct run_stats *stats,
	       struct run_failure *failure)
{
	struct run *r = create(cfg, stats, failure);
	int err = begin(r);

	for (size_t i = 0; !err && i < p->n; i++)
		if (spec_valid(&r->spec, &p->op[i]) && (p->op[i].code >= OP_TARGET_CODES ||
		    r->target.c->works & 1ull << p->op[i].code))
			err = step(r, &p->op[i]);
	if (!err)
		err = flush(r);
	end(r, err);
	return err;
}

int run_random(const struct run_config *cfg, uint64_t seed, size_t length, struct program *done,
	       struct run_stats *stats, struct run_failure *failure)
{
	struct run *r = create(cfg, stats, failure);
	struct gen g = gen_seed(seed);
	int err = begin(r);

	for (size_t i = 0; !err && i < length; i++) {
		struct op op = gen_next(&g, &r->spec, r->target.c->works);

		program_add(done, &op);
		err = step(r, &op);
	}
	if (!err)
		err = flush(r);
	end(r, err);
	return err;
}
