/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What keeps the dynamic linker from loading LD_PRELOAD into a program: there is none in a static
 * program, and it ignores the variable where exec() gives more rights (AT_SECURE).
 */
#include "cli/loadable.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define OUR_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

__attribute__((format(printf, 2, 3))) static int no(struct sdi_why_not *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -1;
}

/* As execvp(): the first in PATH that may be executed. */
static bool find(const char *program, char ret[static PATH_MAX])
{
	const char *path = getenv("PATH");
	size_t n;

	if (strchr(program, '/'))
		return snprintf(ret, PATH_MAX, "%s", program) < PATH_MAX;
	for (path = path ? path : "/bin:/usr/bin"; ; path += n + 1) {
		n = strcspn(path, ":");
		snprintf(ret, PATH_MAX, "%.*s%s%s", (int)n, path, n ? "/" : "", program);
		if (!access(ret, X_OK))
			return true;
		if (!path[n])
			return false;
	}
}

/* The linker that the program asks for; "" in a static one. */
static int read_interpreter(int fd, const Elf64_Ehdr *h, char ret[static PATH_MAX])
{
	*ret = '\0';
	for (int i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p;

		if (pread(fd, &p, sizeof(p), h->e_phoff + (uint64_t)i * h->e_phentsize) !=
		    sizeof(p))
			return -EIO;
		if (p.p_type != PT_INTERP)
			continue;
		if (p.p_filesz >= PATH_MAX ||
		    pread(fd, ret, p.p_filesz, p.p_offset) != (ssize_t)p.p_filesz)
			return -EIO;
		ret[p.p_filesz] = '\0';
	}
	return 0;
}

static int check_elf(int fd, const char *path, const Elf64_Ehdr *h, struct sdi_why_not *why)
{
	char linker[PATH_MAX];

	if (h->e_ident[EI_CLASS] != OUR_CLASS)
		return no(why, "%s is a 32-bit program", path);
	if (read_interpreter(fd, h, linker))
		return 0;	/* the kernel will say what is wrong */
	if (!*linker)
		return no(why, "%s is statically linked, nothing can be loaded into it", path);
	if (strstr(linker, "musl"))
		return no(why, "%s is linked with musl, this library with glibc", path);
	return 0;
}

static int check_rights(int fd, const char *path, struct sdi_why_not *why)
{
	struct statvfs fs;
	struct stat st;

	if (fstat(fd, &st) || fstatvfs(fd, &fs) || (fs.f_flag & ST_NOSUID))
		return 0;
	if ((st.st_mode & S_ISUID) && st.st_uid != geteuid())
		return no(why, "%s is setuid, nothing is loaded into it", path);
	if ((st.st_mode & S_ISGID) && st.st_gid != getegid())
		return no(why, "%s is setgid, nothing is loaded into it", path);
	if (geteuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return no(why, "%s has file capabilities, nothing is loaded into it", path);
	return 0;
}

/* "#!/usr/bin/env sh": the interpreter, which runs instead. */
static bool is_script(const char *head, char ret[static PATH_MAX])
{
	if (strncmp(head, "#!", 2))
		return false;
	head += 2 + strspn(head + 2, " \t");
	snprintf(ret, PATH_MAX, "%.*s", (int)strcspn(head, " \t\n"), head);
	return *ret;
}

/* A program that cannot be read is taken for a usual one. */
static int check(const char *path, int depth, struct sdi_why_not *why)
{
	union {
		Elf64_Ehdr elf;
		char text[256];
	} head = { .text = "" };
	char interpreter[PATH_MAX];
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, head.text, sizeof(head) - 1, 0) < 4)
		return 0;
	if (is_script(head.text, interpreter))
		return depth ? check(interpreter, depth - 1, why) : 0;
	if (memcmp(head.elf.e_ident, ELFMAG, SELFMAG))
		return 0;
	int err = check_rights(fd, path, why);
	return err ? err : check_elf(fd, path, &head.elf, why);
}

int sdi_cli_loadable(const char *program, struct sdi_why_not *why)
{
	char path[PATH_MAX];

	return find(program, path) ? check(path, 4, why) : 0;
}
