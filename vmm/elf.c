/* SPDX-License-Identifier: MIT */
/*
 * Loads a static ELF64 program into guest memory. The file is untrusted: every offset and size is
 * checked against the file and the memory before it is used, headers are copied once. Leaves out
 * relocation, interpreters and sections.
 */
#include "vmm/loader.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

#define SEGMENTS_MAX 32

static int read_at(int fd, void *to, uint64_t bytes, uint64_t offset)
{
	uint8_t *p = to;

	while (bytes) {
		ssize_t n = pread(fd, p, bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO; /* became shorter since fstat */
		p += n;
		bytes -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static const char *check_header(const Elf64_Ehdr *h, uint64_t file_bytes)
{
	if (memcmp(h->e_ident, ELFMAG, SELFMAG))
		return "not an ELF file";
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_machine != EM_X86_64)
		return "not a program for x86-64";
	if (h->e_type != ET_EXEC)
		return "not a static program at a fixed address";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > SEGMENTS_MAX)
		return "strange program headers";
	if (!mdl_range_ok(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), file_bytes))
		return "program headers beyond the end of the file";
	return NULL;
}

static const char *check_segment(const Elf64_Phdr *p, uint64_t first, uint64_t limit,
				 uint64_t file_bytes)
{
	if (p->p_filesz > p->p_memsz)
		return "a segment is larger in the file than in memory";
	if (!mdl_range_ok(p->p_offset, p->p_filesz, file_bytes))
		return "a segment lies beyond the end of the file";
	if (p->p_vaddr < first)
		return "a segment overlaps the machine's own memory below 1 MiB";
	if (!mdl_range_ok(p->p_vaddr, p->p_memsz, limit))
		return "a segment does not fit in the guest's memory";
	return NULL;
}

static const char *check_program(const Elf64_Ehdr *h, const Elf64_Phdr *ph, uint64_t first,
				 uint64_t limit, uint64_t file_bytes)
{
	bool entry = false;
	const char *why;

	for (int i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_type == PT_INTERP || ph[i].p_type == PT_DYNAMIC)
			return "not a static program";
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		why = check_segment(&ph[i], first, limit, file_bytes);
		if (why)
			return why;
		for (int j = 0; j < i; j++)
			if (ph[j].p_type == PT_LOAD &&
			    mdl_range_overlap(ph[i].p_vaddr, ph[i].p_memsz, ph[j].p_vaddr,
					      ph[j].p_memsz))
				return "segments overlap";
		if ((ph[i].p_flags & PF_X) &&
		    mdl_range_in(h->e_entry, 1, ph[i].p_vaddr, ph[i].p_filesz))
			entry = true;
	}
	return entry ? NULL : "the entry point is in no executable segment";
}

int mdl_elf_load(struct mdl_vm *vm, int fd, uint64_t first, uint64_t limit, struct mdl_elf *ret_elf,
		 const char **ret_why)
{
	Elf64_Phdr ph[SEGMENTS_MAX];
	struct mdl_elf elf = { 0 };
	struct stat st;
	Elf64_Ehdr h;
	uint64_t bytes;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_why = "not a regular file";
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	bytes = (uint64_t)st.st_size;
	*ret_why = "not an ELF file";
	if (bytes < sizeof(h))
		return -ENOEXEC;
	err = read_at(fd, &h, sizeof(h), 0);
	if (err)
		return err;
	*ret_why = check_header(&h, bytes);
	if (*ret_why)
		return -ENOEXEC;
	err = read_at(fd, ph, h.e_phnum * sizeof(ph[0]), h.e_phoff);
	if (err)
		return err;
	*ret_why = check_program(&h, ph, first, limit, bytes);
	if (*ret_why)
		return -ENOEXEC;

	elf.entry = h.e_entry;
	for (int i = 0; i < h.e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		/*
		 * Checked against limit, which is within RAM; memory that is not in the file is
		 * zero from the start.
		 */
		err = read_at(fd, mdl_vm_ram(vm, ph[i].p_vaddr, ph[i].p_memsz), ph[i].p_filesz,
			      ph[i].p_offset);
		if (err)
			return err;
		elf.end = mdl_max_u64(elf.end, ph[i].p_vaddr + ph[i].p_memsz);
	}
	*ret_elf = elf;
	return 0;
}
