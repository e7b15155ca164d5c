/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every test program uses: claims, the exit status (0 all hold, 1 some do not, 77 nothing
 * could be tried), and processes that cannot outlive the test. Knows nothing about softdirty.
 *
 *	static void a_write_is_seen(void) { T_EQ(count(), 1); }
 *	int main(void) { T_RUN(a_write_is_seen); return t_done(); }
 *
 * T_RUN prints one line for each claim: "ok NAME", "FAILED NAME" or "skipped NAME: why".
 */
#ifndef T_H
#define T_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Check a claim; when it does not hold, print it and count it. Evaluates to whether it holds. */
#define T_OK(cond) t_ok((cond), __FILE__, __LINE__, #cond)
#define T_EQ(got, want) \
	t_eq((long long)(got), (long long)(want), __FILE__, __LINE__, #got, #want)
#define T_STREQ(got, want) t_streq((got), (want), __FILE__, __LINE__, #got)

/* The same for what the test itself needs: ends the program with 1 when it does not hold. */
#define T_MUST(cond) t_must((cond), __FILE__, __LINE__, #cond)

/* Leave this claim (a void function) undecided, with the reason. */
#define T_SKIP(...) do { t_skip(__VA_ARGS__); return; } while (0)

#define T_RUN(claim) t_run(#claim, claim)

/* Print a remark that belongs to the claim, indented below it. */
void t_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Nothing here can be tried: print why, exit 77. */
void t_skip_all(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The exit status of the program. */
int t_done(void);

bool t_ok(bool holds, const char *file, int line, const char *text);
bool t_eq(long long got, long long want, const char *file, int line, const char *got_text,
	  const char *want_text);
bool t_streq(const char *got, const char *want, const char *file, int line, const char *text);
void t_must(bool holds, const char *file, int line, const char *text);
void t_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void t_run(const char *name, void (*claim)(void));

/* The claim that is being run; whether it has failed by now. */
const char *t_name(void);
bool t_failed(void);

/* fork() whose child is killed when the calling thread ends. */
pid_t t_fork(void);

/* A child with that very pid, which only waits to be killed. -1 and errno: not possible here. */
pid_t t_fork_as(pid_t pid);

/* End a child with SIGKILL and reap it. Harmless for pid <= 0. */
void t_kill(pid_t pid);

/*
 * When something that is done at random, or very often, is to end at the latest (t_now()): in so many
 * seconds, or in as few as T_SECONDS in the environment says.
 */
uint64_t t_deadline(unsigned seconds);

/* Does the environment say so, as of a machine on which everything takes much longer? */
bool t_is_slow(void);

/* CLOCK_MONOTONIC, nanoseconds; and CPU time of the calling thread. */
uint64_t t_now(void);
uint64_t t_cpu(void);
void t_sleep_ms(unsigned ms);

/* Huge pages that the kernel has split since boot, of whatever process; 0 if it does not tell. */
uint64_t t_huge_splits(void);

/* Bytes that MemAvailable says are free to use. */
uint64_t t_available_memory(void);

/* Become nobody for good when root. Returns whether the program is unprivileged now. */
bool t_drop_privileges(void);

/* Make an empty file on a disk if there is one (/var/tmp, else /tmp) and open it for reading and
 * writing; its name goes to path. Returns the descriptor or -errno. The caller unlinks it. */
int t_temp_file(char path[64]);

/* Write a short text to a file such as a sysctl. Returns 0 or -errno. */
int t_write_file(const char *path, const char *text);

/* Read a file into buf as a string. Returns its length or -errno. */
ssize_t t_read_file(const char *path, char *buf, size_t size);

/* What follows "key:" on its line in a file of /proc, without leading blanks; "" if nothing.
 * Lives until the next call. */
const char *t_proc_text(const char *path, const char *key);

/* The same as a decimal number, -1 if there is none. */
long long t_proc_number(const char *path, const char *key);

#endif
