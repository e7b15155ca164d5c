/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"

/* "0::PATH" in a cgroup file: where it is below the mounted hierarchy of cgroup v2, or NULL. */
static const char *v2_path(char *text)
{
	char *line = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");

	if (!line)
		return NULL;
	line = strchr(line, '/');
	if (!line)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	/* It is outside of our cgroup namespace, so the hierarchy that we see does not have it. */
	return strncmp(line, "/..", 3) ? line : NULL;
}

bool sdi_cgroup_frozen(const struct sdi_target *t, pid_t tid)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char text[8192], name[4200], events[256];

	snprintf(name, sizeof(name), "task/%d/cgroup", tid);
	if (sdi_read_text(t->procfd, name, text, sizeof(text)) <= 0)
		return false;
	const char *path = v2_path(text);
	for (int i = 0; path && i < 2; i++) {
		snprintf(name, sizeof(name), "%s%.4096s/cgroup.events", roots[i], path);
		if (sdi_read_text(AT_FDCWD, name, events, sizeof(events)) > 0)
			return strstr(events, "frozen 1");
	}
	return false;
}
