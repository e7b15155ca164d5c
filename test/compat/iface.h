/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's soft-dirty interface as any program uses it (admin-guide/mm/soft-dirty.rst): plain
 * system calls on two files. Knows nothing of softdirty, so that the same test runs on a kernel
 * that has the bit, under `softdirty exec`, and on the files of `softdirty mount`.
 */
#ifndef IFACE_H
#define IFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PRESENT (1ull << 63)
#define SWAPPED (1ull << 62)
#define IS_FILE (1ull << 61)
#define UFFD_WP (1ull << 57)
#define SOFT_DIRTY (1ull << 55)

/* Where the files are: "/proc" if not told otherwise. */
void iface_set_proc(const char *dir);
bool iface_is_proc(void);

/* Its file of process pid, as a path that lives until the next call, or opened. */
const char *iface_path(pid_t pid, const char *name);
int iface_open(pid_t pid, const char *name, int flags);

/* Clear the bits of a process. */
void iface_clear(pid_t pid);

/* The entry of one page. */
uint64_t iface_entry(pid_t pid, const void *addr);
bool iface_dirty(const void *addr);

/* The calling process's dirty pages among n at addr, as bits, the first one lowest. */
uint64_t iface_dirty_pages(const void *addr, size_t n);

/* Fresh memory of n pages; the second kind is written once. Never joined to other mappings. */
char *iface_map(size_t n);
char *iface_map_written(size_t n);

size_t iface_page(void);

/* Claims in other files. */
void iface_scan_claims(void);
void iface_file_claims(void);
void iface_name_claims(void);

#endif
