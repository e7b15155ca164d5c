/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client whose keepers answer whatever they like. The runtime directory is made up: there is a
 * new keeper at each connection until the input is used up.
 *
 * What was read is what the sealed list says, or there is an error; no descriptor is left over.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "lib/handle.h"
#include "lib/spawn.h"
#include "wire/place.h"
#include "wire/wire.h"

/* One packet of a keeper. */
struct spec {
	uint8_t damage, n_fds, list, op;
	int32_t err;
	uint8_t n, said;		/* ranges in the list, and what the reply says */
} __attribute__((packed));

enum { MAGIC = 1, VERSION = 2, SHORT = 4, START = 8, ENDLESS_TEXT = 16, HUGE = 32, LAST = 64 };

static const uint8_t *left;
static size_t n_left;
static struct sdi_target parent;
static struct softdirty_range list[256];

/* --- keepers --------------------------------------------------------------------------------- */

static int make_list(const struct spec *s)
{
	int fd = fuzz_memfd(list, s->n * sizeof(*list) - (s->list & 1 && s->n));

	if (!(s->list & 2))
		FUZZ_OK(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	return fd;
}

static void send_reply(int sock, const struct spec *s)
{
	struct sdi_reply reply = {
		.magic = SDI_WIRE_MAGIC + !!(s->damage & MAGIC),
		.version = SDI_WIRE_VERSION + !!(s->damage & VERSION), .op = s->op,
		.err = s->err, .start_time = parent.start_time + !!(s->damage & START),
		.n_ranges = s->damage & HUGE ? UINT64_MAX / 24 + s->said : s->said,
	};
	autoclose int fd = make_list(s);
	int fds[SDI_WIRE_MAX_FDS] = { fd, fd, fd, fd };

	memset(reply.text, 'x', s->damage & ENDLESS_TEXT ? sizeof(reply.text) : 5);
	memset(reply.backend, 'y', s->damage & ENDLESS_TEXT ? sizeof(reply.backend) : 4);
	FUZZ_OK(!sdi_wire_send(sock, &reply, sizeof(reply) - !!(s->damage & SHORT), fds,
			       s->n_fds % (SDI_WIRE_MAX_FDS + 1), MSG_DONTWAIT));
}

/* All that it will ever say, up to one marked as its last. */
static void speak(int sock)
{
	for (struct spec s = { 0 }; n_left && !(s.damage & LAST);) {
		fuzz_take(&left, &n_left, &s, sizeof(s));
		send_reply(sock, &s);
	}
	shutdown(sock, SHUT_WR);
}

static int keeper_end = -1;	/* of the present connection: what the client says is not read */

int sdi_place_connect(int dir, const struct sdi_place_name *name)
{
	int sv[2];

	if (!n_left)
		return -ENOENT;
	FUZZ_OK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	speak(sv[0]);
	sdi_cleanup_fd(&keeper_end);
	keeper_end = sv[0];
	return sv[1];
}

int sdi_place_open(bool create, struct sdi_place *ret)
{
	*ret = (struct sdi_place){ .dir = fuzz_dir() };
	return 0;
}

void sdi_place_close(struct sdi_place *p)
{
}

struct sdi_place_name sdi_place_name(pid_t pid, uint64_t start_time)
{
	return (struct sdi_place_name){ "name" };
}

int sdi_spawn_keeper(const char *command, pid_t pid, int channel)
{
	if (!n_left)
		return -ENOENT;
	speak(channel);
	sdi_cleanup_fd(&keeper_end);
	keeper_end = fcntl(channel, F_DUPFD_CLOEXEC, 0);
	return 0;
}

/* --- the client ------------------------------------------------------------------------------ */

/* 0, or what the kernel knows as a negative errno. */
static bool is_result(int err)
{
	return err <= 0 && err >= -4095;
}

static void check_read(struct softdirty *sd, unsigned flags)
{
	const struct softdirty_range *r = NULL;
	size_t n = 77;
	int err = softdirty_read(sd, "mark", flags, 0, 0, &r, &n);

	FUZZ_OK(is_result(err));
	FUZZ_OK(err ? !r && n == 77 : !n == !r);
	if (!err && n)
		FUZZ_OK(!memcmp(r, list, n * sizeof(*r)));
}

static void check_info(struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	int err = softdirty_info(sd, &info);

	FUZZ_OK(is_result(err));
	if (!err) {
		FUZZ_OK(strnlen(info.backend, sizeof(info.backend)) < sizeof(info.backend));
		FUZZ_OK(info.start_time == parent.start_time);
	}
}

static void use(struct softdirty *sd)
{
	const struct softdirty_range *r;
	size_t n;

	check_read(sd, 0);
	check_read(sd, SOFTDIRTY_READ_CLEAR);
	FUZZ_OK(is_result(softdirty_pages(sd, 0, 0, &r, &n)));
	check_info(sd);
	FUZZ_OK(is_result(softdirty_clear(sd, "mark")));
	FUZZ_OK(is_result(softdirty_forget(sd, "mark")));
	FUZZ_OK(is_result(softdirty_stop(sd)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct softdirty_options o = { .size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED };
	struct softdirty *sd;

	if (!parent.pid)
		FUZZ_OK(!sdi_target_open(getppid(), &parent));
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = (struct softdirty_range){
			i * 8192, i * 8192 + 4096, SOFTDIRTY_WRITTEN, 0,
		};
	fuzz_dir();
	int before = fuzz_count_fds();
	left = data;
	n_left = MIN(size, 40 * sizeof(struct spec));
	if (!softdirty_open(getppid(), &o, &sd)) {
		use(sd);
		softdirty_close(sd);
	}
	sdi_cleanup_fd(&keeper_end);
	keeper_end = -1;
	FUZZ_OK(fuzz_count_fds() == before);
	return 0;
}
