/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty check: what this kernel, or this process, offers, and which backend will be used. */
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "report/check.h"

static const struct sdi_syntax syntax = {
	.command = "check",
	.options = SDI_OPT_JSON,
	.min_pids = 0, .max_pids = 1,
	.help =
	"Usage: softdirty check [PID] [OPTION]...\n"
	"Try every backend, on this kernel or for that process, and say which one will be used.\n"
	"The process is only looked at. The exit status is 0 if one works.\n\n"
	"  --json  one JSON object\n"
	"  --help  this text\n",
};

/* The best one that works, unless the environment names one. NULL: none. */
static const char *chosen(const struct softdirty_backend *list, size_t n, const char *forced)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].works && (!forced || !strcmp(forced, list[i].name)))
			return list[i].name;
	return NULL;
}

static int check(const struct sdi_args *args)
{
	struct sdi_check_report r = { .pid = args->n_pids ? args->pids[0] : 0 };
	int err = softdirty_check(r.pid, &r.backends, &r.n);

	if (err && r.pid)
		sdi_cli_error("check", r.pid, err);
	else if (err)
		sdi_cli_fail("cannot check this kernel: %s", softdirty_error());
	if (err)
		return SDI_EXIT_FAILED;
	r.forced = sdi_cli_forced_backend();
	r.uses = chosen(r.backends, r.n, r.forced);
	if (args->format != SDI_FORMAT_JSON) {
		sdi_check_report_text(stdout, &r);
	} else if (sdi_check_report_json(stdout, &r)) {
		sdi_cli_fail("cannot write the answer: out of memory");
		return SDI_EXIT_FAILED;
	}
	return r.uses ? SDI_EXIT_OK : SDI_EXIT_FAILED;
}

int sdi_cmd_check(int argc, char **argv)
{
	struct sdi_args args = { 0 };
	int status = sdi_args_parse(argc, argv, &syntax, &args);

	if (status < 0)
		status = check(&args);
	sdi_args_fini(&args);
	return status;
}
