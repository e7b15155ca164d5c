/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of pagemap, and the files beside it which tell what they are: of a process that nobody
 * tracks its maps, else its status and smaps. The library is made up.
 *
 * What is dirty is always shown so.
 */
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "emulate/emulate.h"
#include "fuzz.h"
#include "target/maps.h"

enum { PAGES = 8 };
#define BASE 0x7f0000000000u

struct spec {
	uint8_t dirty, marks, shared, inode;
	uint64_t entry[PAGES];
} __attribute__((packed));

static struct spec spec;
static struct softdirty_range dirty[PAGES];

static uint64_t address(int i)
{
	return BASE + i * (uint64_t)sysconf(_SC_PAGESIZE);
}

int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		   uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	*ranges = dirty;
	*n = 0;
	for (int i = 0; i < PAGES; i++)
		if (spec.dirty & 1 << i)
			dirty[(*n)++] = (struct softdirty_range){
				address(i), address(i + 1), SOFTDIRTY_WRITTEN, 0,
			};
	return 0;
}

int softdirty_mappings(struct softdirty *sd, const struct softdirty_mapping **ret, size_t *n)
{
	static struct softdirty_mapping m;

	m = (struct softdirty_mapping){
		.start = BASE, .end = address(PAGES), .inode = spec.inode,
		.flags = spec.shared & 1 ? SOFTDIRTY_SHARED : 0,
	};
	*ret = &m;
	*n = 1;
	return 0;
}

int softdirty_info(struct softdirty *sd, struct softdirty_info *ret)
{
	strcpy(ret->backend, spec.marks & 1 ? "wp-async" : "hash");
	return 0;
}

/* An entry is changed in three bits, or it was none: a marker of ours. */
static void check_tracked(const struct sdi_view *v)
{
	uint64_t mine = PM_ENTRY_SOFT_DIRTY | PM_ENTRY_UFFD_WP, e[PAGES];

	memcpy(e, spec.entry, sizeof(e));
	sdi_emulate_entries(v, BASE / sysconf(_SC_PAGESIZE), e, PAGES);
	for (int i = 0; i < PAGES; i++) {
		FUZZ_OK(e[i] & PM_ENTRY_SOFT_DIRTY || !(spec.dirty & 1 << i));
		if (spec.marks & 1)
			FUZZ_OK(!(e[i] & PM_ENTRY_UFFD_WP));
		FUZZ_OK(!((e[i] ^ spec.entry[i]) & ~mine) || !(e[i] & ~mine));
	}
}

/* The lines of a maps file as long as they are in order; the pages of each are dirty. */
static void check_untracked(const struct sdi_view *v, const uint8_t *data, size_t size)
{
	uint64_t page = sysconf(_SC_PAGESIZE), last = 0;
	const uint8_t *end = data + size, *newline;
	struct sdi_maps_line l;

	for (int n = 0; n < 20 && (newline = memchr(data, '\n', end - data)); n++) {
		autofree char *line = fuzz_string(data, newline - data);
		uint64_t e = 0;

		if (!sdi_maps_parse_line(line, &l) || l.vma.start < last ||
		    (l.vma.start | l.vma.end) & (page - 1))
			return;
		last = l.vma.end;
		data = newline + 1;
		/* Beyond, the upper bits are a tag: no mapping is there. */
		if (!strcmp(l.name, "[vsyscall]") || l.vma.end >> 55)
			continue;
		sdi_emulate_entries(v, l.vma.start / page, &e, 1);
		FUZZ_OK(e & PM_ENTRY_SOFT_DIRTY);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sdi_view v = { .sd = (void *)1, .mark = "", .proc = fuzz_dir_path() };

	fuzz_take(&data, &size, &spec, sizeof(spec));
	fuzz_file("maps", data, size);
	fuzz_file("smaps", data, size);
	fuzz_file("status", data, size);
	check_tracked(&v);
	v.sd = NULL;
	check_untracked(&v, data, size);
	return 0;
}
