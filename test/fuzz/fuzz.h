/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the harnesses share. A harness is one function, which is given bytes that came from outside,
 * has them parsed, and checks what must hold whatever they are. It is linked with libFuzzer, or
 * with main.c, which replays a corpus.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold. Ends the program when it does not. */
#define FUZZ_OK(cond) fuzz_ok((cond), __FILE__, __LINE__, #cond)
void fuzz_ok(bool holds, const char *file, int line, const char *text);

/* The bytes as a string, in memory that ends with it; the caller's to free. */
char *fuzz_string(const uint8_t *data, size_t size);

/* The next size bytes of what is left, zeros where there are none; they count as used. */
void fuzz_take(const uint8_t **data, size_t *left, void *ret, size_t size);

/* A directory for this program alone, gone at its end. The descriptor; its path. */
int fuzz_dir(void);
const char *fuzz_dir_path(void);

/* Replace the contents of a file in it. */
void fuzz_file(const char *name, const void *data, size_t size);

/* A memfd with these bytes. */
int fuzz_memfd(const void *data, size_t size);

/* How many descriptors this process has. */
int fuzz_count_fds(void);

/* Is every byte of it what memset() made of it? */
bool fuzz_untouched(const void *p, int byte, size_t size);

#endif
