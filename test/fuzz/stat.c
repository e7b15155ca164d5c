/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stat file of a process: as it comes, and with any name, which must not move its numbers. */
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "procview/proc.h"
#include "target/target.h"

static void read_as_it_is(const struct sdi_target *t, const uint8_t *data, size_t size)
{
	uint64_t faults = 1, threads = 2;

	fuzz_file("stat", data, size);
	FUZZ_OK(sdi_start_time(t->procfd) == proc_start_time(t->procfd));
	FUZZ_OK(!sdi_fault_count(t, &faults) || faults == 1);
	FUZZ_OK(!sdi_thread_count(t, &threads) || threads == 2);
	sdi_memory_id(t);
}

/* Kernel threads have the longest names, of up to 63 bytes. */
static void read_with_name(const struct sdi_target *t, const uint8_t *name, size_t size)
{
	static const char before[] = "1 (", numbers[] =
		") S 4 5 6 7 8 9 1000 11 200 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28\n";
	char text[sizeof(before) + 64 + sizeof(numbers)];
	uint64_t faults, threads;
	size_t n = sizeof(before) - 1;

	size = MIN(size, (size_t)63);
	memcpy(text, before, n);
	for (size_t i = 0; i < size; i++)
		text[n++] = name[i] ? name[i] : ' ';
	memcpy(text + n, numbers, sizeof(numbers) - 1);
	fuzz_file("stat", text, n + sizeof(numbers) - 1);
	FUZZ_OK(sdi_start_time(t->procfd) == 22);
	FUZZ_OK(proc_start_time(t->procfd) == 22);
	FUZZ_OK(!sdi_fault_count(t, &faults) && faults == 1200);
	FUZZ_OK(!sdi_thread_count(t, &threads) && threads == 20);
	FUZZ_OK(sdi_memory_id(t) == 26 * 31 + 27 * 7 + 28);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sdi_target t = { .pidfd = -1, .procfd = fuzz_dir() };

	read_as_it_is(&t, data, size);
	read_with_name(&t, data, size);
	return 0;
}
