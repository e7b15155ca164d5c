/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mappings of a target as softdirty_mappings() lends them. Knows nothing of writes. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "lib/handle.h"
#include "target/maps.h"

void sdi_mapping_list_fini(struct sdi_mapping_list *list)
{
	free(list->m);
	free(list->names);
	*list = (struct sdi_mapping_list){ 0 };
}

/* Make room for one more of size bytes after the first used. */
static int room(void **p, size_t *cap, size_t used, size_t size)
{
	size_t bigger = MAX(*cap + *cap / 2, used + size + 4096);

	if (used + size <= *cap)
		return 0;
	void *q = realloc(*p, bigger);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = bigger;
	return 0;
}

/* The name is kept as an offset until the names do not move any more. */
static int add_name(struct sdi_mapping_list *list, const char *name, struct softdirty_mapping *m)
{
	size_t size = strlen(name) + 1;
	int err = room((void **)&list->names, &list->names_cap, list->names_size, size);

	if (err)
		return err;
	memcpy(list->names + list->names_size, name, size);
	m->name = (const char *)list->names_size;
	list->names_size += size;
	return 0;
}

static int prot_of(uint32_t flags)
{
	return (flags & SDI_VMA_READ ? PROT_READ : 0) | (flags & SDI_VMA_WRITE ? PROT_WRITE : 0) |
	       (flags & SDI_VMA_EXEC ? PROT_EXEC : 0);
}

static int add(void *arg, const struct sdi_maps_line *l)
{
	struct sdi_mapping_list *list = arg;
	struct softdirty_mapping m = {
		.start = l->vma.start, .end = l->vma.end, .offset = l->offset, .inode = l->inode,
		.prot = prot_of(l->vma.flags), .flags = sdi_vma_kind(&l->vma),
	};

	/* It grew downwards while the file was read: the one before it is gone there. */
	if (list->n && m.start < list->m[list->n - 1].end)
		m.start = list->m[list->n - 1].end;
	if (m.start >= m.end)
		return 0;
	int err = room((void **)&list->m, &list->cap, list->n * sizeof(m), sizeof(m));
	if (!err)
		err = add_name(list, l->name, &m);
	if (!err)
		list->m[list->n++] = m;
	return err;
}

int sdi_mapping_list_read(struct sdi_mapping_list *list, const struct sdi_target *t)
{
	list->n = list->names_size = 0;
	int err = sdi_maps_each(t, add, list);
	for (size_t i = 0; i < list->n; i++)
		list->m[i].name = list->names + (size_t)list->m[i].name;
	return err;
}
