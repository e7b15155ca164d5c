/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Talks to CRIU as runc and podman do: starts the `criu` that PATH finds as "criu swrk FD" and sends
 * a request in the format of CRIU's rpc.proto over a SOCK_SEQPACKET socket. With --service SOCKET to
 * a running `criu service` instead.
 *
 *	swrk check				prints "mem_track yes" or "mem_track no"
 *	swrk pre-dump|dump PID DIR [PARENT]
 *	swrk restore 0 DIR
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* criu_req, criu_resp and criu_opts of rpc.proto, as far as needed. */
enum { REQ_TYPE = 1, REQ_OPTS = 2, REQ_FEATURES = 5 };
enum { RESP_SUCCESS = 2, RESP_FEATURES = 8 };
enum { TYPE_DUMP = 1, TYPE_RESTORE = 2, TYPE_PRE_DUMP = 4, TYPE_FEATURE_CHECK = 9 };
enum { OPT_IMAGES_FD = 1, OPT_PID = 2, OPT_LOG_LEVEL = 9, OPT_LOG_FILE = 10, OPT_PARENT = 14,
       OPT_TRACK_MEM = 15 };
enum { FEATURE_MEM_TRACK = 1 };

struct message {
	uint8_t b[1024];
	size_t n;
};

static void put(struct message *m, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		m->b[m->n++] = v | 128;
	m->b[m->n++] = v;
}

static void put_number(struct message *m, int field, uint64_t v)
{
	put(m, field << 3);
	put(m, v);
}

static void put_bytes(struct message *m, int field, const void *bytes, size_t n)
{
	put(m, field << 3 | 2);
	put(m, n);
	memcpy(m->b + m->n, bytes, n);
	m->n += n;
}

static uint64_t get(const struct message *m, size_t *at)
{
	uint64_t v = 0;

	for (int shift = 0; *at < m->n && shift < 64; shift += 7) {
		uint8_t b = m->b[(*at)++];

		v |= (uint64_t)(b & 127) << shift;
		if (b < 128)
			break;
	}
	return v;
}

/* The number in a field, or in the first field of a message in it; -1 if it is not there. */
static int64_t find(const struct message *m, uint64_t field)
{
	for (size_t at = 0; at < m->n;) {
		uint64_t key = get(m, &at), v = get(m, &at);

		if (key == field << 3)
			return v;
		if (key == (field << 3 | 2)) {
			struct message inner = { .n = v };

			memcpy(inner.b, m->b + at, v);
			return find(&inner, FEATURE_MEM_TRACK);
		}
		if ((key & 7) == 2)
			at += v;
	}
	return -1;
}

static pid_t start_criu(int *sock)
{
	char number[16];
	int sv[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -1;
	pid = fork();
	if (!pid) {
		int fd = dup(sv[1]);	/* without close-on-exec */

		snprintf(number, sizeof(number), "%d", fd);
		execlp("criu", "criu", "swrk", number, NULL);
		_exit(127);
	}
	close(sv[1]);
	*sock = sv[0];
	return pid;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(sock, (struct sockaddr *)&a, sizeof(a))) {
		perror(path);
		exit(1);
	}
	return sock;
}

static struct message exchange(int sock, const struct message *request)
{
	struct message reply = { .n = 0 };
	ssize_t n = -1;

	if (send(sock, request->b, request->n, 0) == (ssize_t)request->n)
		n = recv(sock, reply.b, sizeof(reply.b), 0);
	if (n <= 0) {
		fprintf(stderr, "swrk: no answer from criu: %s\n", n ? strerror(errno) : "it ended");
		exit(1);
	}
	reply.n = n;
	return reply;
}

static int type_of(const char *command)
{
	return !strcmp(command, "dump") ? TYPE_DUMP :
	       !strcmp(command, "restore") ? TYPE_RESTORE : TYPE_PRE_DUMP;
}

static struct message request(char **argv)
{
	struct message opts = { .n = 0 }, m = { .n = 0 };
	int type = type_of(argv[1]);

	put_number(&opts, OPT_IMAGES_FD, open(argv[3], O_RDONLY | O_DIRECTORY));
	put_number(&opts, OPT_LOG_LEVEL, 4);
	put_bytes(&opts, OPT_LOG_FILE, type == TYPE_RESTORE ? "rst" : "log", 3);
	if (type != TYPE_RESTORE) {
		put_number(&opts, OPT_PID, atoi(argv[2]));
		put_number(&opts, OPT_TRACK_MEM, 1);
	}
	if (argv[4])
		put_bytes(&opts, OPT_PARENT, argv[4], strlen(argv[4]));
	put_number(&m, REQ_TYPE, type);
	put_bytes(&m, REQ_OPTS, opts.b, opts.n);
	return m;
}

static int check(int sock)
{
	struct message features = { .n = 0 }, m = { .n = 0 }, reply;

	put_number(&features, FEATURE_MEM_TRACK, 1);
	put_number(&m, REQ_TYPE, TYPE_FEATURE_CHECK);
	put_bytes(&m, REQ_FEATURES, features.b, features.n);
	reply = exchange(sock, &m);
	printf("mem_track %s\n", find(&reply, RESP_FEATURES) > 0 ? "yes" : "no");
	return find(&reply, RESP_FEATURES) <= 0;
}

int main(int argc, char **argv)
{
	struct message m, reply;
	int sock, status = 1;
	pid_t criu = 0;

	if (argc > 2 && !strcmp(argv[1], "--service")) {
		sock = connect_to(argv[2]);
		argc -= 2;
		argv += 2;
	} else {
		criu = start_criu(&sock);
	}
	if (criu < 0 || argc < 2)
		return 2;
	if (!strcmp(argv[1], "check")) {
		status = check(sock);
	} else if (argc > 3) {
		m = request(argv);
		reply = exchange(sock, &m);
		status = find(&reply, RESP_SUCCESS) != 1;
		printf("%s %s\n", argv[1], status ? "failed" : "done");
	}
	close(sock);
	if (criu)
		waitpid(criu, NULL, 0);
	return status;
}
