/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * softdirty exec: run a program with the kernel's soft-dirty interface working. Where the kernel has
 * it, that is all; elsewhere libsoftdirty-compat.so is loaded into the program. Must not know what
 * that library does. Exit status as env(1): 126 and 127 for a program that cannot be run.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/loadable.h"

enum { EXIT_OWN = 125, EXIT_CANNOT = 126, EXIT_NOT_FOUND = 127 };

static const char help[] =
	"Usage: softdirty exec [--] COMMAND [ARG]...\n"
	"Run a program, and what it starts, with the kernel's soft-dirty interface working on any\n"
	"kernel: \"4\" to /proc/PID/clear_refs, bit 55 of /proc/PID/pagemap, PAGE_IS_SOFT_DIRTY.\n\n"
	"  --help  this text\n\n"
	"Exit status: that of COMMAND; 126 it cannot be run so, 127 it was not found,\n"
	"125 softdirty itself failed, 2 wrong usage.\n";

/* A forced backend other than the kernel's own bit wants the library whatever the kernel has. */
static bool wants_native(void)
{
	const char *forced = sdi_cli_forced_backend();

	return !forced || !strcmp(forced, "soft-dirty");
}

/* 1: the kernel has it; 0: something else works; -EOPNOTSUPP: nothing does. */
static int find_mechanism(void)
{
	const struct softdirty_backend *b;
	bool any = false;
	size_t n;
	int err = softdirty_check(0, &b, &n);

	for (size_t i = 0; !err && i < n; i++) {
		if (b[i].works && !strcmp(b[i].name, "soft-dirty") && wants_native())
			return 1;
		any |= b[i].works;
	}
	return err ? err : any ? 0 : -EOPNOTSUPP;
}

static int readable(const char *path, char ret[static PATH_MAX])
{
	if (access(path, R_OK))
		return -errno;
	return realpath(path, ret) ? 0 : -errno;
}

/* In the build directory beside this program, or where it was installed. */
static int find_library(const char *self, char ret[static PATH_MAX])
{
	char path[PATH_MAX + 64];
	const char *slash = strrchr(self, '/');

	snprintf(path, sizeof(path), "%.*s/src/preload/libsoftdirty-compat.so",
		 (int)(slash - self), self);
	if (!readable(path, ret))
		return 0;
	return readable(SDI_LIBDIR "/libsoftdirty-compat.so", ret);
}

static bool is_in_list(const char *list, const char *path)
{
	size_t n = strlen(path);

	for (; *list; list += strcspn(list, ": "), list += strspn(list, ": "))
		if (!strncmp(list, path, n) && strchr(": ", list[n]))
			return true;
	return false;
}

/* After what others load: their calls come first, as without us. */
static int add_preload(const char *path)
{
	const char *old = getenv("LD_PRELOAD");
	autofree char *list = NULL;

	if (path[strcspn(path, ": ")]) {
		sdi_cli_fail("cannot load %s: LD_PRELOAD takes no blanks and colons", path);
		return -EINVAL;
	}
	if (old && is_in_list(old, path))
		return 0;
	if (asprintf(&list, "%s%s%s", old ? old : "", old && *old ? ":" : "", path) < 0)
		return -ENOMEM;
	return setenv("LD_PRELOAD", list, 1) ? -errno : 0;
}

/* The keeper that holds the tracking is this same program. */
static int prepare(void)
{
	char self[PATH_MAX], library[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int err;

	if (n < 0) {
		sdi_cli_fail("cannot find itself: /proc/self/exe: %s", strerror(errno));
		return -errno;
	}
	self[n] = '\0';
	err = find_library(self, library);
	if (err) {
		sdi_cli_fail("cannot find %s/libsoftdirty-compat.so: %s (is it installed?)",
			     SDI_LIBDIR, strerror(-err));
		return err;
	}
	err = add_preload(library);
	return err ? err : setenv("SOFTDIRTY_COMMAND", self, 0) ? -errno : 0;
}

static int run(char **argv)
{
	execvp(argv[0], argv);
	int err = errno;

	sdi_cli_fail("cannot exec %s: %s", argv[0], strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT;
}

static int run_with_library(char **argv)
{
	struct sdi_why_not why;

	if (sdi_cli_loadable(argv[0], &why)) {
		sdi_cli_fail("cannot exec %s with soft-dirty: %s (use softdirty mount)", argv[0],
			     why.text);
		return EXIT_CANNOT;
	}
	return prepare() ? EXIT_OWN : run(argv);
}

int sdi_cmd_exec(int argc, char **argv)
{
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(help, stdout);
		return SDI_EXIT_OK;
	}
	if (argc > 1 && !strcmp(argv[1], "--")) {
		argc--;
		argv++;
	}
	if (argc < 2)
		return sdi_cli_usage("exec", "which program?");
	if (argv[1][0] == '-' && strcmp(argv[0], "--"))
		return sdi_cli_usage("exec", "unknown option '%s'", argv[1]);
	if (!sdi_cli_check_environment())
		return EXIT_OWN;
	switch (find_mechanism()) {
	case 1:
		return run(argv + 1);
	case 0:
		return run_with_library(argv + 1);
	default:
		sdi_cli_fail("cannot exec %s with soft-dirty: nothing on this kernel can track "
			     "writes (softdirty check says why)", argv[1]);
		return EXIT_OWN;
	}
}
