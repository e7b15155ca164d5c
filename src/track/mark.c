/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int sdi_mark_check_name(const char *mark)
{
	struct sdi_mark *m;

	if (strlen(mark) >= sizeof(m->name))
		return sdi_fail(EINVAL, "the name of a mark has at most 63 bytes");
	for (; *mark; mark++)
		if ((unsigned char)*mark < ' ' || *mark == 0x7f)
			return sdi_fail(EINVAL, "the name of a mark has no control characters");
	return 0;
}

struct sdi_mark **sdi_mark_find(struct sdi_mark **list, const char *name)
{
	while (*list && strcmp((*list)->name, name))
		list = &(*list)->next;
	return list;
}

void sdi_mark_everything(struct sdi_mark *m, uint32_t reason)
{
	sdi_ranges_fini(&m->pending);
	m->whole = (struct softdirty_range){ 0, UINT64_MAX, SOFTDIRTY_NEW, reason };
	m->pending = (struct sdi_ranges){ .r = &m->whole, .n = 1 };
}

int sdi_mark_get(struct sdi_mark **list, const char *name, uint32_t never, struct sdi_mark **ret)
{
	int err = sdi_mark_check_name(name);
	struct sdi_mark **at = sdi_mark_find(list, name);

	if (err)
		return err;
	if (!*at) {
		struct sdi_mark *m = calloc(1, sizeof(*m));

		if (!m)
			return sdi_fail(ENOMEM, "out of memory");
		strcpy(m->name, name);
		sdi_mark_everything(m, never);
		*at = m;
	}
	*ret = *at;
	return 0;
}

/* Only the why is kept: what a page is may change until it is read. */
int sdi_mark_add(struct sdi_mark *m, const struct sdi_ranges *found)
{
	struct sdi_ranges why = { 0 };
	int err = 0;

	for (size_t i = 0; i < found->n && !err; i++)
		err = sdi_ranges_append(&why, found->r[i].start, found->r[i].end,
					found->r[i].flags & SOFTDIRTY_WHY, found->r[i].reason);
	if (!err)
		err = sdi_ranges_add(&m->pending, &why);
	sdi_ranges_fini(&why);
	return err;
}

bool sdi_mark_sees_all(const struct sdi_mark *m, const struct softdirty_range *window)
{
	size_t i = sdi_ranges_find(&m->pending, window->start);

	for (; i < m->pending.n && m->pending.r[i].start < window->end; i++)
		if (!(m->pending.r[i].flags & SOFTDIRTY_NEW))
			return false;
	return sdi_ranges_cover(&m->pending, window->start, window->end);
}

bool sdi_mark_drop(struct sdi_mark **list, const char *name)
{
	struct sdi_mark **at = sdi_mark_find(list, name), *m = *at;

	if (!m)
		return false;
	*at = m->next;
	sdi_ranges_fini(&m->pending);
	free(m);
	return true;
}
