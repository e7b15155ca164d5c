/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "target/threads.h"

static int look_for_device(void *arg, DIR *fds)
{
	static const char name[] = "/dev/vhost-";
	char link[sizeof(name)];

	for (struct dirent *d; (d = readdir(fds));)
		if (readlinkat(dirfd(fds), d->d_name, link, sizeof(link)) == sizeof(link) &&
		    !memcmp(link, name, sizeof(name) - 1))
			return 1;
	return 0;
}

/* All of the kernel's are children of one, which a container or hidepid hides with them. */
static bool sees_kernel_threads(int proc)
{
	struct sdi_status s;

	return !sdi_status_read(proc, "2/status", &s) && s.kernel_thread;
}

/*
 * Its name has the number of the thread that became the owner of the device: of any of the process, also
 * of one that has ended since.
 */
static bool belongs_to(const struct sdi_target *t, int proc, int tid)
{
	struct sdi_status s;
	char path[32];

	snprintf(path, sizeof(path), "%d/status", tid);
	return tid == t->pid || sdi_status_read(proc, path, &s) || s.tgid == t->pid;
}

static bool is_worker(const struct sdi_target *t, int proc, const char *pid)
{
	char path[32], comm[32];
	struct sdi_status s;
	int tid;

	snprintf(path, sizeof(path), "%.15s/comm", pid);
	if (sdi_read_text(proc, path, comm, sizeof(comm)) < 0 || sscanf(comm, "vhost-%d", &tid) != 1)
		return false;
	snprintf(path, sizeof(path), "%.15s/status", pid);
	return !sdi_status_read(proc, path, &s) && s.kernel_thread && belongs_to(t, proc, tid);
}

static int find_workers(const struct sdi_target *t, struct sdi_vhost *ret)
{
	autoclosedir DIR *proc = opendir("/proc");

	if (!proc)
		return -errno;
	ret->unknown = !sees_kernel_threads(dirfd(proc));
	for (struct dirent *d; !ret->unknown && (d = readdir(proc));) {
		if (atoi(d->d_name) <= 0 || !is_worker(t, dirfd(proc), d->d_name))
			continue;
		ret->unknown = ret->n == ARRAY_SIZE(ret->worker);
		if (!ret->unknown)
			ret->worker[ret->n++] = atoi(d->d_name);
	}
	return 0;
}

/* Since Linux 6.17 each device may have its worker this way or that (VHOST_SET_FORK_FROM_OWNER). */
static bool may_be_mixed(void)
{
	return access("/sys/module", F_OK) ||
	       !access("/sys/module/vhost/parameters/fork_from_owner_default", F_OK);
}

static int is_own_worker(void *arg, pid_t tid)
{
	const struct sdi_target *t = arg;
	char path[32], comm[32];

	snprintf(path, sizeof(path), "task/%d/comm", tid);
	return sdi_read_text(t->procfd, path, comm, sizeof(comm)) > 0 &&
	       !strncmp(comm, "vhost-", strlen("vhost-")) && sdi_is_kernel_worker(t, tid);
}

int sdi_vhost_find(const struct sdi_target *t, struct sdi_vhost *ret)
{
	*ret = (struct sdi_vhost){ 0 };
	int err = sdi_each_fds(t, look_for_device, NULL);

	/* Where it is not allowed to see, there may be one. */
	if (err == 1 || err == -EACCES || err == -EPERM)
		err = find_workers(t, ret);
	if (!err && ret->unknown && !may_be_mixed())
		ret->unknown = sdi_each_thread(t, is_own_worker, (void *)t) <= 0;
	return err;
}

int sdi_vhost_faults(const struct sdi_vhost *v, uint64_t *ret)
{
	int err = 0;

	*ret = 0;
	for (size_t i = 0; i < v->n && !err; i++) {
		uint64_t faults = 0;
		char path[32];

		snprintf(path, sizeof(path), "/proc/%d/stat", v->worker[i]);
		err = sdi_task_faults(AT_FDCWD, path, &faults);
		*ret += faults;
	}
	return err;
}
