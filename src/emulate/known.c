/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages of a process its reader shall see as dirty, and which of its swapped pages are none.
 * Knows the library's ranges and, for a process that nobody tracks, its maps.
 * No streams of stdio: inside libc they call malloc(), in which the program may just be.
 */
#include "emulate/known.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "emulate/raw.h"

/* Visit the lines of a file of the process. 0, what fn returned, -errno. */
static int each_line(const struct sdi_known *k, const char *name, sdi_line_fn *fn, void *arg)
{
	char path[128];

	if (!k->v->proc)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/%s", k->v->proc, name);
	autoclose int fd = raw_open(path);
	return fd < 0 ? fd : sdi_each_line(fd, fn, arg);
}

/* --- what is dirty -------------------------------------------------------------------------- */

/* Room for one more; doubles at each power of two. */
static int add(struct sdi_known *k, const struct softdirty_range *r)
{
	size_t n = k->n_dirty;

	if (!(n & (n - 1))) {
		void *bigger = realloc(k->own, MAX(2 * n, 1) * sizeof(*r));

		if (!bigger)
			return -ENOMEM;
		k->dirty = k->own = bigger;
	}
	k->own[k->n_dirty++] = *r;
	return 0;
}

bool sdi_maps_line_is(const char *line, const char *name)
{
	size_t n = strlen(name);
	int at = 0;

	/* START-END rwxp OFFSET DEVICE INODE, then blanks and the name */
	sscanf(line, "%*s %*s %*s %*s %*s %n", &at);
	return at && !strncmp(line + at, name, n) && strchr("\n", line[at + n]);
}

enum { ENOUGH = 1 };	/* ends a walk over lines */

struct span {
	struct sdi_known *k;
	uint64_t start, end;
};

static int add_mapped(void *arg, char *line)
{
	struct span *s = arg;
	struct softdirty_range r = { .flags = SOFTDIRTY_NEW, .reason = SOFTDIRTY_REASON_NEVER };
	unsigned long long from, to;

	if (sscanf(line, "%llx-%llx", &from, &to) != 2)
		return -EIO;
	if (from >= s->end)
		return ENOUGH;
	if (to <= s->start || sdi_maps_line_is(line, "[vsyscall]"))
		return 0;
	r.start = from;
	r.end = to;
	return add(s->k, &r);
}

/* As in a process of a kernel with soft-dirty that was never cleared: each mapping, whole. */
static int all_mapped(struct sdi_known *k, uint64_t start, uint64_t end)
{
	struct span s = { k, start, end };
	int err = each_line(k, "maps", add_mapped, &s);

	return err < 0 ? err : 0;
}

static int ask_library(const struct sdi_view *v, uint64_t start, uint64_t end,
		       struct softdirty_range **ret, size_t *ret_n)
{
	const struct softdirty_range *r;
	size_t n;
	int err = softdirty_read(v->sd, v->mark, 0, start, end, &r, &n);

	if (err)
		return err;
	*ret = malloc((n + 1) * sizeof(*r));
	if (!*ret)
		return -ENOMEM;
	if (n)
		memcpy(*ret, r, n * sizeof(*r));
	*ret_n = n;
	return 0;
}

static const struct softdirty_range everything = {
	0, UINT64_MAX, SOFTDIRTY_UNTRACKED, SOFTDIRTY_REASON_LOST,
};

static bool leaves_marks(const struct sdi_view *v)
{
	struct softdirty_info info = { .size = sizeof(info) };

	return !softdirty_info(v->sd, &info) && !strcmp(info.backend, "wp-async");
}

int sdi_view_freeze(const struct sdi_view *v, struct sdi_frozen *ret)
{
	*ret = (struct sdi_frozen){ 0 };
	if (v->sd) {
		ret->leaves_marks = leaves_marks(v);
		return ask_library(v, 0, 0, &ret->dirty, &ret->n_dirty);
	}
	ret->dirty = malloc(sizeof(*ret->dirty));
	if (!ret->dirty)
		return -ENOMEM;
	*ret->dirty = everything;
	ret->n_dirty = 1;
	return 0;
}

void sdi_frozen_fini(struct sdi_frozen *f)
{
	free(f->dirty);
	*f = (struct sdi_frozen){ 0 };
}

void sdi_known_init(struct sdi_known *k, const struct sdi_view *v, uint64_t start, uint64_t end)
{
	int err = 0;

	*k = (struct sdi_known){ .v = v, .vm_swap = -2 };
	if (v->frozen) {
		k->leaves_marks = v->frozen->leaves_marks;
		k->dirty = v->frozen->dirty;
		k->n_dirty = v->frozen->n_dirty;
		return;
	}
	if (v->sd)
		k->leaves_marks = leaves_marks(v);
	if (start < end && v->sd) {
		err = ask_library(v, start, end, &k->own, &k->n_dirty);
		k->dirty = k->own;
	} else if (start < end) {
		err = all_mapped(k, start, end);
	}
	if (err) {
		k->dirty = &everything;
		k->n_dirty = 1;
	}
}

void sdi_known_fini(struct sdi_known *k)
{
	free(k->own);
	free(k->mapped);
}

const struct softdirty_range *sdi_dirty_at(const struct sdi_known *k, uint64_t addr,
					   uint64_t *until)
{
	const struct softdirty_range *r = k->dirty;
	size_t low = 0, high = k->n_dirty;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (r[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == k->n_dirty) {
		*until = UINT64_MAX;
		return NULL;
	}
	*until = addr < r[low].start ? r[low].start : r[low].end;
	return addr < r[low].start ? NULL : &r[low];
}

bool sdi_marks_are_ours(const struct sdi_known *k, const struct softdirty_range *dirty)
{
	return k->leaves_marks && !(dirty && dirty->reason == SOFTDIRTY_REASON_UFFD);
}

/* --- what is mapped ------------------------------------------------------------------------- */

static void read_mappings(struct sdi_known *k)
{
	const struct softdirty_mapping *m;
	size_t n;

	if (k->mapped || !k->v->sd || softdirty_mappings(k->v->sd, &m, &n) || !n)
		return;
	k->mapped = malloc(n * sizeof(*m));
	if (!k->mapped)
		return;
	memcpy(k->mapped, m, n * sizeof(*m));
	k->n_mapped = n;
}

/* The index of the first mapping that ends after addr. */
static size_t find_mapping(struct sdi_known *k, uint64_t addr)
{
	size_t low = 0, high;

	read_mappings(k);
	for (high = k->n_mapped; low < high; ) {
		size_t mid = (low + high) / 2;

		if (k->mapped[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool sdi_maps_others(struct sdi_known *k, uint64_t start, uint64_t end)
{
	uint64_t until, at;

	for (size_t i = find_mapping(k, start); i < k->n_mapped; i++) {
		const struct softdirty_mapping *m = &k->mapped[i];

		for (at = MAX(m->start, start); at < MIN(m->end, end); at = until)
			if (sdi_marks_are_ours(k, sdi_dirty_at(k, at, &until)))
				return true;
		if (m->end >= end)
			break;
	}
	return false;
}

/* --- markers -------------------------------------------------------------------------------- */

/* "NAME: number" */
static bool number_of(const char *line, const char *name, long long *ret)
{
	size_t n = strlen(name);

	if (strncmp(line, name, n) || line[n] != ':')
		return false;
	*ret = strtoll(line + n + 1, NULL, 10);
	return true;
}

static int find_vm_swap(void *vm_swap, char *line)
{
	return number_of(line, "VmSwap", vm_swap) ? ENOUGH : 0;
}

static long long process_swap(struct sdi_known *k)
{
	if (k->vm_swap == -2) {
		k->vm_swap = -1;
		each_line(k, "status", find_vm_swap, &k->vm_swap);
	}
	return k->vm_swap;
}

struct swap_of {
	const struct softdirty_mapping *m;
	bool found;		/* the lines of this mapping have begun */
	long long kb;
};

static int find_swap(void *arg, char *line)
{
	struct swap_of *s = arg;
	unsigned long long start, end;

	if (sscanf(line, "%llx-%llx ", &start, &end) != 2)
		return s->found && number_of(line, "Swap", &s->kb) ? ENOUGH : 0;
	if (end <= s->m->start)
		return 0;
	if (s->found || start != s->m->start || end != s->m->end)
		return ENOUGH;
	s->found = true;
	return 0;
}

static long long mapping_swap(struct sdi_known *k, const struct softdirty_mapping *m)
{
	struct swap_of s = { .m = m, .kb = -1 };

	if (k->smaps_start == m->start)
		return k->smaps_swap;
	each_line(k, "smaps", find_swap, &s);
	k->smaps_start = m->start;
	k->smaps_swap = s.kb;
	return s.kb;
}

/*
 * SWP_PTE_MARKER is the last of 32 swap types, PTE_MARKER_UFFD_WP its bit 0; without CAP_SYS_ADMIN
 * these fields read as 0. Then: shared memory swaps in its file and not in page tables, anonymous
 * memory is never marked, and Swap: in smaps and VmSwap do not count markers (Linux 5.19 to 6.18).
 */
enum sdi_swapped sdi_swapped(struct sdi_known *k, uint64_t addr, uint64_t entry)
{
	uint64_t type = entry & 31, offset = entry >> 5 & ((1ull << 50) - 1);
	uint64_t bits = PM_ENTRY_PRESENT | PM_ENTRY_SWAP | PM_ENTRY_FILE | PM_ENTRY_UFFD_WP;
	size_t i;

	/* A file page on its way to another node is swapped and FILE. */
	if ((entry & bits) != (PM_ENTRY_SWAP | PM_ENTRY_UFFD_WP))
		return SDI_SWAP_REAL;
	if (type || offset)
		return type == 31 && offset == 1 ? SDI_SWAP_MARKER : SDI_SWAP_REAL;
	i = find_mapping(k, addr);
	if (i == k->n_mapped || addr < k->mapped[i].start)
		return SDI_SWAP_EITHER;
	if (k->mapped[i].flags & SOFTDIRTY_SHARED)
		return SDI_SWAP_MARKER;
	if (!k->mapped[i].inode)
		return SDI_SWAP_REAL;
	if (process_swap(k) == 0 || mapping_swap(k, &k->mapped[i]) == 0)
		return SDI_SWAP_MARKER;
	return SDI_SWAP_EITHER;
}
