/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shared options of the tracking commands. Must not know what the commands do with them. */
#include "cli/args.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/parse.h"

enum { MAX_ROUNDS = 1000000000, MARK_MAX = 63 };

static const struct {
	unsigned option;
	struct option spec;
	const char *letter;
} table[] = {
	{ SDI_OPT_MARK, { "mark", required_argument, NULL, SDI_OPT_MARK }, "" },
	{ SDI_OPT_BACKEND, { "backend", required_argument, NULL, SDI_OPT_BACKEND }, "" },
	{ SDI_OPT_TREE, { "tree", no_argument, NULL, SDI_OPT_TREE }, "" },
	{ SDI_OPT_CLEAR, { "clear", no_argument, NULL, SDI_OPT_CLEAR }, "" },
	{ SDI_OPT_FORMAT, { "format", required_argument, NULL, SDI_OPT_FORMAT }, "" },
	{ SDI_OPT_RANGE, { "range", required_argument, NULL, SDI_OPT_RANGE }, "" },
	{ SDI_OPT_JSON, { "json", no_argument, NULL, SDI_OPT_JSON }, "" },
	{ SDI_OPT_ROUNDS, { "rounds", required_argument, NULL, 'n' }, "n:" },
	{ SDI_OPT_INTERVAL, { "interval", required_argument, NULL, 'i' }, "i:" },
	{ 0, { "help", no_argument, NULL, 'h' }, "h" },
};

static int set_mark(const struct sdi_syntax *syntax, const char *text, struct sdi_args *ret)
{
	bool good = strlen(text) <= MARK_MAX;

	for (const char *p = text; *p; p++)
		good = good && (unsigned char)*p >= ' ' && *p != 0x7f;
	if (!good)
		return sdi_cli_usage(syntax->command, "a mark is at most %d bytes long and has "
				     "no control characters", MARK_MAX);
	ret->mark = text;
	return -1;
}

static int set_format(const struct sdi_syntax *syntax, const char *text, struct sdi_args *ret)
{
	static const char *const names[] = {
		[SDI_FORMAT_SUMMARY] = "summary", [SDI_FORMAT_RANGES] = "ranges",
		[SDI_FORMAT_JSON] = "json", [SDI_FORMAT_PAGEMAP] = "pagemap",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], text)) {
			ret->format = i;
			return -1;
		}
	}
	return sdi_cli_usage(syntax->command, "unknown format '%s' (there are summary, ranges, "
			     "json, pagemap)", text);
}

static int set_backend(const struct sdi_syntax *syntax, const char *text, struct sdi_args *ret)
{
	if (!sdi_cli_is_backend(text))
		return sdi_cli_usage(syntax->command, "unknown backend '%s' (there are wp-async, "
				     "soft-dirty, hash, auto)", text);
	ret->backend = text;
	return -1;
}

static int set_range(const struct sdi_syntax *syntax, const char *text, struct sdi_args *ret)
{
	uint64_t page_size = sysconf(_SC_PAGESIZE);

	if (!sdi_parse_range(text, &ret->start, &ret->end))
		return sdi_cli_usage(syntax->command, "'%s' is not a range: START-END in "
				     "hexadecimal, START below END", text);
	if (ret->start % page_size || ret->end % page_size)
		return sdi_cli_usage(syntax->command, "the range '%s' is not page aligned "
				     "(pages have 0x%llx bytes)", text,
				     (unsigned long long)page_size);
	return -1;
}

static int set(const struct sdi_syntax *syntax, int option, const char *text,
	       struct sdi_args *ret)
{
	switch (option) {
	case SDI_OPT_MARK:
		return set_mark(syntax, text, ret);
	case SDI_OPT_BACKEND:
		return set_backend(syntax, text, ret);
	case SDI_OPT_TREE:
		ret->tree = true;
		return -1;
	case SDI_OPT_CLEAR:
		ret->clear = true;
		return -1;
	case SDI_OPT_FORMAT:
		return set_format(syntax, text, ret);
	case SDI_OPT_RANGE:
		return set_range(syntax, text, ret);
	case SDI_OPT_JSON:
		ret->format = SDI_FORMAT_JSON;
		return -1;
	case 'n':
		return sdi_parse_count(text, MAX_ROUNDS, &ret->rounds) ? -1 :
			sdi_cli_usage(syntax->command, "'%s' is not a number of rounds "
				      "(1 to %d)", text, MAX_ROUNDS);
	case 'i':
		return sdi_parse_seconds(text, &ret->interval_ns) ? -1 :
			sdi_cli_usage(syntax->command, "'%s' is not a number of seconds, at "
				      "most a day", text);
	case 'h':
		fputs(syntax->help, stdout);
		return SDI_EXIT_OK;
	default:	/* getopt_long() has said what is wrong */
		return sdi_cli_usage(syntax->command, NULL);
	}
}

static int parse_options(int argc, char **argv, const struct sdi_syntax *syntax,
			 struct sdi_args *ret)
{
	struct option longs[ARRAY_SIZE(table) + 1] = { { 0 } };
	char shorts[2 * ARRAY_SIZE(table) + 1] = "", name[64];
	int status = -1, option;

	for (size_t i = 0, n = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].option && !(table[i].option & syntax->options))
			continue;
		longs[n++] = table[i].spec;
		strcat(shorts, table[i].letter);
	}
	/* getopt_long() begins its messages with argv[0]. */
	snprintf(name, sizeof(name), "softdirty %s", syntax->command);
	argv[0] = name;
	while (status < 0 && (option = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		status = set(syntax, option, optarg, ret);
	argv[0] = NULL;		/* name goes out of scope */
	return status;
}

static int parse_pids(int argc, char **argv, const struct sdi_syntax *syntax,
		      struct sdi_args *ret)
{
	size_t n = argc;

	if (n < syntax->min_pids)
		return sdi_cli_usage(syntax->command, "a process id is needed");
	if (n > syntax->max_pids)
		return sdi_cli_usage(syntax->command, "only one process id is possible");
	ret->pids = calloc(n + 1, sizeof(*ret->pids));
	if (!ret->pids) {
		sdi_cli_fail("cannot start: out of memory (free some, then try again)");
		return SDI_EXIT_FAILED;
	}
	for (size_t i = 0; i < n; i++) {
		if (!sdi_parse_pid(argv[i], &ret->pids[i]))
			return sdi_cli_usage(syntax->command, "'%s' is not a process id", argv[i]);
		ret->n_pids++;
	}
	return -1;
}

int sdi_args_parse(int argc, char **argv, const struct sdi_syntax *syntax, struct sdi_args *ret)
{
	ret->mark = ret->mark ? ret->mark : "";
	int status = parse_options(argc, argv, syntax, ret);

	if (status < 0)
		status = parse_pids(argc - optind, argv + optind, syntax, ret);
	if (status >= 0)
		sdi_args_fini(ret);
	return status;
}

void sdi_args_fini(struct sdi_args *args)
{
	free(args->pids);
	args->pids = NULL;
	args->n_pids = 0;
}
