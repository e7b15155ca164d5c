/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The name of a file in the runtime directory: only what a keeper left there is ever removed. */
#include "wire/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "target/target.h"

static bool exists(const char *name)
{
	return !faccessat(fuzz_dir(), name, F_OK, AT_SYMLINK_NOFOLLOW);
}

static bool ends_with(const char *name, const char *with)
{
	size_t n = strlen(name), k = strlen(with);

	return n >= k && !strcmp(name + n - k, with);
}

/* Of ourselves, who live. */
static struct sdi_place_name living(void)
{
	struct sdi_target self;

	FUZZ_OK(!sdi_target_open(0, &self));
	struct sdi_place_name ret = sdi_place_name(self.pid, self.start_time);
	sdi_target_close(&self);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sdi_place_name self;
	char name[256] = "", live[64];

	if (!*self.text)
		self = living();
	memcpy(name, data, MIN(size, sizeof(name) - 1));
	if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	snprintf(live, sizeof(live), "%s.sock", self.text);
	fuzz_file(live, "", 0);
	fuzz_file(name, "", 0);
	sdi_place_sweep(fuzz_dir());
	FUZZ_OK(exists(live));
	FUZZ_OK(exists(name) || ends_with(name, ".sock") || ends_with(name, ".lock"));
	unlinkat(fuzz_dir(), name, 0);
	return 0;
}
