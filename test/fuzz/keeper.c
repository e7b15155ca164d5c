/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two clients that send a keeper whatever they like, and a third one that ends it. The library
 * behind it is made up: each read finds one range.
 *
 * A range that a mark was told, and whose client hung up without another word, is told again.
 */
#include "keeper/serve.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "lib/handle.h"

enum { CLIENTS = 2, MAX_PACKETS = 24 };

/* One packet as the input has it. */
struct spec {
	uint8_t client, n_fds, damage, op;
	uint8_t flags;
	int8_t pid;
	uint16_t start, end;
	char mark[4];
} __attribute__((packed));

struct packet {
	struct sdi_request rq;
	int client, n_fds;
	size_t size;
};

/* --- the library ----------------------------------------------------------------------------- */

static int n_unread;

int softdirty_read(struct softdirty *sd, const char *mark, unsigned flags, uint64_t start,
		   uint64_t end, const struct softdirty_range **ranges, size_t *n)
{
	static const struct softdirty_range one = { 4096, 8192, SOFTDIRTY_WRITTEN, 0 };

	FUZZ_OK(strnlen(mark, 64) < 64);
	*ranges = &one;
	*n = start != 7;
	return start == 9 ? -EINVAL : 0;
}

int softdirty_pages(struct softdirty *sd, uint64_t start, uint64_t end,
		    const struct softdirty_range **ranges, size_t *n)
{
	return softdirty_read(sd, "", 0, start, end, ranges, n);
}

int softdirty_clear(struct softdirty *sd, const char *mark)
{
	return *mark == 'x' ? -EINVAL : 0;
}

int softdirty_forget(struct softdirty *sd, const char *mark)
{
	return *mark == 'x' ? -ENOENT : 0;
}

int softdirty_info(struct softdirty *sd, struct softdirty_info *ret)
{
	return 0;
}

const char *softdirty_error(void)
{
	return "why";
}

void sdi_local_unread(struct softdirty *sd, const char *mark,
		      const struct softdirty_range *ranges, size_t n)
{
	FUZZ_OK(n == 1 && ranges->start == 4096 && ranges->end == 8192);
	n_unread++;
}

void sdi_local_asker(struct softdirty *sd, pid_t tid)
{
}

void sdi_local_offer_uffd(struct softdirty *sd, int uffd)
{
	sdi_cleanup_fd(&uffd);
}

void sdi_local_frozen(struct softdirty *sd, bool frozen)
{
}

/* --- what is sent ---------------------------------------------------------------------------- */

static struct packet packet(const struct spec *s)
{
	struct packet p = {
		.rq = {
			.magic = SDI_WIRE_MAGIC + (s->damage == 1),
			.version = SDI_WIRE_VERSION + (s->damage == 2),
			.op = s->op, .flags = s->flags, .pid = s->pid, .start = s->start,
			.end = s->end,
		},
		.client = s->client % CLIENTS, .n_fds = s->n_fds % (SDI_WIRE_MAX_FDS + 1),
		.size = sizeof(p.rq) - (s->damage == 3),
	};

	memset(p.rq.mark, s->mark[3], sizeof(p.rq.mark));
	memcpy(p.rq.mark, s->mark, sizeof(s->mark));
	return p;
}

/* The second is that of a process which never ends, when it comes with SDI_OP_FROZEN. */
static int send_packet(int sock, const struct packet *p)
{
	autoclose int alive = eventfd(0, EFD_CLOEXEC);
	int fds[SDI_WIRE_MAX_FDS] = { sock, alive, sock, sock };

	FUZZ_OK(alive >= 0);
	return sdi_wire_send(sock, &p->rq, p->size, fds, p->n_fds, MSG_DONTWAIT);
}

static int send_op(int sock, int op)
{
	struct packet p = packet(&(struct spec){ .op = op });

	return send_packet(sock, &p);
}

/* --- what must come of it -------------------------------------------------------------------- */

static bool is_nonsense(const struct packet *p, bool greeted)
{
	return p->size != sizeof(p->rq) || p->rq.magic != SDI_WIRE_MAGIC ||
	       p->rq.version != SDI_WIRE_VERSION || p->rq.op <= SDI_OP_START ||
	       p->rq.op > SDI_OP_STOP || (!greeted && p->rq.op != SDI_OP_HELLO) ||
	       (p->rq.op == SDI_OP_FROZEN && p->n_fds <= !!(p->rq.flags & SDI_REQUEST_PIDFD));
}

static bool is_notice(int op)
{
	return op == SDI_OP_TAKEN || op == SDI_OP_RELEASE || op == SDI_OP_STOP;
}

/* The next reply; false: there is none. */
static bool receive(int sock, struct sdi_reply *reply)
{
	int fds[SDI_WIRE_MAX_FDS];
	int err = sdi_wire_recv(sock, reply, sizeof(*reply), fds, MSG_DONTWAIT);

	/* It was hung up on before all it said was read: the kernel says so first. */
	if (err == -EPIPE)
		err = sdi_wire_recv(sock, reply, sizeof(*reply), fds, MSG_DONTWAIT);
	if (err)
		return false;
	FUZZ_OK(reply->magic == SDI_WIRE_MAGIC && reply->version == SDI_WIRE_VERSION);
	FUZZ_OK(reply->err <= 0 && !reply->err == !reply->text[0]);
	FUZZ_OK((fds[0] >= 0) == (reply->n_ranges > 0) && fds[1] < 0);
	sdi_cleanup_fd(&fds[0]);
	return true;
}

/* Each request up to the first nonsense has its reply. Is a range left that must be told again? */
static bool check_client(int sock, int client, const struct packet *p, size_t n)
{
	bool greeted = false, owed = false;
	struct sdi_reply reply;

	for (size_t i = 0; i < n && !(p[i].client == client && is_nonsense(&p[i], greeted)); i++) {
		if (p[i].client != client)
			continue;
		owed = false;
		if (is_notice(p[i].rq.op))
			continue;
		FUZZ_OK(receive(sock, &reply) && reply.op == p[i].rq.op);
		greeted |= p[i].rq.op == SDI_OP_HELLO && !reply.err;
		owed = p[i].rq.op == SDI_OP_READ && p[i].rq.flags & SDI_REQUEST_CLEAR &&
		       reply.n_ranges;
	}
	FUZZ_OK(!receive(sock, &reply));
	return owed;
}

/* --- the run --------------------------------------------------------------------------------- */

/* Listens at a name that the kernel chooses. */
static int listener(struct sockaddr_un *addr, socklen_t *size)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	FUZZ_OK(fd >= 0 && !bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)));
	FUZZ_OK(!listen(fd, CLIENTS));
	*size = sizeof(*addr);
	FUZZ_OK(!getsockname(fd, (struct sockaddr *)addr, size));
	return fd;
}

static void connect_clients(struct keeper *k, int sock[CLIENTS])
{
	struct sockaddr_un addr;
	socklen_t size;

	k->listener = listener(&addr, &size);
	for (int i = 0; i < CLIENTS; i++) {
		sock[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		FUZZ_OK(sock[i] >= 0 && !connect(sock[i], (struct sockaddr *)&addr, size));
	}
}

/*
 * The one that ends it. Each client is heard once in a round, and there are rounds for all that the
 * others have to say before this one's last word is heard.
 */
static int connect_ender(struct keeper *k, size_t rounds)
{
	int sv[2];

	FUZZ_OK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	k->client[k->n_clients++] = (struct keeper_client){ .sock = sv[0], .untold = -1 };
	while (rounds--)
		FUZZ_OK(!send_op(sv[1], SDI_OP_HELLO));
	FUZZ_OK(!send_op(sv[1], SDI_OP_STOP));
	return sv[1];
}

static void run(const struct packet *p, size_t n)
{
	struct keeper k = { .pid = 1, .pidfd = -2, .signals = -1, .freeze = -1, .holder_pidfd = -1,
			    .stopper = -1 };
	int ender = connect_ender(&k, n + CLIENTS + 2), sock[CLIENTS], owed = 0;

	connect_clients(&k, sock);
	for (size_t i = 0; i < n; i++)
		FUZZ_OK(!send_packet(sock[p[i].client], &p[i]));
	for (int i = 0; i < CLIENTS; i++)
		shutdown(sock[i], SHUT_WR);
	n_unread = 0;
	keeper_serve(&k);
	for (int i = 0; i < CLIENTS; i++) {
		owed += check_client(sock[i], i, p, n);
		close(sock[i]);
	}
	FUZZ_OK(k.stop && k.n_clients == 1);
	FUZZ_OK(!k.holder && k.freeze < 0);
	FUZZ_OK(n_unread == owed);
	close(k.client[0].sock);
	close(k.listener);
	close(ender);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet p[MAX_PACKETS];
	int before = fuzz_count_fds();
	struct spec s;
	size_t n = 0;

	while (size && n < MAX_PACKETS) {
		fuzz_take(&data, &size, &s, sizeof(s));
		/* It would end before all is said. */
		if (s.op != SDI_OP_STOP)
			p[n++] = packet(&s);
	}
	run(p, n);
	FUZZ_OK(fuzz_count_fds() == before);
	return 0;
}
