/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alone [--pid-namespace] PIDFILE COMMAND [ARG...] - start COMMAND in a session of its own, without
 * any descriptor of ours, so that it can be dumped without us; write its pid into PIDFILE.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int become(char **argv)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	syscall(SYS_close_range, 3, ~0u, 0);
	setsid();
	execvp(argv[0], argv);
	return 127;
}

int main(int argc, char **argv)
{
	pid_t pid;
	FILE *f;

	if (argc > 1 && !strcmp(argv[1], "--pid-namespace")) {
		if (unshare(CLONE_NEWPID))
			return fail("pid namespace");
		argc--;
		argv++;
	}
	if (argc < 3)
		return 2;
	pid = fork();
	if (pid < 0)
		return fail("fork");
	if (!pid)
		return become(argv + 2);
	f = fopen(argv[1], "w");
	return !f || fprintf(f, "%d\n", pid) < 0 || fclose(f) ? fail(argv[1]) : 0;
}
