/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the subcommands share: exit statuses, messages, the processes that are meant. A command
 * is one function in one file cmd-NAME.c, and one row of the table in main.c. It knows the target
 * through softdirty.h alone.
 */
#ifndef SDI_CLI_CLI_H
#define SDI_CLI_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "softdirty.h"

enum sdi_exit {
	SDI_EXIT_OK = 0,
	SDI_EXIT_FAILED = 1,	/* with one line on stderr */
	SDI_EXIT_USAGE = 2,
};

int sdi_cmd_check(int argc, char **argv);
int sdi_cmd_clear(int argc, char **argv);
int sdi_cmd_exec(int argc, char **argv);
int sdi_cmd_mount(int argc, char **argv);
int sdi_cmd_read(int argc, char **argv);
int sdi_cmd_stop(int argc, char **argv);
int sdi_cmd_verify(int argc, char **argv);

/* "softdirty: cannot VERB PID: why (what to do)" for the library's last failure, -errno err. */
void sdi_cli_error(const char *verb, pid_t pid, int err);

/* "softdirty: cannot ..." for all other failures. */
void sdi_cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "softdirty: note: ..." */
void sdi_cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "softdirty COMMAND: ..." and where to find help. Returns SDI_EXIT_USAGE. */
int sdi_cli_usage(const char *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Flush stdout. Whatever could not be written there is a failure: 0 or -errno. */
int sdi_cli_flush(void);

/*
 * While something takes more than a second, say so on stderr if that is a terminal. One at a time;
 * verb is like "reading". _stop takes the line away.
 */
void sdi_cli_progress_start(const char *verb, pid_t pid);
void sdi_cli_progress_stop(void);

/*
 * From _catch on, Ctrl-C and the like no longer end this program at once: they interrupt what waits
 * and make _caught() true, so that the command can tidy up. _die_as_caught ends this program as
 * the signal would have done, if there was one.
 */
void sdi_cli_catch_signals(void);
bool sdi_cli_caught(void);
void sdi_cli_die_as_caught(void);

/* While this program holds another one stopped, Ctrl-Z waits: it would stop both. */
void sdi_cli_block_stops(sigset_t *old);
void sdi_cli_allow_stops(const sigset_t *old);

/* The name of a process ("" if it has gone), for people. */
void sdi_cli_process_name(pid_t pid, char name[static 64]);

/* Open with a keeper. extra: SOFTDIRTY_OPEN_EXISTING or 0. As softdirty_open(). */
int sdi_cli_open(pid_t pid, const char *backend, unsigned extra, struct softdirty **ret);

/* Is there a backend of that name, or is it "auto"? */
bool sdi_cli_is_backend(const char *name);

/* The backend that the environment asks for, whether there is one of that name or not; or NULL. */
const char *sdi_cli_forced_backend(void);

/* Is it one? If not, that is said on stderr. */
bool sdi_cli_check_environment(void);

/* Our own path, so that keepers are of the same build; the link itself if we were replaced. */
const char *sdi_cli_own_path(void);

/* Tell the person that better backends were passed over, if so. */
void sdi_cli_note_backend(struct softdirty *sd);

#endif
