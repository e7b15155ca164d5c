/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs the tests of the plan. Its lines are "KEY VALUE":
 *
 *	seconds N	from here on, how long a test may take
 *	env NAME=VALUE	for the next test
 *	arg ARGUMENT	of the next test, the program's path first
 *	test NAME	run it: as an ordinary user, and again as root if something was skipped that
 *			root might be able to do
 *
 * For each run the console has
 *	@begin NAME as USER
 *	@| LINE				what it printed
 *	@end HOW MILLISECONDS		HOW is "exit N", "signal N" or "timeout"
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"

#define MAX_WORDS 32
#define NOBODY 65534

struct test {
	const char *name;
	char *argv[MAX_WORDS + 1], *env[MAX_WORDS + 1];
	int n_args, n_env;
	long seconds;
};

/* What a test prints, cut into lines. */
struct output {
	int fd;
	size_t used;
	char line[1000];
	bool forbidden;	/* it said that it skipped something for want of rights */
};

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Tests say why they skip something. */
static bool is_forbidden(const char *line)
{
	static const char *const words[] = { "root", "may not", "not allowed", "not permitted",
					     "Permission", "cgroup" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(line, words[i]))
			return strncmp(line, "skipped", 7) == 0;
	return false;
}

static void end_line(struct output *o)
{
	o->line[o->used] = 0;
	o->forbidden |= is_forbidden(o->line);
	printf("@| %s\n", o->line);
	o->used = 0;
}

static void add_output(struct output *o, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\n' || o->used == sizeof(o->line) - 1)
			end_line(o);
		if (text[i] != '\n')
			o->line[o->used++] = text[i];
	}
}

/* Print what is there by now; at the end of it the descriptor is closed. */
static void take_output(struct output *o)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(o->fd, buf, sizeof(buf))) > 0)
		add_output(o, buf, (size_t)n);
	if (n == 0) {
		close(o->fd);
		o->fd = -1;
	}
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		_exit(127);
	setenv("XDG_RUNTIME_DIR", "/run/user/65534", 1);
}

static void exec_test(const struct test *t, bool root, int out)
{
	int in = open("/dev/null", O_RDONLY);

	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	closefrom(3);
	if (!root)
		become_nobody();
	for (int i = 0; i < t->n_env; i++)
		putenv(t->env[i]);
	if (chdir("/tmp") == 0)
		execv(t->argv[0], t->argv);
	fprintf(stderr, "cannot start %s: %s\n", t->argv[0], strerror(errno));
	_exit(127);
}

/* Until the child has ended, orphans of others are reaped as well. */
static bool ended(pid_t child, int *status)
{
	int s;

	for (pid_t pid; (pid = waitpid(-1, &s, WNOHANG)) > 0;) {
		if (pid == child) {
			*status = s;
			return true;
		}
	}
	return false;
}

/* Every process but us. */
static void kill_the_rest(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void print_end(bool timeout, int status, long long ms)
{
	if (timeout)
		printf("@end timeout %lld\n", ms);
	else if (WIFSIGNALED(status))
		printf("@end signal %d %lld\n", WTERMSIG(status), ms);
	else
		printf("@end exit %d %lld\n", WEXITSTATUS(status), ms);
}

/* Returns whether something was skipped for want of rights. */
static bool run_as(const struct test *t, bool root)
{
	struct output out = { 0 };
	long long start = now_ms();
	bool timeout = false;
	int pipefd[2], status = 0;
	pid_t child;

	printf("@begin %s as %s\n", t->name, root ? "root" : "nobody");
	fflush(stdout);
	if (pipe2(pipefd, O_CLOEXEC))
		abort();
	child = fork();
	if (child == 0)
		exec_test(t, root, pipefd[1]);
	close(pipefd[1]);
	out.fd = pipefd[0];
	fcntl(out.fd, F_SETFL, O_NONBLOCK);
	while (!ended(child, &status) && !timeout) {
		poll(&(struct pollfd){ .fd = out.fd, .events = POLLIN }, 1, 20);
		take_output(&out);
		timeout = now_ms() - start > t->seconds * 1000;
	}
	kill_the_rest();
	take_output(&out);
	if (out.used)
		end_line(&out);
	if (out.fd >= 0)
		close(out.fd);
	print_end(timeout, status, now_ms() - start);
	vm_kernel_messages();
	return out.forbidden;
}

static void run_test(struct test *t)
{
	if (run_as(t, false))
		run_as(t, true);
	for (int i = 0; i < t->n_args; i++)
		free(t->argv[i]);
	for (int i = 0; i < t->n_env; i++)
		free(t->env[i]);
	*t = (struct test){ .seconds = t->seconds };
}

static void directive(struct test *t, const char *key, char *value)
{
	if (strcmp(key, "seconds") == 0) {
		t->seconds = strtol(value, NULL, 10);
	} else if (strcmp(key, "env") == 0 && t->n_env < MAX_WORDS) {
		t->env[t->n_env++] = strdup(value);
	} else if (strcmp(key, "arg") == 0 && t->n_args < MAX_WORDS) {
		t->argv[t->n_args++] = strdup(value);
	} else if (strcmp(key, "test") == 0 && t->n_args > 0) {
		t->name = value;
		run_test(t);
	} else {
		printf("@note bad line in the plan: %s %s\n", key, value);
	}
}

void vm_run_plan(const char *path)
{
	struct test t = { .seconds = 60 };
	FILE *plan = fopen(path, "re");
	char *line = NULL, *value;
	size_t size = 0;

	while (plan && getline(&line, &size, plan) > 0) {
		line[strcspn(line, "\n")] = 0;
		value = strchr(line, ' ');
		if (!value)
			continue;
		*value++ = 0;
		directive(&t, line, value);
	}
	free(line);
	if (plan)
		fclose(plan);
}
