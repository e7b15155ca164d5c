/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Claims, their count, and small helpers of test programs. Knows nothing about softdirty. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int n_failed, n_held, n_skipped;
static const char *claim_name = "";
static bool claim_failed, claim_skipped;

const char *t_name(void)
{
	return claim_name;
}

bool t_failed(void)
{
	return claim_failed;
}

static void fail(const char *file, int line)
{
	claim_failed = true;
	printf("\t%s:%d: ", file, line);
}

bool t_ok(bool holds, const char *file, int line, const char *text)
{
	if (!holds) {
		fail(file, line);
		printf("does not hold: %s\n", text);
	}
	return holds;
}

bool t_eq(long long got, long long want, const char *file, int line, const char *got_text,
	  const char *want_text)
{
	if (got != want) {
		fail(file, line);
		printf("%s is %lld, not %s (%lld)\n", got_text, got, want_text, want);
	}
	return got == want;
}

bool t_streq(const char *got, const char *want, const char *file, int line, const char *text)
{
	bool same = strcmp(got, want) == 0;

	if (!same) {
		fail(file, line);
		printf("%s is \"%s\", not \"%s\"\n", text, got, want);
	}
	return same;
}

void t_must(bool holds, const char *file, int line, const char *text)
{
	if (holds)
		return;
	printf("FAILED %s: %s:%d: the test needs %s (%s)\n", claim_name, file, line, text,
	       strerror(errno));
	exit(1);
}

void t_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("\t");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

void t_skip(const char *fmt, ...)
{
	va_list ap;

	claim_skipped = true;
	va_start(ap, fmt);
	printf("skipped %s: ", claim_name);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

void t_skip_all(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("skipped: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	exit(77);
}

void t_run(const char *name, void (*claim)(void))
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	claim_name = name;
	claim_failed = claim_skipped = false;
	claim();
	if (claim_failed) {
		n_failed++;
		printf("FAILED %s\n", name);
	} else if (claim_skipped) {
		n_skipped++;
	} else {
		n_held++;
		printf("ok %s\n", name);
	}
}

int t_done(void)
{
	if (n_failed)
		return 1;
	return n_held || !n_skipped ? 0 : 77;
}

pid_t t_fork(void)
{
	pid_t parent = getpid();
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	T_MUST(pid >= 0);
	return pid;
}

pid_t t_fork_as(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid,
				   .set_tid_size = 1 };
	pid_t ret = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (ret == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return ret;
}

void t_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

bool t_is_slow(void)
{
	return getenv("T_SECONDS") != NULL;
}

uint64_t t_deadline(unsigned seconds)
{
	const char *text = getenv("T_SECONDS");
	unsigned limit = text ? (unsigned)atoi(text) : seconds;

	return t_now() + (limit < seconds ? limit : seconds) * 1000000000ull;
}

uint64_t t_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t t_cpu(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void t_sleep_ms(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

uint64_t t_huge_splits(void)
{
	uint64_t n = 0;
	char text[32];
	glob_t g;

	if (glob("/sys/kernel/mm/transparent_hugepage/hugepages-*/stats/split", 0, NULL, &g))
		return 0;
	for (size_t i = 0; i < g.gl_pathc; i++)
		if (t_read_file(g.gl_pathv[i], text, sizeof(text)) > 0)
			n += strtoull(text, NULL, 10);
	globfree(&g);
	return n;
}

uint64_t t_available_memory(void)
{
	long long kib = t_proc_number("/proc/meminfo", "MemAvailable");

	return kib < 0 ? 0 : (uint64_t)kib * 1024;
}

bool t_drop_privileges(void)
{
	if (geteuid() != 0)
		return true;
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
	    setresuid(65534, 65534, 65534))
		return false;
	/* A change of uid makes a process undumpable, and with it its children untraceable. */
	return prctl(PR_SET_DUMPABLE, 1) == 0;
}

int t_temp_file(char path[64])
{
	static const char *const dirs[] = { "/var/tmp", "/tmp" };
	static unsigned count;
	int fd = -1;

	for (int i = 0; i < 2 && fd < 0; i++) {
		snprintf(path, 64, "%s/softdirty-test-%d-%u", dirs[i], getpid(), count++);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int t_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return (int)n;
}

ssize_t t_read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fd);
	return (ssize_t)len;
}

const char *t_proc_text(const char *path, const char *key)
{
	static char buf[16384];
	size_t len = strlen(key);

	if (t_read_file(path, buf, sizeof(buf)) < 0)
		return "";
	for (char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " \t");
	return "";
}

long long t_proc_number(const char *path, const char *key)
{
	const char *text = t_proc_text(path, key);

	return *text ? strtoll(text, NULL, 10) : -1;
}
