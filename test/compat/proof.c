/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process, or a tree of them, whose memory proves itself: what a dump and a restore must not harm.
 *
 *	proof [--threads N] [--children N] [--pages N] [--rate N] [--shared] [--exec] [--seccomp] RESULT
 *
 * Each thread writes random pages of its own. How often each was written stands in an array, how
 * often all of them in a register; a page holds a number that follows from its index and its count,
 * everywhere. At SIGUSR1 each thread checks all of that and adds a line to the file RESULT: "ok PID
 * TID WRITES" or "CORRUPT ...". --shared: one more counter each, in memory shared by all processes.
 * --exec: the children replace themselves now and then; --seccomp: with a filter installed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8 };

static struct {
	int threads, children, pages, rate;
	bool shared, exec, seccomp;
	const char *result;
} want = { .threads = 1, .pages = 2048, .rate = 2000 };

static atomic_uint check_round;
static uint64_t *shared;	/* the writes of each thread of each process */

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 29;
	return x;
}

struct writer {
	uint64_t *pages;
	uint32_t *count;
	int slot;		/* in shared */
};

static void fill(uint64_t *page, uint64_t index, uint64_t count)
{
	for (int w = 0; w < WORDS; w += 37)
		page[w] = mix(index << 32 | count) + w;
}

static bool is_filled(const uint64_t *page, uint64_t index, uint64_t count)
{
	for (int w = 0; w < WORDS; w += 37)
		if (page[w] != mix(index << 32 | count) + w)
			return false;
	return true;
}

static void report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void report(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fd = open(want.result, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, n) != n)
		die(want.result);
	close(fd);
}

static void check(const struct writer *w, uint64_t n_writes)
{
	uint64_t sum = 0, bad = 0;

	for (int i = 0; i < want.pages; i++) {
		sum += w->count[i];
		bad += !is_filled(w->pages + (size_t)i * WORDS, i, w->count[i]);
	}
	if (bad || sum != n_writes || (shared && shared[w->slot] != n_writes))
		report("CORRUPT %d %ld: %lu pages, %lu writes counted of %lu\n", getpid(),
		       (long)syscall(SYS_gettid), bad, sum, n_writes);
	else
		report("ok %d %ld %lu\n", getpid(), (long)syscall(SYS_gettid), n_writes);
}

static void *write_for_ever(void *arg)
{
	const struct writer *w = arg;
	uint64_t seed = mix((uintptr_t)w + getpid()) | 1, n_writes = 0;
	unsigned checked = 0;

	for (int i = 0; i < want.pages; i++)
		fill(w->pages + (size_t)i * WORDS, i, 0);
	for (;;) {
		for (int k = 0; k < want.rate / 100 + 1; k++, n_writes++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			uint32_t i = (seed >> 33) % want.pages;

			fill(w->pages + (size_t)i * WORDS, i, ++w->count[i]);
			if (shared)
				shared[w->slot]++;
		}
		if (checked != check_round) {
			checked = check_round;
			check(w, n_writes);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return NULL;
}

static void on_usr1(int sig)
{
	atomic_fetch_add(&check_round, 1);
}

static void start_threads(int process)
{
	struct writer *w = calloc(want.threads, sizeof(*w));
	pthread_t thread;

	for (int i = 0; i < want.threads; i++) {
		w[i].pages = mmap(NULL, (size_t)want.pages * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		w[i].count = calloc(want.pages, sizeof(*w[i].count));
		w[i].slot = process * want.threads + i;
		if (w[i].pages == MAP_FAILED || !w[i].count)
			die("memory");
		if (i && pthread_create(&thread, NULL, write_for_ever, &w[i]))
			die("thread");
	}
	write_for_ever(&w[0]);
}

/* All system calls are allowed, but they pass a filter. */
static void install_filter(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
}

/* A few times a second another program in this process, or another process in its place. */
static void churn(char **argv)
{
	char *mem = malloc(1 << 20);

	memset(mem, getpid(), 1 << 20);
	nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
	for (size_t i = 0; i < 1 << 20; i++)
		if (mem[i] != (char)getpid()) {
			report("CORRUPT %d heap before exec\n", getpid());
			break;
		}
	if (!fork()) {
		usleep(70000);
		_exit(0);
	}
	execv("/proc/self/exe", argv);
	die("exec");
}

static void start_child(int n, char **argv)
{
	if (fork())
		return;
	signal(SIGCHLD, SIG_IGN);
	if (!want.exec)
		start_threads(n);
	setenv("PROOF_CHURN", "1", 1);
	churn(argv);
}

static void parse(char **argv)
{
	for (argv++; *argv; argv++) {
		struct { const char *name; int *value; } numbers[] = {
			{ "--threads", &want.threads }, { "--children", &want.children },
			{ "--pages", &want.pages }, { "--rate", &want.rate },
		};
		bool found = false;

		for (int i = 0; i < 4 && !found; i++)
			if (!strcmp(*argv, numbers[i].name) && (found = argv[1]))
				*numbers[i].value = atoi(*++argv);
		if (found)
			continue;
		if (!strcmp(*argv, "--shared"))
			want.shared = true;
		else if (!strcmp(*argv, "--exec"))
			want.exec = true;
		else if (!strcmp(*argv, "--seccomp"))
			want.seccomp = true;
		else
			want.result = *argv;
	}
}

int main(int argc, char **argv)
{
	parse(argv);
	signal(SIGUSR1, on_usr1);
	if (getenv("PROOF_CHURN")) {
		signal(SIGCHLD, SIG_IGN);
		churn(argv);
	}
	if (want.shared) {
		shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			die("shared memory");
	}
	if (want.seccomp)
		install_filter();
	for (int i = 1; i <= want.children; i++)
		start_child(i, argv);
	start_threads(0);
}
