/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handle whose tracker is in a keeper: every call becomes one request. When the keeper is gone
 * the next call starts a new one, in which no mark was ever cleared: everything is dirty then, and
 * nothing is ever silently clean.
 */
#include "lib/client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	MAX_TRIES = 5,		/* keepers that vanish under one request */
	MAX_ERRNO = 4095,	/* the kernel's, include/linux/err.h */
};

static struct sdi_client *client(struct softdirty *sd)
{
	return (struct sdi_client *)sd;
}

struct sdi_request sdi_client_request(enum sdi_op op, const char *mark)
{
	struct sdi_request rq = {
		.magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION, .op = op, .pid = gettid(),
	};

	if (mark)
		memcpy(rq.mark, mark, strnlen(mark, sizeof(rq.mark) - 1));
	return rq;
}

bool sdi_client_understands(struct sdi_reply *reply, int op)
{
	reply->backend[sizeof(reply->backend) - 1] = '\0';
	reply->passed_over[sizeof(reply->passed_over) - 1] = '\0';
	reply->text[sizeof(reply->text) - 1] = '\0';
	return reply->magic == SDI_WIRE_MAGIC && reply->version == SDI_WIRE_VERSION &&
	       reply->op == op && reply->err <= 0 && reply->err >= -MAX_ERRNO;
}

int sdi_client_exchange(int sock, const struct sdi_request *rq, const int *fds, size_t n_fds,
			struct sdi_reply *reply, int *memfd)
{
	int got[SDI_WIRE_MAX_FDS];
	int err = sdi_wire_send(sock, rq, sizeof(*rq), fds, n_fds, 0);

	*memfd = -1;
	if (!err)
		err = sdi_wire_recv(sock, reply, sizeof(*reply), got, 0);
	if (err)
		return err;
	for (int i = 1; i < SDI_WIRE_MAX_FDS; i++)
		sdi_cleanup_fd(&got[i]);
	*memfd = got[0];
	if (sdi_client_understands(reply, rq->op))
		return 0;
	sdi_cleanup_fd(memfd);
	return -EPROTO;
}

int sdi_client_verdict(const struct sdi_reply *reply)
{
	return reply->err ? sdi_fail(-reply->err, "%s", reply->text) : 0;
}

void sdi_client_hang_up(struct sdi_client *c)
{
	sdi_cleanup_fd(&c->sock);
	c->sock = -1;
	c->owes = false;
}

/* Ask the keeper, a new one if the old one is gone. Returns what it answered. */
static int ask(struct sdi_client *c, const struct sdi_request *rq, const int *fds, size_t n_fds,
	       struct sdi_reply *reply, int *memfd)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		int err = c->sock < 0 ? sdi_client_connect(c, !c->existing) : 0;

		if (err)
			return err;
		err = sdi_client_exchange(c->sock, rq, fds, n_fds, reply, memfd);
		if (!err) {
			c->owes = false;
			return sdi_client_verdict(reply);
		}
		sdi_client_hang_up(c);
		if (err != -EPIPE)
			return sdi_fail(-err, "cannot talk to its keeper (process %d): %s",
					c->keeper, sdi_strerror(-err));
	}
	return sdi_fail(EIO, "its keepers end as soon as they start");
}

static int ask_simply(struct sdi_client *c, enum sdi_op op, const char *mark)
{
	struct sdi_request rq = sdi_client_request(op, mark);
	struct sdi_reply reply;
	autoclose int memfd = -1;

	return ask(c, &rq, NULL, 0, &reply, &memfd);
}

/* What needs no answer. If nobody is there any more, there is nothing to tell. */
static void tell(struct sdi_client *c, enum sdi_op op)
{
	struct sdi_request rq = sdi_client_request(op, NULL);

	if (c->sock >= 0)
		sdi_wire_send(c->sock, &rq, sizeof(rq), NULL, 0, 0);
	c->owes = false;
}

static void client_reclaim(struct softdirty *sd)
{
	struct sdi_client *c = client(sd);

	sdi_wire_unmap(c->lent, c->n_lent);
	c->lent = NULL;
	c->n_lent = 0;
}

static void client_close(struct softdirty *sd)
{
	struct sdi_client *c = client(sd);

	client_reclaim(sd);
	if (c->owes)
		tell(c, SDI_OP_TAKEN);
	sdi_client_hang_up(c);
	sdi_cleanup_fd(&c->uffd);
	sdi_target_close(&c->target);
	free(c->command);
	free(c);
}

static int client_clear(struct softdirty *sd, const char *mark)
{
	return ask_simply(client(sd), SDI_OP_CLEAR, mark);
}

static int client_forget(struct softdirty *sd, const char *mark)
{
	return ask_simply(client(sd), SDI_OP_FORGET, mark);
}

/* A list that cannot be mapped was never told: hanging up gives it back to the mark. */
static int ask_ranges(struct sdi_client *c, struct sdi_request *rq, uint64_t start, uint64_t end,
		      struct sdi_lent *ret)
{
	struct sdi_reply reply;
	autoclose int memfd = -1;

	rq->start = start;
	rq->end = end;
	int err = ask(c, rq, NULL, 0, &reply, &memfd);
	if (!err && reply.n_ranges)
		err = sdi_wire_map(memfd, reply.n_ranges, &c->lent);
	if (err) {
		if (c->sock >= 0 && !reply.err)
			sdi_client_hang_up(c);
		return err;
	}
	c->n_lent = reply.n_ranges;
	c->owes = rq->flags & SDI_REQUEST_CLEAR;
	*ret = (struct sdi_lent){ c->lent, c->n_lent };
	return 0;
}

static int client_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		       uint64_t end, struct sdi_lent *ret)
{
	struct sdi_request rq = sdi_client_request(SDI_OP_READ, mark);

	rq.flags = flags & SOFTDIRTY_READ_CLEAR ? SDI_REQUEST_CLEAR : 0;
	return ask_ranges(client(sd), &rq, start, end, ret);
}

static int client_pages(struct softdirty *sd, uint64_t start, uint64_t end, struct sdi_lent *ret)
{
	struct sdi_request rq = sdi_client_request(SDI_OP_PAGES, NULL);

	return ask_ranges(client(sd), &rq, start, end, ret);
}

static int client_info(struct softdirty *sd, struct softdirty_info *ret)
{
	struct sdi_client *c = client(sd);
	struct sdi_request rq = sdi_client_request(SDI_OP_INFO, NULL);
	struct sdi_reply reply;
	autoclose int memfd = -1;
	int err = ask(c, &rq, NULL, 0, &reply, &memfd);

	if (err)
		return err;
	ret->pid = c->target.pid;
	ret->page_size = sysconf(_SC_PAGESIZE);
	ret->start_time = c->target.start_time;
	ret->generation = reply.generation;
	ret->attach_ns = reply.attach_ns;
	ret->n_marks = reply.n_marks;
	ret->keeper = c->keeper;
	memcpy(ret->backend, reply.backend, sizeof(ret->backend));
	memcpy(ret->passed_over, reply.passed_over, sizeof(ret->passed_over));
	return 0;
}

/* The keeper hangs up when it has let go of everything; before that a new one could not begin. */
static int stop_keeper(struct sdi_client *c)
{
	struct sdi_request rq = sdi_client_request(SDI_OP_STOP, NULL);
	struct sdi_reply reply;
	int fds[SDI_WIRE_MAX_FDS];
	autoclose int memfd = -1;
	int err = sdi_client_exchange(c->sock, &rq, NULL, 0, &reply, &memfd);

	while (!err && !sdi_wire_recv(c->sock, &reply, sizeof(reply), fds, 0))
		for (int i = 0; i < SDI_WIRE_MAX_FDS; i++)
			sdi_cleanup_fd(&fds[i]);
	sdi_client_hang_up(c);
	return err;
}

/* What a killed keeper left is cleaned up by the one that replaces it. */
static int client_stop(struct softdirty *sd)
{
	struct sdi_client *c = client(sd);

	for (int i = 0; i < MAX_TRIES; i++) {
		int err = c->sock < 0 ? sdi_client_connect(c, false) : 0;

		if (err)
			return err == -ENOENT || err == -ESRCH ? 0 : err;
		if (!stop_keeper(c))
			return 0;
	}
	return sdi_fail(EIO, "its keepers do not stop, they are killed");
}

static int client_hold(struct softdirty *sd)
{
	return ask_simply(client(sd), SDI_OP_HOLD, NULL);
}

size_t sdi_client_frozen(const struct sdi_freezer *freezer, struct sdi_request *rq, int fds[2])
{
	*rq = sdi_client_request(SDI_OP_FROZEN, NULL);
	fds[0] = sdi_freezer_fd(freezer);
	fds[1] = sdi_freezer_owner(freezer);
	if (fds[1] < 0)
		return 1;
	rq->flags |= SDI_REQUEST_PIDFD;
	return 2;
}

static int client_frozen(struct softdirty *sd, const struct sdi_freezer *freezer)
{
	struct sdi_request rq;
	struct sdi_reply reply;
	autoclose int memfd = -1;
	int fds[2];
	size_t n = sdi_client_frozen(freezer, &rq, fds);

	return ask(client(sd), &rq, fds, n, &reply, &memfd);
}

static void client_release(struct softdirty *sd)
{
	tell(client(sd), SDI_OP_RELEASE);
}

static const struct sdi_handle_ops client_ops = {
	.close = client_close, .reclaim = client_reclaim, .clear = client_clear,
	.read = client_read, .pages = client_pages, .forget = client_forget, .info = client_info,
	.stop = client_stop, .hold = client_hold, .frozen = client_frozen,
	.release = client_release,
};

int sdi_client_open(const struct sdi_request_open *o, struct softdirty **ret)
{
	autoclose int uffd = o->uffd;
	struct sdi_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	int err = sdi_target_open(o->pid, &c->target);
	if (err) {
		free(c);
		return err;
	}
	c->base.ops = &client_ops;
	c->base.target = &c->target;
	c->command = o->command ? strdup(o->command) : NULL;
	c->backend = o->backend;
	c->suggested = o->suggested;
	c->existing = o->flags & SOFTDIRTY_OPEN_EXISTING;
	c->uffd = take_fd(&uffd);
	c->sock = -1;
	err = o->command && !c->command ? -ENOMEM : sdi_client_connect(c, !c->existing);
	if (err)
		client_close(&c->base);
	else
		*ret = &c->base;
	return err;
}
