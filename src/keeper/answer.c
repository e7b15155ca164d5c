/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does what a client asks for, with a local handle. Ranges that a client cleared and may not have
 * got are remembered until it speaks again: if it never does, its mark is told once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "keeper/serve.h"
#include "lib/handle.h"

enum { MANY_RANGES = 1024 };	/* after so many, memory goes back to the kernel */

/* What do_op() works on and with. */
struct call {
	struct keeper *k;
	struct keeper_client *c;
	const struct sdi_request *rq;
	int *fds;			/* came with it */
	struct sdi_reply reply;
	int memfd;			/* goes with the reply, or -1 */
};

struct sdi_reply keeper_reply(int op, int err, const char *text)
{
	struct sdi_reply reply = {
		.magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION, .op = op, .err = err,
	};

	snprintf(reply.text, sizeof(reply.text), "%s", err ? text : "");
	return reply;
}

void keeper_describe(struct keeper *k, struct sdi_reply *reply)
{
	struct softdirty_info info = { .size = sizeof(info) };

	softdirty_info(k->sd, &info);
	reply->keeper = getpid();
	reply->n_marks = info.n_marks;
	reply->start_time = info.start_time;
	reply->generation = info.generation;
	reply->attach_ns = info.attach_ns;
	memcpy(reply->backend, info.backend, sizeof(reply->backend));
	memcpy(reply->passed_over, info.passed_over, sizeof(reply->passed_over));
}

static void forget_untold(struct keeper_client *c)
{
	sdi_cleanup_fd(&c->untold);
	c->untold = -1;
}

/* What cannot be read back counts as never cleared. */
void keeper_untold(struct keeper *k, struct keeper_client *c)
{
	const struct softdirty_range *ranges;

	if (c->untold < 0)
		return;
	if (sdi_wire_map(c->untold, c->n_untold, &ranges)) {
		softdirty_forget(k->sd, c->mark);
	} else {
		sdi_local_unread(k->sd, c->mark, ranges, c->n_untold);
		sdi_wire_unmap(ranges, c->n_untold);
	}
	forget_untold(c);
}

void keeper_release(struct keeper *k)
{
	sdi_local_frozen(k->sd, false);
	sdi_cleanup_fd(&k->freeze);
	sdi_cleanup_fd(&k->holder_pidfd);
	k->freeze = k->holder_pidfd = -1;
	k->holder = NULL;
}

static int fail(struct call *call, int err, const char *text)
{
	call->reply = keeper_reply(call->rq->op, err, text);
	return err;
}

/* What a public function returned, with its sentence. */
static int verdict(struct call *call, int err)
{
	return err ? fail(call, err, softdirty_error()) : 0;
}

/* Is that pidfd the target's? A pid means another process in another pid namespace. */
static bool is_target(const struct keeper *k, int pidfd)
{
	char path[48], text[1024];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (sdi_read_text(AT_FDCWD, path, text, sizeof(text)) < 0)
		return false;
	char *pid = strstr(text, "Pid:");
	return pid && atoi(pid + strlen("Pid:")) == k->pid;
}

static int do_hello(struct call *call)
{
	const struct sdi_request *rq = call->rq;
	bool has_pidfd = rq->flags & SDI_REQUEST_PIDFD;

	if (has_pidfd && !is_target(call->k, call->fds[0]))
		return fail(call, -EBUSY, "its keeper's place is taken by the keeper of another "
			    "process, seen in another pid namespace");
	if (rq->flags & SDI_REQUEST_UFFD)
		sdi_local_offer_uffd(call->k->sd, take_fd(&call->fds[has_pidfd]));
	call->c->greeted = true;
	keeper_describe(call->k, &call->reply);
	return 0;
}

/* Take back what was lent, and give memory back to the kernel. */
static void trim(struct keeper *k)
{
	struct softdirty_info info = { .size = sizeof(info) };

	softdirty_info(k->sd, &info);
	malloc_trim(0);
}

/* Seal the list for the client. If its mark has moved keep it, until it is known to have it. */
static int pass_on(struct call *call, const struct softdirty_range *r, size_t n, bool moved)
{
	int fd = sdi_wire_seal(r, n), copy = -1;
	int err = fd < 0 ? fd : 0;

	if (!err && moved) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		err = copy < 0 ? -errno : 0;
	}
	if (err) {
		sdi_cleanup_fd(&fd);
		if (moved)
			sdi_local_unread(call->k->sd, call->rq->mark, r, n);
		return fail(call, err, "its keeper has no room for the answer");
	}
	call->memfd = fd;
	call->reply.n_ranges = call->c->n_untold = n;
	call->c->untold = copy;
	memcpy(call->c->mark, call->rq->mark, sizeof(call->c->mark));
	return 0;
}

static int do_ranges(struct call *call)
{
	const struct sdi_request *rq = call->rq;
	bool clear = rq->op == SDI_OP_READ && rq->flags & SDI_REQUEST_CLEAR;
	const struct softdirty_range *r;
	struct softdirty *sd = call->k->sd;
	size_t n;
	int err = rq->op == SDI_OP_PAGES ? softdirty_pages(sd, rq->start, rq->end, &r, &n) :
		  softdirty_read(sd, rq->mark, clear ? SOFTDIRTY_READ_CLEAR : 0, rq->start,
				 rq->end, &r, &n);

	if (err)
		return verdict(call, err);
	if (n)
		err = pass_on(call, r, n, clear);
	if (n >= MANY_RANGES)
		trim(call->k);
	return err;
}

static int do_freeze(struct call *call)
{
	struct keeper *k = call->k;

	k->holder = call->c;
	k->held_ns = sdi_now_ns();
	if (call->rq->op == SDI_OP_FROZEN) {
		sdi_cleanup_fd(&k->freeze);
		sdi_cleanup_fd(&k->holder_pidfd);
		k->freeze = take_fd(&call->fds[0]);
		k->holder_pidfd = take_fd(&call->fds[1]);
		sdi_local_frozen(k->sd, true);
	}
	return 0;
}

static int do_op(struct call *call)
{
	const struct sdi_request *rq = call->rq;

	sdi_local_asker(call->k->sd, rq->pid);
	switch (rq->op) {
	case SDI_OP_HELLO:
		return do_hello(call);
	case SDI_OP_INFO:
		keeper_describe(call->k, &call->reply);
		return 0;
	case SDI_OP_CLEAR:
		return verdict(call, softdirty_clear(call->k->sd, rq->mark));
	case SDI_OP_FORGET:
		return verdict(call, softdirty_forget(call->k->sd, rq->mark));
	case SDI_OP_READ:
	case SDI_OP_PAGES:
		return do_ranges(call);
	default:
		return do_freeze(call);
	}
}

static bool makes_sense(const struct keeper_client *c, const struct sdi_request *rq,
			const int *fds)
{
	return rq->magic == SDI_WIRE_MAGIC && rq->version == SDI_WIRE_VERSION &&
	       rq->op > SDI_OP_START && rq->op <= SDI_OP_STOP &&
	       (c->greeted || rq->op == SDI_OP_HELLO) &&
	       (rq->op != SDI_OP_FROZEN || fds[!!(rq->flags & SDI_REQUEST_PIDFD)] >= 0);
}

/* Those that get no reply, or not now. */
static bool is_notice(struct keeper *k, struct keeper_client *c, int op)
{
	if (op == SDI_OP_RELEASE && k->holder == c)
		keeper_release(k);
	if (op == SDI_OP_STOP) {
		k->stop = true;
		k->stopper = c->sock;
	}
	return op == SDI_OP_TAKEN || op == SDI_OP_RELEASE || op == SDI_OP_STOP;
}

/* Who froze the target may let it run at any moment, so nobody else can count on it. */
static bool is_held(const struct keeper *k, const struct keeper_client *c, int op)
{
	return k->holder && k->holder != c && op != SDI_OP_HELLO && op != SDI_OP_INFO;
}

bool keeper_answer(struct keeper *k, struct keeper_client *c, const struct sdi_request *rq,
		   int *fds)
{
	struct call call = {
		.k = k, .c = c, .rq = rq, .fds = fds, .memfd = -1,
		.reply = keeper_reply(rq->op, 0, ""),
	};

	if (!makes_sense(c, rq, fds))
		return false;
	forget_untold(c);
	if (is_notice(k, c, rq->op))
		return true;
	if (is_held(k, c, rq->op))
		fail(&call, -EBUSY, "another program holds it stopped");
	else
		do_op(&call);
	int err = sdi_wire_send(c->sock, &call.reply, sizeof(call.reply), &call.memfd,
				call.memfd >= 0, MSG_DONTWAIT);
	sdi_cleanup_fd(&call.memfd);
	return !err;
}
