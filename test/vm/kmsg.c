/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel has to complain about, read from its log so that it never breaks into a line of
 * a test. Knows nothing of tests.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm.h"

#define LOG_WARNING 4

/* A record is "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n" and lines about devices. */
static void print_record(char *record)
{
	char *text = strchr(record, ';');

	if (!text || (strtol(record, NULL, 10) & 7) > LOG_WARNING)
		return;
	text[strcspn(text, "\n")] = 0;
	printf("@kernel %s\n", text + 1);
}

void vm_kernel_messages(void)
{
	static int fd = -1;
	char record[8192];
	ssize_t n;

	if (fd < 0)
		fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	while ((n = read(fd, record, sizeof(record) - 1)) > 0) {
		record[n] = 0;
		print_record(record);
	}
}
