/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions to the backend, and answers to marks. What one interval found is added to every mark, so that
 * moving one takes nothing from another. No kernel detail here.
 */
#include "track/tracker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/idle.h"
#include "target/pagemap.h"
#include "track/choose.h"
#include "track/dma.h"
#include "track/untracked.h"

/* --- marks ---------------------------------------------------------------------------------- */

static void everything(struct sdi_tracker *tr, uint32_t reason)
{
	for (struct sdi_mark *m = tr->marks; m; m = m->next)
		sdi_mark_everything(m, reason);
	if (reason == SOFTDIRTY_REASON_LOST)
		sdi_carry_all(&tr->carry, sdi_now_ns());
	else
		sdi_carry_fini(&tr->carry);
	tr->generation++;
}

static void add_to_others(struct sdi_tracker *tr, const struct sdi_mark *except,
			  const struct sdi_ranges *found)
{
	for (struct sdi_mark *m = tr->marks; m; m = m->next) {
		if (m == except)
			continue;
		/* What is not mapped any more will be new when it is mapped again. */
		if (sdi_mark_add(m, found) || sdi_ranges_keep(&m->pending, &tr->mapped))
			sdi_mark_everything(m, SOFTDIRTY_REASON_LOST);
	}
}

int sdi_tracker_open(pid_t pid, const char *backend, int uffd, struct sdi_tracker **ret)
{
	struct sdi_tracker *tr = calloc(1, sizeof(*tr));

	if (!tr) {
		sdi_cleanup_fd(&uffd);
		return sdi_fail(ENOMEM, "out of memory");
	}
	*tr = (struct sdi_tracker){
		.target = { .pidfd = -1, .procfd = -1 }, .pagemap = -1, .uffd = uffd,
		.generation = sdi_now_ns(), .to = UINT64_MAX, .never = SOFTDIRTY_REASON_NEVER,
	};
	int err = sdi_target_open(pid, &tr->target);
	if (!err)
		err = sdi_choose(tr, backend);
	if (err) {
		sdi_tracker_close(tr);
		return err;
	}
	*ret = tr;
	return 0;
}

void sdi_tracker_close(struct sdi_tracker *tr)
{
	if (!tr)
		return;
	if (tr->backend)
		sdi_detach(tr);
	while (tr->marks)
		sdi_mark_drop(&tr->marks, tr->marks->name);
	sdi_cleanup_fd(&tr->uffd);
	sdi_target_close(&tr->target);
	sdi_maps_fini(&tr->maps);
	sdi_ranges_fini(&tr->mapped);
	sdi_carry_fini(&tr->carry);
	free(tr);
}

/* --- one interval --------------------------------------------------------------------------- */

/* A pagemap descriptor stays with the memory that it was opened for. */
static bool memory_is_gone(const struct sdi_tracker *tr)
{
	uint64_t entry;

	return tr->pagemap < 0 || pread(tr->pagemap, &entry, sizeof(entry), 0) == 0 ||
	       sdi_memory_id(&tr->target) != tr->memory_id;
}

static int reattach(struct sdi_tracker *tr)
{
	everything(tr, SOFTDIRTY_REASON_EXEC);
	return sdi_attach_again(tr);
}

static int read_maps(struct sdi_tracker *tr)
{
	int err = sdi_maps_read(&tr->target, &tr->maps);

	sdi_ranges_reset(&tr->mapped);
	for (size_t i = 0; i < tr->maps.n && !err; i++) {
		const struct sdi_vma *v = &tr->maps.v[i];

		if (!(v->flags & SDI_VMA_KERNEL))
			err = sdi_ranges_append(&tr->mapped, v->start, v->end, sdi_vma_kind(v), 0);
	}
	return err;
}

/* Make sure of what the target is now. */
static int look(struct sdi_tracker *tr)
{
	int err = sdi_target_alive(&tr->target);

	if (err)
		return sdi_fail(ESRCH, "the process has ended");
	if (memory_is_gone(tr)) {
		err = reattach(tr);
		if (err)
			return err;
	}
	err = read_maps(tr);
	if (err)
		return sdi_fail(-err, "cannot read its mappings: %s", sdi_strerror(-err));
	return 0;
}

/*
 * Looked at after the scan: a transfer that begins before the scan is seen. Not in flight is what only a
 * thread could have begun, if all have slept since before the scan.
 */
static int add_dma(struct sdi_tracker *tr, enum sdi_collect how, const struct sdi_idle *before,
		   struct sdi_ranges *found)
{
	struct sdi_dma dma;
	int err = sdi_dma_look(&tr->target, &tr->maps, tr->frozen, tr->asker, &dma, found);

	/* All of a target's pages may be written by a device, and nobody says which. */
	if (!err && dma.unknown_pins)
		err = sdi_push_untracked(tr, tr->from, tr->to, SOFTDIRTY_REASON_PINNED,
					 SOFTDIRTY_ZERO, found);
	if (!err && how == SDI_TAKE && dma.by_threads && !dma.in_flight)
		dma.in_flight = !sdi_idle_since(&tr->target, before);
	size_t n = found->n;	/* with what is pinned: it may be let go before the next look */
	if (!err)
		err = sdi_carry_push(&tr->carry, found);
	if (!err && how == SDI_TAKE)
		err = sdi_carry_next(&tr->carry, found, n, dma.in_flight, sdi_now_ns());
	return err;
}

/* What happened since the last SDI_TAKE, in order and only where something is mapped. */
static int collect(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct sdi_idle idle = { 0 };

	if (how == SDI_TAKE)
		sdi_idle_look(&tr->target, &idle);
	int err = tr->backend->collect(tr, how, found);
	if (!err)
		err = add_dma(tr, how, &idle, found);
	if (!err)
		err = sdi_ranges_sort(found);
	if (!err)
		err = sdi_ranges_keep(found, &tr->mapped);
	return err;
}

/* What is asked of the target. */
struct question {
	enum sdi_collect how;
	struct sdi_mark *mark;
	const struct sdi_ranges *window;
	struct sdi_ranges *ret;
};

typedef int answer_fn(struct sdi_tracker *tr, const struct question *q);

/*
 * Look, and answer. The target may call exec in between, and then the answer mixes two memories or cannot
 * be had: so it is asked again afterwards whether it is still the same. An interval that was ended
 * without reaching all marks is lost.
 */
static int ask(struct sdi_tracker *tr, answer_fn *fn, const struct question *q)
{
	for (int tries = 0; tries < 100; tries++) {
		int err = look(tr);

		if (err)
			return err;
		err = fn(tr, q);
		bool again = memory_is_gone(tr);	/* or it only looked so for a moment */
		if ((err || again) && q->how == SDI_TAKE)
			everything(tr, SOFTDIRTY_REASON_LOST);
		if (!again)
			return err ? sdi_fail(-err, "reading its pages failed: %s", sdi_strerror(-err))
				   : 0;
	}
	return sdi_fail(EAGAIN, "it calls exec all the time");
}

/* --- answers -------------------------------------------------------------------------------- */

/*
 * Say what the pages of the runs in `stale` are now: the backend did not look at them, or has told
 * another mark about them before.
 */
static int describe(struct sdi_tracker *tr, const struct sdi_ranges *stale,
		    struct sdi_ranges *list)
{
	struct sdi_ranges pages = { 0 }, mapped = { 0 }, kinds = { 0 };
	int err = sdi_ranges_intersect(&tr->mapped, stale, &mapped);

	for (size_t i = 0; i < mapped.n && !err; i++)
		err = sdi_populated(&tr->target, tr->pagemap, &tr->maps, mapped.r[i].start,
				    mapped.r[i].end, 0, 0, &pages);
	if (!err)
		err = sdi_ranges_merge(&pages, &mapped, &kinds);
	sdi_ranges_reset(&pages);
	if (!err)
		err = sdi_ranges_merge(&kinds, list, &pages);
	if (!err)
		sdi_ranges_swap(list, &pages);
	sdi_ranges_fini(&pages);
	sdi_ranges_fini(&mapped);
	sdi_ranges_fini(&kinds);
	return err;
}

/* Where found does not tell what the pages are: older findings, and everything new. */
static int find_stale(const struct sdi_ranges *found, const struct sdi_ranges *old,
		      struct sdi_ranges *ret)
{
	struct sdi_ranges fresh = { 0 };
	int err = sdi_ranges_subtract(old, found, ret);

	for (size_t i = 0; i < found->n && !err; i++)
		if (!(found->r[i].flags & SOFTDIRTY_POPULATED))
			err = sdi_ranges_append(&fresh, found->r[i].start, found->r[i].end, 0, 0);
	if (!err)
		err = sdi_ranges_add(ret, &fresh);
	sdi_ranges_fini(&fresh);
	return err;
}

/* What the mark has to be told of the window: what was found now (used up) and what it was not
 * told. */
static int answer(struct sdi_tracker *tr, const struct sdi_mark *m, struct sdi_ranges *found,
		  const struct sdi_ranges *window, struct sdi_ranges *ret)
{
	struct sdi_ranges old = { 0 }, stale = { 0 }, list = { 0 };
	int err = sdi_ranges_intersect(&m->pending, &tr->mapped, &old);

	if (!err)
		err = sdi_ranges_keep(&old, window);
	if (!err)
		err = sdi_ranges_keep(found, window);
	if (!err)
		err = find_stale(found, &old, &stale);
	if (!err)
		err = sdi_ranges_add(found, &old);
	sdi_ranges_swap(found, &list);
	if (!err && stale.n)
		err = describe(tr, &stale, &list);
	if (!err)
		sdi_ranges_swap(ret, &list);
	sdi_ranges_fini(&old);
	sdi_ranges_fini(&stale);
	sdi_ranges_fini(&list);
	return err;
}

/* Between operations a target with very many mappings costs its tracker no memory. */
static void rest(struct sdi_tracker *tr)
{
	enum { KEEP_MAPPINGS = 4096 };

	sdi_ranges_reset(&tr->mapped);
	if (tr->maps.cap > KEEP_MAPPINGS)
		sdi_maps_fini(&tr->maps);
}

static int move_mark(struct sdi_tracker *tr, const struct question *q)
{
	struct sdi_ranges found = { 0 };
	int err = collect(tr, SDI_TAKE, &found);

	if (!err) {
		add_to_others(tr, q->mark, &found);
		sdi_ranges_reset(&q->mark->pending);
	}
	sdi_ranges_fini(&found);
	return err;
}

int sdi_tracker_clear(struct sdi_tracker *tr, const char *mark)
{
	struct question q = { .how = SDI_TAKE };
	int err = sdi_mark_get(&tr->marks, mark, tr->never, &q.mark);

	if (!err)
		err = ask(tr, move_mark, &q);
	rest(tr);
	return err;
}

static int read_and_clear(struct sdi_tracker *tr, const struct question *q)
{
	struct sdi_ranges found = { 0 }, outside = { 0 };
	int err = collect(tr, SDI_TAKE, &found);

	if (!err)
		add_to_others(tr, q->mark, &found);
	if (!err && !sdi_ranges_inside(&found, q->window))
		err = sdi_ranges_subtract(&found, q->window, &outside);
	if (!err)
		err = answer(tr, q->mark, &found, q->window, q->ret);
	if (!err)
		err = sdi_ranges_remove(&q->mark->pending, q->window);
	if (!err)
		err = sdi_mark_add(q->mark, &outside);
	sdi_ranges_fini(&found);
	sdi_ranges_fini(&outside);
	return err;
}

static int read_only(struct sdi_tracker *tr, const struct question *q)
{
	struct sdi_ranges found = { 0 };
	int err = 0;

	tr->from = q->window->r[0].start;
	tr->to = q->window->r[0].end;
	if (!sdi_mark_sees_all(q->mark, &q->window->r[0]))
		err = collect(tr, SDI_PEEK, &found);
	tr->from = 0;
	tr->to = UINT64_MAX;
	if (!err)
		err = answer(tr, q->mark, &found, q->window, q->ret);
	sdi_ranges_fini(&found);
	return err;
}

int sdi_tracker_read(struct sdi_tracker *tr, const char *mark, bool clear, uint64_t start,
		     uint64_t end, struct sdi_ranges *ranges)
{
	struct softdirty_range all = { .start = start, .end = end ? end : UINT64_MAX };
	struct sdi_ranges window = { .r = &all, .n = 1 };
	struct question q = { .how = clear ? SDI_TAKE : SDI_PEEK, .window = &window, .ret = ranges };
	bool fresh = !*sdi_mark_find(&tr->marks, mark);
	int err = sdi_mark_get(&tr->marks, mark, tr->never, &q.mark);

	if (!err)
		err = ask(tr, clear ? read_and_clear : read_only, &q);
	rest(tr);
	if (fresh && !clear)
		sdi_mark_drop(&tr->marks, mark);	/* reading alone begins nothing */
	return err;
}

static int populated(struct sdi_tracker *tr, const struct question *q)
{
	struct sdi_ranges pages = { 0 };
	int err = sdi_populated(&tr->target, tr->pagemap, &tr->maps, q->window->r[0].start,
				q->window->r[0].end, 0, 0, &pages);

	if (!err)
		err = sdi_ranges_keep(&pages, &tr->mapped);
	if (!err)
		sdi_ranges_swap(q->ret, &pages);
	sdi_ranges_fini(&pages);
	return err;
}

int sdi_tracker_pages(struct sdi_tracker *tr, uint64_t start, uint64_t end,
		      struct sdi_ranges *ranges)
{
	struct softdirty_range all = { .start = start, .end = end ? end : UINT64_MAX };
	struct sdi_ranges window = { .r = &all, .n = 1 };
	struct question q = { .how = SDI_PEEK, .window = &window, .ret = ranges };
	int err = ask(tr, populated, &q);

	rest(tr);
	return err;
}

void sdi_tracker_unread(struct sdi_tracker *tr, const char *mark, const struct sdi_ranges *ranges)
{
	struct sdi_mark *m = *sdi_mark_find(&tr->marks, mark);

	/* A mark that was forgotten meanwhile sees everything anyway. */
	if (m && sdi_mark_add(m, ranges))
		sdi_mark_everything(m, SOFTDIRTY_REASON_LOST);
}

int sdi_tracker_forget(struct sdi_tracker *tr, const char *mark)
{
	return sdi_mark_drop(&tr->marks, mark) ? 0 :
	       sdi_fail(ENOENT, "no mark is called '%s'", mark);
}
