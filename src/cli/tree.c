/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descendants of a process, from /proc/PID/task/TID/children or, on kernels without that file
 * (CONFIG_PROC_CHILDREN), from the parent ids of all processes.
 * A child that is born while we look may be missed; it was never cleared, so it reads as all new.
 */
#include "cli/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

void sdi_pids_fini(struct sdi_pids *pids)
{
	free(pids->pid);
	*pids = (struct sdi_pids){ 0 };
}

static int add(struct sdi_pids *pids, pid_t pid)
{
	for (size_t i = 0; i < pids->n; i++)
		if (pids->pid[i] == pid)
			return 0;
	if (pids->n == pids->cap) {
		size_t cap = pids->cap ? 2 * pids->cap : 16;
		pid_t *bigger = realloc(pids->pid, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		pids->pid = bigger;
		pids->cap = cap;
	}
	pids->pid[pids->n++] = pid;
	return 0;
}

/* The children that one thread has started. */
static int add_children_of_thread(struct sdi_pids *pids, pid_t pid, const char *tid)
{
	char path[64];
	int err = 0, child;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", pid, tid);
	autofclose FILE *f = fopen(path, "re");
	if (!f)
		return 0;	/* the thread has ended */
	while (!err && fscanf(f, "%d", &child) == 1)
		err = add(pids, child);
	return err;
}

static int add_children(struct sdi_pids *pids, pid_t pid)
{
	char path[32];
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	autoclosedir DIR *tasks = opendir(path);
	if (!tasks)
		return 0;
	for (struct dirent *e; !err && (e = readdir(tasks)); )
		if (isdigit((unsigned char)e->d_name[0]))
			err = add_children_of_thread(pids, pid, e->d_name);
	return err;
}

/* The parent id stands behind the state, which stands behind the last ")" of the name. */
static pid_t parent_of(const char *pid)
{
	char path[64], text[512];
	int parent;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	autofclose FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	const char *p = strrchr(text, ')');
	return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : -1;
}

static int add_children_by_parent(struct sdi_pids *pids, pid_t pid)
{
	autoclosedir DIR *proc = opendir("/proc");
	int err = 0;

	if (!proc)
		return 0;
	for (struct dirent *e; !err && (e = readdir(proc)); )
		if (isdigit((unsigned char)e->d_name[0]) && parent_of(e->d_name) == pid)
			err = add(pids, atoi(e->d_name));
	return err;
}

int sdi_pids_list(const pid_t *named, size_t n, bool tree, struct sdi_pids *ret)
{
	bool has_children = !access("/proc/thread-self/children", R_OK);
	struct sdi_pids pids = { 0 };
	int err = 0;

	for (size_t i = 0; !err && i < n; i++)
		err = add(&pids, named[i]);
	pids.n_named = pids.n;
	for (size_t i = 0; !err && tree && i < pids.n; i++)
		err = (has_children ? add_children : add_children_by_parent)(&pids, pids.pid[i]);
	if (err)
		sdi_pids_fini(&pids);
	*ret = pids;
	return err;
}
