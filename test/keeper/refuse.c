/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runtime directories that are not used, and processes of other users that are not served, or not
 * believed. The parts with two users need root, and take a uid that nothing else here uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keep.h"
#include "wire/place.h"
#include "wire/wire.h"

static char runtime[80], inside[96];	/* XDG_RUNTIME_DIR, and softdirty/ in it */
static uid_t user;			/* who owns it */

static void become(uid_t uid)
{
	T_MUST(geteuid() == uid || (!setgroups(0, NULL) && !setresgid(uid, uid, uid) &&
				    !setresuid(uid, uid, uid)));
	prctl(PR_SET_DUMPABLE, 1);
}

static void new_runtime(void)
{
	strcpy(runtime, "/tmp/softdirty-refuse-XXXXXX");
	T_MUST(mkdtemp(runtime) && !chown(runtime, user, -1));
	snprintf(inside, sizeof(inside), "%s/softdirty", runtime);
	T_MUST(!setenv("XDG_RUNTIME_DIR", runtime, 1));
}

static void end_runtime(void)
{
	unlink(inside);
	rmdir(inside);
	T_EQ(rmdir(runtime), 0);
}

/* A child of the user: opens a target of its own, expects that error, and a sentence with text. */
static void expect(int want, const char *text)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		become(user);
		struct k_target t = k_start();
		struct softdirty *sd = NULL;
		int err = k_open(t.pid, 0, &sd);
		bool ok = err == want && (!want || strstr(softdirty_error(), text));

		if (!ok)
			t_note("%d, not %d: %s", err, want, softdirty_error());
		if (!err)
			softdirty_stop(sd);
		softdirty_close(sd);
		k_end(&t);
		_exit(ok ? 0 : 1);
	}
	int status;
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
}

static void a_directory_of_ours_is_made(void)
{
	struct stat st;

	new_runtime();
	expect(0, "");
	T_MUST(!stat(inside, &st));
	T_EQ(st.st_mode & 07777, 0700);
	T_EQ(st.st_uid, user);
	end_runtime();
}

static void a_symlink_is_refused(void)
{
	char elsewhere[] = "/tmp/softdirty-elsewhere-XXXXXX";

	new_runtime();
	T_MUST(mkdtemp(elsewhere) && !chown(elsewhere, user, -1) && !symlink(elsewhere, inside));
	expect(-EPERM, "not a directory");
	T_EQ(rmdir(elsewhere), 0);	/* nothing was made in it */
	end_runtime();
}

static void a_file_is_refused(void)
{
	new_runtime();
	T_MUST(!mknod(inside, S_IFREG | 0700, 0));
	expect(-EPERM, "not a directory");
	end_runtime();
}

static void a_directory_open_to_others_is_refused(void)
{
	static const mode_t modes[] = { 0755, 0770, 0701, 01777, 0500 };

	new_runtime();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		T_MUST(!mkdir(inside, 0700) && !chown(inside, user, -1) &&
		       !chmod(inside, modes[i]));
		expect(-EPERM, "mode");
		T_MUST(!rmdir(inside));
	}
	end_runtime();
}

static void a_directory_that_cannot_be_made_is_an_error(void)
{
	new_runtime();
	T_MUST(!chmod(runtime, 0500));
	expect(-EACCES, "cannot create");
	T_MUST(!chmod(runtime, 0700));
	end_runtime();
}

static void a_directory_of_another_user_is_refused(void)
{
	if (geteuid())
		T_SKIP("needs root");
	new_runtime();
	T_MUST(!mkdir(inside, 0700));
	expect(-EPERM, "not used");
	T_MUST(!chmod(inside, 0755));
	expect(-EPERM, "belongs to uid 0");
	end_runtime();
}

/* Without any directory of its own the user gets one in /tmp, which others may have made first. */
static void the_last_resort_in_tmp(void)
{
	char fallback[64];
	struct stat st;

	if (geteuid())
		T_SKIP("needs root");
	snprintf(fallback, sizeof(fallback), "/tmp/softdirty-%u", user);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	expect(0, "");
	T_MUST(!stat(fallback, &st));
	T_EQ(st.st_mode & 07777, 0700);
	T_EQ(rmdir(fallback), 0);
	/* A directory of root in the environment of su(1) is none of ours. */
	setenv("XDG_RUNTIME_DIR", "/run", 1);
	T_MUST(!symlink("/var/tmp", fallback));
	expect(-EPERM, "not a directory");
	T_EQ(unlink(fallback), 0);
}

static struct k_target target_of_user(void)
{
	struct k_target t;
	uid_t me = geteuid();

	T_MUST(!seteuid(user));
	t = k_start();
	T_MUST(!seteuid(me));
	return t;
}

struct watched {
	pid_t pid;
	uint64_t start;
};

/* In a child: the user watches a target, tells which, and stops when told to go. */
static _Noreturn void watch_as_user(int ready, int go)
{
	struct softdirty_info info = { .size = sizeof(info) };
	struct watched target;

	become(user);
	struct k_target t = k_start();
	struct softdirty *sd = k_must_open(t.pid);
	T_MUST(!softdirty_info(sd, &info) && !softdirty_clear(sd, NULL));
	target = (struct watched){ .pid = t.pid, .start = info.start_time };
	T_MUST(write(ready, &target, sizeof(target)) == sizeof(target));
	T_MUST(read(go, &target, 1) == 1);
	softdirty_stop(sd);
	softdirty_close(sd);
	k_end(&t);
	_exit(0);
}

/* Its keeper accepts our connection, and ends it without an answer. */
static void is_not_answered(const struct watched *target)
{
	struct sdi_request rq = { .magic = SDI_WIRE_MAGIC, .version = SDI_WIRE_VERSION,
				  .op = SDI_OP_HELLO };
	struct sdi_place_name name = sdi_place_name(target->pid, target->start);
	int dir = open(inside, O_RDONLY | O_DIRECTORY), fds[SDI_WIRE_MAX_FDS];
	int sock = sdi_place_connect(dir, &name);
	struct sdi_reply reply;

	T_OK(sock >= 0);
	sdi_wire_send(sock, &rq, sizeof(rq), NULL, 0, 0);
	T_EQ(sdi_wire_recv(sock, &reply, sizeof(reply), fds, 0), -EPIPE);
	close(sock);
	close(dir);
}

/* Who asks is told apart by the socket, not by who may enter the directory. */
static void the_keeper_serves_its_user_only(void)
{
	struct watched target;
	int go[2], ready[2];

	if (geteuid())
		T_SKIP("needs root");
	new_runtime();
	T_MUST(!pipe(go) && !pipe(ready));
	pid_t pid = t_fork();
	if (pid == 0)
		watch_as_user(ready[1], go[0]);
	T_MUST(read(ready[0], &target, sizeof(target)) == sizeof(target));
	is_not_answered(&target);
	/* Root's own keeper cannot track what the user's tracks already. */
	struct softdirty *sd;
	struct softdirty_options o = {
		.size = sizeof(o), .flags = SOFTDIRTY_OPEN_SHARED, .backend = "wp-async",
		.keeper = k_self(),
	};
	int err = softdirty_open(target.pid, &o, &sd);
	T_OK(err == -EBUSY || err == -EOPNOTSUPP);
	T_EQ(k_count_files(target.pid), 0);
	T_MUST(write(go[1], "", 1) == 1);
	int status;
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	end_runtime();
}

/* Root could, but somebody with another trick into the directory must not be believed. */
static void a_keeper_of_another_user_is_not_believed(void)
{
	if (geteuid())
		T_SKIP("needs root");
	new_runtime();
	T_MUST(!mkdir(inside, 0700) && !chown(inside, user, -1));
	struct k_target t = target_of_user();
	int dir = open(inside, O_RDONLY | O_DIRECTORY);
	struct softdirty *local;
	struct softdirty_info info = { .size = sizeof(info) };
	T_MUST(!softdirty_open(t.pid, NULL, &local) && !softdirty_info(local, &info));
	softdirty_close(local);
	struct sdi_place_name name = sdi_place_name(t.pid, info.start_time);
	bool stale;
	int listener = sdi_place_listen(dir, &name, &stale);
	T_MUST(listener >= 0);
	char file[160];
	snprintf(file, sizeof(file), "%s/%s.sock", inside, name.text);
	T_MUST(!chmod(file, 0777));

	pid_t pid = t_fork();
	if (pid == 0) {
		become(user);
		struct softdirty *sd;
		int err = k_open(t.pid, 0, &sd);
		bool ok = err == -EPERM && strstr(softdirty_error(), "runs as uid 0");
		if (!ok)
			t_note("%d: %s", err, softdirty_error());
		_exit(ok ? 0 : 1);
	}
	int status;
	waitpid(pid, &status, 0);
	T_EQ(status, 0);
	close(listener);
	sdi_place_remove(dir, &name, false);
	close(dir);
	k_end(&t);
	end_runtime();
}

int main(int argc, char **argv)
{
	k_main(argc, argv);
	user = geteuid();
	if (!user)
		user = 52000 + getpid() % 10000;
	T_RUN(a_directory_of_ours_is_made);
	T_RUN(a_symlink_is_refused);
	T_RUN(a_file_is_refused);
	T_RUN(a_directory_open_to_others_is_refused);
	T_RUN(a_directory_that_cannot_be_made_is_an_error);
	T_RUN(a_directory_of_another_user_is_refused);
	T_RUN(the_last_resort_in_tmp);
	T_RUN(the_keeper_serves_its_user_only);
	T_RUN(a_keeper_of_another_user_is_not_believed);
	return t_done();
}
