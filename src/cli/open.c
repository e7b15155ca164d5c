/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening a process for the commands: always shared, this very program serving as the keeper. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

const char *sdi_cli_own_path(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n > 0) {
		path[n] = '\0';
		if (!access(path, X_OK))
			return path;
	}
	return "/proc/self/exe";
}

int sdi_cli_open(pid_t pid, const char *backend, unsigned extra, struct softdirty **ret)
{
	struct softdirty_options options = {
		.size = sizeof(options),
		.backend = backend,
		.flags = SOFTDIRTY_OPEN_SHARED | extra,
		.keeper = sdi_cli_own_path(),
	};

	return softdirty_open(pid, &options, ret);
}

void sdi_cli_note_backend(struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	if (!softdirty_info(sd, &info) && info.passed_over[0])
		sdi_cli_note("%d is tracked with %s; passed over: %s", info.pid, info.backend,
			     info.passed_over);
}

void sdi_cli_process_name(pid_t pid, char name[static 64])
{
	char path[32];

	name[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	size_t n = fread(name, 1, 63, f);
	fclose(f);
	name[n] = '\0';
	while (n && name[n - 1] == '\n')
		name[--n] = '\0';
}
