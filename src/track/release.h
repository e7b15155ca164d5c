/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one thing that no trial shows, only the version: whether PAGEMAP_SCAN harms its target here.
 * Must not know backends.
 */
#ifndef SDI_TRACK_RELEASE_H
#define SDI_TRACK_RELEASE_H

#include <stdbool.h>

/*
 * From Linux 6.7 up to 6.8.9 it changes an entry without regard to what the CPU writes to it at the same
 * time, so that a page may count as never written and be dropped with all that is in it
 * (CVE-2024-36943, commit c70dce4982ce); and it takes some pages that are swapped out for protected
 * ones (commit 2c7ad9a590d1). release gets what uname(2) says.
 */
bool sdi_release_harms(char release[65]);

/* The same of a kernel that says so: uname's release, and Ubuntu's /proc/version_signature or "". */
bool sdi_release_is_harmful(const char *release, const char *signature);

#endif
