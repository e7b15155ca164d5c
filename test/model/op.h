/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One step of a random program: what the target does to its memory, or what a consumer asks.
 * Fixed size, because programs travel to the target through shared memory. Knows no meaning: what
 * a step does to the truth is in spec.c, to a process in exec.c.
 */
#ifndef MODEL_OP_H
#define MODEL_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_code {
	/* Accesses */
	OP_STORE,		/* user code writes */
	OP_LOAD,		/* user code reads */
	OP_SYSREAD,		/* the kernel writes: read(2) into the page */
	OP_VMWRITE,		/* process_vm_writev(2) */
	OP_MEMWRITE,		/* /proc/self/mem, also into read-only memory */
	OP_THREAD,		/* another task with the same memory writes */
	OP_FORKWRITE,		/* a forked child writes its copy and ends */
	OP_FILEWRITE,		/* write(2) into the file below, page is the page of the file */
	/* Mappings */
	OP_MMAP,
	OP_MUNMAP,
	OP_MPROTECT,
	OP_MOVE,		/* mremap to another address */
	OP_DONTUNMAP,		/* the same, the old mapping stays, empty */
	OP_GROW,		/* mremap in place, n pages more */
	OP_SHRINK,		/* mremap in place, to n pages */
	OP_BRK,			/* the heap has n pages */
	/* Advice and the like */
	OP_DONTNEED,
	OP_FREE,
	OP_COLD,
	OP_PAGEOUT,
	OP_REMOVE,		/* MADV_REMOVE: punch a hole */
	OP_POPREAD,		/* MADV_POPULATE_READ */
	OP_POPWRITE,		/* MADV_POPULATE_WRITE */
	OP_MLOCK,		/* mlock, munlock */
	OP_WIPEONFORK,
	OP_KEEPONFORK,
	OP_DONTFORK,
	OP_DOFORK,
	OP_GUARD,		/* MADV_GUARD_INSTALL */
	OP_UNGUARD,		/* MADV_GUARD_REMOVE */
	/* The process itself */
	OP_FORK,		/* the child goes on, the parent ends */
	OP_EXEC,
	OP_TARGET_CODES,
	/* The consumer */
	OP_CLEAR = OP_TARGET_CODES,
	OP_READ,
	OP_READCLEAR,
	OP_FORGET,
	OP_PAGES,
	OP_REOPEN,		/* close the handle, open another */
	OP_FREEZE,		/* freeze, read, thaw */
	OP_FAILREAD,		/* read, with allocation number `to` failing (slot: and all later) */
	OP_FAILCLEAR,		/* the same of readclear */
	OP_CODES
};

struct op {
	uint8_t code;
	uint8_t kind;		/* mmap: enum spec_kind; consumer: the mark */
	uint8_t prot;		/* 0, PROT_READ or PROT_READ | PROT_WRITE */
	uint8_t slot;		/* of an access: where in the page, 0 to 3 */
	uint16_t page, n;	/* the pages */
	uint16_t to;		/* move: destination; mmap of a file: page of the file */
	uint16_t zero;
	uint32_t tag;		/* what is written: unlike in each step */
};

/* A list of steps that grows. */
struct program {
	struct op *op;
	size_t n, cap;
};
void program_add(struct program *p, const struct op *op);
void program_free(struct program *p);

/* Its name, and how often the generator shall choose it (0: only where a rule says so). */
const char *op_name(enum op_code code);
unsigned op_weight(enum op_code code);

/* One line of text without newline, and back. Same fields in the same order for each step. */
void op_print(const struct op *op, char *buf, size_t size);
bool op_parse(const char *line, struct op *ret);

/*
 * Read a program from text up to an empty line; lines that start with # are left out. *text is left
 * behind it. False: a line is none.
 */
bool program_parse(const char **text, struct program *ret);

#endif
