/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mountinfo file as it comes, and one with any names, which must not change the kind of a mount. */
#include "target/mounts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"

enum { DEV = 0x17 };

static bool is_memory(const void *mountinfo, size_t size)
{
	struct sdi_target t = { .self = true, .pidfd = -1, .procfd = fuzz_dir() };
	struct sdi_mounts m = { 0 };

	fuzz_file("statm", "1", 1);
	fuzz_file("mountinfo", mountinfo, size);
	bool ret = sdi_mounts_memory(&m, &t, DEV);
	fuzz_file("mountinfo", "", 0);
	FUZZ_OK(sdi_mounts_memory(&m, &t, DEV) == ret);	/* it is remembered */
	return ret;
}

/* How files of mount 25 are read. No such mount is ours: 4000000001. */
static enum sdi_reads reads(const void *mountinfo, size_t size)
{
	struct sdi_target t = { .self = true, .pidfd = -1, .procfd = fuzz_dir() };
	struct sdi_mount m[] = { { .id = 4000000001 }, { .id = 25 } };

	fuzz_file("statm", "1", 1);
	fuzz_file("mountinfo", mountinfo, size);
	sdi_mounts_find(&t, m, 2);
	return m[1].reads;
}

/* As mangle() in fs/proc_namespace.c does. A name has no NUL. */
static void write_name(FILE *f, const uint8_t *name, size_t size)
{
	for (; size--; name++) {
		if (*name && strchr(" \t\n\\#", *name))
			fprintf(f, "\\%03o", *name);
		else
			putc(*name ? *name : '0', f);
	}
}

struct answers {
	bool memory;
	enum sdi_reads reads;
};

static struct answers named(const char *type, const uint8_t *name, size_t size)
{
	autofree char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	FUZZ_OK(f);
	fprintf(f, "25 24 0:%d / /", DEV);
	write_name(f, name, size);
	fprintf(f, " rw,relatime shared:7 - %s ", type);
	write_name(f, name, size);
	fprintf(f, " rw\n26 24 0:%d / /x rw - ext4 /dev/x rw\n", DEV + 1);
	fclose(f);
	return (struct answers){ is_memory(text, n), reads(text, n) };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (is_memory(data, size))
		FUZZ_OK(memmem(data, size, " - tmpfs ", 9) || memmem(data, size, " - hugetlbfs ", 13));
	reads(data, size);
	struct answers tmpfs = named("tmpfs", data, size), fuse = named("fuse.tmpfs", data, size);
	FUZZ_OK(tmpfs.memory && tmpfs.reads == SDI_READS_COPY);
	FUZZ_OK(!fuse.memory && fuse.reads == SDI_READS_DIRECT);
	FUZZ_OK(named("hugetlbfs", data, size).memory);
	return 0;
}
