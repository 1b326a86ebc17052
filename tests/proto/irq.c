/* SPDX-License-Identifier: MIT */
/* Interrupts: SET_IRQS in all combinations, raising, masking, pending, INTx masking itself, and descriptors that are no eventfds. */
#include "rig.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/fd.h"

#define NONE	VFIO_IRQ_SET_DATA_NONE
#define BOOL	VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD	VFIO_IRQ_SET_DATA_EVENTFD
#define MASK	VFIO_IRQ_SET_ACTION_MASK
#define UNMASK	VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER	VFIO_IRQ_SET_ACTION_TRIGGER
#define INTX	VFIO_PCI_INTX_IRQ_INDEX
#define MSI	VFIO_PCI_MSI_IRQ_INDEX
#define MSIX	VFIO_PCI_MSIX_IRQ_INDEX

static int plain(struct rig *r, uint32_t flags, uint32_t index, uint32_t start, uint32_t count)
{
	return rig_irqs(r, flags, index, start, count, NULL, 0, NULL, 0);
}

static int assign(struct rig *r, uint32_t index, uint32_t start, uint32_t count, const int *fds)
{
	return rig_irqs(r, EVENTFD | TRIGGER, index, start, count, NULL, 0, fds, count);
}

static void bad_requests(void)
{
	static const uint32_t data[] = { NONE, BOOL, EVENTFD }, action[] = { MASK, UNMASK, TRIGGER };
	struct vfio_irq_set set = { .argsz = 19, .flags = NONE | TRIGGER, .index = MSIX };
	int fds[16];
	uint8_t bools[64] = { 1 };
	struct rig r;
	size_t before;

	for (size_t i = 0; i < 16; i++)
		fds[i] = rig_eventfd();
	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	for (uint32_t flags = 0; flags < 128; flags++) {	/* one of each, and nothing else */
		uint32_t d = flags & 7, a = flags & 0x38;
		bool one = mdl_is_pow2(d) && mdl_is_pow2(a) && flags < 64;

		if (!one)
			CHECK_EQ(rig_irqs(&r, flags, MSIX, 0, 1, bools, d & BOOL ? 1 : 0, NULL, 0), EINVAL);
	}
	CHECK_EQ(rig_call(&r, MDL_VU_SET_IRQS, &set, sizeof(set), NULL, 0), EINVAL);	/* argsz */
	for (size_t d = 0; d < 3; d++) {
		for (size_t a = 0; a < 3; a++) {
			uint32_t f = data[d] | action[a];
			size_t len = data[d] == BOOL ? 1 : 0;

			CHECK_EQ(rig_irqs(&r, f, 5, 0, 1, bools, len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, UINT32_MAX, 0, 1, bools, len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, MSIX, RIG_MSIX, 1, bools, len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, MSIX, UINT32_MAX, 1, bools, len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, MSIX, 1, UINT32_MAX, bools, len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, MSIX, RIG_MSIX - 1, 2, bools, 2 * len, NULL, 0), EINVAL);
			CHECK_EQ(rig_irqs(&r, f, 3, 0, 1, bools, len, NULL, 0), EINVAL);	/* no such interrupt */
			/* Data that is not there, or too much of it. */
			CHECK_EQ(rig_irqs(&r, f, INTX, 0, 1, bools, len + 1, NULL, 0), EINVAL);
			if (len)
				CHECK_EQ(rig_irqs(&r, f, MSIX, 0, 2, bools, 1, NULL, 0), EINVAL);
			/* Descriptors that do not belong. */
			if (data[d] != EVENTFD)
				CHECK_EQ(rig_irqs(&r, f, INTX, 0, 1, bools, len, fds, 1), EINVAL);
			else
				CHECK(rig_irqs(&r, f, MSIX, 0, 3, NULL, 0, fds, 2) != 0);
			/* Count 0 only turns an index off. */
			if (f != (NONE | TRIGGER))
				CHECK_EQ(rig_irqs(&r, f, MSIX, 0, 0, NULL, 0, NULL, 0), EINVAL);
		}
	}
	CHECK_EQ(plain(&r, NONE | TRIGGER, MSIX, 1, 0), EINVAL);
	CHECK_EQ(plain(&r, NONE | MASK, VFIO_PCI_REQ_IRQ_INDEX, 0, 1), ENOTSUP);
	CHECK_EQ(rig_irqs(&r, EVENTFD | UNMASK, MSIX, 0, 1, NULL, 0, fds, 1), ENOTSUP);
	CHECK_EQ(r.irq_changes, 0);
	CHECK_EQ(rig_count_fds(), before);
	CHECK(rig_alive(&r));
	rig_stop(&r);
}

/* As QEMU does it: MSI-X on with vector 0 and no descriptor, then vector by vector, swaps, and off. */
static void msix_life(void)
{
	int fds[RIG_MSIX], other = rig_eventfd();
	struct rig r;
	size_t before;

	for (size_t i = 0; i < RIG_MSIX; i++)
		fds[i] = rig_eventfd();
	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	CHECK_EQ(rig_irqs(&r, EVENTFD | TRIGGER, MSIX, 0, 1, NULL, 0, NULL, 0), 0);
	CHECK(!mdl_vu_irq_raise(r.s, MSIX, 0));
	CHECK_EQ(assign(&r, MSIX, 3, 1, &fds[3]), 0);
	CHECK_EQ(assign(&r, MSIX, 16, 16, &fds[16]), 0);
	CHECK_EQ(rig_count_fds(), before + 17);
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 3));
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 31));
	CHECK(!mdl_vu_irq_raise(r.s, MSIX, 4));
	CHECK_EQ(mdl_eventfd_take(fds[3]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[31]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[16]), 0);
	/* The descriptor that the device was told of is the one to signal. */
	CHECK_EQ(mdl_eventfd_signal(r.irq_fd[MSIX][20]), 0);
	CHECK_EQ(mdl_eventfd_take(fds[20]), 1);

	CHECK_EQ(assign(&r, MSIX, 3, 1, &other), 0);	/* swap */
	CHECK_EQ(rig_count_fds(), before + 17);
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 3));
	CHECK_EQ(mdl_eventfd_take(fds[3]), 0);
	CHECK_EQ(mdl_eventfd_take(other), 1);
	CHECK_EQ(rig_irqs(&r, EVENTFD | TRIGGER, MSIX, 3, 1, NULL, 0, NULL, 0), 0);	/* this one off */
	CHECK(!mdl_vu_irq_raise(r.s, MSIX, 3));
	CHECK_EQ(r.irq_fd[MSIX][3], -1);
	CHECK_EQ(rig_count_fds(), before + 16);
	CHECK_EQ(plain(&r, NONE | TRIGGER, MSIX, 0, 0), 0);	/* all off */
	CHECK_EQ(rig_count_fds(), before);
	for (uint32_t i = 0; i < RIG_MSIX; i++)
		CHECK(!mdl_vu_irq_raise(r.s, MSIX, i));
	CHECK(!mdl_vu_irq_raise(r.s, MSIX, RIG_MSIX));
	CHECK(!mdl_vu_irq_raise(r.s, 5, 0));
	CHECK(!mdl_vu_irq_raise(r.s, UINT32_MAX, UINT32_MAX));
	rig_stop(&r);
}

static void masking(void)
{
	int fds[4];
	uint8_t bools[4] = { 0, 1, 0, 255 };
	struct rig r;

	for (size_t i = 0; i < 4; i++)
		fds[i] = rig_eventfd();
	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(assign(&r, MSIX, 0, 4, fds), 0);
	CHECK_EQ(rig_irqs(&r, BOOL | MASK, MSIX, 0, 4, bools, 4, NULL, 0), 0);
	CHECK_EQ(r.irq_fd[MSIX][1], -1);
	CHECK(r.irq_fd[MSIX][0] > 0);
	for (uint32_t i = 0; i < 4; i++)
		CHECK(mdl_vu_irq_raise(r.s, MSIX, i));
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 3));	/* twice is once */
	CHECK_EQ(mdl_eventfd_take(fds[0]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[1]), 0);
	CHECK_EQ(mdl_eventfd_take(fds[2]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[3]), 0);
	CHECK_EQ(mdl_vu_msix_pending(r.s, 0), 0xa);
	CHECK_EQ(mdl_vu_msix_pending(r.s, 1), 0);
	CHECK_EQ(mdl_vu_msix_pending(r.s, UINT32_MAX), 0);
	CHECK_EQ(plain(&r, NONE | UNMASK, MSIX, 3, 1), 0);
	CHECK_EQ(mdl_eventfd_take(fds[3]), 1);
	CHECK_EQ(mdl_vu_msix_pending(r.s, 0), 2);
	CHECK(r.irq_fd[MSIX][3] > 0);
	CHECK_EQ(plain(&r, NONE | UNMASK, MSIX, 0, 4), 0);
	CHECK_EQ(mdl_eventfd_take(fds[1]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[0]) + mdl_eventfd_take(fds[3]), 0);
	/* Masked before it has a descriptor; swapped while masked; masks forgotten when the index is turned off. */
	CHECK_EQ(plain(&r, NONE | MASK, MSIX, 0, RIG_MSIX), 0);
	CHECK_EQ(assign(&r, MSIX, 9, 1, &fds[0]), 0);
	CHECK_EQ(r.irq_fd[MSIX][9], -1);
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 9));
	CHECK_EQ(assign(&r, MSIX, 9, 1, &fds[1]), 0);
	CHECK_EQ(plain(&r, NONE | UNMASK, MSIX, 9, 1), 0);
	CHECK_EQ(mdl_eventfd_take(fds[0]), 0);
	CHECK_EQ(mdl_eventfd_take(fds[1]), 1);
	CHECK_EQ(plain(&r, NONE | TRIGGER, MSIX, 0, 0), 0);
	CHECK_EQ(assign(&r, MSIX, 0, 1, fds), 0);
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 0));
	CHECK_EQ(mdl_eventfd_take(fds[0]), 1);
	CHECK_EQ(mdl_vu_msix_pending(r.s, 0), 0);
	rig_stop(&r);
}

/* The client triggers interrupts itself, to test its own path. */
static void loopback(void)
{
	int fds[4];
	uint8_t bools[4] = { 1, 0, 1, 0 };
	struct rig r;

	for (size_t i = 0; i < 4; i++)
		fds[i] = rig_eventfd();
	rig_start(&r);
	rig_hello(&r);
	CHECK_EQ(assign(&r, MSI, 0, 4, fds), 0);
	CHECK_EQ(plain(&r, NONE | TRIGGER, MSI, 0, 4), 0);
	CHECK_EQ(rig_irqs(&r, BOOL | TRIGGER, MSI, 0, 4, bools, 4, NULL, 0), 0);
	CHECK_EQ(mdl_eventfd_take(fds[0]), 2);
	CHECK_EQ(mdl_eventfd_take(fds[1]), 1);
	CHECK_EQ(mdl_eventfd_take(fds[2]), 2);
	CHECK_EQ(mdl_eventfd_take(fds[3]), 1);
	CHECK_EQ(plain(&r, NONE | TRIGGER, MSIX, 0, 4), 0);	/* nowhere to go is no error */
	rig_stop(&r);
}

static void intx(void)
{
	int fd = rig_eventfd(), unmask = rig_eventfd(), mask = rig_eventfd();
	struct rig r;
	size_t before;

	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	CHECK_EQ(assign(&r, INTX, 0, 1, &fd), 0);
	CHECK(mdl_vu_irq_raise(r.s, INTX, 0));
	CHECK_EQ(mdl_eventfd_take(fd), 1);
	CHECK(mdl_vu_irq_raise(r.s, INTX, 0));	/* masked itself: pending */
	CHECK_EQ(mdl_eventfd_take(fd), 0);
	CHECK_EQ(plain(&r, NONE | UNMASK, INTX, 0, 1), 0);	/* raised again, and masked again */
	CHECK_EQ(mdl_eventfd_take(fd), 1);
	CHECK_EQ(plain(&r, NONE | UNMASK, INTX, 0, 1), 0);
	CHECK_EQ(mdl_eventfd_take(fd), 0);

	/* KVM's resample descriptor: signalled instead of an UNMASK message. */
	CHECK_EQ(rig_irqs(&r, EVENTFD | UNMASK, INTX, 0, 1, NULL, 0, &unmask, 1), 0);
	CHECK_EQ(rig_irqs(&r, EVENTFD | MASK, INTX, 0, 1, NULL, 0, &mask, 1), 0);
	CHECK_EQ(rig_count_fds(), before + 3);
	for (int i = 0; i < 3; i++) {
		CHECK(mdl_vu_irq_raise(r.s, INTX, 0));
		CHECK(mdl_vu_irq_raise(r.s, INTX, 0));
		CHECK_EQ(mdl_eventfd_take(fd), 1);
		CHECK_EQ(mdl_eventfd_signal(unmask), 0);
		rig_pump(&r);	/* it also comes to rest, though nobody takes the count */
		CHECK_EQ(mdl_eventfd_take(fd), 1);
		CHECK_EQ(mdl_eventfd_signal(unmask), 0);
		rig_pump(&r);
		CHECK_EQ(mdl_eventfd_take(fd), 0);
	}
	CHECK_EQ(mdl_eventfd_signal(mask), 0);
	rig_pump(&r);
	CHECK(mdl_vu_irq_raise(r.s, INTX, 0));
	CHECK_EQ(mdl_eventfd_take(fd), 0);
	CHECK_EQ(rig_irqs(&r, EVENTFD | UNMASK, INTX, 0, 1, NULL, 0, NULL, 0), 0);	/* taken back */
	CHECK_EQ(mdl_eventfd_signal(unmask), 0);
	rig_pump(&r);
	CHECK_EQ(mdl_eventfd_take(fd), 0);
	CHECK_EQ(plain(&r, NONE | TRIGGER, INTX, 0, 0), 0);
	CHECK_EQ(rig_count_fds(), before);
	CHECK_EQ(mdl_eventfd_signal(mask), 0);	/* no longer watched */
	rig_pump(&r);
	rig_stop(&r);
}

/* A full counter, a blocking one, and things that are no eventfd at all. */
static void odd_descriptors(void)
{
	int full = eventfd(0, EFD_CLOEXEC), pipefd[2], file = rig_memfd(4096), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint64_t most = UINT64_MAX - 1;
	int mixed[2];
	struct rig r;
	size_t before;

	CHECK(!pipe(pipefd));
	CHECK_EQ(write(full, &most, 8), 8);
	rig_start(&r);
	rig_hello(&r);
	before = rig_count_fds();
	CHECK_EQ(assign(&r, MSIX, 0, 1, &pipefd[1]), EINVAL);
	CHECK_EQ(assign(&r, MSIX, 0, 1, &file), EINVAL);
	CHECK_EQ(assign(&r, MSIX, 0, 1, &null), EINVAL);
	CHECK_EQ(assign(&r, MSIX, 0, 1, &r.fd), EINVAL);
	CHECK_EQ(rig_irqs(&r, EVENTFD | UNMASK, INTX, 0, 1, NULL, 0, &pipefd[0], 1), EINVAL);
	mixed[0] = full;
	mixed[1] = file;
	CHECK_EQ(assign(&r, MSIX, 0, 2, mixed), EINVAL);	/* all or nothing */
	CHECK_EQ(r.irq_changes, 0);
	CHECK_EQ(rig_count_fds(), before);
	CHECK_EQ(assign(&r, MSIX, 0, 1, &full), 0);
	CHECK(mdl_vu_irq_raise(r.s, MSIX, 0));	/* does not wait */
	rig_stop(&r);
}

static const struct check_case cases[] = {
	{ "requests that are refused", bad_requests },
	{ "MSI-X on, swapped, off", msix_life },
	{ "masks and pending bits", masking },
	{ "the client triggers", loopback },
	{ "INTx masks itself", intx },
	{ "odd descriptors", odd_descriptors },
};

RIG_MAIN(cases)
