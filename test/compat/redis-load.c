/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counters in a redis-server, and what they must be: the load for a dump and the proof after it.
 *
 *	redis-load SOCKET fill N	set N counters to 0
 *	redis-load SOCKET load N FILE	increment random ones until SIGTERM; then wait for all answers
 *					and write into FILE what they must be
 *	redis-load SOCKET verify N FILE	read all of them and compare
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 200, PAUSE_NS = 4000000 };

static volatile sig_atomic_t stop;
static FILE *in, *out;

static void die(const char *what)
{
	fprintf(stderr, "redis-load: %s: %s\n", what, errno ? strerror(errno) : "");
	exit(1);
}

static void connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die(path);
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
}

static void expect(char type, char *line, size_t size)
{
	errno = 0;
	if (!fgets(line, size, in) || line[0] != type)
		die("unexpected answer");
}

/* Padded, so that 200,000 of them fill some memory. */
static void fill(unsigned n)
{
	char line[64];

	for (unsigned i = 0; i < n; i += BATCH) {
		unsigned end = i + BATCH < n ? i + BATCH : n;

		for (unsigned k = i; k < end; k++)
			fprintf(out, "SET counter:%u 0\r\nSET filler:%u %0100u\r\n", k, k, k);
		fflush(out);
		for (unsigned k = i; k < end; k++)
			for (int reply = 0; reply < 2; reply++)
				expect('+', line, sizeof(line));
	}
}

static void on_term(int sig)
{
	stop = 1;
}

static void save(const uint32_t *count, unsigned n, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(count, sizeof(*count), n, f) != n || fclose(f))
		die(path);
}

static void load(unsigned n, const char *path)
{
	uint32_t *count = calloc(n, sizeof(*count));
	unsigned batch[BATCH];
	uint64_t seed = time(NULL);
	char line[64];

	while (!stop) {
		for (int k = 0; k < BATCH; k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			batch[k] = (seed >> 33) % n;
			fprintf(out, "INCR counter:%u\r\n", batch[k]);
		}
		fflush(out);
		for (int k = 0; k < BATCH; k++) {
			expect(':', line, sizeof(line));
			count[batch[k]]++;
		}
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	}
	save(count, n, path);
}

static void verify(unsigned n, const char *path)
{
	uint32_t *count = calloc(n, sizeof(*count)), n_bad = 0;
	uint64_t sum = 0;
	FILE *f = fopen(path, "r");
	char line[64];

	if (!f || fread(count, sizeof(*count), n, f) != n)
		die(path);
	for (unsigned i = 0; i < n; i++) {
		if (i % BATCH == 0) {
			for (unsigned k = i; k < n && k < i + BATCH; k++)
				fprintf(out, "GET counter:%u\r\n", k);
			fflush(out);
		}
		expect('$', line, sizeof(line));
		if (!fgets(line, sizeof(line), in))
			die("answer");
		n_bad += strtoul(line, NULL, 10) != count[i];
		sum += count[i];
	}
	printf("%u counters, %lu increments, %u wrong\n", n, sum, n_bad);
	exit(!!n_bad);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_term, .sa_flags = SA_RESTART };

	if (argc < 4)
		return 2;
	sigaction(SIGTERM, &sa, NULL);
	connect_to(argv[1]);
	if (!strcmp(argv[2], "fill"))
		fill(atoi(argv[3]));
	else if (!strcmp(argv[2], "load") && argc > 4)
		load(atoi(argv[3]), argv[4]);
	else if (!strcmp(argv[2], "verify") && argc > 4)
		verify(atoi(argv[3]), argv[4]);
	else
		return 2;
	return 0;
}
