/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the keeper of a target, or starts one. Two that start one at the same time are told apart by
 * the lock that the keepers take: the second keeper ends, and its client finds the first.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/io.h"
#include "lib/client.h"
#include "lib/spawn.h"
#include "wire/place.h"

enum {
	PATIENCE_MS = 10000,		/* for a keeper that has the lock, but no socket yet */
	PAUSE_NS = 2000000,
};

static int check_backend(const struct sdi_client *c, const struct sdi_reply *reply)
{
	if (!c->backend || c->suggested || !strcmp(c->backend, reply->backend))
		return 0;
	return sdi_fail(EBUSY, "its keeper (process %d) uses %s already, not %s (softdirty stop "
			"%d ends that, with its marks)", c->keeper, reply->backend, c->backend,
			c->target.pid);
}

/* A keeper before this one was killed while we hold the target stopped. */
static int tell_frozen(struct sdi_client *c)
{
	struct sdi_request rq;
	struct sdi_reply reply;
	autoclose int memfd = -1;
	int fds[2];
	size_t n = sdi_client_frozen(c->base.freezer, &rq, fds);
	int err = sdi_client_exchange(c->sock, &rq, fds, n, &reply, &memfd);

	if (err)
		err = sdi_fail(EIO, "its new keeper ended at once");
	else
		err = sdi_client_verdict(&reply);
	if (err)
		sdi_client_hang_up(c);
	return err;
}

/* It answered. 0 or -errno; it is in charge then. */
static int accept_keeper(struct sdi_client *c, int *sock, pid_t keeper,
			 const struct sdi_reply *reply)
{
	c->keeper = keeper;
	if (reply->start_time != c->target.start_time)
		return sdi_fail(EBUSY, "its keeper's place is taken by the keeper of another process");
	int err = check_backend(c, reply);
	if (err)
		return err;
	c->sock = take_fd(sock);
	sdi_cleanup_fd(&c->uffd);
	c->uffd = -1;
	return c->base.freezer ? tell_frozen(c) : 0;
}

/* -EPIPE: it was just ending. */
static int greet(struct sdi_client *c, int *sock)
{
	struct sdi_request rq = sdi_client_request(SDI_OP_HELLO, NULL);
	struct sdi_reply reply;
	autoclose int memfd = -1;
	int fds[2];
	size_t n = 0;
	pid_t keeper;
	int err = sdi_wire_peer(*sock, &keeper);

	if (err)
		return err;
	if (c->target.pidfd >= 0) {
		rq.flags |= SDI_REQUEST_PIDFD;
		fds[n++] = c->target.pidfd;
	}
	if (c->uffd >= 0) {
		rq.flags |= SDI_REQUEST_UFFD;
		fds[n++] = c->uffd;
	}
	err = sdi_client_exchange(*sock, &rq, fds, n, &reply, &memfd);
	if (err == -EPIPE)
		return err;
	if (err)
		return sdi_fail(-err, "process %d at its socket is no keeper, or one of another "
				"version: end it (kill %d)", keeper, keeper);
	err = sdi_client_verdict(&reply);
	return err ? err : accept_keeper(c, sock, keeper, &reply);
}

/* -ENOENT: there is none; -ECONNREFUSED: it was killed, or does not listen yet. */
static int find(struct sdi_client *c, const struct sdi_place *place)
{
	struct sdi_place_name name = sdi_place_name(c->target.pid, c->target.start_time);
	autoclose int sock = sdi_place_connect(place->dir, &name);

	if (sock == -ENOENT || sock == -ECONNREFUSED)
		return sock;
	if (sock < 0)
		return sdi_fail(-sock, "cannot connect to %s/%s.sock: %s", place->path, name.text,
				sdi_strerror(-sock));
	return greet(c, &sock);
}

static const char *command_of(const struct sdi_client *c)
{
	const char *env = secure_getenv("SOFTDIRTY_COMMAND");

	if (c->command)
		return c->command;
	return env && *env ? env : SDI_COMMAND;
}

/* Everything a new keeper has to know, ready in its socket before it exists. */
static int send_start(const struct sdi_client *c, int sock, int dir)
{
	struct sdi_request rq = sdi_client_request(SDI_OP_START, c->backend);
	int fds[2] = { dir, c->uffd };

	rq.pid = c->target.pid;
	rq.start = c->target.start_time;
	rq.flags = c->uffd >= 0 ? SDI_REQUEST_UFFD : 0;
	return sdi_wire_send(sock, &rq, sizeof(rq), fds, c->uffd >= 0 ? 2 : 1, 0);
}

static int wait_start(int sock, struct sdi_reply *reply)
{
	int fds[SDI_WIRE_MAX_FDS];
	int err = sdi_wire_recv(sock, reply, sizeof(*reply), fds, 0);

	for (int i = 0; !err && i < SDI_WIRE_MAX_FDS; i++)
		sdi_cleanup_fd(&fds[i]);
	return err || !sdi_client_understands(reply, SDI_OP_START) ? -EPROTO : 0;
}

/* -EALREADY: another keeper was faster. */
static int start(struct sdi_client *c, const struct sdi_place *place)
{
	struct sdi_reply reply;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return sdi_fail(errno, "socketpair: %s", sdi_strerror(errno));
	autoclose int ours = sv[0], theirs = sv[1];
	int err = send_start(c, ours, place->dir);
	if (err)
		return sdi_fail(-err, "cannot prepare a keeper: %s", sdi_strerror(-err));
	err = sdi_spawn_keeper(command_of(c), c->target.pid, theirs);
	if (err)
		return sdi_fail(-err, "cannot start its keeper %s: %s (is it installed? "
				"SOFTDIRTY_COMMAND names another)", command_of(c), sdi_strerror(-err));
	close(take_fd(&theirs));
	if (wait_start(ours, &reply))
		return sdi_fail(EIO, "its keeper %s ended before it could begin", command_of(c));
	if (reply.err == -EALREADY)
		return -EALREADY;
	err = sdi_client_verdict(&reply);
	return err ? err : accept_keeper(c, &ours, reply.keeper, &reply);
}

/* A keeper that was killed is replaced in any case: its marks must be told that they are lost. */
static int find_or_start(struct sdi_client *c, bool may_start, const struct sdi_place *place)
{
	uint64_t deadline = sdi_now_ns() + PATIENCE_MS * 1000000ull;

	for (;;) {
		int err = find(c, place);

		if (err == -ENOENT && !may_start)
			return sdi_fail(ENOENT, "no keeper tracks it");
		if (err == -ENOENT || err == -ECONNREFUSED)
			err = start(c, place);
		if (err != -EALREADY && err != -EPIPE)
			return err;
		if (sdi_now_ns() > deadline)
			return sdi_fail(EBUSY, "a keeper of it has locked its file in %s, but does "
					"not listen there", place->path);
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	}
}

int sdi_client_connect(struct sdi_client *c, bool may_start)
{
	struct sdi_place place = { .dir = -1 };

	if (sdi_target_alive(&c->target))
		return sdi_fail(ESRCH, "it has ended");
	int err = sdi_place_open(may_start, &place);
	if (err == -ENOENT && !may_start)
		return sdi_fail(ENOENT, "no keeper tracks it");
	if (!err)
		err = find_or_start(c, may_start, &place);
	sdi_place_close(&place);
	return err;
}
