/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every backend says about this kernel and a target, and the words for reasons. */
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "lib/handle.h"
#include "track/tracker.h"

enum { MAX_BACKENDS = 8 };

/* Lent to the calling thread until its next softdirty_check(). */
static _Thread_local struct softdirty_backend list[MAX_BACKENDS];
static _Thread_local struct sdi_why why[MAX_BACKENDS];

static int check_all(const struct sdi_target *t, size_t *n)
{
	const struct sdi_backend *const *b = sdi_backends();
	size_t i = 0;

	for (; i < MAX_BACKENDS && b[i]; i++) {
		why[i].text[0] = '\0';
		int err = b[i]->probe(&why[i]);
		if (!err && t)
			err = b[i]->suits(t, &why[i]);
		if (err == -ESRCH || err == -EPERM)
			return sdi_fail(-err, "%s", why[i].text[0] ? why[i].text : sdi_strerror(-err));
		list[i] = (struct softdirty_backend){ b[i]->name, !err, why[i].text };
	}
	*n = i;
	return 0;
}

int sdi_check(pid_t pid, const struct softdirty_backend **ret, size_t *n)
{
	struct sdi_target t;
	int err = pid ? sdi_target_open(pid, &t) : 0;

	if (err)
		return err;
	err = check_all(pid ? &t : NULL, n);
	if (pid)
		sdi_target_close(&t);
	if (!err)
		*ret = list;
	return err;
}

API const char *softdirty_reason_text(unsigned reason)
{
	static const char *const text[] = {
		[SOFTDIRTY_REASON_NONE] = "",
		[SOFTDIRTY_REASON_NEVER] = "this mark was never cleared",
		[SOFTDIRTY_REASON_EXEC] = "the process called exec since the mark",
		[SOFTDIRTY_REASON_CARRIED] = "direct I/O may have been in flight",
		[SOFTDIRTY_REASON_PINNED] = "registered with io_uring, RDMA or the like",
		[SOFTDIRTY_REASON_SPECIAL] = "the kernel does not track this kind of mapping",
		[SOFTDIRTY_REASON_UFFD] = "the process uses userfaultfd itself",
		[SOFTDIRTY_REASON_HUGETLB] = "native soft-dirty never sees hugetlb writes",
		[SOFTDIRTY_REASON_MERGED] = "the kernel marks the whole of a grown mapping",
		[SOFTDIRTY_REASON_SPARSE] =
			"untouched part of huge shared memory, not watched",
		[SOFTDIRTY_REASON_UNREADABLE] = "content could not be read for comparing",
		[SOFTDIRTY_REASON_REFUSED] = "the kernel refused to track it at this moment",
		[SOFTDIRTY_REASON_LOST] = "tracking was interrupted, so everything counts",
		[SOFTDIRTY_REASON_KSM] = "merging equal pages makes native soft-dirty forget",
		[SOFTDIRTY_REASON_MOVED] = "the kernel moved it elsewhere, and may have forgotten",
	};

	return reason < ARRAY_SIZE(text) ? text[reason] : "unknown reason";
}
