/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/release.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/io.h"

static unsigned number(unsigned major, unsigned minor, unsigned patch)
{
	return major << 20 | (minor & 0x3ff) << 10 | (patch & 0x3ff);
}

/* What is no version may be any. */
static bool is_harmful(const char *version)
{
	unsigned major = 0, minor = 0, patch = 0;

	if (sscanf(version, "%u.%u.%u", &major, &minor, &patch) < 2)
		return true;
	unsigned v = number(major, minor, patch);
	return v >= number(6, 7, 0) && v < number(6, 8, 10);
}

/* Ubuntu's release always ends in .0; the last word of its signature is what it is made of. */
bool sdi_release_is_harmful(const char *release, const char *signature)
{
	const char *base = strrchr(signature, ' ');

	return is_harmful(release) && (!base || is_harmful(base + 1));
}

bool sdi_release_harms(char release[65])
{
	struct utsname u;
	char signature[256];

	release[0] = '\0';
	if (uname(&u))
		return true;
	if (sdi_read_text(AT_FDCWD, "/proc/version_signature", signature, sizeof(signature)) < 0)
		signature[0] = '\0';
	snprintf(release, 65, "%s", u.release);
	return sdi_release_is_harmful(u.release, signature);
}
