/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model - random programs against the specification of the promise (spec.h).
 *
 *	model [--backend NAME|all|none] [--seed N] [--ops N] [--length N] [--keeper COMMAND]
 *						without --ops: T_OPS in the environment, or the
 *						share of T_ALL_OPS for one backend, or 50000
 *	model [--backend NAME|all|none] --replay FILE
 *	model [--backend NAME|all|none] --replays	those of replays.c
 *
 * Program number k of a run has seed N + k, so that --seed N+k --ops LENGTH repeats it alone.
 * Exit status: 0 equal, 1 different (a minimal program is printed, for --replay), 77 no backend.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run.h"
#include "softdirty.h"
#include "target.h"

enum { PATIENCE = 300 };	/* seconds; the machine may be busy */

#define DEFAULT_OPS SIZE_MAX

struct options {
	const char *backend, *keeper, *replay;
	bool replays;
	uint64_t seed;
	size_t ops, length;
};

static void print_stats(const char *backend, const struct run_stats *s)
{
	printf("ok model %s: %llu steps, %llu reads, %llu pages judged, %llu exact", backend,
	       (unsigned long long)s->steps, (unsigned long long)s->reads,
	       (unsigned long long)s->pages, (unsigned long long)s->exact);
	for (int i = 0; i < SPEC_REASONS; i++)
		if (s->superset[i])
			printf(", %llu superset (%s)", (unsigned long long)s->superset[i],
			       spec_reason_name[i]);
	for (int i = 0; i < SPEC_OMISSIONS; i++)
		if (s->omitted[i])
			printf(", %llu left out (%s)", (unsigned long long)s->omitted[i],
			       spec_omission_name[i]);
	printf("\n");
	fflush(stdout);
}

static void print_program(const struct program *p)
{
	for (size_t i = 0; i < p->n; i++) {
		char line[256];

		op_print(&p->op[i], line, sizeof(line));
		printf("%s\n", line);
	}
}

static int report_failure(const struct run_config *cfg, uint64_t seed, size_t length,
			  struct program *p, struct run_failure *failure)
{
	printf("FAILED model %s: --seed %llu --ops %zu, after %zu steps: %s\n", cfg->backend,
	       (unsigned long long)seed, length, p->n, failure->text);
	fflush(stdout);
	shrink(cfg, p, failure);
	printf("# shrunk to %zu steps: %s\n", p->n, failure->text);
	print_program(p);
	fflush(stdout);
	return 1;
}

/* Now and then a sign of life: on slow machines silence is taken for death. */
static void print_progress(const char *backend, const struct run_stats *s)
{
	static time_t last;
	time_t now = time(NULL);

	if (!last || now < last + 30) {
		last = last ? last : now;
		return;
	}
	last = now;
	printf("# model %s: %llu steps\n", backend, (unsigned long long)s->steps);
	fflush(stdout);
}

static int run_backend(const struct options *o, const char *backend)
{
	struct run_config cfg = { .backend = backend, .keeper = o->keeper,
				  .patience = PATIENCE };
	struct run_stats stats = { 0 };

	for (uint64_t seed = o->seed; stats.steps < o->ops; seed++) {
		struct program done = { 0 };
		struct run_failure failure = { .text = "" };
		size_t length = o->length < o->ops ? o->length : o->ops;
		int err = run_random(&cfg, seed, length, &done, &stats, &failure);

		if (err < 0)
			printf("FAILED model %s: %s\n", backend, failure.text);
		else if (err)
			report_failure(&cfg, seed, length, &done, &failure);
		program_free(&done);
		if (err)
			return 1;
		print_progress(backend, &stats);
	}
	print_stats(backend, &stats);
	return 0;
}

static int replay(const struct options *o, const char *backend, const struct program *p,
		  const char *title)
{
	struct run_config cfg = { .backend = backend, .keeper = o->keeper, .patience = PATIENCE };
	struct run_failure failure = { .text = "" };
	struct run_stats stats = { 0 };
	int err = run_replay(&cfg, p, &stats, &failure), length = strcspn(title, "\n");

	if (err)
		printf("FAILED model %s: %.*s\n%s\n", backend, length, title, failure.text);
	else
		printf("ok model %s: %.*s\n", backend, length, title);
	fflush(stdout);
	return !!err;
}

static int replay_all(const struct options *o, const char *backend, const char *text)
{
	int ret = 0;

	while (*text) {
		const char *title = text + strspn(text, "# ");
		struct program p = { 0 };

		if (!program_parse(&text, &p)) {
			printf("FAILED model: no step: %.*s\n", (int)strcspn(text, "\n"), text);
			ret = 1;
			break;
		}
		ret |= replay(o, backend, &p, title);
		program_free(&p);
	}
	return ret;
}

static int replay_file(const struct options *o, const char *backend)
{
	char *text = NULL;
	size_t size;
	FILE *f = fopen(o->replay, "re");

	if (!f || getdelim(&text, &size, '\0', f) < 0) {
		printf("FAILED model: cannot read %s\n", o->replay);
		return 1;
	}
	fclose(f);
	int ret = replay_all(o, backend, text);
	free(text);
	return ret;
}

static int run_or_replay(const struct options *o, const char *backend)
{
	if (o->replay)
		return replay_file(o, backend);
	return o->replays ? replay_all(o, backend, replays) : run_backend(o, backend);
}

static int run_all(const struct options *o)
{
	const struct softdirty_backend *list;
	char works[8][16];
	size_t n, n_works = 0;
	int ret = 0;

	if (!strcmp(o->backend, "none"))
		return run_or_replay(o, o->backend);
	if (softdirty_check(0, &list, &n))
		return 1;
	for (size_t i = 0; i < n && n_works < 8; i++) {
		if (strcmp(o->backend, "all") && strcmp(o->backend, list[i].name))
			continue;
		if (list[i].works)
			snprintf(works[n_works++], sizeof(works[0]), "%s", list[i].name);
		else
			printf("skipped model %s: %s\n", list[i].name, list[i].why);
	}
	for (size_t i = 0; i < n_works; i++)
		ret |= run_or_replay(o, works[i]);
	return n_works ? ret : 77;
}

static size_t count_backends(void)
{
	const struct softdirty_backend *list;
	size_t n, works = 0;

	if (softdirty_check(0, &list, &n))
		return 1;
	for (size_t i = 0; i < n; i++)
		works += list[i].works;
	return works ? works : 1;
}

/* Without a backend only the specification is tried, and what that finds the others find as well. */
static uint64_t default_ops(const char *backend)
{
	const char *each = getenv("T_OPS"), *all = getenv("T_ALL_OPS");
	uint64_t share = !strcmp(backend, "none") ? 10 : count_backends();

	if (each)
		return strtoull(each, NULL, 0);
	return all ? strtoull(all, NULL, 0) / share : 50000;
}

static int usage(void)
{
	fprintf(stderr, "usage: model [--backend NAME|all] [--seed N] [--ops N] [--length N]"
			" [--keeper COMMAND] [--replay FILE | --replays]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "backend", required_argument, NULL, 'b' }, { "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'n' }, { "length", required_argument, NULL, 'l' },
		{ "keeper", required_argument, NULL, 'k' }, { "replay", required_argument, NULL, 'r' },
		{ "replays", no_argument, NULL, 'R' },
		{ 0 } };
	struct options o = { .backend = "all", .seed = 1, .length = 1000, .ops = DEFAULT_OPS };
	int c;

	if (argc == 2 && !strcmp(argv[1], "--target"))
		target_main();
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'b': o.backend = optarg; break;
		case 's': o.seed = strtoull(optarg, NULL, 0); break;
		case 'n': o.ops = strtoull(optarg, NULL, 0); break;
		case 'l': o.length = strtoull(optarg, NULL, 0); break;
		case 'k': o.keeper = optarg; break;
		case 'r': o.replay = optarg; break;
		case 'R': o.replays = true; break;
		default: return usage();
		}
	}
	if (optind != argc || !o.length || !o.ops)
		return usage();
	if (o.ops == DEFAULT_OPS)
		o.ops = default_ops(o.backend);
	return run_all(&o);
}
