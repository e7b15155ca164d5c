/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In the place of all other files here when there is no libfuse3 to build with. */
#include "procview/procview.h"

#include <stdio.h>

int sdi_procview_run(const struct sdi_procview *o, char why[static 256])
{
	snprintf(why, 256, "this softdirty was built without libfuse3 (install libfuse3-dev, "
		 "build again)");
	return -1;
}
