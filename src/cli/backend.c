/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of backends that people give, on the command line and in the environment. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* NULL: there is none of that name. */
static const struct softdirty_backend *find(const char *name, const struct softdirty_backend *b,
					    size_t n)
{
	for (; n && strcmp(b->name, name); n--)
		b++;
	return n ? b : NULL;
}

bool sdi_cli_is_backend(const char *name)
{
	const struct softdirty_backend *b;
	size_t n;

	return !strcmp(name, "auto") || softdirty_check(0, &b, &n) || find(name, b, n);
}

const char *sdi_cli_forced_backend(void)
{
	const char *forced = getenv("SOFTDIRTY_BACKEND");

	return forced && *forced && strcmp(forced, "auto") ? forced : NULL;
}

bool sdi_cli_check_environment(void)
{
	const char *forced = sdi_cli_forced_backend();
	const struct softdirty_backend *b;
	size_t n;

	if (!forced || softdirty_check(0, &b, &n))
		return true;
	b = find(forced, b, n);
	if (!b)
		sdi_cli_fail("SOFTDIRTY_BACKEND is '%s', which is no backend (softdirty check shows "
			     "them)", forced);
	else if (!b->works)
		sdi_cli_fail("SOFTDIRTY_BACKEND is '%s', which does not work here (softdirty check "
			     "says why)", forced);
	return b && b->works;
}
