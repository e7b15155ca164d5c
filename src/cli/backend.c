/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of backends that people give, on the command line and in the environment. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

bool sdi_cli_is_backend(const char *name)
{
	const struct softdirty_backend *b;
	size_t n;

	if (!strcmp(name, "auto") || softdirty_check(0, &b, &n))
		return true;
	while (n && strcmp(b->name, name)) {
		b++;
		n--;
	}
	return n;
}

const char *sdi_cli_forced_backend(void)
{
	const char *forced = getenv("SOFTDIRTY_BACKEND");

	return forced && *forced && strcmp(forced, "auto") ? forced : NULL;
}

bool sdi_cli_check_environment(void)
{
	const char *forced = sdi_cli_forced_backend();

	if (!forced || sdi_cli_is_backend(forced))
		return true;
	sdi_cli_fail("SOFTDIRTY_BACKEND is '%s', which is no backend (softdirty check shows them)",
		     forced);
	return false;
}
