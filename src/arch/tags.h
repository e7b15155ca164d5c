/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a program may hide in the upper bits of its addresses, which the kernel looks past. */
#ifndef SDI_ARCH_TAGS_H
#define SDI_ARCH_TAGS_H

#include <stdint.h>

/* arm64: the top byte (TBI), x86-64: bits 57 to 62 (LAM, Linux 6.4). Addresses of the kernel stay. */
static inline uint64_t sdi_untagged(uint64_t addr)
{
#ifdef __aarch64__
	return addr >> 55 & 1 ? addr : addr & ((1ull << 56) - 1);
#else
	return addr >> 63 ? addr : addr & ((1ull << 57) - 1);
#endif
}

/*
 * Of a range, if its start has a tag. Without that an end may be any number beyond all memory: where the
 * program has not asked for LAM, these bits are no tag.
 */
static inline void sdi_untag(uint64_t *start, uint64_t *end)
{
	uint64_t plain = sdi_untagged(*start);

	if (plain != *start)
		*end = sdi_untagged(*end);
	*start = plain;
}

#endif
