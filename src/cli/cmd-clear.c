/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty clear: from now on, watch. The tracking stays behind in a keeper. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"

static const struct sdi_syntax syntax = {
	.command = "clear",
	.options = SDI_OPT_MARK | SDI_OPT_BACKEND | SDI_OPT_TREE,
	.min_pids = 1, .max_pids = SIZE_MAX,
	.help =
	"Usage: softdirty clear PID... [OPTION]...\n"
	"Set the mark of each process to now: from now on, watch what it writes.\n\n"
	"  --mark NAME     this mark, instead of the default one\n"
	"  --backend NAME  wp-async, soft-dirty or hash, instead of the best that works\n"
	"  --tree          all descendants of the processes too\n"
	"  --help          this text\n",
};

static int clear(pid_t pid, const struct sdi_args *args)
{
	struct softdirty *sd;
	int err = sdi_cli_open(pid, args->backend, 0, &sd);

	if (err)
		return err;
	err = softdirty_clear(sd, args->mark);
	if (!err)
		sdi_cli_note_backend(sd);
	softdirty_close(sd);
	return err;
}

int sdi_cmd_clear(int argc, char **argv)
{
	struct sdi_args args = { 0 };
	int status = sdi_args_parse(argc, argv, &syntax, &args);

	if (status < 0)
		status = sdi_cli_each(&args, "clear", "clearing", clear);
	sdi_args_fini(&args);
	return status;
}
