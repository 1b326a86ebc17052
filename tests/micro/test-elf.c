/* SPDX-License-Identifier: MIT */
/*
 * Programs that are none: each must be refused with one line and exit code 65, and never crash the
 * loader.
 */
#include <elf.h>

#include "tests/micro/vm.h"

static uint8_t *image;
static size_t image_bytes;
static Elf64_Ehdr *eh;
static Elf64_Phdr *ph;

/* A fresh copy of a good program to spoil. */
static void load(void)
{
	image = vm_read_file(vm_guest("hello"), &image_bytes);
	CHECK(image_bytes > sizeof(*eh));
	eh = (Elf64_Ehdr *)image;
	ph = (Elf64_Phdr *)(image + eh->e_phoff);
}

static void refused(const char *said)
{
	const struct vm_result *r;

	vm_write_file(vm_path("bad.elf"), image, image_bytes);
	r = VM("--timeout", "30", vm_path("bad.elf"));
	CHECK(vm_said(r, said));
	CHECK(strstr(r->err, "bad.elf: "));
	CHECK_EQ(r->status, 65);
	CHECK_STR(r->out, "");
	free(image);
	load();
}

static void test_headers(void)
{
	const struct vm_result *r = VM("/nonexistent.elf");

	CHECK(vm_said(r, "/nonexistent.elf: No such file"));
	CHECK_EQ(r->status, 65);
	CHECK(vm_said(VM("/"), "/: not a regular file"));
	load();
	image_bytes = 0;
	refused("not an ELF file");
	image_bytes = sizeof(*eh) - 1;
	refused("not an ELF file");
	image[0] = 'X';
	refused("not an ELF file");
	eh->e_ident[EI_CLASS] = ELFCLASS32;
	refused("not a program for x86-64");
	eh->e_machine = EM_AARCH64;
	refused("not a program for x86-64");
	eh->e_type = ET_DYN;
	refused("not a static program");
	eh->e_type = ET_REL;
	refused("not a static program");
	eh->e_phentsize = 32;
	refused("strange program headers");
	eh->e_phnum = 0;
	refused("strange program headers");
	eh->e_phnum = 0xffff;
	refused("strange program headers");
	eh->e_phoff = UINT64_MAX - 8;
	refused("program headers beyond");
	eh->e_phoff = image_bytes - 10;
	refused("program headers beyond");
	image_bytes = eh->e_phoff + sizeof(*ph);
	refused("program headers beyond");
}

static void test_segments(void)
{
	load();
	image_bytes = ph[0].p_offset + 100;
	refused("beyond the end of the file");
	ph[0].p_offset = UINT64_MAX - 16;
	refused("beyond the end of the file");
	ph[0].p_filesz = ph[0].p_memsz = UINT64_MAX;
	refused("beyond the end of the file");
	ph[0].p_memsz = ph[0].p_filesz - 1;
	refused("larger in the file than in memory");
	ph[1].p_memsz = UINT64_MAX;
	refused("does not fit");
	ph[1].p_memsz = 256ull << 20;
	refused("does not fit");
	ph[1].p_vaddr = UINT64_MAX - 0x10;
	refused("does not fit");
	ph[1].p_vaddr = 0xfee00000;
	refused("does not fit");
	/*
	 * The machine's own tables: boot page, descriptor tables, page tables, up to the last byte
	 * before programs.
	 */
	ph[1].p_vaddr = 0x1000;
	refused("below 1 MiB");
	ph[1].p_vaddr = 0xd000;
	refused("below 1 MiB");
	ph[1].p_vaddr = 0xfffff;
	refused("below 1 MiB");
	ph[1].p_vaddr = ph[0].p_vaddr;
	refused("segments overlap");
	ph[1].p_vaddr = ph[0].p_vaddr + ph[0].p_memsz - 1;
	refused("segments overlap");
	eh->e_entry = 0;
	refused("entry point");
	eh->e_entry = ph[1].p_vaddr;
	refused("entry point");
	eh->e_entry = UINT64_MAX;
	refused("entry point");
	ph[0].p_flags = PF_R;
	refused("entry point");
	ph[1].p_type = PT_INTERP;
	refused("not a static program");
	ph[1].p_type = PT_DYNAMIC;
	refused("not a static program");
}

/* Random damage to the headers: refused, or run to some end; never a crash of medley-vm. */
static void test_damage(void)
{
	uint32_t seed = 12345;

	load();
	for (int round = 0; round < 60; round++) {
		const struct vm_result *r;

		for (int i = 0; i < 3; i++) {
			seed = seed * 1664525 + 1013904223;
			image[seed >> 8 & 0xff] ^= (uint8_t)(1 << (seed >> 24 & 7));
		}
		vm_write_file(vm_path("bad.elf"), image, image_bytes);
		r = VM("--timeout", "2", vm_path("bad.elf"));
		if (r->status != 0 && r->status != 65 && r->status != 70 && r->status != 63 &&
		    r->status != 124)
			fprintf(stderr, "# round %d: status %d, %s\n", round, r->status, r->err);
		CHECK(r->status == 0 || r->status == 65 || r->status == 70 || r->status == 63 ||
		      r->status == 124);
		free(image);
		load();
	}
}

static const struct check_case cases[] = {
	{ "headers", test_headers, 60 },
	{ "segments", test_segments, 60 },
	{ "damage", test_damage, 200 },
};

VM_MAIN(cases)
