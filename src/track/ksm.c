/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/ksm.h"

#include "track/sysfs.h"

struct sdi_ksm sdi_ksm_look(void)
{
	return (struct sdi_ksm){
		.scans = sdi_sysfs_number("ksm/full_scans"),
		.scanned = sdi_sysfs_number("ksm/pages_scanned"),
		.shared = sdi_sysfs_number("ksm/pages_shared"),
		.sharing = sdi_sysfs_number("ksm/pages_sharing"),
		.runs = sdi_sysfs_number("ksm/run") == 1,
	};
}

bool sdi_ksm_ran(const struct sdi_ksm *since, const struct sdi_ksm *now)
{
	return since->runs || now->runs || now->scans == SDI_UNKNOWN ||
	       now->scans != since->scans || now->scanned != since->scanned ||
	       now->shared != since->shared || now->sharing != since->sharing;
}

bool sdi_ksm_makes_zeros(void)
{
	return sdi_sysfs_number("ksm/use_zero_pages") || sdi_sysfs_number("ksm/ksm_zero_pages");
}
