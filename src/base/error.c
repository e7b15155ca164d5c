/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Thread_local char message[512];
static _Thread_local char before[sizeof(message)];
static _Thread_local bool seen;

int sdi_fail(int err, const char *fmt, ...)
{
	char text[sizeof(message)];	/* the arguments may contain the previous message */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(message, text, sizeof(message));
	seen = true;
	return -err;
}

void sdi_fail_expect(void)
{
	memcpy(before, message, sizeof(before));
	seen = false;
}

void sdi_fail_forget(void)
{
	memcpy(message, before, sizeof(message));
}

bool sdi_fail_seen(void)
{
	return seen;
}

const char *sdi_last_error(void)
{
	return message;
}

const char *sdi_strerror(int err)
{
#ifdef HAVE_STRERRORDESC_NP	/* glibc 2.32 */
	const char *text = strerrordesc_np(err);

	if (text)
		return text;
#endif
	static _Thread_local char number[32];
	snprintf(number, sizeof(number), "error %d", err);
	return number;
}

/* Root of a container, say, may lack a capability that the process has. */
const char *sdi_who_may(void)
{
	return geteuid() ? " (needs root, or the same user and a process that may be traced)" :
			   " (more capabilities, its user namespace or another security policy needed)";
}
