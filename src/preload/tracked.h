/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The processes whose soft-dirty bits this program asks for. Each call opens its own connection to
 * their keeper and leaves no descriptor behind, because programs close what they do not know, fork
 * and count on the lowest number. Must not know libc calls or descriptors.
 */
#ifndef SDI_PRELOAD_TRACKED_H
#define SDI_PRELOAD_TRACKED_H

#include "emulate/emulate.h"
#include "preload/files.h"

/* As a write of "4" to the clear_refs of that process: 0 or -errno as the kernel would. */
int sdi_tracked_clear(const struct sdi_file *f);

/* As sdi_emulate_entries() and sdi_emulate_scan(). */
void sdi_tracked_entries(const struct sdi_file *f, uint64_t first_page, uint64_t *entries,
			 size_t n);
int sdi_tracked_scan(const struct sdi_file *f, int pagemap, struct pm_scan_arg *arg);

/* The calling thread traces pid and has it in a stop: see to it that it is tracked from now on. */
void sdi_tracked_seized(pid_t pid);

#endif
