/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command `softdirty exec`: what it runs, what it refuses and why, its exit status, and what the
 * programs below it find. argv: SOFTDIRTY SELFTEST INSIDE-MALLOC.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softdirty.h"
#include "t.h"

static const char *softdirty, *selftest, *inside_malloc;
static char output[4096];

/* Run `softdirty exec WORD...`; returns the exit status, -1 for another end. Fills output. */
static int run(const char *const *words)
{
	const char *argv[16] = { softdirty, "exec" };
	size_t n = 0;
	ssize_t got;
	int p[2], status;

	for (int i = 0; words[i]; i++)
		argv[2 + i] = words[i];
	T_MUST(!pipe2(p, O_CLOEXEC));
	pid_t pid = t_fork();
	if (!pid) {
		dup2(p[1], 1);
		dup2(p[1], 2);
		execv(softdirty, (char **)argv);
		_exit(99);
	}
	close(p[1]);
	while (n < sizeof(output) - 1 && (got = read(p[0], output + n, sizeof(output) - 1 - n)) > 0)
		n += got;
	output[n] = '\0';
	close(p[0]);
	T_MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static bool says(const char *text)
{
	if (strstr(output, text))
		return true;
	t_note("it says: %s", output);
	return false;
}

/* Does the kernel have the bit, so that programs are simply executed? */
static bool is_native(void)
{
	const struct softdirty_backend *b;
	const char *forced = getenv("SOFTDIRTY_BACKEND");
	size_t n;

	if (forced && strcmp(forced, "soft-dirty"))
		return false;
	T_MUST(!softdirty_check(0, &b, &n));
	for (size_t i = 0; i < n; i++)
		if (b[i].works && !strcmp(b[i].name, "soft-dirty"))
			return true;
	return false;
}

/* In a child, because privileges do not come back. */
static int unprivileged(bool (*holds)(void))
{
	int status;
	pid_t pid = t_fork();

	if (!pid) {
		if (!t_drop_privileges() || access(softdirty, X_OK) || access(selftest, X_OK))
			_exit(77);
		_exit(!holds());
	}
	T_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool selftest_holds(void)
{
	bool holds = T_EQ(RUN(selftest, "--must"), 0);

	if (!holds)
		t_note("%s", output);
	return holds;
}

static void the_whole_interface_works(void)
{
	selftest_holds();
}

static void the_whole_interface_works_without_privileges(void)
{
	int status = unprivileged(selftest_holds);

	if (status == 77)
		T_SKIP("nobody may not enter the build directory");
	T_EQ(status, 0);
}

static void the_interface_calls_no_malloc(void)
{
	if (!T_EQ(RUN(inside_malloc), 0))
		t_note("%s", output);
}

static void the_exit_status_is_that_of_the_command(void)
{
	T_EQ(RUN("sh", "-c", "exit 42"), 42);
	T_EQ(RUN("--", "sh", "-c", "exit 3"), 3);
	T_EQ(RUN("sh", "-c", "kill -9 $$"), -1);
}

static void what_cannot_be_run_is_told_as_env_does(void)
{
	T_EQ(RUN("no-such-program"), 127);
	T_OK(says("softdirty: cannot exec no-such-program: No such file or directory"));
	T_EQ(RUN("/"), 126);
	T_OK(says("softdirty: cannot exec /: "));
}

static void wrong_usage_is_told(void)
{
	T_EQ(run((const char *const[]){ NULL }), 2);
	T_EQ(RUN("--no-such-option"), 2);
	T_EQ(RUN("--help"), 0);
	T_OK(says("Usage: softdirty exec"));
}

static void a_static_program_is_refused(void)
{
	T_EQ(RUN("/sbin/ldconfig", "--version"), 126);
	T_OK(says("statically linked"));
	T_OK(says("softdirty mount"));
}

static const char *const setuid_program = "/usr/bin/passwd";

static bool setuid_is_refused(void)
{
	return T_EQ(RUN(setuid_program, "--help"), 126) && T_OK(says("is setuid"));
}

static void a_setuid_program_is_refused_to_others(void)
{
	struct stat st;
	int status;

	if (stat(setuid_program, &st) || !(st.st_mode & S_ISUID))
		T_SKIP("no setuid program %s", setuid_program);
	status = unprivileged(setuid_is_refused);
	if (status == 77)
		T_SKIP("nobody may not enter the build directory");
	T_EQ(status, 0);
}

static void what_others_preload_stays_first(void)
{
	setenv("LD_PRELOAD", "libm.so.6", 1);
	T_EQ(RUN("sh", "-c", "echo $LD_PRELOAD"), 0);
	unsetenv("LD_PRELOAD");
	T_OK(!strncmp(output, "libm.so.6:/", 11));
}

static void within_itself_it_loads_once(void)
{
	T_EQ(RUN(softdirty, "exec", "sh", "-c", "echo $LD_PRELOAD"), 0);
	T_OK(strstr(output, "compat.so") && !strchr(output, ':'));
}

static void the_documented_recipe_works_in_a_shell(void)
{
	T_EQ(RUN("sh", "-c", "echo 4 > /proc/$$/clear_refs && "
		 "dd if=/proc/$$/pagemap bs=8 skip=$((0x7ff000)) count=1 2>/dev/null | "
		 "od -An -t x8"), 0);
	T_OK(says(" 0000000000000000"));
	T_OK(RUN("sh", "-c", "echo 6 > /proc/$$/clear_refs") != 0);
}

static void another_process_is_seen(void)
{
	T_EQ(RUN("sh", "-c", "sleep 60 & sleep 0.1; echo 4 > /proc/$!/clear_refs && "
		 "dd if=/proc/$!/pagemap bs=8 skip=$((0x7ff000)) count=1 2>/dev/null | "
		 "od -An -t x8; kill $!"), 0);
	T_OK(says(" 0000000000000000"));
}

/* Programs that were started before, and the commands of softdirty itself, are left alone. */
static void softdirty_itself_runs_below_it(void)
{
	T_EQ(RUN("sh", "-c", "echo 4 > /proc/$$/clear_refs && "
		 "$0 read $$ --mark clear_refs --format ranges > /dev/null && $0 stop $$",
		 softdirty), 0);
	T_STREQ(output, "");
}

int main(int argc, char **argv)
{
	T_MUST(argc == 4);
	softdirty = argv[1];
	selftest = argv[2];
	inside_malloc = argv[3];
	unsetenv("LD_PRELOAD");
	setenv("PATH", "/usr/bin:/bin:/usr/sbin:/sbin", 1);
	if (RUN(selftest) == 126 && strstr(output, "statically linked"))
		t_skip_all("these are static programs, on a kernel without soft-dirty");
	T_RUN(the_whole_interface_works);
	T_RUN(the_whole_interface_works_without_privileges);
	T_RUN(the_interface_calls_no_malloc);
	T_RUN(what_cannot_be_run_is_told_as_env_does);
	T_RUN(wrong_usage_is_told);
	if (access("/bin/sh", X_OK))
		return t_done();
	T_RUN(the_exit_status_is_that_of_the_command);
	T_RUN(the_documented_recipe_works_in_a_shell);
	T_RUN(another_process_is_seen);
	T_RUN(softdirty_itself_runs_below_it);
	if (is_native())
		return t_done();
	T_RUN(a_static_program_is_refused);
	T_RUN(a_setuid_program_is_refused_to_others);
	T_RUN(what_others_preload_stays_first);
	T_RUN(within_itself_it_loads_once);
	return t_done();
}
