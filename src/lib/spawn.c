/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host -> middle (no exit signal: no wait() sees it) -> keeper. The middle ends at once, so the
 * keeper belongs to init. exec gives a process an exit signal, hence the middle. Both share the
 * host's memory until the exec, as in posix_spawn(): nothing is copied, whatever its size.
 */
#include "lib/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wire/wire.h"

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer's own takes this for a fork. As the memory is shared, the thread of the host that
 * calls it is then one whose locks are ignored: false reports, and none of the true ones. */
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

enum { STACK_SIZE = 64 * 1024, MAX_ENV = 8 };

struct spawn {
	const char *command;
	char *argv[4];
	char *env[MAX_ENV + 1];
	int channel;
	char *stacks;		/* two */
	int err;
};

static int keeper_child(void *arg)
{
	struct spawn *s = arg;

	if (s->channel == SDI_WIRE_START_FD)
		fcntl(s->channel, F_SETFD, 0);
	else
		dup2(s->channel, SDI_WIRE_START_FD);
	execve(s->command, s->argv, s->env);
	s->err = errno;
	return 127;	/* clone() ends the process with it */
}

static int middle_child(void *arg)
{
	struct spawn *s = arg;

	if (clone(keeper_child, s->stacks + 2 * STACK_SIZE, CLONE_VM | CLONE_VFORK, s) < 0)
		s->err = errno;
	return 0;
}

/* All that a keeper needs of the environment: it must not be preloaded into, nor keep secrets. */
static void choose_env(char **ret)
{
	static const char *const wanted[] = { "LD_LIBRARY_PATH=", "ASAN_OPTIONS=",
					      "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS=" };
	size_t n = 0;

	for (char **e = environ; e && *e; e++)
		for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
			if (n < MAX_ENV && !strncmp(*e, wanted[i], strlen(wanted[i])))
				ret[n++] = *e;
	ret[n] = NULL;
}

/* No handler of the host may run in a child that shares its memory. */
static int run(struct spawn *s)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid_t middle = clone(middle_child, s->stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK, s);
	if (middle < 0)
		s->err = errno;
	else
		while (waitpid(middle, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -s->err;
}

int sdi_spawn_keeper(const char *command, pid_t pid, int channel)
{
	char number[16];
	struct spawn s = {
		.command = command, .channel = channel,
		.argv = { (char *)"softdirty", (char *)"keeper", number },
	};

	snprintf(number, sizeof(number), "%d", pid);
	choose_env(s.env);
	s.stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (s.stacks == MAP_FAILED)
		return -errno;
	int err = run(&s);
	munmap(s.stacks, 2 * STACK_SIZE);
	return err;
}
