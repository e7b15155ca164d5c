/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resources that end with their scope: autoclose int fd, autofree char *p.
 * take_fd() and take_ptr() hand the ownership out of the scope.
 */
#ifndef SDI_BASE_CLEANUP_H
#define SDI_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void sdi_cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void sdi_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void sdi_cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static inline void sdi_cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define autoclose __attribute__((cleanup(sdi_cleanup_fd)))
#define autofree __attribute__((cleanup(sdi_cleanup_free)))
#define autoclosedir __attribute__((cleanup(sdi_cleanup_dir)))
#define autofclose __attribute__((cleanup(sdi_cleanup_file)))

static inline int take_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

#define take_ptr(p) ({ __typeof__(p) ret_ = (p); (p) = NULL; ret_; })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
