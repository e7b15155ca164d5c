/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options that the tracking commands share; each command names the ones that it has. */
#ifndef SDI_CLI_ARGS_H
#define SDI_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum sdi_option {
	SDI_OPT_MARK = 1 << 0,
	SDI_OPT_BACKEND = 1 << 1,
	SDI_OPT_TREE = 1 << 2,
	SDI_OPT_CLEAR = 1 << 3,
	SDI_OPT_FORMAT = 1 << 4,
	SDI_OPT_RANGE = 1 << 5,
	SDI_OPT_JSON = 1 << 6,
	SDI_OPT_ROUNDS = 1 << 7,	/* -n */
	SDI_OPT_INTERVAL = 1 << 8,	/* -i */
};

enum sdi_format {
	SDI_FORMAT_SUMMARY,
	SDI_FORMAT_RANGES,
	SDI_FORMAT_JSON,
	SDI_FORMAT_PAGEMAP,
};

struct sdi_args {
	const char *mark;		/* "" is the default mark */
	const char *backend;		/* NULL: not given */
	bool tree, clear;
	enum sdi_format format;
	uint64_t start, end;		/* end 0: all memory */
	unsigned rounds;
	uint64_t interval_ns;
	pid_t *pids;
	size_t n_pids;
};

struct sdi_syntax {
	const char *command;
	unsigned options;		/* enum sdi_option */
	size_t min_pids, max_pids;
	const char *help;		/* all of what --help prints */
};

/*
 * Parse into *ret, which holds the defaults. Returns -1 to go on, else the exit status: --help
 * was asked for, or the words are wrong (said on stderr).
 */
int sdi_args_parse(int argc, char **argv, const struct sdi_syntax *syntax, struct sdi_args *ret);
void sdi_args_fini(struct sdi_args *args);

#endif
