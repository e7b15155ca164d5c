/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can a library be preloaded into a program? Looks at its file only. */
#ifndef SDI_CLI_LOADABLE_H
#define SDI_CLI_LOADABLE_H

struct sdi_why_not {
	char text[256];
};

/*
 * Will LD_PRELOAD have an effect on this program, found in PATH as execvp() finds it? 0: yes, or
 * there is no such program; -1: no, and why.
 */
int sdi_cli_loadable(const char *program, struct sdi_why_not *why);

#endif
