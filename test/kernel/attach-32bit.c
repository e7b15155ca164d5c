/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A 32-bit process: watched, or refused with a reason, never harmed. It is made by hand, so that no
 * 32-bit compiler is needed. x86_64 only.
 *
 * The program sleeps 10 ms and adds one to the second page of its data, for ever.
 */
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "target.h"

#define TEXT 0x08048000u
#define DATA 0x08050000u
#define COUNTER (DATA + 4096)

/*
 *	again:	incl COUNTER
 *		mov $162, %eax		nanosleep
 *		mov $DATA + 16, %ebx	10 ms
 *		xor %ecx, %ecx
 *		int $0x80
 *		jmp again
 */
static const unsigned char code[] = {
	0xff, 0x05, 0x00, 0x10, 0x05, 0x08,
	0xb8, 162, 0, 0, 0,
	0xbb, 0x10, 0x00, 0x05, 0x08,
	0x31, 0xc9,
	0xcd, 0x80,
	0xeb, 0xea,
};

struct image {
	Elf32_Ehdr ehdr;
	Elf32_Phdr phdr[2];
	unsigned char code[64];
	unsigned char pad[4096 - sizeof(Elf32_Ehdr) - 2 * sizeof(Elf32_Phdr) - 64];
	uint32_t data[1024];
};

static void fill(struct image *im)
{
	memset(im, 0, sizeof(*im));
	memcpy(im->ehdr.e_ident, ELFMAG "\1\1\1", 7);
	im->ehdr.e_type = ET_EXEC;
	im->ehdr.e_machine = EM_386;
	im->ehdr.e_version = 1;
	im->ehdr.e_entry = TEXT + offsetof(struct image, code);
	im->ehdr.e_phoff = offsetof(struct image, phdr);
	im->ehdr.e_ehsize = sizeof(Elf32_Ehdr);
	im->ehdr.e_phentsize = sizeof(Elf32_Phdr);
	im->ehdr.e_phnum = 2;
	im->phdr[0] = (Elf32_Phdr){ PT_LOAD, 0, TEXT, TEXT, 4096, 4096, PF_R | PF_X, 4096 };
	im->phdr[1] = (Elf32_Phdr){ PT_LOAD, 4096, DATA, DATA, 4096, 16384, PF_R | PF_W, 4096 };
	memcpy(im->code, code, sizeof(code));
	im->data[5] = 10000000;		/* DATA + 16: { 0, 10 ms } */
}

static pid_t start(void)
{
	char *argv[] = { "t32", NULL }, *envp[] = { NULL };
	int fd = (int)syscall(SYS_memfd_create, "t32", MFD_CLOEXEC);
	struct image im;
	pid_t pid;

	fill(&im);
	T_MUST(fd >= 0 && write(fd, &im, sizeof(im)) == sizeof(im));
	pid = t_fork();
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
		_exit(1);
	}
	close(fd);
	t_sleep_ms(100);
	return pid;
}

/* 0 if it cannot be read. */
static uint32_t counter(pid_t pid)
{
	uint32_t value = 0;
	struct iovec local = { &value, 4 }, remote = { (void *)(uintptr_t)COUNTER, 4 };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == 4 ? value : 0;
}

static void a_32_bit_process(void)
{
	struct softdirty *sd = NULL;
	pid_t pid = start();
	uint32_t before = counter(pid);
	char got[8];

	if (!before) {
		t_kill(pid);
		T_SKIP("this kernel runs no 32-bit programs");
	}
	if (softdirty_open(pid, NULL, &sd) == 0) {
		T_EQ(softdirty_clear(sd, NULL), 0);
		t_sleep_ms(100);
		t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, DATA, 4, 4096, got);
		T_STREQ(got, "-D--");
	} else {
		T_OK(strstr(softdirty_error(), "32"));
		t_note("refused: %s", softdirty_error());
	}
	softdirty_close(sd);
	before = counter(pid);
	t_sleep_ms(100);
	T_OK(counter(pid) > before);
	t_kill(pid);
}

static void the_default_always_has_an_answer(void)
{
	struct softdirty *sd = NULL;
	pid_t pid = start();
	char got[8];

	if (!counter(pid)) {
		t_kill(pid);
		T_SKIP("this kernel runs no 32-bit programs");
	}
	if (T_EQ(t_open_default(pid, &sd), 0)) {
		T_EQ(softdirty_clear(sd, NULL), 0);
		t_sleep_ms(100);
		t_letters(sd, NULL, SOFTDIRTY_READ_CLEAR, DATA, 4, 4096, got);
		T_STREQ(got, "-D--");
	} else {
		t_note("%s", softdirty_error());
	}
	softdirty_close(sd);
	t_kill(pid);
}

int main(void)
{
	t_need_backend();
	T_RUN(a_32_bit_process);
	T_RUN(the_default_always_has_an_answer);
	return t_done();
}
