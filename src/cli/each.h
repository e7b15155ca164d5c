/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same for each process that a command is about, with progress and errors. */
#ifndef SDI_CLI_EACH_H
#define SDI_CLI_EACH_H

#include <sys/types.h>

#include "cli/args.h"

/*
 * What to do with one process: 0; -errno, when softdirty_error() has the reason; or 1, when
 * everything must end and why has been said already.
 */
typedef int sdi_each_fn(pid_t pid, const struct sdi_args *args);

/*
 * Do it for each process in turn. One that fails is reported and the others still get their turn;
 * a descendant that has ended meanwhile is no failure. verb and doing: "clear", "clearing".
 * Returns the exit status.
 */
int sdi_cli_each(const struct sdi_args *args, const char *verb, const char *doing,
		 sdi_each_fn *fn);

#endif
