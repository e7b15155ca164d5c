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
 * Must not know marks: it only answers what happened since the last SDI_TAKE. wp_known.c knows the
 * mappings, wp_scan.c and wp_shared.c the pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
#include "target/pace.h"
#include "target/stop.h"
#include "track/content.h"
#include "track/release.h"
#include "track/wp.h"
#include "uapi/userfaultfd.h"

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

static int count_region(void *arg, uint64_t start, uint64_t end, uint64_t categories)
{
	*(uint64_t *)arg += (end - start) / sdi_page_size();
	return 0;
}

static const struct sdi_scan anon_take = {
	.flags = PM_SCAN_WP_MATCHING, .mask = PAGE_IS_WRITTEN, .anyof = SDI_WP_POPULATED,
	.ret = PAGE_IS_WRITTEN,
};

/* Write, take, expect it; write one of two, take, expect one; take, expect none. */
static int try_tracking(int uffd, int pagemap, volatile char *mem, struct sdi_why *why)
{
	uint64_t page = sdi_page_size(), start = (uintptr_t)mem, end = start + 2 * page;
	uint64_t n[3] = { 0 };

	if (sdi_wp_register(uffd, start, end)) {
		sdi_why(why, "userfaultfd refuses write protection: %s", sdi_strerror(errno));
		return -EOPNOTSUPP;
	}
	for (int i = 0; i < 3; i++) {
		if (i < 2)
			mem[page] = i;
		if (i < 1)
			mem[0] = i;
		int err = sdi_scan(pagemap, &anon_take, start, end, count_region, &n[i]);
		if (err) {
			sdi_why(why, "PAGEMAP_SCAN: %s (needs Linux 6.7)", sdi_strerror(-err));
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
	char release[65];

	if (sdi_release_harms(release)) {
		sdi_why(why, "Linux %s may lose what a process writes while its pages are protected "
			"(CVE-2024-36943, mended in 6.8.10)", release);
		return -EOPNOTSUPP;
	}
	autoclose int uffd = syscall(SYS_userfaultfd, SDI_UFFD_FLAGS);

	if (uffd < 0) {
		sdi_why(why, "userfaultfd(): %s%s", sdi_strerror(errno),
			errno == ENOSYS ? " (CONFIG_USERFAULTFD is off)" :
			errno == EPERM ? " (seccomp filter or LSM policy of this process)" : "");
		return -EOPNOTSUPP;
	}
	if (uffd_api(uffd)) {
		sdi_why(why, "userfaultfd has no asynchronous write protection (needs Linux 6.7)");
		return -EOPNOTSUPP;
	}
	autoclose int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0) {
		sdi_why(why, "cannot open /proc/self/pagemap: %s%s", sdi_strerror(errno),
			errno == EACCES ? " (this process is not dumpable)" : "");
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

/* Waits for what is about to go away: a millisecond, *patience times; then false. */
static bool wait_1ms(unsigned *patience)
{
	if (!*patience)
		return false;
	--*patience;
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return true;
}

/* Is it a helper of ours, which is done in a moment, even if whoever started it was killed? */
static bool is_helper(pid_t pid)
{
	char path[32], name[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return sdi_read_text(AT_FDCWD, path, name, sizeof(name)) > 0 &&
	       !strcmp(name, "softdirty-stop\n");
}

static int wait_for_helper(const struct sdi_target *t, struct sdi_status *ret)
{
	unsigned patience = 1000;
	int err = sdi_status_read(t->procfd, "status", ret);

	while (!err && ret->tracer && is_helper(ret->tracer) && wait_1ms(&patience))
		err = sdi_status_read(t->procfd, "status", ret);
	return err;
}

/* One that a helper of somebody else's has just made there is gone in a moment. */
static int wait_for_uffd(const struct sdi_target *t)
{
	unsigned patience = 100;
	int ret = sdi_target_has_uffd(t);

	while (ret == 1 && wait_1ms(&patience))
		ret = sdi_target_has_uffd(t);
	return ret;
}

/* Only looks: seccomp and tracers decide whether a thread may be borrowed. */
static int wp_suits(const struct sdi_target *t, struct sdi_why *why)
{
	struct sdi_status s;

	if (t->self)
		return 0;
	int err = wait_for_helper(t, &s);
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
	if (wait_for_uffd(t) == 1) {
		sdi_why(why, "it uses userfaultfd itself (a mapping has room for one only)");
		return -EOPNOTSUPP;
	}
	return 0;	/* what is wrong else shows later, where it has a name */
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

	if (sdi_maps_read(&tr->target, &tr->maps) || sdi_wp_unregistered(tr, &tr->maps, &unreg)) {
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
	/* If it called exec meanwhile, pagemap has nothing at all where its new mappings are. */
	return tracked > tr->maps.n / 2 && sdi_memory_id(&tr->target) == tr->memory_id;
}

/* One whose holder was just killed is let go in a moment. */
static bool stays_tracked(struct sdi_tracker *tr)
{
	unsigned patience = 100;
	bool ret = is_tracked(tr);

	while (ret && wait_1ms(&patience))
		ret = is_tracked(tr);
	return ret;
}

static int wp_attach(struct sdi_tracker *tr, struct sdi_why *why)
{
	autoclose int uffd = take_fd(&tr->uffd);
	int err;

	tr->attach_ns = 0;
	if (stays_tracked(tr))
		return sdi_fail(EBUSY, "another user of softdirty, or the like, tracks it already "
				"(softdirty stop by that user ends that; hash can be used beside it)");
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
	struct sdi_wp *wp = calloc(1, sizeof(*wp));
	if (!wp)
		return sdi_fail(ENOMEM, "out of memory");
	wp->uffd = take_fd(&uffd);
	tr->state = wp;
	return 0;
}

/*
 * Closing alone would end it, but under one hold of mmap_lock for all mappings, and page faults in those
 * that are done wait for the rest: 74 ms in a process of 4 GiB. So one mapping after the other, and
 * only whole ones that are ours: before Linux 6.17 a userfaultfd can also unregister what belongs
 * to another.
 */
static void unregister_all(struct sdi_tracker *tr, const struct sdi_wp *wp)
{
	struct sdi_pace pace = { .hurry = tr->frozen };

	for (size_t i = 0; i < tr->maps.n; i++) {
		const struct sdi_vma *v = &tr->maps.v[i];
		struct uffdio_range range = { v->start, v->end - v->start };
		size_t k = sdi_ranges_find(&wp->known, v->start);
		uint64_t t0 = sdi_now_ns();

		if (k == wp->known.n || wp->known.r[k].start >= v->end)
			continue;
		if (sdi_wp_register(wp->uffd, v->start, v->end))
			continue;
		ioctl(wp->uffd, UFFDIO_UNREGISTER, &range);
		sdi_pace_keep(&pace, sdi_now_ns() - t0, NULL);
	}
}

static void wp_detach(struct sdi_tracker *tr)
{
	struct sdi_wp *wp = tr->state;

	if (!wp)
		return;
	if (!sdi_maps_read(&tr->target, &tr->maps))
		unregister_all(tr, wp);
	close(wp->uffd);	/* drops what protection and markers there still are */
	sdi_content_close(wp->files);
	sdi_ranges_fini(&wp->known);
	sdi_ranges_fini(&wp->refused);
	sdi_ranges_fini(&wp->doubtful);
	free(wp);
	tr->state = NULL;
}

/* --- what cannot be tracked ----------------------------------------------------------------- */

/* Pages of the vdso are the kernel's; one that was written (by a debugger, say) is anonymous. */
static int push_refused_pages(struct sdi_wp_round *r, const struct softdirty_range *q, bool vdso)
{
	struct sdi_ranges pages = { 0 };
	int err = sdi_populated(&r->tr->target, r->tr->pagemap, &r->tr->maps, q->start, q->end, 0, 0,
				&pages);

	for (size_t i = 0; i < pages.n && !err; i++) {
		const struct softdirty_range *p = &pages.r[i];

		if (vdso && p->flags & (SOFTDIRTY_FILE | SOFTDIRTY_ZERO))
			continue;
		err = sdi_ranges_push(r->found, p->start, p->end, p->flags | SOFTDIRTY_UNTRACKED,
				      q->reason);
	}
	sdi_ranges_fini(&pages);
	return err;
}

static int push_refused(struct sdi_wp_round *r)
{
	int err = 0;

	for (size_t i = 0; i < r->wp->refused.n && !err; i++) {
		const struct softdirty_range *q = &r->wp->refused.r[i];
		const struct sdi_vma *v = sdi_maps_find(&r->tr->maps, q->start);
		bool vdso = v && v->start <= q->start && (v->flags & SDI_VMA_VDSO);

		if (q->reason == SOFTDIRTY_REASON_NONE)
			continue;
		/* Shared pages may be written and not be in the page table any more. */
		bool whole = q->reason == SOFTDIRTY_REASON_SPECIAL || (v && v->flags & SDI_VMA_SHARED);

		if (whole && !vdso)
			err = sdi_ranges_push(r->found, q->start, q->end, SOFTDIRTY_UNTRACKED,
					      q->reason);
		else
			err = push_refused_pages(r, q, vdso);
	}
	return err;
}

/*
 * The target has made a userfaultfd of its own since. It would be refused memory that is registered
 * here; and a mapping that it renews and registers there looks like a known one, whose protection is
 * not ours to change and tells us nothing. So it gets all of its memory back until it has closed it.
 */
static int step_back(struct sdi_wp_round *r)
{
	const struct sdi_maps *m = &r->tr->maps;
	int err = 0;

	for (size_t i = 0; i < m->n && !err; i++)
		err = sdi_ranges_push(r->found, m->v[i].start, m->v[i].end, SOFTDIRTY_UNTRACKED,
				      SOFTDIRTY_REASON_UFFD);
	if (!err && r->how == SDI_TAKE) {
		unregister_all(r->tr, r->wp);
		sdi_ranges_reset(&r->wp->known);
	}
	return err;
}

static int wp_collect(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct sdi_wp_round r = { .tr = tr, .wp = tr->state, .how = how, .found = found };
	int err = tr->target.self ? 0 : sdi_target_has_uffd(&tr->target);

	if (err == 1)
		return step_back(&r);
	if (!err)
		err = sdi_wp_find_fresh(&r);
	if (!err)
		err = sdi_wp_retry_refused(&r);
	if (!err && how == SDI_TAKE)
		err = sdi_wp_register_fresh(&r);
	if (!err && how == SDI_TAKE)
		err = sdi_wp_join_split(&r);
	if (!err && how == SDI_TAKE)
		err = sdi_wp_drop_stale(&r);
	if (!err)
		err = sdi_wp_push_fresh(&r);
	if (!err)
		err = sdi_wp_scan(&r);
	if (!err)
		err = sdi_wp_push_gone(&r);
	if (!err)
		err = push_refused(&r);
	/* What was registered may still have stale marks: all of it is new to the next round. */
	if (err && how == SDI_TAKE)
		sdi_ranges_reset(&r.wp->known);
	sdi_ranges_fini(&r.fresh);
	sdi_ranges_fini(&r.zeros);
	sdi_ranges_fini(&r.open);
	sdi_ranges_fini(&r.taken);
	sdi_ranges_fini(&r.rest);
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
