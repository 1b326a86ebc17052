/* SPDX-License-Identifier: MIT */
/*
 * Interrupts: SET_IRQS in all its combinations, raising, masking, pending bits. A vector is an eventfd of the client's, a mask and a
 * pending bit; INTx masks itself when raised, as the kernel's VFIO does, and is raised again at unmask if it became pending.
 *
 * SET_IRQS with DATA_EVENTFD and ACTION_MASK or UNMASK gives a descriptor that *the client* signals instead of sending a message.
 * The protocol's text can be read the other way round; the kernel's VFIO, and QEMU with KVM's resample descriptor, mean this. It
 * exists for INTx, as there. Left out: the same for other indexes.
 *
 * Descriptors are the peer's, so they may be anything: only anonymous inodes are taken (an eventfd is one), which keeps out files,
 * pipes and sockets on which a write could wait or do harm; mdl_eventfd_signal() does not wait for a full counter.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "vfio-user/internal.h"

#define DATA_FLAGS (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD)
#define ACTION_FLAGS \
	(VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER)

int mdl_vu_irq_init(struct mdl_vu_server *s)
{
	for (uint32_t i = 0; i < MDL_VU_IRQS; i++) {
		uint32_t count = s->dev->irq_count[i];

		if (!count)
			continue;
		s->irq[i] = calloc(count, sizeof(*s->irq[i]));
		if (!s->irq[i])
			return -ENOMEM;
		for (uint32_t v = 0; v < count; v++)
			s->irq[i][v].fd = -1;
	}
	return 0;
}

void mdl_vu_irq_fini(struct mdl_vu_server *s)
{
	for (uint32_t i = 0; i < MDL_VU_IRQS; i++)
		free(s->irq[i]);
}

/* Tells the device which descriptor it may signal itself. INTx goes through mdl_vu_irq_raise() anyway: its mask is not told. */
static void report(struct mdl_vu_server *s, uint32_t index, uint32_t vector)
{
	const struct mdl_vu_vector *v = &s->irq[index][vector];

	if (s->ops->irq_changed)
		s->ops->irq_changed(s->ctx, index, vector,
				    v->masked && index != VFIO_PCI_INTX_IRQ_INDEX ? -1 : v->fd);
}

/* fd: owned here from now on; -1: none. The old one is closed after the device has been told. */
static void set_fd(struct mdl_vu_server *s, uint32_t index, uint32_t vector, int fd)
{
	struct mdl_vu_vector *v = &s->irq[index][vector];
	mdl_autofd old = v->fd;

	v->fd = fd;
	if (fd < 0)
		v->pending = false;
	if (old >= 0 || fd >= 0)
		report(s, index, vector);
}

bool mdl_vu_irq_raise(struct mdl_vu_server *s, uint32_t index, uint32_t vector)
{
	struct mdl_vu_vector *v;

	if (index >= MDL_VU_IRQS || vector >= s->dev->irq_count[index] ||
	    s->irq[index][vector].fd < 0)
		return false;
	v = &s->irq[index][vector];
	if (v->masked) {
		v->pending = true;
		return true;
	}
	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		v->masked = true;
	mdl_eventfd_signal(v->fd); /* a full counter is a signal that nobody has taken yet */
	return true;
}

static void set_mask(struct mdl_vu_server *s, uint32_t index, uint32_t vector, bool mask)
{
	struct mdl_vu_vector *v = &s->irq[index][vector];

	if (v->masked == mask)
		return;
	v->masked = mask;
	if (v->fd >= 0 && index != VFIO_PCI_INTX_IRQ_INDEX)
		report(s, index, vector);
	if (!mask && v->pending) {
		v->pending = false;
		mdl_vu_irq_raise(s, index, vector);
	}
}

uint64_t mdl_vu_msix_pending(const struct mdl_vu_server *s, uint32_t word)
{
	uint32_t count = s->dev->irq_count[VFIO_PCI_MSIX_IRQ_INDEX];
	uint64_t bits = 0;

	if (word >= (MDL_VU_MSIX_MAX + 63) / 64)
		return 0;
	for (uint32_t v = word * 64; v < count && v < word * 64 + 64; v++)
		bits |= (uint64_t)s->irq[VFIO_PCI_MSIX_IRQ_INDEX][v].pending << (v % 64);
	return bits;
}

static void close_watched(struct mdl_vu_server *s, int *fd)
{
	/* The file lives on in the client, and epoll with it, unless it is taken out first. */
	if (*fd >= 0)
		mdl_vu_unwatch(s, *fd);
	mdl_close_fd(fd);
}

static void drop_index(struct mdl_vu_server *s, uint32_t index)
{
	for (uint32_t v = 0; v < s->dev->irq_count[index]; v++) {
		set_fd(s, index, v, -1);
		s->irq[index][v].masked = false;
	}
	if (index == VFIO_PCI_INTX_IRQ_INDEX) {
		close_watched(s, &s->intx_mask_fd);
		close_watched(s, &s->intx_unmask_fd);
	}
}

void mdl_vu_irq_drop(struct mdl_vu_server *s)
{
	for (uint32_t i = 0; i < MDL_VU_IRQS; i++)
		drop_index(s, i);
}

void mdl_vu_irq_intx_event(struct mdl_vu_server *s, bool mask)
{
	if (s->dev->irq_count[VFIO_PCI_INTX_IRQ_INDEX])
		set_mask(s, VFIO_PCI_INTX_IRQ_INDEX, 0, mask);
}

static bool anonymous(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

static int set_trigger_fds(struct mdl_vu_server *s, const struct vfio_irq_set *set,
			   struct mdl_vu_request *r)
{
	if (r->nfds && r->nfds != set->count)
		return -EINVAL;
	for (size_t i = 0; i < r->nfds; i++) {
		if (!anonymous(r->fds[i]))
			return -EINVAL;
	}
	for (uint32_t i = 0; i < set->count; i++)
		set_fd(s, set->index, set->start + i, r->nfds ? mdl_take_fd(&r->fds[i]) : -1);
	return 0;
}

/*
 * Edge-triggered and never read: every signal wakes us once whatever the counter is, so neither a semaphore-like eventfd can
 * keep us busy nor a blocking one make us wait.
 */
static int set_intx_fd(struct mdl_vu_server *s, bool mask, struct mdl_vu_request *r)
{
	int *fd = mask ? &s->intx_mask_fd : &s->intx_unmask_fd;
	int ret;

	if (r->nfds > 1 || (r->nfds && !anonymous(r->fds[0])))
		return -EINVAL;
	close_watched(s, fd);
	if (!r->nfds)
		return 0;
	ret = mdl_vu_watch(s, r->fds[0], mask ? MDL_VU_TAG_INTX_MASK : MDL_VU_TAG_INTX_UNMASK,
			   EPOLLIN | EPOLLET);
	if (ret)
		return -EINVAL;
	*fd = mdl_take_fd(&r->fds[0]);
	return 0;
}

/* NONE: all of the range; BOOL: those whose byte is not zero. */
static void act(struct mdl_vu_server *s, const struct vfio_irq_set *set, uint32_t action)
{
	for (uint32_t i = 0; i < set->count; i++) {
		uint32_t vector = set->start + i;

		if ((set->flags & VFIO_IRQ_SET_DATA_BOOL) && !set->data[i])
			continue;
		if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
			mdl_vu_irq_raise(s, set->index, vector);
		else
			set_mask(s, set->index, vector, action == VFIO_IRQ_SET_ACTION_MASK);
	}
}

int mdl_vu_do_set_irqs(struct mdl_vu_server *s, struct mdl_vu_request *r)
{
	const struct vfio_irq_set *set = r->payload;
	uint32_t data = set->flags & DATA_FLAGS, action = set->flags & ACTION_FLAGS;

	if ((set->flags & ~(DATA_FLAGS | ACTION_FLAGS)) || !mdl_is_pow2(data) ||
	    !mdl_is_pow2(action))
		return -EINVAL;
	if (set->argsz < sizeof(*set) || set->index >= MDL_VU_IRQS ||
	    !mdl_range_ok(set->start, set->count, s->dev->irq_count[set->index]))
		return -EINVAL;
	if (r->len != sizeof(*set) + (data == VFIO_IRQ_SET_DATA_BOOL ? set->count : 0))
		return -EINVAL;
	if (r->nfds && data != VFIO_IRQ_SET_DATA_EVENTFD)
		return -EINVAL;

	if (!set->count) {
		if (set->start || data != VFIO_IRQ_SET_DATA_NONE ||
		    action != VFIO_IRQ_SET_ACTION_TRIGGER)
			return -EINVAL;
		drop_index(s, set->index);
		return 0;
	}
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER && set->index > VFIO_PCI_MSIX_IRQ_INDEX)
		return -ENOTSUP;
	if (data != VFIO_IRQ_SET_DATA_EVENTFD) {
		act(s, set, action);
		return 0;
	}
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
		return set_trigger_fds(s, set, r);
	if (set->index != VFIO_PCI_INTX_IRQ_INDEX)
		return -ENOTSUP;
	return set_intx_fd(s, action == VFIO_IRQ_SET_ACTION_MASK, r);
}
