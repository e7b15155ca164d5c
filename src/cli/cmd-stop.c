/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty stop: end the tracking of this user, with all its marks, and leave no trace of it. */
#include <errno.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"

static const struct sdi_syntax syntax = {
	.command = "stop",
	.options = SDI_OPT_TREE,
	.min_pids = 1, .max_pids = SIZE_MAX,
	.help =
	"Usage: softdirty stop PID... [OPTION]...\n"
	"End the watching of each process, with all its marks. Nothing is left behind.\n\n"
	"  --tree  all descendants of the processes too\n"
	"  --help  this text\n",
};

/* A process that nobody watches is what was asked for, too. */
static int stop(pid_t pid, const struct sdi_args *args)
{
	struct softdirty *sd;
	int err = sdi_cli_open(pid, NULL, SOFTDIRTY_OPEN_EXISTING, &sd);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = softdirty_stop(sd);
	softdirty_close(sd);
	return err;
}

int sdi_cmd_stop(int argc, char **argv)
{
	struct sdi_args args = { 0 };
	int status = sdi_args_parse(argc, argv, &syntax, &args);

	if (status < 0)
		status = sdi_cli_each(&args, "stop watching", "stopping", stop);
	sdi_args_fini(&args);
	return status;
}
