/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

void sdi_answer_fini(struct sdi_answer *a)
{
	free(a->pages);
	free(a->mappings);
	free(a->names);
	if (a->pagemap >= 0)
		close(a->pagemap);
	*a = (struct sdi_answer){ .pagemap = -1 };
}

/*
 * Opened by its number, so it might be that of a later process; but then the questions that follow
 * on the handle fail, because its process has ended.
 */
static int open_pagemap(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int get_info(struct softdirty *sd, const struct sdi_args *args, struct sdi_answer *ret)
{
	struct softdirty_info info = { .size = sizeof(info) };
	int err = softdirty_info(sd, &info);

	if (err)
		return err;
	memcpy(ret->backend, info.backend, sizeof(ret->backend));
	ret->page_size = info.page_size;
	sdi_cli_process_name(info.pid, ret->process);
	if (args->format == SDI_FORMAT_PAGEMAP)
		ret->pagemap = open_pagemap(info.pid);
	return ret->pagemap < -1 ? ret->pagemap : 0;
}

static int get_pages(struct softdirty *sd, const struct sdi_args *args, struct sdi_answer *ret)
{
	const struct softdirty_range *lent;
	size_t n;
	int err = softdirty_pages(sd, args->start, args->end, &lent, &n);

	if (err)
		return err;
	ret->pages = malloc(n * sizeof(*lent) + 1);
	if (!ret->pages)
		return -ENOMEM;
	if (n)
		memcpy(ret->pages, lent, n * sizeof(*lent));
	ret->n_pages = n;
	return 0;
}

static int get_mappings(struct softdirty *sd, struct sdi_answer *ret)
{
	const struct softdirty_mapping *lent;
	size_t n, size = 1;
	int err = softdirty_mappings(sd, &lent, &n);

	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		size += strlen(lent[i].name) + 1;
	ret->mappings = malloc(n * sizeof(*lent) + 1);
	char *name = ret->names = malloc(size);
	if (!ret->mappings || !name)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		ret->mappings[i] = lent[i];
		ret->mappings[i].name = name;
		name = stpcpy(name, lent[i].name) + 1;
	}
	ret->n_mappings = n;
	return 0;
}

int sdi_answer_get(struct softdirty *sd, const struct sdi_args *args, struct sdi_answer *ret)
{
	*ret = (struct sdi_answer){ .pagemap = -1 };
	int err = get_info(sd, args, ret);

	if (!err)
		err = get_mappings(sd, ret);
	if (!err)
		err = get_pages(sd, args, ret);
	if (!err)
		err = softdirty_read(sd, args->mark, args->clear ? SOFTDIRTY_READ_CLEAR : 0,
				     args->start, args->end, &ret->ranges, &ret->n_ranges);
	return err;
}
