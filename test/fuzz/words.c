/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Single words: of the command line, and names in the files that softdirty mount serves. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/parse.h"
#include "emulate/emulate.h"
#include "fuzz.h"
#include "procview/proc.h"

static void check_pid(const char *word)
{
	pid_t pid = -7, again;
	char text[16];

	if (!sdi_parse_pid(word, &pid)) {
		FUZZ_OK(pid == -7);
		return;
	}
	snprintf(text, sizeof(text), "%d", pid);
	FUZZ_OK(pid > 0 && sdi_parse_pid(text, &again) && again == pid);
	FUZZ_OK(proc_pid(text) == pid);
}

static void check_range(const char *word)
{
	uint64_t start = 5, end = 6, a, b;
	char text[40];

	if (!sdi_parse_range(word, &start, &end)) {
		FUZZ_OK(start == 5 && end == 6);
		return;
	}
	snprintf(text, sizeof(text), "0x%" PRIx64 "-%" PRIX64, start, end);
	FUZZ_OK(start < end && sdi_parse_range(text, &a, &b) && a == start && b == end);
}

static void check_numbers(const char *word)
{
	static const uint64_t day = 86400 * UINT64_C(1000000000);
	uint64_t ns = 9, again_ns;
	unsigned n = 3, again;
	char text[40];

	if (sdi_parse_count(word, 1000, &n)) {
		snprintf(text, sizeof(text), "%u", n);
		FUZZ_OK(n && n <= 1000 && sdi_parse_count(text, 1000, &again) && again == n);
	}
	if (!sdi_parse_seconds(word, &ns)) {
		FUZZ_OK(ns == 9);
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
	FUZZ_OK(ns <= day && sdi_parse_seconds(text, &again_ns) && again_ns == ns);
}

/* A name in a mounted /proc, and a number that is written to clear_refs. */
static void check_proc(const char *word, size_t size)
{
	int number = sdi_clear_refs_number(word, size);
	pid_t pid = proc_pid(word);
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	FUZZ_OK(!pid || !strcmp(text, word));
	FUZZ_OK(number == -EINVAL || (number >= 0 && number < 100));
	if (number == 4)
		FUZZ_OK(memchr(word, '4', MIN(size, (size_t)SDI_CLEAR_REFS_MAX)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *word = fuzz_string(data, size);

	check_pid(word);
	check_range(word);
	check_numbers(word);
	check_proc(word, size);
	return 0;
}
