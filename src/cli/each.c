/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/each.h"

#include <errno.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/tree.h"

int sdi_cli_each(const struct sdi_args *args, const char *verb, const char *doing,
		 sdi_each_fn *fn)
{
	struct sdi_pids pids;
	int err = sdi_pids_list(args->pids, args->n_pids, args->tree, &pids);
	int status = SDI_EXIT_OK;

	if (err) {
		sdi_cli_fail("cannot list the processes: %s", strerror(-err));
		return SDI_EXIT_FAILED;
	}
	for (size_t i = 0; err <= 0 && i < pids.n; i++) {
		sdi_cli_progress_start(doing, pids.pid[i]);
		err = fn(pids.pid[i], args);
		sdi_cli_progress_stop();
		if (!err || (err == -ESRCH && i >= pids.n_named))
			continue;
		if (err < 0)
			sdi_cli_error(verb, pids.pid[i], err);
		status = SDI_EXIT_FAILED;
	}
	sdi_pids_fini(&pids);
	return status;
}
