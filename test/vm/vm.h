/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The three parts of init: setting the machine up, listening to the kernel, running the plan. */
#ifndef VM_H
#define VM_H

/* Mount what programs expect, load /modules, add swap, huge pages and a file system on a disk. */
void vm_setup(void);

/* The kernel's release, as uname -r has it. */
const char *vm_release(void);

/* Print the kernel's warnings and worse since the last call: "@kernel LINE" each. */
void vm_kernel_messages(void);

/* Run the tests that the file lists. */
void vm_run_plan(const char *path);

#endif
