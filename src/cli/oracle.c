/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/cleanup.h"

enum { BATCH_PAGES = 64 };

/* A look: the hashes of all populated pages in order, 16 bytes each, and where they belong. */
struct run {
	uint64_t start, end;
	size_t first;			/* index of its first hash */
};
struct look {
	struct run *runs;
	size_t n_runs;
	XXH128_hash_t *hashes;
	size_t n;
};

struct sdi_oracle {
	pid_t pid;
	int mem;			/* /proc/PID/mem: reads what PROT_NONE hides */
	uint32_t page_size;
	unsigned char *buffer;		/* BATCH_PAGES pages */
	XXH128_hash_t zero, unreadable;
	struct look last;
};

static void look_fini(struct look *look)
{
	free(look->runs);
	free(look->hashes);
	*look = (struct look){ 0 };
}

static int look_init(struct look *look, const struct softdirty_range *pages, size_t n,
		     uint32_t page_size)
{
	size_t n_hashes = 0;

	*look = (struct look){ 0 };
	look->runs = malloc(n * sizeof(*look->runs) + 1);
	if (!look->runs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		look->runs[i] = (struct run){ pages[i].start, pages[i].end, n_hashes };
		n_hashes += (pages[i].end - pages[i].start) / page_size;
	}
	look->n_runs = n;
	look->hashes = malloc(n_hashes * sizeof(*look->hashes) + 1);
	if (look->hashes)
		return 0;
	look_fini(look);
	return -ENOMEM;
}

int sdi_oracle_open(pid_t pid, uint32_t page_size, struct sdi_oracle **ret)
{
	char path[32];
	struct sdi_oracle *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->pid = pid;
	o->page_size = page_size;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	o->mem = open(path, O_RDONLY | O_CLOEXEC);
	o->buffer = calloc(BATCH_PAGES, page_size);
	int err = o->mem < 0 ? -errno : o->buffer ? 0 : -ENOMEM;
	if (err) {
		sdi_oracle_close(o);
		return err;
	}
	o->zero = XXH3_128bits(o->buffer, page_size);
	o->unreadable = XXH3_128bits("unreadable", 10);
	*ret = o;
	return 0;
}

void sdi_oracle_close(struct sdi_oracle *o)
{
	if (!o)
		return;
	if (o->mem >= 0)
		close(o->mem);
	free(o->buffer);
	look_fini(&o->last);
	free(o);
}

/*
 * Read up to n pages at addr into the buffer. Returns how many; 0: the first cannot be read by any
 * means.
 */
static size_t read_pages(struct sdi_oracle *o, uint64_t addr, size_t n)
{
	struct iovec local = { o->buffer, n * o->page_size };
	struct iovec remote = { (void *)(uintptr_t)addr, n * o->page_size };
	ssize_t got = process_vm_readv(o->pid, &local, 1, &remote, 1, 0);

	if (got >= (ssize_t)o->page_size)
		return got / o->page_size;
	got = pread(o->mem, o->buffer, o->page_size, addr);
	return got == (ssize_t)o->page_size;
}

/*
 * What looks swapped in shared memory is a marker that tracking has left in an empty entry (real
 * swap entries of shared memory are not in page tables): reading it would fill the page in.
 */
static bool must_not_read(uint32_t flags)
{
	return flags & SOFTDIRTY_SHARED && flags & SOFTDIRTY_SWAPPED;
}

static void hash_run(struct sdi_oracle *o, const struct run *run, uint32_t flags,
		     XXH128_hash_t *hashes)
{
	if (must_not_read(flags)) {
		for (uint64_t addr = run->start; addr < run->end; addr += o->page_size)
			*hashes++ = o->unreadable;
		return;
	}
	for (uint64_t addr = run->start; addr < run->end; ) {
		size_t left = (run->end - addr) / o->page_size;
		size_t got = read_pages(o, addr, MIN(left, BATCH_PAGES));

		for (size_t i = 0; i < got; i++)
			*hashes++ = XXH3_128bits(o->buffer + i * o->page_size, o->page_size);
		if (!got)
			*hashes++ = o->unreadable;
		addr += MAX(got, 1) * o->page_size;
	}
}

/* Walks a sorted list forwards: what holds at addr, or NULL. */
struct cursor {
	const struct softdirty_range *list;
	size_t n, i;
};

static const struct softdirty_range *at(struct cursor *c, uint64_t addr)
{
	while (c->i < c->n && c->list[c->i].end <= addr)
		c->i++;
	return c->i < c->n && c->list[c->i].start <= addr ? &c->list[c->i] : NULL;
}

static const XXH128_hash_t *hash_at(const struct sdi_oracle *o, size_t *run, uint64_t addr)
{
	const struct look *look = &o->last;

	while (*run < look->n_runs && look->runs[*run].end <= addr)
		++*run;
	if (*run >= look->n_runs || look->runs[*run].start > addr)
		return NULL;
	return &look->hashes[look->runs[*run].first +
			     (addr - look->runs[*run].start) / o->page_size];
}

enum verdict { SAME, CHANGED, UNKNOWN };

/*
 * old NULL: the page was not populated at the last look. Anonymous memory was zero then; what a
 * file or shared memory held cannot be said.
 */
static enum verdict compare(const struct sdi_oracle *o, const XXH128_hash_t *old,
			    XXH128_hash_t now, uint32_t flags)
{
	if (XXH128_isEqual(now, o->unreadable) || (old && XXH128_isEqual(*old, o->unreadable)))
		return UNKNOWN;
	if (!old && flags & (SOFTDIRTY_FILE | SOFTDIRTY_SHARED))
		return UNKNOWN;
	return XXH128_isEqual(old ? *old : o->zero, now) ? SAME : CHANGED;
}

/* A page that changed and was not reported. 0 or -ENOMEM. */
static int unreported(const struct sdi_oracle *o, uint64_t addr, uint32_t flags,
		      struct sdi_verify_round *round)
{
	if (flags & SOFTDIRTY_ZERO)
		round->discarded++;
	else if (flags & (SOFTDIRTY_FILE | SOFTDIRTY_SHARED))
		round->outside++;
	else
		return sdi_verify_miss(round, addr, addr + o->page_size);
	return 0;
}

static int judge(const struct sdi_oracle *o, uint64_t addr, enum verdict verdict, uint32_t flags,
		 const struct softdirty_range *said, struct sdi_verify_round *round)
{
	round->populated++;
	round->changed += verdict == CHANGED;
	round->unreadable += verdict == UNKNOWN;
	if (said) {
		round->reported++;
		if (verdict == SAME)
			round->same[sdi_why_index(said->flags)][said->reason % SDI_N_REASONS]++;
		return 0;
	}
	return verdict == CHANGED ? unreported(o, addr, flags, round) : 0;
}

static int judge_look(const struct sdi_oracle *o, const struct look *now,
		      const struct softdirty_range *pages, struct cursor *said,
		      struct sdi_verify_round *round)
{
	size_t last_run = 0;
	int err = 0;

	for (size_t i = 0; i < now->n_runs; i++) {
		const XXH128_hash_t *hash = &now->hashes[now->runs[i].first];

		for (uint64_t addr = pages[i].start; !err && addr < pages[i].end; hash++) {
			const XXH128_hash_t *old = hash_at(o, &last_run, addr);

			err = judge(o, addr, compare(o, old, *hash, pages[i].flags),
				    pages[i].flags, at(said, addr), round);
			addr += o->page_size;
		}
	}
	return err;
}

int sdi_oracle_look(struct sdi_oracle *o, const struct softdirty_range *pages, size_t n_pages,
		    const struct softdirty_range *said, size_t n_said,
		    struct sdi_verify_round *round)
{
	struct cursor cursor = { said, n_said, 0 };
	struct look now;
	int err = look_init(&now, pages, n_pages, o->page_size);

	if (err)
		return err;
	for (size_t i = 0; i < n_pages; i++)
		hash_run(o, &now.runs[i], pages[i].flags, &now.hashes[now.runs[i].first]);
	if (round)
		err = judge_look(o, &now, pages, &cursor, round);
	look_fini(&o->last);
	o->last = now;
	return err;
}
