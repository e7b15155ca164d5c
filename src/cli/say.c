/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the command tells a person, beside its answers: errors, notes, that it is still busy. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

/* What a person can do about it; "" where nothing general can be said. */
static const char *hint(int err)
{
	switch (-err) {
	case ESRCH:
		return " (check the process id)";
	case EPERM:
	case EACCES:
		return geteuid() ? " (be the same user, or root)" : "";
	case EBUSY:
		return " (end what holds it, then try again)";
	case EOPNOTSUPP:
		return " (softdirty check says more)";
	case ETIMEDOUT:
	case EAGAIN:
	case EIO:
		return " (try again)";
	case ENOMEM:
		return " (free some memory, then try again)";
	case EMFILE:
		return " (raise the limit: ulimit -n)";
	case ENFILE:
		return " (raise the limit: sysctl fs.file-max)";
	case ENOSPC:
	case EDQUOT:
		return " (make room there, then try again)";
	case EROFS:
		return " (make it writable)";
	default:
		return "";
	}
}

void sdi_cli_error(const char *verb, pid_t pid, int err)
{
	/* The library's sentence is about its own last error; out of memory were perhaps we. */
	const char *why = err == -ENOMEM ? "" : softdirty_error();

	if (!*why)
		why = strerror(-err);
	/* The library's sentence may say itself, in parentheses, what to do. */
	size_t len = strlen(why);
	bool advises = len && why[len - 1] == ')';
	fprintf(stderr, "softdirty: cannot %s %d: %s%s\n", verb, pid, why,
		advises ? "" : hint(err));
}

void sdi_cli_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("softdirty: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void sdi_cli_note(const char *fmt, ...)
{
	va_list ap;

	fputs("softdirty: note: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int sdi_cli_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	if (fmt) {
		fprintf(stderr, "softdirty %s: ", command);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	fprintf(stderr, "Try 'softdirty %s --help'.\n", command);
	return SDI_EXIT_USAGE;
}

int sdi_cli_flush(void)
{
	if (fflush(stdout) || ferror(stdout))
		return errno ? -errno : -EIO;
	return 0;
}

/* A thread of its own, so that no timer signal disturbs what it reports on. */
static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool running, done;
	const char *verb;
	pid_t pid;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER, .done_cond = PTHREAD_COND_INITIALIZER };

static void *report_progress(void *unused)
{
	struct timespec next;
	unsigned seconds = 0;

	clock_gettime(CLOCK_REALTIME, &next);
	pthread_mutex_lock(&progress.lock);
	while (!progress.done) {
		next.tv_sec++;
		if (pthread_cond_timedwait(&progress.done_cond, &progress.lock, &next) != ETIMEDOUT)
			continue;
		fprintf(stderr, "\rsoftdirty: still %s %d, %u s ", progress.verb, progress.pid,
			++seconds);
	}
	pthread_mutex_unlock(&progress.lock);
	if (seconds)
		fputs("\r\033[K", stderr);
	return NULL;
}

void sdi_cli_progress_start(const char *verb, pid_t pid)
{
	sigset_t all, old;

	if (!isatty(STDERR_FILENO))
		return;
	progress.verb = verb;
	progress.pid = pid;
	progress.done = false;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	progress.running = !pthread_create(&progress.thread, NULL, report_progress, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void sdi_cli_progress_stop(void)
{
	if (!progress.running)
		return;
	pthread_mutex_lock(&progress.lock);
	progress.done = true;
	pthread_cond_signal(&progress.done_cond);
	pthread_mutex_unlock(&progress.lock);
	pthread_join(progress.thread, NULL);
	progress.running = false;
}
