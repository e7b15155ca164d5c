/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers of system calls that headers of the C library may be too old for; the same on all CPUs. */
#ifndef SDI_UAPI_SYSCALLS_H
#define SDI_UAPI_SYSCALLS_H

#include <sys/syscall.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428	/* Linux 5.2 */
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434	/* Linux 5.3 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436	/* Linux 5.9 */
#endif
#ifndef SYS_openat2
#define SYS_openat2 437		/* Linux 5.6 */
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438	/* Linux 5.6 */
#endif

#endif
