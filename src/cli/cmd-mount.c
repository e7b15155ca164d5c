/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty mount: the kernel's soft-dirty interface as files, for programs that know only it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/parse.h"
#include "procview/procview.h"

static const char help_text[] =
	"Usage: softdirty mount DIR [--allow-other]\n"
	"       softdirty mount --over PID...\n"
	"Serve DIR/PID/clear_refs and DIR/PID/pagemap as a kernel with soft-dirty has them in\n"
	"/proc; or cover these two files in /proc itself, for the given processes. Serves in the\n"
	"foreground until Ctrl-C, SIGTERM, umount, or the end of the last process of --over.\n\n"
	"  --allow-other  let other users in as well (root only): each sees and may clear what\n"
	"                 the kernel would let them\n"
	"  --over         mount over /proc/PID/clear_refs and /proc/PID/pagemap (root only)\n"
	"  --help         this text\n";

struct args {
	const char *dir;
	bool allow_other, over;
	pid_t *pids;
	size_t n_pids;
};

static struct sdi_procview view;

static void ready(void)
{
	if (view.dir)
		printf("softdirty: serving %s until Ctrl-C\n", view.dir);
	else
		printf("softdirty: covering /proc/%d/{clear_refs,pagemap}%s until Ctrl-C\n",
		       view.over[0], view.n_over > 1 ? " and others" : "");
	fflush(stdout);
}

static int add_pid(struct args *a, const char *word)
{
	if (!sdi_parse_pid(word, &a->pids[a->n_pids]))
		return sdi_cli_usage("mount", "'%s' is not a process id", word);
	a->n_pids++;
	return -1;
}

static int parse_words(struct args *a, int n, char **words)
{
	int status = -1;

	if (!a->over) {
		if (n != 1)
			return sdi_cli_usage("mount", n ? "one directory, please" :
					     "where? Give a directory, or --over PID");
		a->dir = words[0];
		return -1;
	}
	if (n < 1)
		return sdi_cli_usage("mount", "--over needs a process id");
	if (a->allow_other)
		return sdi_cli_usage("mount", "--over always lets other users in");
	a->pids = calloc(n, sizeof(*a->pids));
	if (!a->pids) {
		sdi_cli_fail("out of memory");
		return SDI_EXIT_FAILED;
	}
	for (int i = 0; i < n && status < 0; i++)
		status = add_pid(a, words[i]);
	return status;
}

/* -1: go on, else the exit status. */
static int parse(struct args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "allow-other", no_argument, NULL, 'a' },
		{ "over", no_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	argv[0] = "softdirty mount";	/* getopt_long() begins its messages with it */
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'h') {
			fputs(help_text, stdout);
			return SDI_EXIT_OK;
		}
		if (c == '?')
			return sdi_cli_usage("mount", NULL);
		*(c == 'a' ? &a->allow_other : &a->over) = true;
	}
	return parse_words(a, argc - optind, argv + optind);
}

static int serve(const struct args *a)
{
	char why[256] = "";

	if ((a->allow_other || a->over) && geteuid() != 0) {
		sdi_cli_fail("cannot mount: %s is for root", a->over ? "--over" : "--allow-other");
		return SDI_EXIT_FAILED;
	}
	view = (struct sdi_procview){
		.dir = a->dir, .over = a->pids, .n_over = a->n_pids,
		.allow_other = a->allow_other, .keeper = sdi_cli_own_path(),
		.ready = ready, .say = sdi_cli_fail,
	};
	if (!sdi_procview_run(&view, why))
		return SDI_EXIT_OK;
	sdi_cli_fail("cannot mount: %s", why);
	return SDI_EXIT_FAILED;
}

int sdi_cmd_mount(int argc, char **argv)
{
	struct args a = { 0 };
	int status = parse(&a, argc, argv);

	if (status < 0)
		status = sdi_cli_check_environment() ? serve(&a) : SDI_EXIT_FAILED;
	free(a.pids);
	return status;
}
