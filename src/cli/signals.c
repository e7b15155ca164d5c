/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ctrl-C and the like: what was begun is ended in order. */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#include "cli/cli.h"

static volatile sig_atomic_t caught;

static void remember(int sig)
{
	caught = sig;
}

void sdi_cli_catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction act = { .sa_handler = remember }, old;

	/* One that was ignored when we started (nohup) stays ignored. */
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
}

bool sdi_cli_caught(void)
{
	return caught;
}

void sdi_cli_die_as_caught(void)
{
	if (!caught)
		return;
	signal(caught, SIG_DFL);
	raise(caught);
}

void sdi_cli_block_stops(sigset_t *old)
{
	sigset_t stops;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTSTP);
	sigaddset(&stops, SIGTTIN);
	sigaddset(&stops, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &stops, old);
}

void sdi_cli_allow_stops(const sigset_t *old)
{
	pthread_sigmask(SIG_SETMASK, old, NULL);
}
