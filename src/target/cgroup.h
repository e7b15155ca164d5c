/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control group of a thread. Must not know what it is asked for; uses no malloc(). */
#ifndef SDI_TARGET_CGROUP_H
#define SDI_TARGET_CGROUP_H

#include "target/target.h"

/* Has the freezer of cgroup v2 stopped that thread? False also when it cannot be told. */
bool sdi_cgroup_frozen(const struct sdi_target *t, pid_t tid);

#endif
