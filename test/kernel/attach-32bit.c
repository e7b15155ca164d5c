/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A 32-bit process: watched, or refused with a reason, never harmed. It is made by hand, so that no
 * 32-bit compiler is needed. x86_64 only.
 *
 * One program sleeps 10 ms and adds one to the second page of its data, for ever. The other waits in
 * epoll_wait() and puts there what that returned, also as 32-bit code in a 64-bit process.
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
static const unsigned char counts[] = {
	0xff, 0x05, 0x00, 0x10, 0x05, 0x08,
	0xb8, 162, 0, 0, 0,
	0xbb, 0x10, 0x00, 0x05, 0x08,
	0x31, 0xc9,
	0xcd, 0x80,
	0xeb, 0xea,
};

/*
 *		movl $1, COUNTER
 *		mov $329, %eax		epoll_create1
 *		xor %ebx, %ebx
 *		int $0x80
 *		mov %eax, %ebx
 *		mov $256, %eax		epoll_wait, for ever
 *		mov $DATA + 64, %ecx
 *		mov $1, %edx
 *		mov $-1, %esi
 *		int $0x80
 *		mov %eax, COUNTER
 *		jmp .
 */
static const unsigned char waits[] = {
	0xc7, 0x05, 0x00, 0x10, 0x05, 0x08, 1, 0, 0, 0,
	0xb8, 0x49, 1, 0, 0,
	0x31, 0xdb,
	0xcd, 0x80,
	0x89, 0xc3,
	0xb8, 0, 1, 0, 0,
	0xb9, 0x40, 0x00, 0x05, 0x08,
	0xba, 1, 0, 0, 0,
	0xbe, 0xff, 0xff, 0xff, 0xff,
	0xcd, 0x80,
	0xa3, 0x00, 0x10, 0x05, 0x08,
	0xeb, 0xfe,
};

struct image {
	Elf32_Ehdr ehdr;
	Elf32_Phdr phdr[2];
	unsigned char code[64];
	unsigned char pad[4096 - sizeof(Elf32_Ehdr) - 2 * sizeof(Elf32_Phdr) - 64];
	uint32_t data[1024];
};

static void fill(struct image *im, const unsigned char *code, size_t size)
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
	memcpy(im->code, code, size);
	im->data[5] = 10000000;		/* DATA + 16: { 0, 10 ms } */
}

static pid_t start(const unsigned char *code, size_t size)
{
	char *argv[] = { "t32", NULL }, *envp[] = { NULL };
	int fd = (int)syscall(SYS_memfd_create, "t32", MFD_CLOEXEC);
	struct image im;
	pid_t pid;

	fill(&im, code, size);
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
	pid_t pid = start(counts, sizeof(counts));
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
	pid_t pid = start(counts, sizeof(counts));
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

static char *map_low(uint32_t address, int protection)
{
	char *at = mmap((void *)(uintptr_t)address, 16384, protection,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	T_MUST(at == (void *)(uintptr_t)address);
	return at;
}

/* A 64-bit process that has jumped into 32-bit code, as Wine does. */
static pid_t start_in_64_bit(const unsigned char *code, size_t size)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		memcpy(map_low(TEXT, PROT_READ | PROT_WRITE | PROT_EXEC), code, size);
		__asm__ volatile("mov %1, %%rsp\n\t"
				 "mov $0x2b, %%eax\n\t"
				 "mov %%eax, %%ds\n\t"
				 "mov %%eax, %%es\n\t"
				 "push $0x23\n\t"
				 "push %0\n\t"
				 "lretq"
				 :: "r"((uint64_t)TEXT),
				    "r"(map_low(DATA, PROT_READ | PROT_WRITE) + 16384)
				 : "rax", "memory");
	}
	t_sleep_ms(100);
	return pid;
}

static void attach_and_freeze(pid_t pid)
{
	struct softdirty *sd = NULL;

	softdirty_close(softdirty_open(pid, NULL, &sd) ? NULL : sd);
	if (!T_EQ(t_open_default(pid, &sd), 0)) {
		t_note("%s", softdirty_error());
		return;
	}
	T_EQ(softdirty_freeze(sd), 0);
	softdirty_thaw(sd);
	softdirty_close(sd);
}

static void goes_on_waiting(pid_t pid)
{
	if (!counter(pid)) {
		t_kill(pid);
		T_SKIP("this kernel runs no 32-bit programs");
	}
	for (int i = 0; i < 3; i++) {
		attach_and_freeze(pid);
		t_sleep_ms(50);
		T_EQ((int)counter(pid), 1);
	}
	t_kill(pid);
}

static void a_32_bit_call_goes_on_waiting(void)
{
	goes_on_waiting(start(waits, sizeof(waits)));
}

static void so_it_does_in_a_64_bit_process(void)
{
	goes_on_waiting(start_in_64_bit(waits, sizeof(waits)));
}

int main(void)
{
	t_need_backend();
	T_RUN(a_32_bit_process);
	T_RUN(the_default_always_has_an_answer);
	T_RUN(a_32_bit_call_goes_on_waiting);
	T_RUN(so_it_does_in_a_64_bit_process);
	return t_done();
}
