/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/pagemap as the kernel's documentation describes it, bit 55 included. */
#ifndef SDI_CLI_PAGEMAP_H
#define SDI_CLI_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "softdirty.h"

/*
 * Write the entries of [start, end) from an open pagemap file, 8 bytes for each page in this
 * machine's byte order. Bit 55 is set for the pages in ranges, and for no other. 0 or -errno.
 */
int sdi_pagemap_write(FILE *out, int pagemap, uint64_t start, uint64_t end,
		      const struct softdirty_range *ranges, size_t n);

#endif
