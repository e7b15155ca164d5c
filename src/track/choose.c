/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/choose.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "track/tracker.h"

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

void sdi_detach(struct sdi_tracker *tr)
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

		sdi_why(why, "cannot open its pagemap: %s%s", sdi_strerror(err),
			err == EPERM ? sdi_who_may() : "");
		tr->pagemap = -1;
		return sdi_fail(err, "%s", why->text);
	}
	int err = b->attach(tr, why);
	if (err)
		sdi_detach(tr);
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
	return err ? sdi_fail(err, "too few descriptors are free: %s", sdi_strerror(err)) : 0;
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

int sdi_choose(struct sdi_tracker *tr, const char *name)
{
	int err = need_descriptors(tr);

	if (err)
		return err;
	for (const struct sdi_backend *const *b = backends; *b; b++) {
		struct sdi_why why = { 0 };

		if (name && strcmp(name, (*b)->name))
			continue;
		err = try_in_peace(tr, *b, &why);
		/* Another user's tracker leaves room for one of another kind. */
		bool next = err == -EOPNOTSUPP || (err == -EBUSY && !name);
		if (!next || sdi_target_ends(&tr->target))
			return explain(tr, err, &why);
		if (!why.text[0])
			sdi_why(&why, "%s", sdi_last_error());
		pass_over(tr, *b, &why);
	}
	return sdi_fail(EOPNOTSUPP, "%s", tr->passed_over.text);
}

int sdi_attach_again(struct sdi_tracker *tr)
{
	struct sdi_why why = { 0 };

	sdi_detach(tr);
	return explain(tr, attach(tr, tr->backend, &why), &why);
}
