/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * softdirty read: the pages written since the mark. Gathers one answer from the library, and hands
 * it to report/; knows no format.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/answer.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/each.h"
#include "cli/pagemap.h"
#include "report/report.h"

static const struct sdi_syntax syntax = {
	.command = "read",
	.options = SDI_OPT_MARK | SDI_OPT_BACKEND | SDI_OPT_TREE | SDI_OPT_CLEAR | SDI_OPT_FORMAT |
		SDI_OPT_RANGE | SDI_OPT_JSON,
	.min_pids = 1, .max_pids = SIZE_MAX,
	.help =
	"Usage: softdirty read PID... [OPTION]...\n"
	"Show which pages of each process were written since the mark was cleared.\n\n"
	"  --mark NAME     this mark, instead of the default one\n"
	"  --clear         move the mark to now in the same step: no write is lost between\n"
	"  --format FORM   summary (the default), ranges, json, or pagemap (needs --range)\n"
	"  --json          the same as --format json\n"
	"  --range A-B     only these addresses, in hexadecimal\n"
	"  --backend NAME  with --clear, where nobody watches yet: as for softdirty clear\n"
	"  --tree          all descendants of the processes too\n"
	"  --help          this text\n",
};

/* Once for each process, when the mark says nothing because it was overtaken by events. */
static void note_reason(pid_t pid, const char *mark, const struct sdi_answer *a)
{
	bool never = false, exec = false, lost = false;

	for (size_t i = 0; i < a->n_ranges; i++) {
		never |= a->ranges[i].reason == SOFTDIRTY_REASON_NEVER;
		exec |= a->ranges[i].reason == SOFTDIRTY_REASON_EXEC;
		lost |= a->ranges[i].reason == SOFTDIRTY_REASON_LOST;
	}
	if (never)
		sdi_cli_note("what was never cleared of %d counts as new (softdirty clear%s%s does "
			     "that)", pid, *mark ? " --mark " : "", mark);
	if (exec)
		sdi_cli_note("everything in %d counts as new: it has called exec since", pid);
	if (lost)
		sdi_cli_note("everything in %d counts as new: the tracking was interrupted", pid);
}

static int print(pid_t pid, const struct sdi_args *args, const struct sdi_answer *a)
{
	struct sdi_report r = {
		.pid = pid, .process = a->process, .mark = args->mark, .backend = a->backend,
		.page_size = a->page_size, .start = args->start, .end = args->end,
		.ranges = a->ranges, .n_ranges = a->n_ranges,
		.mappings = a->mappings, .n_mappings = a->n_mappings,
		.pages = a->pages, .n_pages = a->n_pages,
	};

	if (args->format == SDI_FORMAT_JSON)
		return sdi_report_json(stdout, &r);
	if (args->format == SDI_FORMAT_PAGEMAP)
		return sdi_pagemap_write(stdout, a->pagemap, args->start, args->end, a->ranges,
					 a->n_ranges);
	if (args->format == SDI_FORMAT_SUMMARY)
		return sdi_report_summary(stdout, &r);
	if (args->tree || args->n_pids > 1) {
		printf("# %d ", pid);
		sdi_put_name(stdout, r.process);
		putchar('\n');
	}
	sdi_report_ranges(stdout, &r);
	return 0;
}

static int deliver(pid_t pid, const struct sdi_args *args, const struct sdi_answer *a)
{
	int err = print(pid, args, a);

	if (!err)
		err = sdi_cli_flush();
	if (err)
		sdi_cli_fail("cannot write the answer about %d: %s", pid, strerror(-err));
	return err ? 1 : 0;
}

/* Without a keeper there is nothing to read; look at it only, and leave no keeper behind. */
static int open_unwatched(pid_t pid, struct softdirty **ret)
{
	struct softdirty_options options = { .size = sizeof(options), .backend = "hash" };

	return softdirty_open(pid, &options, ret);
}

/*
 * Closing says that the answer has arrived, and then the mark stays moved. One that has not is only let
 * go, by our end; remembered, so that it does not look like a leak.
 */
static struct softdirty *volatile undelivered;

static void close_delivered(struct softdirty *sd, bool delivered)
{
	if (delivered)
		softdirty_close(sd);
	else
		undelivered = sd;
}

static int try_read(pid_t pid, const struct sdi_args *args)
{
	struct sdi_answer answer = { 0 };
	struct softdirty *sd;
	bool unwatched = false;
	int err = sdi_cli_open(pid, NULL, SOFTDIRTY_OPEN_EXISTING, &sd);

	if (err == -ENOENT) {
		unwatched = !args->clear;
		err = unwatched ? open_unwatched(pid, &sd) : sdi_cli_open(pid, args->backend, 0, &sd);
		if (!err && !unwatched)
			sdi_cli_note_backend(sd);
	}
	if (err)
		return err;
	err = sdi_answer_get(sd, args, &answer);
	sdi_cli_progress_stop();
	if (!err) {
		if (unwatched)
			strcpy(answer.backend, "none");
		note_reason(pid, args->mark, &answer);
		err = deliver(pid, args, &answer);
	}
	sdi_answer_fini(&answer);
	close_delivered(sd, err <= 0);
	return err;
}

/* -ENOENT: its keeper was stopped since we found it. Then it is as if there had been none. */
static int read_one(pid_t pid, const struct sdi_args *args)
{
	enum { MAX_TRIES = 10 };
	int err = -ENOENT;

	for (int i = 0; i < MAX_TRIES && err == -ENOENT; i++)
		err = try_read(pid, args);
	return err;
}

int sdi_cmd_read(int argc, char **argv)
{
	struct sdi_args args = { 0 };
	int status = sdi_args_parse(argc, argv, &syntax, &args);

	if (status >= 0)
		return status;
	if (args.format == SDI_FORMAT_PAGEMAP && (!args.end || args.n_pids > 1 || args.tree)) {
		status = sdi_cli_usage("read", "--format pagemap is for one process and needs "
				       "--range");
	} else {
		status = sdi_cli_each(&args, "read", "reading", read_one);
	}
	sdi_args_fini(&args);
	return status;
}
