/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wp-async: the kernel itself marks the first write to a protected page (UFFD_FEATURE_WP_ASYNC) and
 * PAGEMAP_SCAN reads and protects again in one atomic step per page. Linux 6.7.
 *
 * One round:
 *
 *	mappings now      |--A--|  |----B----|   |--C--|
 *	known last time   |--A--|  |--B--|          |D-|
 *	not registered                            |--C--|	asked from PAGEMAP_SCAN itself
 *	=> new                           |-B-|   |--C--|	registered now, reported whole
 *	=> scanned        |--A--|  |--B--|
 *
 * A mapping made at the address of a known one is not registered any more, so it is found too.
 * Must not know marks: it only answers what happened since the last SDI_TAKE.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/pagemap.h"
#include "target/stop.h"
#include "track/tracker.h"
#include "uapi/userfaultfd.h"

enum {
	POPULATED = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
};

/*
 * Empty pages of shared mappings must be marked too: a shared page that was written and then dropped
 * from the page table (reclaim, MADV_DONTNEED) leaves an empty entry like any other. Markers cost
 * 2 MiB of page table per GiB; beyond this much shared memory, empty pages count as untracked.
 */
#define MAX_MARKED (16ull << 30)

/*
 * But not in files of a file system. There a marker over a page that is not in the page cache makes
 * the next access hang for ever if the mapping is locked (mlock(2)): filemap_fault() takes the
 * marker for a fault that somebody else has resolved. Since Linux 6.9, commit 58f327f2ce80
 * ("filemap: avoid unnecessary major faults in filemap_fault()"). Shared memory has a fault handler
 * of its own and is safe.
 */

struct wp {
	int uffd;
	struct sdi_ranges known;	/* registered; flags: what is mapped there, see tag() */
	struct sdi_ranges refused;	/* the kernel refused; flags: tag(), reason: why */
};

/* What is mapped, so that a different thing at the same address is noticed. */
static uint32_t tag(const struct sdi_vma *v)
{
	return v->ident ^ v->ident >> 32;
}

/* --- what this kernel has ------------------------------------------------------------------- */

static int uffd_api(int uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};

	return ioctl(uffd, UFFDIO_API, &api) ? -errno : 0;
}

static int uffd_register(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = {
		.range = { start, end - start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static int count_region(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	*(uint64_t *)arg += (end - start) / sdi_page_size();
	return 0;
}

static const struct sdi_scan anon_take = {
	.flags = PM_SCAN_WP_MATCHING, .mask = PAGE_IS_WRITTEN, .anyof = POPULATED,
	.ret = PAGE_IS_WRITTEN,
};

/* Write, take, expect it; write one of two, take, expect one; take, expect none. */
static int try_tracking(int uffd, int pagemap, volatile char *mem, struct sdi_why *why)
{
	uint64_t page = sdi_page_size(), start = (uintptr_t)mem, end = start + 2 * page;
	uint64_t n[3] = { 0 };

	if (uffd_register(uffd, start, end)) {
		sdi_why(why, "userfaultfd refuses write protection: %s", strerror(errno));
		return -EOPNOTSUPP;
	}
	for (int i = 0; i < 3; i++) {
		if (i < 2)
			mem[page] = i;
		if (i < 1)
			mem[0] = i;
		int err = sdi_scan(pagemap, &anon_take, start, end, count_region, &n[i]);
		if (err) {
			sdi_why(why, "PAGEMAP_SCAN: %s (needs Linux 6.7)", strerror(-err));
			return -EOPNOTSUPP;
		}
	}
	if (n[0] == 2 && n[1] == 1 && n[2] == 0)
		return 0;
	sdi_why(why, "tried it: %d, %d, %d pages seen where 2, 1, 0 were written", (int)n[0],
		(int)n[1], (int)n[2]);
	return -EOPNOTSUPP;
}

static int wp_probe(struct sdi_why *why)
{
	autoclose int uffd = syscall(SYS_userfaultfd, SDI_UFFD_FLAGS);
	autoclose int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (uffd < 0) {
		sdi_why(why, "userfaultfd(): %s%s", strerror(errno),
			errno == ENOSYS ? " (CONFIG_USERFAULTFD is off)" :
			errno == EPERM ? " (seccomp filter or LSM policy of this process)" : "");
		return -EOPNOTSUPP;
	}
	if (uffd_api(uffd)) {
		sdi_why(why, "userfaultfd has no asynchronous write protection (needs Linux 6.7)");
		return -EOPNOTSUPP;
	}
	size_t size = 2 * sdi_page_size();
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	int err = try_tracking(uffd, pagemap, mem, why);
	munmap(mem, size);
	if (!err)
		sdi_why(why, "userfaultfd WP_ASYNC and PAGEMAP_SCAN: tried it, exact");
	return err;
}

/* Only looks: seccomp and tracers decide whether a thread may be borrowed. */
static int wp_suits(const struct sdi_target *t, struct sdi_why *why)
{
	struct sdi_status s;

	if (t->self)
		return 0;
	int err = sdi_status_read(t->procfd, "status", &s);
	if (err)
		return err;
	if (s.tracer) {
		sdi_why(why, "process %d traces it (a debugger, strace?): end that first", s.tracer);
		return -EOPNOTSUPP;
	}
	if (s.seccomp > 0 && geteuid() != 0) {
		sdi_why(why, "a seccomp filter is active in it: only root may suspend that");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* --- what is new ---------------------------------------------------------------------------- */

static int append_region(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	return sdi_ranges_append(arg, start, end, 0, 0);
}

/* Mapped memory that no userfaultfd watches (mappings of raw PFNs are not listed). */
static int find_unregistered(struct sdi_tracker *tr, struct sdi_ranges *ret)
{
	static const struct sdi_scan what = {
		.inverted = PAGE_IS_WPALLOWED, .mask = PAGE_IS_WPALLOWED, .ret = PAGE_IS_WPALLOWED,
	};
	uint64_t end = 0;

	for (size_t i = tr->maps.n; i > 0 && !end; i--)
		if (!(tr->maps.v[i - 1].flags & SDI_VMA_KERNEL))
			end = tr->maps.v[i - 1].end;
	return sdi_scan(tr->pagemap, &what, 0, end, append_region, ret);
}

static int tagged_maps(const struct sdi_tracker *tr, struct sdi_ranges *ret)
{
	for (size_t i = 0; i < tr->maps.n; i++) {
		const struct sdi_vma *v = &tr->maps.v[i];
		int err = v->flags & SDI_VMA_KERNEL ? 0 :
			  sdi_ranges_append(ret, v->start, v->end, tag(v), 0);
		if (err)
			return err;
	}
	return 0;
}

/* The parts of list (by tag) that are still the same thing in now (by tag). */
static int still_same(const struct sdi_ranges *list, const struct sdi_ranges *now,
		      struct sdi_ranges *ret)
{
	size_t j = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct softdirty_range *a = &list->r[i];

		while (j < now->n && now->r[j].end <= a->start)
			j++;
		for (size_t k = j; k < now->n && now->r[k].start < a->end; k++) {
			const struct softdirty_range *b = &now->r[k];
			int err = a->flags != b->flags ? 0 :
				  sdi_ranges_append(ret, MAX(a->start, b->start),
						    MIN(a->end, b->end), a->flags, a->reason);
			if (err)
				return err;
		}
	}
	return 0;
}

/* Everything a round works with. */
struct round {
	struct sdi_tracker *tr;
	struct wp *wp;
	enum sdi_collect how;
	struct sdi_ranges *found;
	struct sdi_ranges fresh;	/* not known and not refused: new */
};

static int find_fresh(struct round *r)
{
	struct sdi_ranges unreg = { 0 }, now = { 0 }, same = { 0 };
	struct wp *wp = r->wp;
	int err = find_unregistered(r->tr, &unreg);

	if (!err)
		err = tagged_maps(r->tr, &now);
	if (!err)
		err = still_same(&wp->known, &now, &same);
	if (!err)
		err = sdi_ranges_subtract(&same, &unreg, &wp->known);
	sdi_ranges_reset(&same);
	if (!err)
		err = still_same(&wp->refused, &now, &same);
	if (!err) {
		sdi_ranges_swap(&wp->refused, &same);
		err = sdi_ranges_subtract(&now, &wp->known, &same);
	}
	if (!err)
		err = sdi_ranges_subtract(&same, &wp->refused, &r->fresh);
	sdi_ranges_fini(&unreg);
	sdi_ranges_fini(&now);
	sdi_ranges_fini(&same);
	return err;
}

/* --- registering ---------------------------------------------------------------------------- */

/* As a whole? */
static bool is_fresh(const struct round *r, const struct sdi_vma *v)
{
	return !(v->flags & SDI_VMA_KERNEL) && sdi_ranges_cover(&r->fresh, v->start, v->end);
}

/* Why a refused mapping is as it is; NONE: this process cannot write it at all. */
static uint32_t refusal(const struct sdi_vma *v, int err)
{
	if (err == -EPERM && (v->flags & SDI_VMA_SHARED))
		return SOFTDIRTY_REASON_NONE;	/* no VM_MAYWRITE: read-only descriptor */
	if (v->flags & SDI_VMA_VDSO)
		return SOFTDIRTY_REASON_SPECIAL;
	if (err == -EBUSY)
		return SOFTDIRTY_REASON_UFFD;
	return err == -EINVAL ? SOFTDIRTY_REASON_SPECIAL : SOFTDIRTY_REASON_REFUSED;
}

static int note(struct round *r, const struct sdi_vma *v, int result)
{
	struct wp *wp = r->wp;

	if (result == -ENOENT)
		return 0;	/* unmapped meanwhile */
	if (!result)
		return sdi_ranges_push(&wp->known, v->start, v->end, tag(v), 0);
	return sdi_ranges_push(&wp->refused, v->start, v->end, tag(v), refusal(v, result));
}

/*
 * A run of mappings that are fresh as a whole. One call for all of them, and one for each if that
 * fails, because one bad mapping fails them all: 177 instead of 346 ns for each mapping.
 */
static int register_run(struct round *r, size_t from, size_t to)
{
	const struct sdi_vma *v = r->tr->maps.v;
	int all = uffd_register(r->wp->uffd, v[from].start, v[to - 1].end);
	int err = 0;

	for (size_t i = from; i < to && !err; i++)
		err = note(r, &v[i], all ? uffd_register(r->wp->uffd, v[i].start, v[i].end) : 0);
	return err;
}

/*
 * A refusal may pass: the target gave up its own userfaultfd, memory is there again, or the mapping
 * was gone for just that moment. What registers now was not watched until now: new.
 */
static int retry_refused(struct round *r)
{
	struct sdi_ranges keep = { 0 };
	int err = 0;

	for (size_t i = 0; i < r->wp->refused.n && !err; i++) {
		struct softdirty_range *q = &r->wp->refused.r[i];

		if (!uffd_register(r->wp->uffd, q->start, q->end))
			err = sdi_ranges_push(&r->fresh, q->start, q->end, q->flags, 0);
		else
			err = sdi_ranges_append(&keep, q->start, q->end, q->flags, q->reason);
	}
	sdi_ranges_swap(&r->wp->refused, &keep);
	sdi_ranges_fini(&keep);
	return err ? err : sdi_ranges_sort(&r->fresh);
}

/* A mapping that grew: only what is fresh of it. */
static int register_parts(struct round *r, const struct sdi_vma *v)
{
	int err = 0;

	for (size_t i = sdi_ranges_find(&r->fresh, v->start); i < r->fresh.n && !err; i++) {
		struct sdi_vma part = *v;

		part.start = MAX(v->start, r->fresh.r[i].start);
		part.end = MIN(v->end, r->fresh.r[i].end);
		if (part.start >= part.end)
			break;
		err = note(r, &part, uffd_register(r->wp->uffd, part.start, part.end));
	}
	return err;
}

/*
 * Nothing but what is fresh: the kernel may take a known mapping out of the userfaultfd at any moment
 * (see drop_stale()), and registering it in passing would hide that. What is fresh is not
 * registered, so it is whole mappings, and none is split.
 */
static int register_fresh(struct round *r)
{
	const struct sdi_maps *m = &r->tr->maps;
	int err = retry_refused(r);

	for (size_t i = 0; i < m->n && !err && r->fresh.n; i++) {
		size_t from = i;

		while (i < m->n && is_fresh(r, &m->v[i]))
			i++;
		if (i > from)
			err = register_run(r, from, i);
		if (i < m->n && !err)
			err = register_parts(r, &m->v[i]);
	}
	if (!err)
		err = sdi_ranges_sort(&r->wp->known);
	return err ? err : sdi_ranges_sort(&r->wp->refused);
}

static int push_fresh(struct round *r)
{
	int err = 0;

	for (size_t i = 0; i < r->fresh.n && !err; i++)
		err = sdi_ranges_push(r->found, r->fresh.r[i].start, r->fresh.r[i].end,
				      SOFTDIRTY_NEW, 0);
	return err;
}

/* --- scanning ------------------------------------------------------------------------------- */

/*
 * How mappings are asked. Private memory: a clean page of a file or the zero page was only read. The
 * FILE category costs a look at struct page (10 against 3 ns), so anonymous memory goes without.
 * Shared memory: see MAX_MARKED.
 */
enum class { ANON, PRIVATE_FILE, SHARED, SPARSE, N_CLASSES };

static struct sdi_scan question(enum class class, enum sdi_collect how)
{
	uint64_t not = PAGE_IS_PFNZERO | sdi_scan_guard();
	struct sdi_scan q = {
		.flags = how == SDI_TAKE ? PM_SCAN_WP_MATCHING : 0,
		.mask = PAGE_IS_WRITTEN,
		.anyof = POPULATED,
		.ret = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_HUGE,
	};

	if (class == PRIVATE_FILE)
		not |= PAGE_IS_FILE;
	if (class == SHARED)
		q.anyof = 0;
	if (class == ANON || class == PRIVATE_FILE) {
		q.inverted = not;
		q.mask |= not;
	}
	return q;
}

struct sink {
	struct sdi_ranges *found;
	uint32_t kind;
};

static int push_written(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct sink *s = arg;
	uint32_t flags = SOFTDIRTY_WRITTEN | s->kind;

	if (categories & POPULATED)
		flags |= SOFTDIRTY_POPULATED;
	if (categories & PAGE_IS_SWAPPED)
		flags |= SOFTDIRTY_SWAPPED;
	if (categories & PAGE_IS_HUGE)
		flags |= SOFTDIRTY_HUGE;
	return sdi_ranges_push(s->found, start, end, flags, 0);
}

static int push_unmarked(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct sink *s = arg;

	if (categories & POPULATED)
		return 0;
	return sdi_ranges_push(s->found, start, end, SOFTDIRTY_UNTRACKED | s->kind,
			       SOFTDIRTY_REASON_SPARSE);
}

/*
 * A scan holds the target's mmap_lock for reading. It is cut into pieces of about this long, with a
 * real sleep between them: without one the scanner takes the lock again before a waiting mmap()
 * wakes up.
 */
#define MAX_HOLD_NS 180000ull
#define PIECE_MIN (32ull << 20)
#define PIECE_MAX (4ull << 30)

struct pace {
	uint64_t held_ns;	/* since the last sleep */
	uint64_t piece;		/* bytes of address space to ask for at once */
};

static void keep_pace(struct pace *p, uint64_t took_ns)
{
	p->held_ns += took_ns;
	if (took_ns < MAX_HOLD_NS / 4)
		p->piece = MIN(p->piece * 2, PIECE_MAX);
	else if (took_ns > MAX_HOLD_NS)
		p->piece = MAX(p->piece / 2, PIECE_MIN / 16);
	if (p->held_ns < MAX_HOLD_NS)
		return;
	p->held_ns = 0;
	nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
}

/* Cut where no huge page is cut: 2 MiB, and 1 GiB where a mapping may be hugetlb. */
static uint64_t next_cut(uint64_t at, uint64_t end, uint64_t piece, enum class class)
{
	uint64_t unit = class == ANON ? 2ull << 20 : 1ull << 30;
	uint64_t cut = (at + piece) & ~(unit - 1);

	if (cut <= at)
		cut = (at | (unit - 1)) + 1;
	return MIN(cut, end);
}

/* Memory that is scanned in one go. */
struct span {
	enum class class;
	uint64_t start, end;
	const struct sdi_vma *last;	/* the mapping that end lies in */
};

static int scan_span(struct round *r, const struct span *span, struct pace *pace)
{
	struct sdi_scan q = question(span->class, r->how), holes = question(SHARED, SDI_PEEK);
	uint64_t at = r->how == SDI_PEEK ? MAX(span->start, r->tr->from) : span->start;
	uint64_t end = r->how == SDI_PEEK ? MIN(span->end, r->tr->to) : span->end;
	struct sink s = {
		.found = r->found,
		.kind = span->class >= SHARED ? SOFTDIRTY_SHARED | SOFTDIRTY_FILE : 0,
	};

	while (at < end) {
		uint64_t t0 = sdi_now_ns(), cut = next_cut(at, end, pace->piece, span->class);
		int err = sdi_scan(r->tr->pagemap, &q, at, cut, push_written, &s);

		/* In this order: what is dropped in between is a hole by then. */
		if (!err && span->class == SPARSE)
			err = sdi_scan(r->tr->pagemap, &holes, at, cut, push_unmarked, &s);
		if (err)
			return err;
		keep_pace(pace, sdi_now_ns() - t0);
		at = cut;
	}
	return 0;
}

static int unprotect(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	struct uffdio_writeprotect wp = { .range = { start, end - start } };
	int uffd = *(int *)arg;

	/* ENOENT: unmapped or moved meanwhile, so it will be fresh again. */
	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) && errno != ENOENT ? -errno : 0;
}

/*
 * What was just registered may have protected pages all the same. When mremap() joins a moved mapping
 * to neighbours, the kernel takes the whole out of the userfaultfd and leaves their protection
 * (Linux 6.18, mremap_userfaultfd_prep() after a merge; before Linux 6.13 commit 0cef0bb836e3 moved
 * pages kept it too). A write then makes the page writable and leaves the mark that says clean: it
 * would never be seen again. So all such marks go, once the mapping is ours.
 */
static int drop_stale(struct round *r)
{
	static const struct sdi_scan what = {
		.inverted = PAGE_IS_WRITTEN, .mask = PAGE_IS_WRITTEN, .anyof = POPULATED,
		.ret = PAGE_IS_WRITTEN,
	};
	struct pace pace = { .piece = PIECE_MIN };
	int err = 0;

	for (size_t i = 0; i < r->fresh.n && !err; i++) {
		uint64_t at = r->fresh.r[i].start, end = r->fresh.r[i].end;

		while (at < end && !err) {
			uint64_t t0 = sdi_now_ns(), cut = next_cut(at, end, pace.piece, SHARED);

			err = sdi_scan(r->tr->pagemap, &what, at, cut, unprotect, &r->wp->uffd);
			keep_pace(&pace, sdi_now_ns() - t0);
			at = cut;
		}
	}
	return err;
}

/* Shared memory is watched without markers once the budget is used up. */
static enum class classify(const struct sdi_vma *v, uint64_t *budget)
{
	if (!(v->flags & SDI_VMA_SHARED))
		return v->flags & SDI_VMA_FILE ? PRIVATE_FILE : ANON;
	if (!(v->flags & SDI_VMA_SHMEM) || v->end - v->start > *budget)
		return SPARSE;
	*budget -= v->end - v->start;
	return SHARED;
}

/*
 * Does the piece [start, ...) of v continue the span? Also over a small gap with nothing in it:
 * what is mapped there meanwhile is not registered, so a scan that protects steps over it.
 */
static bool continues(const struct span *s, enum class class, const struct sdi_vma *v,
		      uint64_t start)
{
	const uint64_t max_gap = 1ull << 30;

	if (class != s->class)
		return false;
	return start == s->end || (v == s->last + 1 && s->end == s->last->end &&
				   start == v->start && start - s->end < max_gap);
}

static int scan_known(struct round *r)
{
	const struct sdi_ranges *known = &r->wp->known;
	struct pace pace = { .piece = PIECE_MIN };
	struct span span = { .class = N_CLASSES };
	uint64_t budget = MAX_MARKED;
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; i < r->tr->maps.n && !err; i++) {
		const struct sdi_vma *v = &r->tr->maps.v[i];
		enum class class = classify(v, &budget);

		while (k < known->n && known->r[k].end <= v->start)
			k++;
		for (size_t j = k; j < known->n && known->r[j].start < v->end && !err; j++) {
			uint64_t start = MAX(v->start, known->r[j].start);

			if (!continues(&span, class, v, start)) {
				err = scan_span(r, &span, &pace);
				span = (struct span){ .class = class, .start = start };
			}
			span.end = MIN(v->end, known->r[j].end);
			span.last = v;
		}
	}
	return err ? err : scan_span(r, &span, &pace);
}

/* --- attach --------------------------------------------------------------------------------- */

/*
 * Does somebody else watch it this way? A userfaultfd of the target's own has some of its memory;
 * only a tracker has most of its mappings. (One more could register nothing: EBUSY.)
 */
static bool is_tracked(struct sdi_tracker *tr)
{
	struct sdi_ranges unreg = { 0 };
	size_t tracked = 0;

	if (sdi_maps_read(&tr->target, &tr->maps) || find_unregistered(tr, &unreg)) {
		sdi_ranges_fini(&unreg);
		return false;	/* what is wrong shows later, where it has a name */
	}
	for (size_t i = 0; i < tr->maps.n; i++) {
		const struct sdi_vma *v = &tr->maps.v[i];
		size_t k = sdi_ranges_find(&unreg, v->start);

		tracked += !(v->flags & SDI_VMA_KERNEL) &&
			   (k == unreg.n || unreg.r[k].start >= v->end);
	}
	sdi_ranges_fini(&unreg);
	return tracked > tr->maps.n / 2;
}

static int wp_attach(struct sdi_tracker *tr, struct sdi_why *why)
{
	autoclose int uffd = take_fd(&tr->uffd);
	int err;

	tr->attach_ns = 0;
	if (is_tracked(tr))
		return sdi_fail(EBUSY, "another user of softdirty, or the like, tracks it already");
	if (uffd < 0)
		uffd = sdi_take_uffd(&tr->target, SDI_UFFD_FLAGS, &tr->attach_ns);
	if (uffd < 0) {
		sdi_why(why, "%s", sdi_last_error());
		return uffd;
	}
	err = uffd_api(uffd);
	if (err) {
		sdi_why(why, "userfaultfd has no asynchronous write protection (needs Linux 6.7)");
		return -EOPNOTSUPP;
	}
	struct wp *wp = calloc(1, sizeof(*wp));
	if (!wp)
		return sdi_fail(ENOMEM, "out of memory");
	wp->uffd = take_fd(&uffd);
	tr->state = wp;
	return 0;
}

static void wp_detach(struct sdi_tracker *tr)
{
	struct wp *wp = tr->state;

	if (!wp)
		return;
	close(wp->uffd);	/* drops all protection and all markers */
	sdi_ranges_fini(&wp->known);
	sdi_ranges_fini(&wp->refused);
	free(wp);
	tr->state = NULL;
}

/* --- what cannot be tracked ----------------------------------------------------------------- */

/* Pages of the vdso are the kernel's; one that was written (by a debugger, say) is anonymous. */
static int push_refused_pages(struct round *r, const struct softdirty_range *q, bool vdso)
{
	struct sdi_ranges pages = { 0 };
	int err = sdi_populated(&r->tr->target, r->tr->pagemap, &r->tr->maps, q->start, q->end, 0, 0,
				&pages);

	for (size_t i = 0; i < pages.n && !err; i++) {
		const struct softdirty_range *p = &pages.r[i];

		if ((vdso && (p->flags & SOFTDIRTY_FILE)) || (p->flags & SOFTDIRTY_ZERO))
			continue;
		err = sdi_ranges_push(r->found, p->start, p->end, p->flags | SOFTDIRTY_UNTRACKED,
				      q->reason);
	}
	sdi_ranges_fini(&pages);
	return err;
}

static int push_refused(struct round *r)
{
	int err = 0;

	for (size_t i = 0; i < r->wp->refused.n && !err; i++) {
		const struct softdirty_range *q = &r->wp->refused.r[i];
		const struct sdi_vma *v = sdi_maps_find(&r->tr->maps, q->start);
		bool vdso = v && v->start <= q->start && (v->flags & SDI_VMA_VDSO);

		if (q->reason == SOFTDIRTY_REASON_NONE)
			continue;
		if (q->reason == SOFTDIRTY_REASON_SPECIAL && !vdso)
			err = sdi_ranges_push(r->found, q->start, q->end, SOFTDIRTY_UNTRACKED,
					      q->reason);
		else
			err = push_refused_pages(r, q, vdso);
	}
	return err;
}

static int wp_collect(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct round r = { .tr = tr, .wp = tr->state, .how = how, .found = found };
	int err = find_fresh(&r);
	if (!err && how == SDI_TAKE)
		err = register_fresh(&r);
	if (!err && how == SDI_TAKE)
		err = drop_stale(&r);
	if (!err)
		err = push_fresh(&r);
	if (!err)
		err = scan_known(&r);
	if (!err)
		err = push_refused(&r);
	sdi_ranges_fini(&r.fresh);
	return err;
}

const struct sdi_backend sdi_backend_wp_async = {
	.name = "wp-async",
	.takes_uffd = true,
	.probe = wp_probe,
	.suits = wp_suits,
	.attach = wp_attach,
	.collect = wp_collect,
	.detach = wp_detach,
};
