/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the way into the caller's vec. It is always written as another process's memory would be:
 * a bad address is then an EFAULT, as from the kernel, also where the caller is ourselves.
 */
#include "emulate/output.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

uint64_t output_room(const struct output *o)
{
	return (o->arg->max_pages ? o->arg->max_pages : UINT64_MAX) - o->n_pages;
}

/* A caller can be killed at any time; somebody else may then get its pid. */
static bool is_gone(const struct output *o)
{
	struct pollfd p = { .fd = o->caller_pidfd, .events = POLLIN };

	return o->caller_pidfd >= 0 && poll(&p, 1, 0) != 0;
}

int output_flush(struct output *o)
{
	uint64_t n = (o->n_out - o->n_sent) * sizeof(*o->out);
	struct iovec from = { o->out, n };
	struct iovec to = {
		(void *)(uintptr_t)(o->arg->vec + o->n_sent * sizeof(*o->out)), n,
	};

	if (n && is_gone(o))
		return -ESRCH;
	if (n && syscall(SYS_process_vm_writev, o->caller, &from, 1, &to, 1, 0) != (long)n)
		return -EFAULT;
	o->n_sent = o->n_out;
	return 0;
}

static int push(struct output *o, uint64_t start, uint64_t end, uint64_t categories)
{
	struct page_region *next = &o->out[o->n_out - o->n_sent];
	int err = 0;

	if (o->n_out > o->n_sent && next[-1].end == start && next[-1].categories == categories) {
		next[-1].end = end;
		return 0;
	}
	if (o->n_out == o->arg->vec_len)
		return -ENOSPC;
	if (o->n_out - o->n_sent == ARRAY_SIZE(o->out)) {
		err = output_flush(o);
		next = o->out;
	}
	if (!err) {
		*next = (struct page_region){ start, end, categories };
		o->n_out++;
	}
	return err;
}

int output_add(struct output *o, uint64_t start, uint64_t end, uint64_t categories)
{
	uint64_t n = (end - start) / o->page, take = MIN(n, output_room(o));
	int err;

	o->arg->walk_end = start;
	if (!take)
		return -ENOSPC;
	err = push(o, start, start + take * o->page, categories);
	if (err)
		return err;
	o->n_pages += take;
	o->arg->walk_end = start + take * o->page;
	return take < n ? -ENOSPC : 0;
}
