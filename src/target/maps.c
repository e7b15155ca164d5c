/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the reading of /proc/PID/maps. The file is a sequence of moments, not one: mappings that
 * change meanwhile may show up late or overlap, and names may be anything (the kernel escapes
 * newlines). Knows nothing of pages.
 */
#include "target/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "softdirty.h"
#include "target/mounts.h"
#include "target/procmap.h"

enum { EMPTY_TRIES = 20 };	/* a process between two memories (exec) shows no mapping */

void sdi_maps_fini(struct sdi_maps *m)
{
	free(m->v);
	*m = (struct sdi_maps){ 0 };
}

/* A number up to the stop character; *p is left behind it. */
static bool number(const char **p, int base, char stop, uint64_t *ret)
{
	uint64_t value = 0;
	int n = 0;

	for (;; n++) {
		char c = *(*p)++;
		unsigned digit = c >= '0' && c <= '9' ? c - '0' :
				 c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
		if (c == stop && n)
			break;
		if (digit >= (unsigned)base || value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return true;
}

static bool permissions(const char **p, uint32_t *flags)
{
	static const char set[] = "rwxs", unset[] = "---p";

	for (int i = 0; i < 4; i++, (*p)++) {
		if (**p == set[i])
			*flags |= 1u << i;
		else if (**p != unset[i])
			return false;
	}
	return *(*p)++ == ' ';
}

static bool starts(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/* Names in brackets count only without an inode: a file may be called anything. */
static uint32_t special(const char *name, uint64_t inode)
{
	if (!inode && (starts(name, "[vvar") || !strcmp(name, "[vsyscall]")))
		return SDI_VMA_KERNEL;
	if (!inode && !strcmp(name, "[vdso]"))
		return SDI_VMA_VDSO;
	if (inode && starts(name, "/[aio]"))
		return SDI_VMA_AIO;
	if (inode && !strcmp(name, "anon_inode:[io_uring]"))
		return SDI_VMA_URING;
	return 0;
}

/* MAP_SHARED | MAP_ANONYMOUS, memfd, System V: on mounts of the kernel's own, that nobody can see. */
static bool is_shmem(const char *name, uint64_t major)
{
	return !major && (starts(name, "/memfd:") || starts(name, "/dev/zero") ||
			  starts(name, "/SYSV") || starts(name, "/secretmem") ||
			  starts(name, "/anon_hugepage") || starts(name, "[anon_shmem:"));
}

/* The finalizer of SplitMix64 over both numbers. */
uint64_t sdi_vma_ident(uint64_t dev, uint64_t inode, bool shared)
{
	uint64_t x = inode + (dev << 1 | shared) * 0x9e3779b97f4a7c15u;

	if (!dev && !inode && !shared)
		return 0;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	return x ? x : 1;
}

bool sdi_maps_parse_line(const char *line, struct sdi_maps_line *ret)
{
	struct sdi_maps_line l = { 0 };
	uint64_t major, minor;

	/* START-END rwxp OFFSET MAJOR:MINOR INODE, then spaces and the name, or only a space */
	if (!number(&line, 16, '-', &l.vma.start) || !number(&line, 16, ' ', &l.vma.end) ||
	    !permissions(&line, &l.vma.flags) || !number(&line, 16, ' ', &l.offset) ||
	    !number(&line, 16, ':', &major) || !number(&line, 16, ' ', &minor))
		return false;
	const char *digits = line;
	if (!number(&line, 10, ' ', &l.inode)) {
		line = digits;
		if (!number(&line, 10, '\0', &l.inode))
			return false;
		line--;
	}
	if (l.vma.start >= l.vma.end)
		return false;
	l.name = line + strspn(line, " ");
	l.vma.flags |= (l.inode ? SDI_VMA_FILE : 0) | special(l.name, l.inode);
	if (l.inode && is_shmem(l.name, major))
		l.vma.flags |= SDI_VMA_SHMEM;
	l.vma.base = l.inode ? l.vma.start - l.offset : 0;
	l.dev = major << 32 | minor;
	l.vma.ident = sdi_vma_ident(l.dev, l.inode, l.vma.flags & SDI_VMA_SHARED);
	*ret = l;
	return true;
}

struct walk {
	sdi_maps_fn *fn;
	void *arg;
	int fd;
	uint64_t end;	/* of what was visited; 0: nothing yet */
};

static int visit(struct walk *w, const struct sdi_maps_line *l)
{
	w->end = MAX(w->end, l->vma.end);
	return w->fn(w->arg, l);
}

/*
 * Linux 7.2 reads the file without mmap_lock, and now and then leaves out a part of what was mapped all
 * the time, if mappings are split and joined meanwhile. So it is asked about each gap. -EIO: an odd
 * line would hide a mapping.
 */
static int visit_gap(struct walk *w, uint64_t to)
{
	char line[SDI_PROCMAP_LINE];
	struct sdi_maps_line l;

	while (w->end < to) {
		int err = sdi_procmap_line(w->fd, w->end, line);
		if (err == -ENOMEM || err == -EINTR || err == -EAGAIN)
			return err;
		if (err)
			break;	/* there is none, or nobody to ask */
		if (!sdi_maps_parse_line(line, &l))
			return -EIO;
		if (l.vma.start >= to)
			break;
		err = visit(w, &l);
		if (err)
			return err;
	}
	return 0;
}

static int visit_line(void *arg, char *line)
{
	struct walk *w = arg;
	struct sdi_maps_line l;

	if (!sdi_maps_parse_line(line, &l))
		return -EIO;
	int err = visit_gap(w, l.vma.start);
	return err ? err : visit(w, &l);
}

int sdi_maps_each(const struct sdi_target *t, sdi_maps_fn *fn, void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };

	for (int i = 0; i < EMPTY_TRIES; i++) {
		autoclose int fd = sdi_target_openat(t, "maps", O_RDONLY);
		if (fd < 0)
			return fd == -EACCES ? -EPERM : fd;
		w.fd = fd;
		int err = sdi_each_line(fd, visit_line, &w);
		if (err || w.end)
			return err ? err : visit_gap(&w, UINT64_MAX);
		if (sdi_target_alive(t))
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return -ESRCH;
}

static int push(struct sdi_maps *m, const struct sdi_vma *v)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap + m->cap / 2 : 64;
		struct sdi_vma *p = realloc(m->v, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		m->v = p;
		m->cap = cap;
	}
	m->v[m->n++] = *v;
	return 0;
}

struct reading {
	const struct sdi_target *t;
	struct sdi_maps *m;
	struct sdi_mounts mounts;
};

static bool is_any_file(const struct sdi_vma *v)
{
	return v->flags & SDI_VMA_FILE &&
	       !(v->flags & (SDI_VMA_SHMEM | SDI_VMA_AIO | SDI_VMA_URING));
}

/* What was read later wins nothing: a mapping that grew downwards meanwhile is cut. */
static int add(void *arg, const struct sdi_maps_line *l)
{
	struct reading *r = arg;
	struct sdi_maps *m = r->m;
	struct sdi_vma v = l->vma;

	/* File systems in memory have no major number; other ones may have none either. */
	if (is_any_file(&v) && !(l->dev >> 32) && sdi_mounts_memory(&r->mounts, r->t, l->dev))
		v.flags |= SDI_VMA_SHMEM;
	if (m->n && v.start < m->v[m->n - 1].end)
		v.start = m->v[m->n - 1].end;
	return v.start < v.end ? push(m, &v) : 0;
}

int sdi_maps_select(const struct sdi_maps *m, bool (*choose)(void *arg, const struct sdi_vma *v),
		    void *arg, struct sdi_maps *ret)
{
	int err = 0;

	for (size_t i = 0; i < m->n && !err; i++)
		if (!(m->v[i].flags & SDI_VMA_KERNEL) && choose(arg, &m->v[i]))
			err = push(ret, &m->v[i]);
	return err;
}

int sdi_maps_read(const struct sdi_target *t, struct sdi_maps *m)
{
	struct reading r = { .t = t, .m = m };

	m->n = 0;
	return sdi_maps_each(t, add, &r);
}

const struct sdi_vma *sdi_maps_find(const struct sdi_maps *m, uint64_t addr)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->v[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < m->n ? &m->v[lo] : NULL;
}

uint32_t sdi_vma_kind(const struct sdi_vma *v)
{
	if (v->flags & SDI_VMA_SHARED)
		return SOFTDIRTY_SHARED | SOFTDIRTY_FILE;
	return v->flags & SDI_VMA_FILE ? SOFTDIRTY_FILE : 0;
}
