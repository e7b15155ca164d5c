/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What <linux/userfaultfd.h> of Linux 6.1 lacks: WP_ASYNC is Linux 6.7 commit d61ea1cb0095. */
#ifndef SDI_UAPI_USERFAULTFD_H
#define SDI_UAPI_USERFAULTFD_H

#include <fcntl.h>
#include <linux/userfaultfd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY		1
#endif

/* How every userfaultfd is made: with USER_MODE_ONLY a target without privileges may do so too. */
#define SDI_UFFD_FLAGS (O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)

#endif
