/* SPDX-License-Identifier: MIT */
/*
 * The toy PCI device of medley-vm's tests: what a guest (guest/micro/selftest.c) and the in-test
 * vfio-user server (toy.c) agree on. BAR0: trapped registers. BAR2: memory, all mapped. BAR4: four
 * pages of which only the second is mapped.
 */
#ifndef MDL_TESTS_MICRO_TOY_H
#define MDL_TESTS_MICRO_TOY_H

#define TOY_VENDOR  0x4d44
#define TOY_DEVICE  0x7079
#define TOY_CLASS   0xff0000
#define TOY_VECTORS 24

#define TOY_BAR0_BYTES	 0x3000 /* not a power of two: the VMM places it in 16 KiB */
#define TOY_BAR2_BYTES	 (64u << 20)
#define TOY_BAR4_BYTES	 0x4000
#define TOY_BAR4_TRAPPED 0x74726170u /* what the trapped pages read */
#define TOY_BAR2_LAST	 0x1357ull /* initial value of BAR2's last 8 bytes */

/* BAR0 registers; all others are an error reply. */
#define TOY_ID	     0x000 /* r: TOY_ID_VALUE */
#define TOY_ID_VALUE 0x31594f54u
#define TOY_COMMAND  0x004 /* r: the PCI command register */
#define TOY_SCRATCH  0x008 /* rw, 8 bytes, any width */
#define TOY_IRQ	     0x010 /* w: raise this vector */
#define TOY_IRQ_ALL  0x014 /* w: raise all vectors */
#define TOY_IRQ_LATER_NS \
	0x018 /* w: raise vector 0 after so many ns; the time of it goes to TOY_STAMP in BAR2 */
#define TOY_PEEK	   0x020 /* r, 8 bytes: BAR2's last 8 bytes */
#define TOY_PEEK4	   0x028 /* r: first 4 bytes of BAR4's mapped page */
#define TOY_DMA		   0x030 /* w, 8 bytes: add 1 to the word at this guest-physical address */
#define TOY_DMA_MESSAGE	   0x038 /* w, 8 bytes: write 0x600d there by DMA_WRITE message */
#define TOY_DOORBELL	   0x040 /* w: an ioeventfd */
#define TOY_DOORBELL_TRAPS 0x048 /* r, 8 bytes: doorbells that came as messages */
#define TOY_RINGS	   0x050 /* r, 8 bytes: doorbells that came through the eventfd */
#define TOY_DIE		   0x058 /* w: the server exits */
#define TOY_BAD		   0x100

#define TOY_STAMP 0x200000 /* in BAR2 */

#endif
