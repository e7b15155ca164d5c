/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What works here, for people and for scripts. Pure: data in, FILE out. */
#ifndef SDI_REPORT_CHECK_H
#define SDI_REPORT_CHECK_H

#include <stddef.h>
#include <stdio.h>

#include "softdirty.h"

struct sdi_check_report {
	pid_t pid;			/* 0: this kernel */
	const char *forced;		/* the backend that the environment asks for, or NULL */
	const char *uses;		/* the backend that will be used; NULL: none */
	const struct softdirty_backend *backends;
	size_t n;
};

void sdi_check_report_text(FILE *out, const struct sdi_check_report *r);

/* {"pid":N,"uses":"NAME","backends":[{"name":..,"works":..,"why":..}]}. 0 or -ENOMEM. */
int sdi_check_report_json(FILE *out, const struct sdi_check_report *r);

#endif
