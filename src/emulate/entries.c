/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clear_refs and the entries of pagemap as a kernel with soft-dirty has them
 * (Documentation/admin-guide/mm/soft-dirty.rst). Must not know descriptors or libc calls.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/tags.h"
#include "base/cleanup.h"
#include "emulate/known.h"

/* fs/proc/task_mmu.c clear_refs_write(): stripped of white space, decimal. */
int sdi_clear_refs_number(const char *buf, size_t n)
{
	char text[SDI_CLEAR_REFS_MAX + 1] = "", *p = text, *end;
	long number;

	memcpy(text, buf, MIN(n, sizeof(text) - 1));
	while (isspace((unsigned char)*p))
		p++;
	if (!isdigit((unsigned char)p[*p == '+' || *p == '-']))
		return -EINVAL;
	number = strtol(p, &end, 10);
	while (isspace((unsigned char)*end))
		end++;
	return *end || number < 0 || number > 99 ? -EINVAL : (int)number;
}

static uint64_t shown(struct sdi_known *k, const struct softdirty_range *dirty, uint64_t addr,
		      uint64_t e)
{
	const struct sdi_view *v = k->v;
	bool is_dirty = dirty;

	if (sdi_marks_are_ours(k, dirty)) {
		enum sdi_swapped swapped = sdi_swapped(k, addr, e);

		if (swapped == SDI_SWAP_MARKER)
			e = 0;
		is_dirty |= swapped == SDI_SWAP_EITHER;
		e &= ~PM_ENTRY_UFFD_WP;
	}
	if (addr >= v->whole_start && addr < v->whole_end) {
		e |= PM_ENTRY_PRESENT;
		is_dirty = true;
	}
	return is_dirty ? e | PM_ENTRY_SOFT_DIRTY : e & ~PM_ENTRY_SOFT_DIRTY;
}

/* So many at a time, 1 GiB of memory: bounds the list that the library lends. */
enum { PIECE = 1 << 18 };

static void emulate_piece(const struct sdi_view *v, uint64_t first_page, uint64_t *entries,
			  size_t n)
{
	uint64_t page = sysconf(_SC_PAGESIZE), addr = sdi_untagged(first_page * page), until = 0;
	const struct softdirty_range *dirty = NULL;
	struct sdi_known k;

	sdi_known_init(&k, v, addr, addr + n * page);
	for (size_t i = 0; i < n; i++, addr += page) {
		if (addr >= until)
			dirty = sdi_dirty_at(&k, addr, &until);
		entries[i] = shown(&k, dirty, addr, entries[i]);
	}
	sdi_known_fini(&k);
}

void sdi_emulate_entries(const struct sdi_view *v, uint64_t first_page, uint64_t *entries,
			 size_t n)
{
	for (size_t at = 0; at < n && !v->native; at += PIECE)
		emulate_piece(v, first_page + at, entries + at, MIN(n - at, (size_t)PIECE));
}
