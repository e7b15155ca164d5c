/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handle that has the tracker in this process. Must not know that keepers exist, except for
 * the few things that only a keeper does with it (see handle.h).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "lib/handle.h"
#include "track/tracker.h"

struct local {
	struct softdirty base;
	struct sdi_tracker *tracker;
	struct sdi_ranges lent;
	pid_t asker;		/* for whom a keeper asks; 0: the calling thread asks for itself */
};

static struct local *local(struct softdirty *sd)
{
	return (struct local *)sd;
}

static void local_close(struct softdirty *sd)
{
	struct local *l = local(sd);

	sdi_tracker_close(l->tracker);
	sdi_ranges_fini(&l->lent);
	free(l);
}

static void local_reclaim(struct softdirty *sd)
{
	sdi_ranges_reset(&local(sd)->lent);
}

static struct sdi_tracker *ask(struct local *l)
{
	l->tracker->asker = l->asker ? l->asker : gettid();
	return l->tracker;
}

static int local_clear(struct softdirty *sd, const char *mark)
{
	return sdi_tracker_clear(ask(local(sd)), mark);
}

static int lend(struct local *l, int err, struct sdi_lent *ret)
{
	if (!err)
		*ret = (struct sdi_lent){ l->lent.r, l->lent.n };
	return err;
}

static int local_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		      uint64_t end, struct sdi_lent *ret)
{
	struct local *l = local(sd);

	return lend(l, sdi_tracker_read(ask(l), mark, flags & SOFTDIRTY_READ_CLEAR, start,
					end, &l->lent), ret);
}

static int local_pages(struct softdirty *sd, uint64_t start, uint64_t end, struct sdi_lent *ret)
{
	struct local *l = local(sd);

	return lend(l, sdi_tracker_pages(l->tracker, start, end, &l->lent), ret);
}

static int local_forget(struct softdirty *sd, const char *mark)
{
	return sdi_tracker_forget(local(sd)->tracker, mark);
}

static int local_info(struct softdirty *sd, struct softdirty_info *ret)
{
	const struct sdi_tracker *tr = local(sd)->tracker;

	ret->pid = tr->target.pid;
	ret->page_size = sysconf(_SC_PAGESIZE);
	ret->start_time = tr->target.start_time;
	ret->generation = tr->generation;
	ret->attach_ns = tr->attach_ns;
	for (const struct sdi_mark *m = tr->marks; m; m = m->next)
		ret->n_marks++;
	strncpy(ret->backend, tr->backend->name, sizeof(ret->backend) - 1);
	strncpy(ret->passed_over, tr->passed_over.text, sizeof(ret->passed_over) - 1);
	return 0;
}

static int local_stop(struct softdirty *sd)
{
	return 0;
}

static int local_frozen(struct softdirty *sd, const struct sdi_freezer *freezer)
{
	local(sd)->tracker->frozen = true;
	return 0;
}

static void local_release(struct softdirty *sd)
{
	local(sd)->tracker->frozen = false;
}

static const struct sdi_handle_ops local_ops = {
	.close = local_close, .reclaim = local_reclaim, .clear = local_clear, .read = local_read,
	.pages = local_pages, .forget = local_forget, .info = local_info, .stop = local_stop,
	.frozen = local_frozen, .release = local_release,
};

int sdi_local_open(const struct sdi_request_open *o, struct softdirty **ret)
{
	autoclose int uffd = o->uffd;
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	int err = sdi_tracker_open(o->pid, o->backend, take_fd(&uffd), &l->tracker);
	if (err) {
		free(l);
		return err;
	}
	l->base.ops = &local_ops;
	l->base.target = &l->tracker->target;
	*ret = &l->base;
	return 0;
}

void sdi_local_unread(struct softdirty *sd, const char *mark,
		      const struct softdirty_range *ranges, size_t n)
{
	const struct sdi_ranges list = { .r = (struct softdirty_range *)ranges, .n = n };

	sdi_tracker_unread(local(sd)->tracker, mark, &list);
}

/* Any look at the target attaches again if that is needed; after it the offer is of no use. */
void sdi_local_offer_uffd(struct softdirty *sd, int uffd)
{
	struct sdi_tracker *tr = local(sd)->tracker;
	struct sdi_ranges none = { 0 };

	tr->uffd = uffd;
	sdi_tracker_pages(tr, 0, sysconf(_SC_PAGESIZE), &none);
	sdi_ranges_fini(&none);
	sdi_cleanup_fd(&tr->uffd);
	tr->uffd = -1;
}

void sdi_local_asker(struct softdirty *sd, pid_t tid)
{
	local(sd)->asker = tid;
}

void sdi_local_lost(struct softdirty *sd)
{
	local(sd)->tracker->never = SOFTDIRTY_REASON_LOST;
}

void sdi_local_frozen(struct softdirty *sd, bool frozen)
{
	local(sd)->tracker->frozen = frozen;
}
