/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first and only program of the virtual machine that tests run in: sets the machine up, runs
 * what /plan lists, one test after the other, and powers off. Everything it says on the console
 * begins with '@', so that the other side can tell it from what the kernel prints there. Knows
 * nothing of softdirty; the plan's directives are described in plan.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "vm.h"

int main(void)
{
	vm_setup();
	printf("@boot %s\n", vm_release());
	vm_kernel_messages();
	vm_run_plan("/plan");
	printf("@off\n");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
