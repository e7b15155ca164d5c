/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public functions: they check arguments, keep errno, see to it that every failure has its
 * sentence, and dispatch to the tracker in this process or to a keeper. No kernel detail here.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/tags.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "lib/handle.h"
#include "track/tracker.h"
#include "uapi/userfaultfd.h"

enum {
	KNOWN_OPEN = SOFTDIRTY_OPEN_SHARED | SOFTDIRTY_OPEN_EXISTING | SOFTDIRTY_OPEN_UFFD,
	KNOWN_READ = SOFTDIRTY_READ_CLEAR,
};

/*
 * Around every public function: errno is the caller's, and a thread that is cancelled goes through with
 * what it does, as it may have stopped the target. begin() ... done(ret) are for the sentence.
 */
#define QUIETLY __attribute__((cleanup(leave), unused)) struct caller caller = enter()

struct caller {
	int err, cancel;
};

static struct caller enter(void)
{
	struct caller c = { .err = errno };

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &c.cancel);
	return c;
}

static void leave(struct caller *c)
{
	pthread_setcancelstate(c->cancel, NULL);
	errno = c->err;
}

static void begin(struct softdirty *sd)
{
	sdi_fail_expect();
	if (sd)
		sd->ops->reclaim(sd);
}

static int done(int ret)
{
	if (ret < 0 && !sdi_fail_seen())
		return sdi_fail(-ret, "%s", sdi_strerror(-ret));
	if (ret >= 0)
		sdi_fail_forget();
	return ret;
}

/* Unknown bytes at the end must be zero; those that an older caller does not have are. */
static int load_options(const struct softdirty_options *from, struct softdirty_options *ret)
{
	const char *bytes = (const char *)from;

	*ret = (struct softdirty_options){ .size = sizeof(*ret) };
	if (!from)
		return 0;
	if (from->size < sizeof(from->size))
		return sdi_fail(EINVAL, "options.size is not set");
	memcpy(ret, from, MIN(from->size, sizeof(*ret)));
	for (size_t i = sizeof(*ret); i < from->size; i++)
		if (bytes[i])
			return sdi_fail(E2BIG, "options has members that this library does not know");
	return 0;
}

/* What the environment wants is only for those who begin to track. */
static int choose_backend(const struct softdirty_options *o, struct sdi_request_open *ret)
{
	const struct sdi_backend *const *b = sdi_backends();
	const char *asked = o->backend, *from = "options.backend";

	if (!asked || !strcmp(asked, "auto")) {
		asked = o->flags & SOFTDIRTY_OPEN_EXISTING ? NULL : secure_getenv("SOFTDIRTY_BACKEND");
		from = "SOFTDIRTY_BACKEND";
		ret->suggested = true;
	}
	if (!asked || !*asked || !strcmp(asked, "auto"))
		return 0;
	for (; *b && strcmp((*b)->name, asked); b++)
		;
	if (!*b)
		return sdi_fail(EINVAL, "there is no backend '%.32s' (%s: wp-async, soft-dirty, hash)",
				asked, from);
	ret->backend = (*b)->name;	/* a constant */
	return 0;
}

static int check_open(const struct softdirty_options *o, pid_t pid)
{
	bool shared = o->flags & SOFTDIRTY_OPEN_SHARED;

	if (o->flags & ~KNOWN_OPEN)
		return sdi_fail(EINVAL, "unknown flag 0x%x", o->flags & ~KNOWN_OPEN);
	if (!shared && o->flags & SOFTDIRTY_OPEN_EXISTING)
		return sdi_fail(EINVAL, "SOFTDIRTY_OPEN_EXISTING needs SOFTDIRTY_OPEN_SHARED");
	if (shared && pid == 0)
		return sdi_fail(EINVAL, "the calling process cannot be shared as pid 0");
	if (o->flags & SOFTDIRTY_OPEN_UFFD && o->uffd < 0)
		return sdi_fail(EINVAL, "options.uffd is no descriptor");
	return 0;
}

API int softdirty_open(pid_t pid, const struct softdirty_options *options, struct softdirty **ret)
{
	QUIETLY;
	struct softdirty_options o;
	struct sdi_request_open request = { .pid = pid };

	begin(NULL);
	int err = load_options(options, &o);
	autoclose int uffd = o.flags & SOFTDIRTY_OPEN_UFFD ? o.uffd : -1;
	if (!err)
		err = check_open(&o, pid);
	if (!err)
		err = choose_backend(&o, &request);
	if (err)
		return done(err);
	request.flags = o.flags;
	request.command = o.keeper;
	request.uffd = take_fd(&uffd);
	return done(o.flags & SOFTDIRTY_OPEN_SHARED ? sdi_client_open(&request, ret) :
						      sdi_local_open(&request, ret));
}

API void softdirty_close(struct softdirty *sd)
{
	QUIETLY;

	if (!sd)
		return;
	softdirty_thaw(sd);
	sdi_mapping_list_fini(&sd->mappings);
	sd->ops->close(sd);
}

API int softdirty_clear(struct softdirty *sd, const char *mark)
{
	QUIETLY;

	begin(sd);
	mark = mark ? mark : "";
	int err = sdi_mark_check_name(mark);
	return done(err ? err : sd->ops->clear(sd, mark));
}

static int check_span(uint64_t *start, uint64_t *end)
{
	uint64_t mask = sysconf(_SC_PAGESIZE) - 1;

	sdi_untag(start, end);
	if ((*start | *end) & mask)
		return sdi_fail(EINVAL, "the addresses are not page aligned");
	if (*end && *start > *end)
		return sdi_fail(EINVAL, "the range ends before it starts");
	return 0;
}

static int lend(int err, const struct sdi_lent *lent, const struct softdirty_range **ranges,
		size_t *n)
{
	if (!err) {
		*ranges = lent->ranges;
		*n = lent->n;
	}
	return done(err);
}

API int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		       uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	QUIETLY;
	struct sdi_lent lent = { 0 };

	begin(sd);
	mark = mark ? mark : "";
	int err = sdi_mark_check_name(mark);
	if (!err && flags & ~KNOWN_READ)
		err = sdi_fail(EINVAL, "unknown flag 0x%x", flags & ~KNOWN_READ);
	if (!err)
		err = check_span(&start, &end);
	if (!err)
		err = sd->ops->read(sd, mark, flags, start, end, &lent);
	return lend(err, &lent, ranges, n);
}

API int softdirty_pages(struct softdirty *sd, uint64_t start, uint64_t end,
			const struct softdirty_range **ranges, size_t *n)
{
	QUIETLY;
	struct sdi_lent lent = { 0 };

	begin(sd);
	int err = check_span(&start, &end);
	if (!err)
		err = sd->ops->pages(sd, start, end, &lent);
	return lend(err, &lent, ranges, n);
}

API int softdirty_mappings(struct softdirty *sd, const struct softdirty_mapping **ret, size_t *n)
{
	QUIETLY;

	begin(sd);
	int err = sdi_mapping_list_read(&sd->mappings, sd->target);
	if (!err) {
		*ret = sd->mappings.m;
		*n = sd->mappings.n;
	}
	return done(err);
}

API int softdirty_forget(struct softdirty *sd, const char *mark)
{
	QUIETLY;

	begin(sd);
	mark = mark ? mark : "";
	int err = sdi_mark_check_name(mark);
	return done(err ? err : sd->ops->forget(sd, mark));
}

/* After exec the new memory must be watched first, which needs a thread that runs: any look does it. */
static int look(struct softdirty *sd)
{
	struct sdi_lent lent = { 0 };
	int err = sd->ops->pages(sd, 0, sysconf(_SC_PAGESIZE), &lent);

	sd->ops->reclaim(sd);
	return err;
}

API int softdirty_freeze(struct softdirty *sd)
{
	QUIETLY;

	begin(sd);
	if (sd->freezer)
		return sdi_fail(EBUSY, "this handle has frozen it already");
	if (sd->target->self)
		return sdi_fail(EINVAL, "a process cannot freeze itself (another one has to do it)");
	int err = look(sd);
	if (!err && sd->ops->hold)
		err = sd->ops->hold(sd);
	if (err)
		return done(err);
	err = sdi_freeze(sd->target, sd->ops->hold, &sd->freezer);
	if (!err)
		err = sd->ops->frozen(sd, sd->freezer);
	if (err) {
		sdi_thaw(take_ptr(sd->freezer));
		sd->ops->release(sd);
	}
	return done(err);
}

API void softdirty_thaw(struct softdirty *sd)
{
	QUIETLY;

	if (!sd->freezer)
		return;
	/* In this order: who may stop it again must not find it still traced. */
	sdi_thaw(take_ptr(sd->freezer));
	sd->ops->release(sd);
}

API int softdirty_info(struct softdirty *sd, struct softdirty_info *ret)
{
	QUIETLY;
	struct softdirty_info info = { .size = ret->size };

	begin(sd);
	if (ret->size < sizeof(ret->size) || ret->size > sizeof(info))
		return sdi_fail(EINVAL, "info.size is %zu, this library knows %zu", ret->size,
				sizeof(info));
	int err = sd->ops->info(sd, &info);
	if (!err)
		memcpy(ret, &info, info.size);
	return done(err);
}

API int softdirty_stop(struct softdirty *sd)
{
	QUIETLY;

	begin(sd);
	return done(sd->ops->stop(sd));
}

API int softdirty_check(pid_t pid, const struct softdirty_backend **ret, size_t *n)
{
	QUIETLY;

	begin(NULL);
	return done(sdi_check(pid, ret, n));
}

API int softdirty_borrow(pid_t tid, int *uffd)
{
	QUIETLY;

	begin(NULL);
	int fd = sdi_borrow_uffd(tid, SDI_UFFD_FLAGS);
	if (fd < 0)
		return done(fd);
	*uffd = fd;
	return done(0);
}

API const char *softdirty_error(void)
{
	return sdi_last_error();
}
