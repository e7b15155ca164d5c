/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The softdirty command: the table of its subcommands. Must not know what any of them does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "keeper/keeper.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;		/* NULL: not for people */
} commands[] = {
	{ "check", sdi_cmd_check, "what this kernel, or this process, offers" },
	{ "clear", sdi_cmd_clear, "watch processes from now on" },
	{ "read", sdi_cmd_read, "show which pages were written since then" },
	{ "stop", sdi_cmd_stop, "end the watching" },
	{ "exec", sdi_cmd_exec, "run a program with the kernel's soft-dirty interface" },
	{ "mount", sdi_cmd_mount, "serve that interface as files" },
	{ "verify", sdi_cmd_verify, "check the answers against the memory itself" },
	{ "keeper", sdi_keeper_main, NULL },
};

static int help(FILE *to)
{
	fputs("Usage: softdirty COMMAND [OPTION]...\n"
	      "Which pages did a process write since you last asked?\n\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\nsoftdirty COMMAND --help says more, and so do the manual pages softdirty(1)\n"
	      "and softdirty(7). Exit status: 0 done, 1 failed, 2 wrong usage.\n", to);
	return to == stderr ? SDI_EXIT_USAGE : SDI_EXIT_OK;
}

static int version(void)
{
	puts("softdirty " SDI_VERSION);
	return SDI_EXIT_OK;
}

static int run(int argc, char **argv)
{
	if (argc < 2)
		return help(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(stdout);
	if (!strcmp(argv[1], "--version"))
		return version();
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "softdirty: unknown command '%s'\nTry 'softdirty --help'.\n", argv[1]);
	return SDI_EXIT_USAGE;
}

/* A file opened later must not take the place of a standard stream that was closed. */
static void occupy_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			/* The wrong direction, so that using it fails. */
			if (open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
				_exit(SDI_EXIT_FAILED);
}

int main(int argc, char **argv)
{
	occupy_standard_streams();
	int status = run(argc, argv);
	int err = sdi_cli_flush();

	if (err && status == SDI_EXIT_OK) {
		sdi_cli_fail("cannot write the answer: %s", strerror(-err));
		status = SDI_EXIT_FAILED;
	}
	return status;
}
