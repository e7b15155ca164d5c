/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The self-test of the documented interface (argv[2]) on the files of softdirty mount. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "view.h"

int main(int argc, char **argv)
{
	struct server s;
	int status;
	pid_t pid;

	view_setup(argc, argv);
	T_MUST(argc > 2);
	s = serve(NULL, NULL);
	if (!s.pid)
		t_skip_all("cannot mount: %s", s.line);
	pid = t_fork();
	if (!pid) {
		execl(argv[2], argv[2], "--proc", s.dir, NULL);
		_exit(127);
	}
	T_MUST(waitpid(pid, &status, 0) == pid);
	server_done(&s);
	return status ? 1 : t_done();
}
