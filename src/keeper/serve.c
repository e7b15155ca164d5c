/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waits for clients, the end of the target, and the end of the keeper. Nothing here ever waits for
 * one client: whoever sends nonsense or does not read its replies is hung up on. Must not know what
 * a request means.
 */
#include "keeper/serve.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "softdirty.h"

enum {
	FIRST = 4,		/* in the poll list: pidfd, signals, listener, holder, then the clients */
	LOOK_MS = 1000,		/* where there are no pidfds, and while the target is frozen */
};

static void hang_up(struct keeper *k, struct keeper_client *c)
{
	struct keeper_client *last = &k->client[k->n_clients - 1];

	if (k->holder == c)
		keeper_release(k);
	keeper_untold(k, c);
	close(c->sock);
	if (k->holder == last)
		k->holder = c;
	*c = *last;
	k->n_clients--;
}

/* Who was silent longest must go. It connects again when it has something to say. */
static bool make_room(struct keeper *k)
{
	struct keeper_client *idle = NULL;

	for (size_t i = 0; i < k->n_clients; i++) {
		struct keeper_client *c = &k->client[i];

		if (c != k->holder && (!idle || c->heard_ns < idle->heard_ns))
			idle = c;
	}
	if (idle)
		hang_up(k, idle);
	return idle;
}

static void greet_new(struct keeper *k)
{
	pid_t peer;

	if (k->n_clients == KEEPER_MAX_CLIENTS)
		make_room(k);
	autoclose int sock = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0) {
		/* Out of descriptors, most likely. The client stays in the queue: do not spin. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR && !make_room(k))
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		return;
	}
	if (sdi_wire_peer(sock, &peer))
		return;
	k->client[k->n_clients++] = (struct keeper_client){
		.sock = take_fd(&sock), .heard_ns = sdi_now_ns(), .untold = -1,
	};
}

/* One request. False: hang up. */
static bool hear(struct keeper *k, struct keeper_client *c)
{
	struct sdi_request rq;
	int fds[SDI_WIRE_MAX_FDS];
	int err = sdi_wire_recv(c->sock, &rq, sizeof(rq), fds, MSG_DONTWAIT);

	if (err)
		return err == -EAGAIN;
	c->heard_ns = sdi_now_ns();
	rq.mark[sizeof(rq.mark) - 1] = '\0';
	bool ok = keeper_answer(k, c, &rq, fds);
	for (int i = 0; i < SDI_WIRE_MAX_FDS; i++)
		sdi_cleanup_fd(&fds[i]);
	return ok;
}

static bool held_long(const struct keeper *k)
{
	return sdi_now_ns() - k->held_ns > KEEPER_HOLD_MS * 1000000ull;
}

/* While one client freezes the target the others wait, but not for ever. */
static bool must_wait(const struct keeper *k, const struct keeper_client *c)
{
	return k->holder && k->holder != c && !held_long(k);
}

static size_t prepare(const struct keeper *k, struct pollfd *p)
{
	p[0] = (struct pollfd){ .fd = k->pidfd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = k->signals, .events = POLLIN };
	p[2] = (struct pollfd){ .fd = k->listener, .events = POLLIN };
	p[3] = (struct pollfd){ .fd = k->holder_pidfd, .events = POLLIN };
	for (size_t i = 0; i < k->n_clients; i++) {
		const struct keeper_client *c = &k->client[i];

		p[FIRST + i] = (struct pollfd){
			.fd = must_wait(k, c) ? -1 : c->sock, .events = POLLIN,
		};
	}
	return FIRST + k->n_clients;
}

static bool holder_ended(const struct keeper *k)
{
	struct pollfd p = { .fd = k->holder_pidfd, .events = POLLIN };

	return p.fd >= 0 && poll(&p, 1, 0) > 0;
}

/*
 * Who froze the target has ended. A child that it forked may have copies of its descriptors, and would
 * hold the target stopped without knowing.
 */
static void let_go(struct keeper *k)
{
	shutdown(k->freeze, SHUT_RDWR);
	hang_up(k, k->holder);
}

static bool target_ended(const struct keeper *k)
{
	const struct softdirty_range *r;
	size_t n;

	return k->pidfd < 0 &&
	       softdirty_pages(k->sd, 0, sysconf(_SC_PAGESIZE), &r, &n) == -ESRCH;
}

/* From the last to the first: hanging up moves the last one, which had its turn, into the gap. */
static void hear_all(struct keeper *k, const struct pollfd *p, size_t n)
{
	while (n-- > FIRST && !k->stop) {
		struct keeper_client *c = &k->client[n - FIRST];

		if (p[n].revents && !must_wait(k, c) && !hear(k, c))
			hang_up(k, c);
	}
}

void keeper_serve(struct keeper *k)
{
	struct pollfd p[FIRST + KEEPER_MAX_CLIENTS];

	while (!k->stop) {
		size_t n = prepare(k, p);
		int ready = poll(p, n, k->pidfd < 0 || k->holder ? LOOK_MS : -1);

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0 || p[0].revents || p[1].revents || target_ended(k))
			return;
		hear_all(k, p, n);
		if (holder_ended(k))
			let_go(k);
		/* It said that it would freeze the target, and did not. */
		if (k->holder && k->freeze < 0 && held_long(k))
			hang_up(k, k->holder);
		if (p[2].revents && !k->stop)
			greet_new(k);
	}
}
