/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of backends, the choice among them, and the marks. What one interval found is added to
 * every mark, so that moving one takes nothing from another. No kernel detail here.
 */
#include "track/tracker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "target/pagemap.h"
#include "track/dma.h"
#include "track/untracked.h"

#define END_OF_MEMORY UINT64_MAX

static const struct sdi_backend *const backends[] = {
	&sdi_backend_wp_async,
	&sdi_backend_soft_dirty,
	&sdi_backend_hash,
	NULL,
};

const struct sdi_backend *const *sdi_backends(void)
{
	return backends;
}

void sdi_why(struct sdi_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
}

/* --- marks ---------------------------------------------------------------------------------- */

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

static struct sdi_mark **find_mark(struct sdi_tracker *tr, const char *name)
{
	struct sdi_mark **m = &tr->marks;

	while (*m && strcmp((*m)->name, name))
		m = &(*m)->next;
	return m;
}

/* Cannot fail: it is the way out when there is no memory for anything else. */
static void set_everything(struct sdi_mark *m, uint32_t reason)
{
	sdi_ranges_fini(&m->pending);
	m->whole = (struct softdirty_range){ 0, END_OF_MEMORY, SOFTDIRTY_NEW, reason };
	m->pending = (struct sdi_ranges){ .r = &m->whole, .n = 1 };
}

static void free_mark(struct sdi_mark *m)
{
	sdi_ranges_fini(&m->pending);
	free(m);
}

/* The mark of that name; a new one has seen nothing yet. */
static int get_mark(struct sdi_tracker *tr, const char *name, struct sdi_mark **ret)
{
	int err = sdi_mark_check_name(name);
	struct sdi_mark **at = find_mark(tr, name);

	if (err)
		return err;
	if (!*at) {
		struct sdi_mark *m = calloc(1, sizeof(*m));

		if (!m)
			return sdi_fail(ENOMEM, "out of memory");
		strcpy(m->name, name);
		set_everything(m, tr->never);
		*at = m;
	}
	*ret = *at;
	return 0;
}

static void everything(struct sdi_tracker *tr, uint32_t reason)
{
	for (struct sdi_mark *m = tr->marks; m; m = m->next)
		set_everything(m, reason);
	if (reason == SOFTDIRTY_REASON_LOST)
		sdi_carry_all(&tr->carry, sdi_now_ns());
	else
		sdi_carry_fini(&tr->carry);
	tr->generation++;
}

/* Only the why is kept: what a page is may change until it is read. */
static int add_to_mark(struct sdi_mark *m, const struct sdi_ranges *found)
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

static void add_to_others(struct sdi_tracker *tr, const struct sdi_mark *except,
			  const struct sdi_ranges *found)
{
	for (struct sdi_mark *m = tr->marks; m; m = m->next) {
		if (m == except)
			continue;
		/* What is not mapped any more will be new when it is mapped again. */
		if (add_to_mark(m, found) || sdi_ranges_keep(&m->pending, &tr->mapped))
			set_everything(m, SOFTDIRTY_REASON_LOST);
	}
}

/* --- attach --------------------------------------------------------------------------------- */

static void detach(struct sdi_tracker *tr)
{
	tr->backend->detach(tr);
	sdi_cleanup_fd(&tr->pagemap);
	tr->pagemap = -1;
}

static int attach(struct sdi_tracker *tr, const struct sdi_backend *b, struct sdi_why *why)
{
	tr->backend = b;
	tr->memory_id = sdi_memory_id(&tr->target);
	tr->pagemap = sdi_target_openat(&tr->target, "pagemap", O_RDONLY);
	if (tr->pagemap < 0) {
		int err = tr->pagemap == -EACCES ? EPERM : -tr->pagemap;

		sdi_why(why, "cannot open its pagemap: %s%s", strerror(err),
			err == EPERM ? sdi_who_may() : "");
		tr->pagemap = -1;
		return sdi_fail(err, "%s", why->text);
	}
	int err = b->attach(tr, why);
	if (err)
		detach(tr);
	return err;
}

/* Why did that fail? */
static int explain(const struct sdi_tracker *tr, int err, const struct sdi_why *why)
{
	if (err && sdi_target_ends(&tr->target))
		return sdi_fail(ESRCH, "the process has ended");
	return err && why->text[0] ? sdi_fail(-err, "%s", why->text) : err;
}

static int try_backend(struct sdi_tracker *tr, const struct sdi_backend *b, struct sdi_why *why)
{
	int err = b->probe(why);

	/* What a step says of its success is not the reason why the next one fails. */
	if (!err && !(b->takes_uffd && tr->uffd >= 0)) {
		*why = (struct sdi_why){ 0 };
		err = b->suits(&tr->target, why);
	}
	if (!err) {
		*why = (struct sdi_why){ 0 };
		err = attach(tr, b, why);
	}
	return err;
}

static void pass_over(struct sdi_tracker *tr, const struct sdi_backend *b,
		      const struct sdi_why *why)
{
	size_t n = strlen(tr->passed_over.text);

	snprintf(tr->passed_over.text + n, sizeof(tr->passed_over.text) - n, "%s%s: %s",
		 n ? "; " : "", b->name, why->text);
}

/* Being out of descriptors says nothing about a backend: there must be enough for any of them. */
static int need_descriptors(const struct sdi_tracker *tr)
{
	enum { ENOUGH = 16 };
	int fd[ENOUGH], n = 0, err = 0;

	for (; n < ENOUGH && !err; n++) {
		fd[n] = fcntl(tr->target.procfd, F_DUPFD_CLOEXEC, 0);
		err = fd[n] < 0 ? errno : 0;
	}
	while (n > 0)
		sdi_cleanup_fd(&fd[--n]);
	return err ? sdi_fail(err, "too few descriptors are free: %s", strerror(err)) : 0;
}

/* Did it call exec meanwhile? Then it was the old memory that the backend had trouble with. */
static int try_in_peace(struct sdi_tracker *tr, const struct sdi_backend *b, struct sdi_why *why)
{
	enum { MAX_TRIES = 10 };
	int err = -EOPNOTSUPP;

	for (int i = 0; i < MAX_TRIES && err == -EOPNOTSUPP; i++) {
		uint64_t id = sdi_memory_id(&tr->target);

		*why = (struct sdi_why){ 0 };
		err = try_backend(tr, b, why);
		if (id == sdi_memory_id(&tr->target))
			break;
	}
	return err;
}

static int choose(struct sdi_tracker *tr, const char *name)
{
	bool known = !name;

	for (const struct sdi_backend *const *b = backends; *b; b++) {
		struct sdi_why why = { 0 };

		if (name && strcmp(name, (*b)->name))
			continue;
		known = true;
		int err = try_in_peace(tr, *b, &why);
		/* Another user's tracker leaves room for one of another kind. */
		bool next = err == -EOPNOTSUPP || (err == -EBUSY && !name);
		if (!next || sdi_target_ends(&tr->target))
			return explain(tr, err, &why);
		if (!why.text[0])
			sdi_why(&why, "%s", sdi_last_error());
		pass_over(tr, *b, &why);
	}
	if (!known)
		return sdi_fail(EINVAL, "no backend is called '%s' (wp-async, soft-dirty, hash)",
				name);
	return sdi_fail(EOPNOTSUPP, "%s", tr->passed_over.text);
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
		.generation = 1, .to = END_OF_MEMORY, .never = SOFTDIRTY_REASON_NEVER,
	};
	int err = sdi_target_open(pid, &tr->target);
	if (!err)
		err = need_descriptors(tr);
	if (!err)
		err = choose(tr, backend);
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
		detach(tr);
	while (tr->marks) {
		struct sdi_mark *m = tr->marks;

		tr->marks = m->next;
		free_mark(m);
	}
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
	struct sdi_why why = { 0 };

	everything(tr, SOFTDIRTY_REASON_EXEC);
	detach(tr);
	return explain(tr, attach(tr, tr->backend, &why), &why);
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
		return sdi_fail(-err, "cannot read its mappings: %s", strerror(-err));
	return 0;
}

/* Looked at after the scan: a transfer that begins before the scan is seen. */
static int add_dma(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct sdi_dma dma;
	int err = sdi_dma_look(&tr->target, &tr->maps, tr->frozen, tr->asker, &dma, found);

	/* All of a target's pages may be written by a device, and nobody says which. */
	if (!err && dma.unknown_pins)
		err = sdi_push_untracked(tr, tr->from, tr->to, SOFTDIRTY_REASON_PINNED,
					 SOFTDIRTY_ZERO, found);
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
	int err = tr->backend->collect(tr, how, found);

	if (!err)
		err = add_dma(tr, how, found);
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
			return err ? sdi_fail(-err, "reading its pages failed: %s", strerror(-err))
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
	int err = get_mark(tr, mark, &q.mark);

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
		err = add_to_mark(q->mark, &outside);
	sdi_ranges_fini(&found);
	sdi_ranges_fini(&outside);
	return err;
}

/* Nothing that is found now could change the answer: all of the window is new to the mark already. */
static bool sees_all(const struct sdi_mark *m, const struct softdirty_range *window)
{
	size_t i = sdi_ranges_find(&m->pending, window->start);

	for (; i < m->pending.n && m->pending.r[i].start < window->end; i++)
		if (!(m->pending.r[i].flags & SOFTDIRTY_NEW))
			return false;
	return sdi_ranges_cover(&m->pending, window->start, window->end);
}

static int read_only(struct sdi_tracker *tr, const struct question *q)
{
	struct sdi_ranges found = { 0 };
	int err = 0;

	tr->from = q->window->r[0].start;
	tr->to = q->window->r[0].end;
	if (!sees_all(q->mark, &q->window->r[0]))
		err = collect(tr, SDI_PEEK, &found);
	tr->from = 0;
	tr->to = END_OF_MEMORY;
	if (!err)
		err = answer(tr, q->mark, &found, q->window, q->ret);
	sdi_ranges_fini(&found);
	return err;
}

int sdi_tracker_read(struct sdi_tracker *tr, const char *mark, bool clear, uint64_t start,
		     uint64_t end, struct sdi_ranges *ranges)
{
	struct softdirty_range all = { .start = start, .end = end ? end : END_OF_MEMORY };
	struct sdi_ranges window = { .r = &all, .n = 1 };
	struct question q = { .how = clear ? SDI_TAKE : SDI_PEEK, .window = &window, .ret = ranges };
	bool fresh = !*find_mark(tr, mark);
	int err = get_mark(tr, mark, &q.mark);

	if (!err)
		err = ask(tr, clear ? read_and_clear : read_only, &q);
	rest(tr);
	if (fresh && !clear)
		sdi_tracker_forget(tr, mark);	/* reading alone begins nothing */
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
	struct softdirty_range all = { .start = start, .end = end ? end : END_OF_MEMORY };
	struct sdi_ranges window = { .r = &all, .n = 1 };
	struct question q = { .how = SDI_PEEK, .window = &window, .ret = ranges };
	int err = ask(tr, populated, &q);

	rest(tr);
	return err;
}

void sdi_tracker_unread(struct sdi_tracker *tr, const char *mark, const struct sdi_ranges *ranges)
{
	struct sdi_mark *m = *find_mark(tr, mark);

	/* A mark that was forgotten meanwhile sees everything anyway. */
	if (m && add_to_mark(m, ranges))
		set_everything(m, SOFTDIRTY_REASON_LOST);
}

int sdi_tracker_forget(struct sdi_tracker *tr, const char *mark)
{
	struct sdi_mark **at = find_mark(tr, mark), *m = *at;

	if (!m)
		return sdi_fail(ENOENT, "no mark is called '%s'", mark);
	*at = m->next;
	free_mark(m);
	return 0;
}
