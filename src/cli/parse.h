/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words of the command line to values, strictly: all of the word or nothing. Pure. */
#ifndef SDI_CLI_PARSE_H
#define SDI_CLI_PARSE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process id: decimal, greater than 0. */
bool sdi_parse_pid(const char *text, pid_t *ret);

/* START-END in hexadecimal, with or without 0x; START < END. Alignment is the caller's to check. */
bool sdi_parse_range(const char *text, uint64_t *start, uint64_t *end);

/* A decimal number from 1 to max. */
bool sdi_parse_count(const char *text, unsigned max, unsigned *ret);

/* Seconds as "2" or "0.25", at most a day, to nanoseconds. */
bool sdi_parse_seconds(const char *text, uint64_t *ret_ns);

#endif
