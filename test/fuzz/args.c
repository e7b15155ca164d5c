/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A command line: the first two bytes choose what its command has, NULs end the words. */
#include "cli/args.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "fuzz.h"

enum { MAX_WORDS = 30 };

/* In place of what prints. */
int sdi_cli_usage(const char *command, const char *fmt, ...)
{
	return SDI_EXIT_USAGE;
}

void sdi_cli_fail(const char *fmt, ...)
{
}

/* In place of what asks the kernel. */
bool sdi_cli_is_backend(const char *name)
{
	return !strcmp(name, "hash");
}

static void check_values(const struct sdi_args *a, const struct sdi_syntax *syntax)
{
	uint64_t mask = sysconf(_SC_PAGESIZE) - 1;
	unsigned has = syntax->options;

	FUZZ_OK(a->n_pids >= syntax->min_pids && a->n_pids <= syntax->max_pids);
	for (size_t i = 0; i < a->n_pids; i++)
		FUZZ_OK(a->pids[i] > 0);
	FUZZ_OK(strlen(a->mark) < 64);
	FUZZ_OK(a->end ? a->start < a->end && !((a->start | a->end) & mask) : !a->start);
	FUZZ_OK(a->rounds && a->rounds <= 1000000000);
	FUZZ_OK(has & SDI_OPT_RANGE || !a->end);
	FUZZ_OK(has & SDI_OPT_MARK || !*a->mark);
	FUZZ_OK(has & SDI_OPT_BACKEND || !a->backend);
	FUZZ_OK(!a->backend || !strcmp(a->backend, "hash"));
	FUZZ_OK(has & SDI_OPT_TREE || !a->tree);
	FUZZ_OK(has & SDI_OPT_CLEAR || !a->clear);
	FUZZ_OK(has & SDI_OPT_ROUNDS || a->rounds == 1);
	FUZZ_OK(has & SDI_OPT_INTERVAL || a->interval_ns == 2);
	FUZZ_OK(has & (SDI_OPT_FORMAT | SDI_OPT_JSON) || a->format == SDI_FORMAT_SUMMARY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[MAX_WORDS + 2] = { "command" };
	struct sdi_syntax syntax = { .command = "command", .help = "", .max_pids = 3 };
	struct sdi_args args = { .rounds = 1, .interval_ns = 2 };
	uint16_t head = 0;
	int argc = 1;

	fuzz_take(&data, &size, &head, sizeof(head));
	syntax.options = head & (2 * SDI_OPT_INTERVAL - 1);
	syntax.min_pids = head >> 15;
	autofree char *words = fuzz_string(data, size);
	for (char *p = words; p < words + size && argc <= MAX_WORDS; p += strlen(p) + 1)
		argv[argc++] = p;
	opterr = 0;
	optind = 0;	/* begin anew */
	int status = sdi_args_parse(argc, argv, &syntax, &args);
	FUZZ_OK(status == -1 || status == SDI_EXIT_OK || status == SDI_EXIT_USAGE);
	if (status < 0)
		check_values(&args, &syntax);
	else
		FUZZ_OK(!args.pids && !args.n_pids);
	sdi_args_fini(&args);
	return 0;
}
