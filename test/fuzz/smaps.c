/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A smaps file: every mapping is told of exactly once, or the whole is refused. */
#include "target/smaps.h"

#include <errno.h>
#include <string.h>

#include "fuzz.h"

static int count(void *arg, const struct sdi_smap *m)
{
	FUZZ_OK(m->vma.start < m->vma.end);
	FUZZ_OK(!(m->flags & ~(SDI_SMAP_MERGEABLE * 2 - 1)));
	++*(size_t *)arg;
	return 0;
}

static int stop(void *arg, const struct sdi_smap *m)
{
	return 7;
}

static size_t lines_that_begin_with(const char *word, const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *newline;
	size_t n = 0;

	for (; (newline = memchr(data, '\n', end - data)); data = newline + 1)
		n += newline - data >= (ptrdiff_t)strlen(word) && !memcmp(data, word, strlen(word));
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sdi_target t = { .self = true, .pidfd = -1, .procfd = fuzz_dir() };
	size_t told = 0, n = lines_that_begin_with("VmFlags:", data, size);

	fuzz_file("statm", "1", 1);
	fuzz_file("smaps", data, size);
	int err = sdi_smaps_each(&t, count, &told);
	FUZZ_OK(err == 0 || err == -EIO);
	FUZZ_OK(err ? told <= n : told == n);
	FUZZ_OK(sdi_smaps_each(&t, stop, NULL) == (told ? 7 : err));
	return 0;
}
