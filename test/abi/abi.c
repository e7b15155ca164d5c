/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes, offsets and numbers that programs have compiled in. They never change; structs only grow. */
#include <stddef.h>
#include <string.h>

#include "softdirty.h"
#include "t.h"

static void ranges_and_mappings_are_laid_out_as_ever(void)
{
	T_EQ(sizeof(struct softdirty_range), 24);
	T_EQ(offsetof(struct softdirty_range, start), 0);
	T_EQ(offsetof(struct softdirty_range, end), 8);
	T_EQ(offsetof(struct softdirty_range, flags), 16);
	T_EQ(offsetof(struct softdirty_range, reason), 20);
	T_EQ(sizeof(struct softdirty_mapping), 48);
	T_EQ(offsetof(struct softdirty_mapping, start), 0);
	T_EQ(offsetof(struct softdirty_mapping, end), 8);
	T_EQ(offsetof(struct softdirty_mapping, offset), 16);
	T_EQ(offsetof(struct softdirty_mapping, inode), 24);
	T_EQ(offsetof(struct softdirty_mapping, prot), 32);
	T_EQ(offsetof(struct softdirty_mapping, flags), 36);
	T_EQ(offsetof(struct softdirty_mapping, name), 40);
}

static void options_and_answers_are_laid_out_as_ever(void)
{
	T_EQ(sizeof(struct softdirty_options), 32);
	T_EQ(offsetof(struct softdirty_options, size), 0);
	T_EQ(offsetof(struct softdirty_options, backend), 8);
	T_EQ(offsetof(struct softdirty_options, flags), 16);
	T_EQ(offsetof(struct softdirty_options, uffd), 20);
	T_EQ(offsetof(struct softdirty_options, keeper), 24);
	T_EQ(sizeof(struct softdirty_backend), 24);
	T_EQ(offsetof(struct softdirty_backend, name), 0);
	T_EQ(offsetof(struct softdirty_backend, works), 8);
	T_EQ(offsetof(struct softdirty_backend, why), 16);
	T_EQ(sizeof(struct softdirty_info), 528);
	T_EQ(offsetof(struct softdirty_info, size), 0);
	T_EQ(offsetof(struct softdirty_info, pid), 8);
	T_EQ(offsetof(struct softdirty_info, page_size), 12);
	T_EQ(offsetof(struct softdirty_info, start_time), 16);
	T_EQ(offsetof(struct softdirty_info, generation), 24);
	T_EQ(offsetof(struct softdirty_info, attach_ns), 32);
	T_EQ(offsetof(struct softdirty_info, n_marks), 40);
	T_EQ(offsetof(struct softdirty_info, keeper), 44);
	T_EQ(offsetof(struct softdirty_info, backend), 48);
	T_EQ(offsetof(struct softdirty_info, passed_over), 64);
}

static void numbers_mean_what_they_meant(void)
{
	T_EQ(SOFTDIRTY_WRITTEN, 1);
	T_EQ(SOFTDIRTY_NEW, 2);
	T_EQ(SOFTDIRTY_UNTRACKED, 4);
	T_EQ(SOFTDIRTY_POPULATED, 8);
	T_EQ(SOFTDIRTY_FILE, 16);
	T_EQ(SOFTDIRTY_SHARED, 32);
	T_EQ(SOFTDIRTY_ZERO, 64);
	T_EQ(SOFTDIRTY_SWAPPED, 128);
	T_EQ(SOFTDIRTY_HUGE, 256);
	T_EQ(SOFTDIRTY_WHY, 7);
	T_EQ(SOFTDIRTY_OPEN_SHARED, 1);
	T_EQ(SOFTDIRTY_OPEN_EXISTING, 2);
	T_EQ(SOFTDIRTY_OPEN_UFFD, 4);
	T_EQ(SOFTDIRTY_READ_CLEAR, 1);
}

static void reasons_mean_what_they_meant(void)
{
	T_EQ(SOFTDIRTY_REASON_NONE, 0);
	T_EQ(SOFTDIRTY_REASON_NEVER, 1);
	T_EQ(SOFTDIRTY_REASON_EXEC, 2);
	T_EQ(SOFTDIRTY_REASON_CARRIED, 3);
	T_EQ(SOFTDIRTY_REASON_PINNED, 4);
	T_EQ(SOFTDIRTY_REASON_SPECIAL, 5);
	T_EQ(SOFTDIRTY_REASON_UFFD, 6);
	T_EQ(SOFTDIRTY_REASON_HUGETLB, 7);
	T_EQ(SOFTDIRTY_REASON_MERGED, 8);
	T_EQ(SOFTDIRTY_REASON_SPARSE, 9);
	T_EQ(SOFTDIRTY_REASON_UNREADABLE, 10);
	T_EQ(SOFTDIRTY_REASON_REFUSED, 11);
	T_EQ(SOFTDIRTY_REASON_LOST, 12);
	T_EQ(SOFTDIRTY_REASON_KSM, 13);
	T_EQ(SOFTDIRTY_REASON_MOVED, 14);
}

static void every_reason_has_words(void)
{
	T_STREQ(softdirty_reason_text(SOFTDIRTY_REASON_NONE), "");
	for (unsigned i = 1; i <= SOFTDIRTY_REASON_MOVED; i++)
		T_OK(strlen(softdirty_reason_text(i)) > 10);
	T_OK(*softdirty_reason_text(SOFTDIRTY_REASON_MOVED + 1));
	T_OK(*softdirty_reason_text(~0u));
}

/* An older program passes a shorter struct and gets no byte more than it has room for. */
static void an_older_program_is_served(void)
{
	union {
		struct softdirty_info info;
		unsigned char bytes[sizeof(struct softdirty_info) + 64];
	} u;
	struct softdirty_options o = { .size = offsetof(struct softdirty_options, flags) };
	struct softdirty *sd;

	memset(&u, 0xee, sizeof(u));
	o.flags = ~0u;		/* beyond what it says it has */
	T_MUST(!softdirty_open(0, &o, &sd));
	u.info.size = offsetof(struct softdirty_info, attach_ns);
	T_EQ(softdirty_info(sd, &u.info), 0);
	T_OK(u.info.pid > 0 && u.info.generation > 0);
	for (size_t i = u.info.size; i < sizeof(u); i++)
		if (!T_EQ(u.bytes[i], 0xee))
			break;
	u.info.size = sizeof(u);
	T_OK(softdirty_info(sd, &u.info) < 0);
	u.info.size = 0;
	T_OK(softdirty_info(sd, &u.info) < 0);
	softdirty_close(sd);
	softdirty_close(NULL);
}

int main(void)
{
	T_RUN(ranges_and_mappings_are_laid_out_as_ever);
	T_RUN(options_and_answers_are_laid_out_as_ever);
	T_RUN(numbers_mean_what_they_meant);
	T_RUN(reasons_mean_what_they_meant);
	T_RUN(every_reason_has_words);
	T_RUN(an_older_program_is_served);
	return t_done();
}
