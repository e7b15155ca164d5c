/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The status file of a process: as it comes, and behind the lines that matter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "target/target.h"

static void read_as_it_is(const uint8_t *data, size_t size)
{
	struct sdi_status st;

	memset(&st, 0x5a, sizeof(st));
	fuzz_file("status", data, size);
	int err = sdi_status_read(fuzz_dir(), "status", &st);
	FUZZ_OK(err == 0 || err == -ESRCH);
	if (err)
		FUZZ_OK(fuzz_untouched(&st, 0x5a, sizeof(st)));
	else
		FUZZ_OK(st.state);
}

/* A line of any length in front of the others, as Groups: and names are, hides none of them. */
static void read_behind_a_long_line(const uint8_t *data, size_t size)
{
	static const char known[] = "\nState:\tT (stopped)\nTgid:\t12\nPPid:\t2\nTracerPid:\t34\n"
				    "VmPin:\t     5 kB\nSigPnd:\t8\nShdPnd:\t1\nSigBlk:\tff\n"
				    "Seccomp:\t2\n";
	autofree char *text = malloc(7 + size + sizeof(known));
	struct sdi_status st;
	size_t n = 7;

	memcpy(text, "Groups:", 7);
	for (size_t i = 0; i < size; i++)
		text[n++] = data[i] >= ' ' && data[i] != ':' ? data[i] : ' ';
	memcpy(text + n, known, sizeof(known) - 1);
	fuzz_file("status", text, n + sizeof(known) - 1);
	FUZZ_OK(!sdi_status_read(fuzz_dir(), "status", &st));
	FUZZ_OK(st.state == 'T' && st.tgid == 12 && st.tracer == 34 && st.vm_pin == 5 * 1024);
	FUZZ_OK(st.pending == 9 && st.blocked == 0xff && st.seccomp == 2 && st.kernel_thread);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_as_it_is(data, size);
	read_behind_a_long_line(data, size);
	return 0;
}
