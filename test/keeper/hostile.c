/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nonsense on the wire, in both directions: no client, however slow or odd, stops a keeper from
 * serving the others, and no answer, however odd, is believed by a client.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"
#include "wire/place.h"
#include "wire/wire.h"

static struct sdi_place_name name_of(struct softdirty *sd)
{
	struct softdirty_info info = { .size = sizeof(info) };

	T_MUST(!softdirty_info(sd, &info));
	return sdi_place_name(info.pid, info.start_time);
}

static int raw(const struct sdi_place_name *name)
{
	struct sdi_place p;

	T_MUST(!sdi_place_open(false, &p));
	int sock = sdi_place_connect(p.dir, name);
	sdi_place_close(&p);
	T_MUST(sock >= 0);
	return sock;
}

static struct sdi_request request(int op)
{
	return (struct sdi_request){ .magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION,
				     .op = op };
}

static int exchange(int sock, const struct sdi_request *rq, struct sdi_reply *reply)
{
	int fds[SDI_WIRE_MAX_FDS];
	int err = sdi_wire_send(sock, rq, sizeof(*rq), NULL, 0, 0);

	if (!err)
		err = sdi_wire_recv(sock, reply, sizeof(*reply), fds, 0);
	for (int i = 0; !err && i < SDI_WIRE_MAX_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return err;
}

static void must_hello(int sock)
{
	struct sdi_request rq = request(SDI_OP_HELLO);
	struct sdi_reply reply;

	T_MUST(!exchange(sock, &rq, &reply) && !reply.err);
}

static int count_fds(pid_t pid)
{
	char path[32];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	T_MUST(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The keeper still serves, exactly. */
static void still_serves(struct softdirty *sd, const struct k_target *t)
{
	T_EQ(softdirty_clear(sd, "ok"), 0);
	k_write(t, 8);
	T_EQ(k_read(sd, "ok", SOFTDIRTY_READ_CLEAR, t, NULL), 1);
}

/* Sends a packet to a new connection (after a greeting, if greet) and expects to be hung up on. */
static void hung_up(const struct sdi_place_name *name, bool greet, const void *packet,
		    size_t size, size_t n_fds)
{
	struct sdi_reply reply;
	int sock = raw(name), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int send[SDI_WIRE_MAX_FDS] = { null, null, null, null }, fds[SDI_WIRE_MAX_FDS];

	if (greet)
		must_hello(sock);
	sdi_wire_send(sock, packet, size, send, n_fds, 0);
	T_EQ(sdi_wire_recv(sock, &reply, sizeof(reply), fds, 0), -EPIPE);
	close(null);
	close(sock);
}

static void nonsense_is_hung_up_on(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	struct sdi_place_name name = name_of(sd);
	char noise[4 * sizeof(struct sdi_request)];
	struct sdi_request rq;

	still_serves(sd, &t);	/* and has opened all that it needs for that */
	int before = count_fds(k_keeper(sd));
	srandom(1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = random();
	hung_up(&name, true, noise, 0, 0);
	hung_up(&name, true, noise, 1, 0);
	hung_up(&name, true, noise, sizeof(rq) - 1, 0);
	hung_up(&name, true, noise, sizeof(rq), 0);
	hung_up(&name, true, noise, sizeof(noise), 4);
	rq = request(SDI_OP_INFO);
	rq.magic++;
	hung_up(&name, true, &rq, sizeof(rq), 4);
	rq = request(SDI_OP_INFO);
	rq.version++;
	hung_up(&name, true, &rq, sizeof(rq), 0);
	static const int ops[] = { 0, SDI_OP_START, SDI_OP_STOP + 1, 0xffff, SDI_OP_FROZEN };
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		rq = request(ops[i]);
		hung_up(&name, true, &rq, sizeof(rq), 0);
	}
	/* Nothing is done for who has not said hello, least of all stop. */
	for (int op = SDI_OP_INFO; op <= SDI_OP_STOP; op++) {
		rq = request(op);
		hung_up(&name, false, &rq, sizeof(rq), 4);
	}
	still_serves(sd, &t);
	T_EQ(count_fds(k_keeper(sd)), before);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void wrong_arguments_get_an_error(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	struct sdi_place_name name = name_of(sd);
	struct sdi_request rq = request(SDI_OP_CLEAR);
	struct sdi_reply reply;
	int sock = raw(&name);

	must_hello(sock);
	memset(rq.mark, 'x', sizeof(rq.mark));	/* no NUL: cut */
	T_OK(!exchange(sock, &rq, &reply) && !reply.err);
	memset(rq.mark, '\n', sizeof(rq.mark));
	T_OK(!exchange(sock, &rq, &reply) && reply.err == -EINVAL && reply.text[0]);
	rq = request(SDI_OP_READ);
	rq.start = 1;
	T_OK(!exchange(sock, &rq, &reply) && reply.err == -EINVAL && reply.text[0]);
	rq.start = -4096;
	T_OK(!exchange(sock, &rq, &reply) && !reply.n_ranges);
	rq = request(SDI_OP_FORGET);
	strcpy(rq.mark, "none");
	T_OK(!exchange(sock, &rq, &reply) && reply.err == -ENOENT && reply.text[0]);
	rq = request(SDI_OP_HELLO);
	rq.flags = SDI_REQUEST_PIDFD | SDI_REQUEST_UFFD;	/* and none comes with it */
	T_OK(!exchange(sock, &rq, &reply) && reply.err == -EBUSY);
	rq.flags = SDI_REQUEST_UFFD;
	T_OK(!exchange(sock, &rq, &reply) && !reply.err);
	still_serves(sd, &t);
	close(sock);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* Asks and asks and never reads an answer. */
static void a_client_that_does_not_read(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	struct sdi_place_name name = name_of(sd);
	struct sdi_request rq = request(SDI_OP_INFO);
	int sock = raw(&name), sent = 0;

	must_hello(sock);
	while (sent < 100000 && !sdi_wire_send(sock, &rq, sizeof(rq), NULL, 0, 0))
		sent++;
	T_OK(sent > 10 && sent < 100000);	/* it was hung up on */
	still_serves(sd, &t);
	close(sock);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* More connections than a keeper has room for; one that had to go connects again and loses nothing. */
static void many_connections(void)
{
	enum { MANY = 200 };
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid), *quiet = k_must_open(t.pid);
	struct sdi_place_name name = name_of(sd);
	int sock[MANY];

	T_EQ(softdirty_clear(quiet, "quiet"), 0);
	k_write(&t, 21);
	T_EQ(k_read(quiet, "quiet", SOFTDIRTY_READ_CLEAR, &t, NULL), 1);
	for (int i = 0; i < MANY; i++)
		sock[i] = raw(&name);
	must_hello(sock[MANY - 1]);	/* so all before it were seen */
	still_serves(sd, &t);
	/* It never said that it has the list, so it is told again, with what came since. */
	T_EQ(k_read(quiet, "quiet", SOFTDIRTY_READ_CLEAR, &t, NULL), 2);
	T_EQ(k_read(quiet, "quiet", 0, &t, NULL), 0);
	T_EQ(k_count_keepers(t.pid), 1);
	for (int i = 0; i < MANY; i++)
		close(sock[i]);
	softdirty_stop(sd);
	softdirty_close(sd);
	softdirty_close(quiet);
	k_end(&t);
}

/* Says that it will freeze the target, and then nothing. */
static void a_client_that_holds_for_ever(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	struct sdi_place_name name = name_of(sd);
	struct sdi_request rq = request(SDI_OP_HOLD);
	struct sdi_reply reply;
	int sock = raw(&name), null = open("/dev/null", O_RDONLY | O_CLOEXEC), sv[SDI_WIRE_MAX_FDS];

	must_hello(sock);
	T_OK(!exchange(sock, &rq, &reply) && !reply.err);
	still_serves(sd, &t);
	T_EQ(sdi_wire_recv(sock, &reply, sizeof(reply), sv, 0), -EPIPE);
	close(sock);
	/* And one that lies about having done so: an error for the others, but no silence. */
	sock = raw(&name);
	must_hello(sock);
	rq = request(SDI_OP_FROZEN);
	T_MUST(!sdi_wire_send(sock, &rq, sizeof(rq), &null, 1, 0));
	T_MUST(!sdi_wire_recv(sock, &reply, sizeof(reply), sv, 0) && !reply.err);
	T_EQ(softdirty_clear(sd, "ok"), -EBUSY);
	close(sock);
	still_serves(sd, &t);
	close(null);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* --- a keeper that lies --------------------------------------------------------------------- */

enum lie { HONEST, NO_MEMFD, UNSEALED, TOO_SHORT, TOO_MANY, WRONG_OP, WRONG_MAGIC, POSITIVE, SHORT,
	   NOT_A_MEMFD, N_LIES };

static int lie_fd(enum lie lie)
{
	struct softdirty_range r[2] = { { .start = 4096, .end = 8192 } };

	if (lie == NO_MEMFD)
		return -1;
	if (lie == NOT_A_MEMFD)
		return open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (lie != UNSEALED)
		return sdi_wire_seal(r, lie == TOO_SHORT ? 1 : 2);
	int fd = memfd_create("lie", MFD_CLOEXEC);
	T_MUST(fd >= 0 && write(fd, r, sizeof(r)) == sizeof(r));
	return fd;
}

static void lie_to(int sock, enum lie lie, uint64_t start_time)
{
	struct sdi_request rq;
	int fds[SDI_WIRE_MAX_FDS];

	while (!sdi_wire_recv(sock, &rq, sizeof(rq), fds, 0)) {
		struct sdi_reply reply = { .magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION,
					   .op = rq.op, .start_time = start_time };
		bool lies = rq.op == SDI_OP_READ;
		int fd = lies ? lie_fd(lie) : -1;

		for (int i = 0; i < SDI_WIRE_MAX_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		memset(reply.text, 'x', sizeof(reply.text));
		memset(reply.backend, 'x', sizeof(reply.backend));
		reply.n_ranges = !lies ? 0 : lie == TOO_MANY ? UINT64_MAX : 2;
		reply.op += lies && lie == WRONG_OP;
		reply.magic += lies && lie == WRONG_MAGIC;
		reply.err = lies && lie == POSITIVE ? 5 : 0;
		sdi_wire_send(sock, &reply, sizeof(reply) - (lies && lie == SHORT), &fd, fd >= 0, 0);
		if (fd >= 0)
			close(fd);
	}
}

static void lies_are_not_believed(void)
{
	struct k_target t = k_start();
	struct softdirty_info info = { .size = sizeof(info) };
	struct softdirty *local;
	struct sdi_place p;
	bool stale;

	T_MUST(!sdi_place_open(true, &p));
	T_MUST(!softdirty_open(t.pid, NULL, &local) && !softdirty_info(local, &info));
	struct sdi_place_name name = sdi_place_name(info.pid, info.start_time);
	softdirty_close(local);
	unsetenv("SOFTDIRTY_BACKEND");	/* the liar claims to have another one */
	for (enum lie lie = HONEST; lie < N_LIES; lie++) {
		int listener = sdi_place_listen(p.dir, &name, &stale);
		struct softdirty *sd;
		const struct softdirty_range *r;
		size_t n = 0;

		T_MUST(listener >= 0);
		T_MUST(fcntl(listener, F_SETFL, 0) == 0);
		pid_t pid = t_fork();
		if (pid == 0) {
			lie_to(accept(listener, NULL, NULL), lie, info.start_time);
			_exit(0);
		}
		close(listener);
		T_EQ(k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd), 0);
		int err = softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n);
		if (!T_EQ(err, lie == HONEST ? 0 : -EPROTO))
			t_note("lie %d: %s", lie, softdirty_error());
		T_EQ(n, lie == HONEST ? 2 : 0);
		softdirty_close(sd);
		waitpid(pid, NULL, 0);
	}
	sdi_place_remove(p.dir, &name, false);
	sdi_place_close(&p);
	k_end(&t);
}

/* No room for the descriptor that the answer comes with: nothing was moved. */
static void a_client_without_descriptors_loses_nothing(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	const struct softdirty_range *r;
	struct rlimit old, few;
	int fd[64], n_fds = 0;
	size_t n;

	T_EQ(softdirty_clear(sd, NULL), 0);
	k_write(&t, 30);
	T_MUST(!getrlimit(RLIMIT_NOFILE, &old));
	few = (struct rlimit){ .rlim_cur = 64, .rlim_max = old.rlim_max };
	T_MUST(!setrlimit(RLIMIT_NOFILE, &few));
	while (n_fds < 64 && (fd[n_fds] = dup(0)) >= 0)
		n_fds++;
	T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), -EMFILE);
	while (n_fds)
		close(fd[--n_fds]);
	T_MUST(!setrlimit(RLIMIT_NOFILE, &old));
	T_EQ(k_read(sd, NULL, SOFTDIRTY_READ_CLEAR, &t, NULL), 1);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* The list came, but there is no room to map it. */
static void a_client_without_memory_loses_nothing(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	T_SKIP("sanitizers need address space themselves");
#endif
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	const struct softdirty_range *r;
	struct rlimit old, none;
	size_t n;

	T_EQ(softdirty_clear(sd, NULL), 0);
	k_write(&t, 31);
	T_MUST(!getrlimit(RLIMIT_AS, &old));
	none = (struct rlimit){ .rlim_cur = 4096, .rlim_max = old.rlim_max };
	T_MUST(!setrlimit(RLIMIT_AS, &none));
	int err = softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n);
	T_MUST(!setrlimit(RLIMIT_AS, &old));
	T_EQ(err, -ENOMEM);
	T_OK(*softdirty_error());
	k_write(&t, 32);
	T_EQ(k_read(sd, NULL, SOFTDIRTY_READ_CLEAR, &t, NULL), 2);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 0);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(nonsense_is_hung_up_on);
	T_RUN(wrong_arguments_get_an_error);
	T_RUN(a_client_that_does_not_read);
	T_RUN(many_connections);
	T_RUN(a_client_without_descriptors_loses_nothing);
	T_RUN(a_client_without_memory_loses_nothing);
	T_RUN(a_client_that_holds_for_ever);
	T_RUN(lies_are_not_believed);
	return t_done();
}
