/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workers of vhost, which write what a virtual device receives into the memory of a process. Since
 * Linux 6.4 they are threads of that process. Before it, and since 6.17 again where that is asked for,
 * they are threads of the kernel, which run on while the process is stopped, and whose page faults are
 * not among its own.
 */
#ifndef SDI_TARGET_VHOST_H
#define SDI_TARGET_VHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target/target.h"

struct sdi_vhost {
	pid_t worker[64];	/* the kernel's own */
	size_t n;
	bool unknown;		/* there may be more of them, or some that cannot be seen */
};

/*
 * Find those that write to the memory of t now. (A device needs several more calls of the process after
 * it was opened until it writes anything.) 0 or -errno.
 */
int sdi_vhost_find(const struct sdi_target *t, struct sdi_vhost *ret);

/* Page faults that they have had. 0, or -ESRCH: one has ended. */
int sdi_vhost_faults(const struct sdi_vhost *v, uint64_t *ret);

#endif
