/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "t.h"

bool t_cgroup_make(pid_t pid, char path[64])
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char file[96], text[16];

	snprintf(text, sizeof(text), "%d", pid);
	for (int i = 0; i < 2; i++) {
		snprintf(path, 64, "%s/softdirty-test-%d", roots[i], pid);
		snprintf(file, sizeof(file), "%s/cgroup.controllers", roots[i]);
		if (access(file, R_OK) || mkdir(path, 0755))
			continue;
		snprintf(file, sizeof(file), "%s/cgroup.procs", path);
		if (!t_write_file(file, text))
			return true;
		rmdir(path);
	}
	return false;
}

bool t_cgroup_freeze(const char *path, bool freeze)
{
	char file[96];

	snprintf(file, sizeof(file), "%s/cgroup.freeze", path);
	if (t_write_file(file, freeze ? "1" : "0"))
		return false;
	snprintf(file, sizeof(file), "%s/cgroup.events", path);
	for (int ms = 0; ms < 5000; ms++, t_sleep_ms(1)) {
		char text[128];

		if (t_read_file(file, text, sizeof(text)) > 0 &&
		    strstr(text, freeze ? "frozen 1" : "frozen 0"))
			return true;
	}
	return false;
}
