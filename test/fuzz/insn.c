/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The other reader of a maps file, which looks for a system call instruction without malloc(). */
#include <string.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "fuzz.h"
#include "target/inject.h"

enum { INSN_SIZE = sizeof(SDI_SYSCALL_INSN) - 1, SIZE = 4 * 4096 };

/* The instruction across the border of two blocks, and at the end of the memory. */
static int memory(void)
{
	static int fd = -1;
	char bytes[SIZE] = "";

	if (fd >= 0)
		return fd;
	memcpy(bytes + 2 * 4096 - 1, SDI_SYSCALL_INSN, INSN_SIZE);
	memcpy(bytes + SIZE - INSN_SIZE, SDI_SYSCALL_INSN, INSN_SIZE);
	return fd = fuzz_memfd(bytes, SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char bytes[INSN_SIZE + 1];
	autoclose int maps = fuzz_memfd(data, size);
	uint64_t at = sdi_find_insn(maps, memory());

	FUZZ_OK(at < SIZE);
	if (at)
		FUZZ_OK(pread(memory(), bytes, INSN_SIZE, at) == INSN_SIZE &&
			!memcmp(bytes, SDI_SYSCALL_INSN, INSN_SIZE));
	return 0;
}
