/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one sentence that explains the last failure of a thread. Knows nothing about processes. */
#ifndef SDI_BASE_ERROR_H
#define SDI_BASE_ERROR_H

#include <stdbool.h>

/* Remember the sentence for this thread; returns -err, so that "return sdi_fail(...)" reads well. */
int sdi_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Has this thread called sdi_fail() since sdi_fail_expect()? Else a sentence is still missing. */
void sdi_fail_expect(void);
bool sdi_fail_seen(void);

/* What went wrong since then is no failure: the sentence is that of before. */
void sdi_fail_forget(void);

/* The last sentence of this thread, "" if none. */
const char *sdi_last_error(void);

/*
 * As strerror(), without its locks: that translates in most locales, and so calls malloc(). Helpers are
 * copies of processes that may have more threads, and whoever calls the library may be in the middle of
 * malloc() itself. Never NULL.
 */
const char *sdi_strerror(int err);

/* Who could do what was just not permitted, in parentheses. */
const char *sdi_who_may(void);

#endif
