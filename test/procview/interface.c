/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The self-test of the documented interface (argv[2]) on the files of softdirty mount. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "view.h"

int main(int argc, char **argv)
{
	struct server s;
	char command[512];
	int status;

	view_setup(argc, argv);
	T_MUST(argc > 2);
	s = serve(NULL, NULL);
	if (!s.pid)
		t_skip_all("cannot mount: %s", s.line);
	snprintf(command, sizeof(command), "%s --proc %s", argv[2], s.dir);
	status = system(command);
	T_EQ(WEXITSTATUS(status), 0);
	server_done(&s);
	return t_done();
}
