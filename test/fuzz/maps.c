/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A maps file: each of its lines, and both lists that are made of the whole. */
#include "target/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "lib/handle.h"

static void check_meaning(const struct sdi_maps_line *l, const char *line)
{
	uint32_t inode_only = SDI_VMA_AIO | SDI_VMA_URING | SDI_VMA_SHMEM;

	FUZZ_OK(l->vma.start < l->vma.end);
	FUZZ_OK(l->name > line && l->name <= line + strlen(line));
	FUZZ_OK(!l->inode == !(l->vma.flags & SDI_VMA_FILE));
	FUZZ_OK(l->inode ? !(l->vma.flags & (SDI_VMA_KERNEL | SDI_VMA_VDSO)) :
			   !(l->vma.flags & inode_only));
	FUZZ_OK(!l->inode || l->vma.ident);
	FUZZ_OK(l->vma.base == (l->inode ? l->vma.start - l->offset : 0));
}

/* The device as it is written there: more digits than one has are not kept. */
static const char *device(const char *line, int *length)
{
	for (int i = 0; i < 3; i++)
		line = strchr(line, ' ') + 1;
	*length = strcspn(line, " ");
	return line;
}

static void check_printed(const struct sdi_maps_line *l, const char *line)
{
	struct sdi_maps_line again;
	autofree char *text = NULL;
	uint32_t flags = l->vma.flags;
	int length;
	const char *dev = device(line, &length);

	FUZZ_OK(asprintf(&text, "%" PRIx64 "-%" PRIx64 " %c%c%c%c %08" PRIx64 " %.*s %" PRIu64
			 "   %s", l->vma.start, l->vma.end, flags & SDI_VMA_READ ? 'r' : '-',
			 flags & SDI_VMA_WRITE ? 'w' : '-', flags & SDI_VMA_EXEC ? 'x' : '-',
			 flags & SDI_VMA_SHARED ? 's' : 'p', l->offset, length, dev, l->inode,
			 l->name) > 0);
	FUZZ_OK(sdi_maps_parse_line(text, &again));
	FUZZ_OK(!memcmp(&l->vma, &again.vma, sizeof(l->vma)));
	FUZZ_OK(l->offset == again.offset && l->inode == again.inode && l->dev == again.dev);
	FUZZ_OK(!strcmp(l->name, again.name));
}

static bool check_line(const uint8_t *data, size_t size)
{
	autofree char *line = fuzz_string(data, size);
	struct sdi_maps_line l;

	memset(&l, 0x5a, sizeof(l));
	if (!sdi_maps_parse_line(line, &l)) {
		FUZZ_OK(fuzz_untouched(&l, 0x5a, sizeof(l)));
		return false;
	}
	check_meaning(&l, line);
	check_printed(&l, line);
	return true;
}

/* Would each of the lines do? */
static bool check_lines(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *newline;
	bool good = true;

	for (; (newline = memchr(data, '\n', end - data)); data = newline + 1)
		good &= check_line(data, newline - data);
	return good && data == end;
}

static void check_list(const struct sdi_maps *m, const struct sdi_mapping_list *list)
{
	FUZZ_OK(m->n == list->n);
	for (size_t i = 0; i < m->n; i++) {
		const struct sdi_vma *v = &m->v[i];

		FUZZ_OK(v->start < v->end && (!i || v->start >= m->v[i - 1].end));
		FUZZ_OK(sdi_maps_find(m, v->start) == v && sdi_maps_find(m, v->end - 1) == v);
		FUZZ_OK(list->m[i].start == v->start && list->m[i].end == v->end);
		FUZZ_OK(strlen(list->m[i].name) < list->names_size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char mountinfo[] = "25 24 0:24 / /dev/shm rw - tmpfs tmpfs rw\n";
	struct sdi_target t = { .self = true, .pidfd = -1, .procfd = fuzz_dir() };
	struct sdi_mapping_list list = { 0 };
	struct sdi_maps m = { 0 };

	if (!size)
		return 0;	/* a process between two memories: waits */
	fuzz_file("statm", "1", 1);
	fuzz_file("maps", data, size);
	fuzz_file("mountinfo", mountinfo, sizeof(mountinfo) - 1);
	int want = check_lines(data, size) ? 0 : -EIO;
	FUZZ_OK(sdi_maps_read(&t, &m) == want);
	FUZZ_OK(sdi_mapping_list_read(&list, &t) == want);
	if (!want)
		check_list(&m, &list);
	sdi_maps_fini(&m);
	sdi_mapping_list_fini(&list);
	return 0;
}
