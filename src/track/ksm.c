/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "track/ksm.h"

#include "track/sysfs.h"

uint64_t sdi_ksm_scans(void)
{
	return sdi_sysfs_number("ksm/full_scans");
}

/* Two scans must find a page the same before it is merged, so a scan that is not over is seen at `run`. */
bool sdi_ksm_ran(uint64_t scans)
{
	uint64_t now = sdi_ksm_scans();

	return sdi_sysfs_number("ksm/run") == 1 || now == SDI_UNKNOWN || now != scans;
}

bool sdi_ksm_makes_zeros(void)
{
	return sdi_sysfs_number("ksm/use_zero_pages") || sdi_sysfs_number("ksm/ksm_zero_pages");
}
