/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file of a program that somebody wants to run: ELF, a script, or anything else. */
#include <stdio.h>
#include <string.h>

#include "cli/loadable.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sdi_why_not why;
	char path[4200];

	memset(&why, 0x5a, sizeof(why));
	fuzz_file("program", data, size);
	snprintf(path, sizeof(path), "%s/program", fuzz_dir_path());
	if (sdi_cli_loadable(path, &why))
		FUZZ_OK(why.text[0] && strnlen(why.text, sizeof(why.text)) < sizeof(why.text));
	else
		FUZZ_OK(fuzz_untouched(&why, 0x5a, sizeof(why)));
	return 0;
}
