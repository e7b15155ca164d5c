/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

struct walk {
	sdi_smaps_fn *fn;
	void *arg;
	bool open;		/* a mapping has begun and its VmFlags are still to come */
	struct sdi_smap m;
};

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* "VmFlags: rd wr mr mw me ac sd": Documentation/filesystems/proc.rst */
static uint32_t vm_flags(const char *text)
{
	static const struct { char name[3]; uint32_t flag; } known[] = {
		{ "mw", SDI_SMAP_MAYWRITE }, { "ht", SDI_SMAP_HUGETLB }, { "sd", SDI_SMAP_NEW },
		{ "io", SDI_SMAP_SPECIAL }, { "pf", SDI_SMAP_SPECIAL }, { "mm", SDI_SMAP_SPECIAL },
		{ "de", SDI_SMAP_SPECIAL }, { "mg", SDI_SMAP_MERGEABLE },
	};
	uint32_t flags = 0;

	for (text += strspn(text, " "); text[0] && text[1]; text += 2, text += strspn(text, " "))
		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			if (text[0] == known[i].name[0] && text[1] == known[i].name[1])
				flags |= known[i].flag;
	return flags;
}

static void count(struct sdi_smap *m, const char *line)
{
	const char *value = strchr(line, ':');
	uint64_t bytes = value ? strtoull(value + 1, NULL, 10) << 10 : 0;

	if (starts(line, "Swap:"))
		m->swapped = bytes;
	else if (starts(line, "SwapPss:"))
		m->swapped_alone = bytes;
	else if (!starts(line, "Rss:") && !starts(line, "Shared_Hugetlb:") &&
		 !starts(line, "Private_Hugetlb:"))
		return;
	m->flags |= bytes ? SDI_SMAP_POPULATED : 0;
}

static int visit_line(void *arg, char *line)
{
	struct walk *w = arg;
	struct sdi_maps_line l;

	if (starts(line, "VmFlags:")) {
		if (!w->open)
			return -EIO;
		w->open = false;
		w->m.flags |= vm_flags(line + 8);
		return w->fn(w->arg, &w->m);
	}
	if (sdi_maps_parse_line(line, &l)) {
		if (w->open)
			return -EIO;
		w->open = true;
		w->m = (struct sdi_smap){ .vma = l.vma };
	} else if (w->open) {
		count(&w->m, line);
	}
	return 0;
}

int sdi_smaps_each(const struct sdi_target *t, sdi_smaps_fn *fn, void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	autoclose int fd = sdi_target_openat(t, "smaps", O_RDONLY);

	if (fd < 0)
		return fd == -EACCES ? -EPERM : fd;
	int err = sdi_each_line(fd, visit_line, &w);
	return err ? err : w.open ? -EIO : 0;
}
