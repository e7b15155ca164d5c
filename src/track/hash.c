/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hash: no help from the kernel. Every populated page is read and compared with the last time, so it
 * works everywhere, and every look costs reading all of it. The target is never stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "track/content.h"
#include "track/kinds.h"
#include "track/known.h"
#include "track/tracker.h"

struct hash {
	struct sdi_content *content;
	struct sdi_maps known;		/* as of the last SDI_TAKE */
	struct sdi_kinds kinds;
};

/* Shared memory that the target can never write, such as a file of locale data, is left out. */
static bool may_write(void *arg, const struct sdi_vma *v)
{
	struct hash *h = arg;

	return !(v->flags & SDI_VMA_SHARED) || sdi_kinds_find(&h->kinds, v) &
					       (SDI_SMAP_MAYWRITE | SDI_SMAP_SPECIAL);
}

static int hash_collect(struct sdi_tracker *tr, enum sdi_collect how, struct sdi_ranges *found)
{
	struct sdi_ranges fresh = { 0 };
	struct sdi_maps m = { 0 };
	struct hash *h = tr->state;
	/* Without smaps nothing is known of files, and so none is left out. */
	sdi_kinds_learn(&h->kinds, &tr->target, &tr->maps);

	int err = sdi_maps_select(&tr->maps, may_write, h, &m);
	if (!err)
		err = sdi_content_look(h->content, tr, &m, how, found);
	if (!err)
		err = sdi_known_fresh(&h->known, &tr->maps, &fresh);
	if (!err)
		err = sdi_ranges_push_all(found, &fresh);
	if (!err && how == SDI_TAKE)
		err = sdi_known_set(&h->known, &tr->maps);
	sdi_ranges_fini(&fresh);
	sdi_maps_fini(&m);
	return err;
}

static int hash_probe(struct sdi_why *why)
{
	if (access("/proc/self/pagemap", R_OK) || access("/proc/self/mem", R_OK)) {
		sdi_why(why, "/proc has no pagemap or mem: %s", sdi_strerror(errno));
		return -EOPNOTSUPP;
	}
	sdi_why(why, "compares the content of all pages: always works, slow");
	return 0;
}

static int hash_suits(const struct sdi_target *t, struct sdi_why *why)
{
	autoclose int mem = sdi_target_openat(t, "mem", O_RDONLY);

	if (mem >= 0)
		return 0;
	sdi_why(why, "cannot open its memory: %s%s", sdi_strerror(-mem),
		mem == -EACCES || mem == -EPERM ? sdi_who_may() : "");
	return mem == -EACCES ? -EPERM : mem;
}

static void hash_detach(struct sdi_tracker *tr)
{
	struct hash *h = tr->state;

	if (!h)
		return;
	sdi_content_close(h->content);
	sdi_maps_fini(&h->known);
	sdi_kinds_fini(&h->kinds);
	free(h);
	tr->state = NULL;
}

static int hash_attach(struct sdi_tracker *tr, struct sdi_why *why)
{
	struct hash *h = calloc(1, sizeof(*h));

	if (!h)
		return sdi_fail(ENOMEM, "out of memory");
	tr->attach_ns = 0;
	tr->state = h;
	int err = sdi_content_open(&tr->target, &h->content);
	return err ? sdi_fail(-err, "cannot open its memory: %s", sdi_strerror(-err)) : 0;
}

const struct sdi_backend sdi_backend_hash = {
	.name = "hash",
	.probe = hash_probe,
	.suits = hash_suits,
	.attach = hash_attach,
	.collect = hash_collect,
	.detach = hash_detach,
};
