/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A keeper lives as long as its target, whatever the target calls. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"
#include "lib/spawn.h"
#include "wire/place.h"
#include "wire/wire.h"

static void it_ends_with_the_target(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid), *again;
	pid_t keeper = k_keeper(sd);
	const struct softdirty_range *r;
	size_t n;

	T_EQ(softdirty_clear(sd, NULL), 0);
	T_MUST(!kill(t.pid, SIGKILL));
	/* Also while nobody has waited for the target yet. */
	T_OK(k_gone(keeper, 5000));
	T_EQ(k_count_files(t.pid), 0);
	T_EQ(softdirty_read(sd, NULL, 0, 0, 0, &r, &n), -ESRCH);
	T_EQ(softdirty_clear(sd, NULL), -ESRCH);
	T_OK(*softdirty_error());
	T_EQ(softdirty_stop(sd), 0);
	softdirty_close(sd);
	T_EQ(k_open(t.pid, 0, &again), -ESRCH);
	k_end(&t);
	T_EQ(k_open(t.pid, 0, &again), -ESRCH);
}

static void exec_makes_everything_new(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	pid_t keeper = k_keeper(sd);
	const struct softdirty_range *r;
	uint64_t generation;
	size_t n;

	T_EQ(softdirty_clear(sd, NULL), 0);
	generation = k_generation(sd);
	k_exec(&t);
	T_EQ(softdirty_read(sd, NULL, SOFTDIRTY_READ_CLEAR, 0, 0, &r, &n), 0);
	T_OK(n > 0);
	for (size_t i = 0; i < n; i++)
		T_EQ(r[i].reason, SOFTDIRTY_REASON_EXEC);
	T_OK(k_generation(sd) > generation);
	T_EQ(softdirty_read(sd, NULL, 0, 0, 0, &r, &n), 0);
	/* The new program may just be starting, and write; but this was told. */
	for (size_t i = 0; i < n; i++)
		T_OK(r[i].reason != SOFTDIRTY_REASON_EXEC);
	T_EQ(k_keeper(sd), keeper);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

static void sigterm_cleans_up(void)
{
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	pid_t keeper = k_keeper(sd);
	uint64_t generation = k_generation(sd);
	unsigned reason;

	T_EQ(softdirty_clear(sd, NULL), 0);
	T_MUST(!kill(keeper, SIGTERM));
	T_OK(k_gone(keeper, 5000));
	T_EQ(k_count_files(t.pid), 0);
	T_EQ(k_protected(t.pid), 0);
	T_EQ(k_read(sd, NULL, 0, &t, &reason), K_PAGES);
	T_EQ(reason, SOFTDIRTY_REASON_NEVER);
	T_OK(k_generation(sd) > generation);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* Ctrl-C, a closed terminal, a file size or a CPU limit are meant for the command. */
static void what_ends_a_command_does_not_end_it(void)
{
	struct k_target t = k_start();
	struct softdirty *sd;
	pid_t pid = t_fork();

	if (pid == 0) {
		setpgid(0, 0);
		T_MUST(!k_open(t.pid, 0, &sd) && !softdirty_clear(sd, NULL));
		kill(0, SIGINT);
		_exit(1);
	}
	int status;
	waitpid(pid, &status, 0);
	T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	T_EQ(k_open(t.pid, SOFTDIRTY_OPEN_EXISTING, &sd), 0);
	kill(k_keeper(sd), SIGPIPE);
	kill(k_keeper(sd), SIGXFSZ);
	kill(k_keeper(sd), SIGTSTP);
	k_write(&t, 5);
	T_EQ(k_read(sd, NULL, 0, &t, NULL), 1);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
}

/* Between the command that looked and the keeper that attaches, the pid became another process. */
static void a_reused_pid_is_another_process(void)
{
	struct k_target t = k_start();
	struct sdi_request rq = { .magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION,
				  .op = SDI_OP_START, .pid = t.pid, .start = 1 };
	struct sdi_place_name name = sdi_place_name(t.pid, 1);
	struct sdi_reply reply;
	struct sdi_place p;
	int sv[2], fds[SDI_WIRE_MAX_FDS];

	T_STREQ(name.text + strlen(name.text) - 2, "-1");
	T_MUST(!sdi_place_open(true, &p));
	T_MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	T_MUST(!sdi_wire_send(sv[0], &rq, sizeof(rq), &p.dir, 1, 0));
	T_MUST(!sdi_spawn_keeper(k_self(), t.pid, sv[1]));
	close(sv[1]);
	T_MUST(!sdi_wire_recv(sv[0], &reply, sizeof(reply), fds, 0));
	T_EQ(reply.err, -ESRCH);
	T_STREQ(reply.text, "it has ended");
	T_EQ(sdi_wire_recv(sv[0], &reply, sizeof(reply), fds, 0), -EPIPE);
	T_EQ(k_count_files(t.pid), 0);
	close(sv[0]);
	sdi_place_close(&p);
	k_end(&t);
}

/* By hand there is nothing to keep. */
static void not_by_hand(void)
{
	int status;
	pid_t pid = t_fork();

	if (pid == 0) {
		close(2);
		execl(k_self(), "softdirty", "keeper", "1", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	T_OK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

/* The same name may mean another process in another pid namespace: the pidfd tells. */
static void a_keeper_of_the_wrong_process_is_not_believed(void)
{
	struct k_target t = k_start(), other = k_start();
	struct softdirty *sd = k_must_open(t.pid), *wrong = NULL, *info_of = k_must_open(other.pid);
	struct softdirty_info a = { .size = sizeof(a) }, b = { .size = sizeof(b) };
	struct sdi_place p;
	char from[48], to[48];

	T_MUST(!softdirty_info(sd, &a) && !softdirty_info(info_of, &b));
	T_EQ(softdirty_stop(info_of), 0);
	T_MUST(!sdi_place_open(false, &p));
	snprintf(from, sizeof(from), "%s.sock", sdi_place_name(a.pid, a.start_time).text);
	snprintf(to, sizeof(to), "%s.sock", sdi_place_name(b.pid, b.start_time).text);
	T_MUST(!linkat(p.dir, from, p.dir, to, 0));
	T_EQ(k_open(other.pid, 0, &wrong), -EBUSY);
	T_OK(*softdirty_error());
	T_MUST(!unlinkat(p.dir, to, 0));
	sdi_place_close(&p);
	softdirty_close(info_of);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
	k_end(&other);
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	if (geteuid())
		k_private_runtime_dir();
	T_RUN(it_ends_with_the_target);
	T_RUN(exec_makes_everything_new);
	T_RUN(sigterm_cleans_up);
	T_RUN(what_ends_a_command_does_not_end_it);
	T_RUN(a_reused_pid_is_another_process);
	T_RUN(not_by_hand);
	T_RUN(a_keeper_of_the_wrong_process_is_not_believed);
	return t_done();
}
