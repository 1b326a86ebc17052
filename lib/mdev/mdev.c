/* SPDX-License-Identifier: MIT */
/*
 * Registry of instances and the accounts: see mdev.h. Names, UUIDs and type names come from API
 * clients and are checked here. Owned by one thread, the caller's.
 */
#include "mdev/mdev.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "base/util.h"

#define MIB (1ull << 20)

struct mdl_mdev {
	struct mdl_pgpu pgpu[MDL_MDEV_PGPUS_MAX];
	size_t pgpus;
	struct mdl_instance head; /* only its links are used */
	size_t instances;
};

int mdl_mdev_create(struct mdl_mdev **ret_mdev)
{
	struct mdl_mdev *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->head.prev = m->head.next = &m->head;
	*ret_mdev = m;
	return 0;
}

void mdl_mdev_destroy(struct mdl_mdev *m)
{
	if (!m)
		return;
	while (m->head.next != &m->head)
		mdl_instance_remove(m, m->head.next);
	free(m);
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool mdl_mdev_name_ok(const char *name)
{
	size_t n = strnlen(name, MDL_MDEV_NAME_MAX + 1);
	uuid_t uuid;

	if (!n || n > MDL_MDEV_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!name_char(name[i]))
			return false;
	return uuid_parse(name, uuid) != 0;
}

int mdl_mdev_add_pgpu(struct mdl_mdev *m, const char *name, const char *backend,
		      uint64_t vram_bytes, uint32_t channels, uint32_t compute_units,
		      struct mdl_pgpu **ret_pgpu)
{
	struct mdl_pgpu *p;

	if (!mdl_mdev_name_ok(name) || vram_bytes < 256 * MIB || !channels || !compute_units)
		return -EINVAL;
	if (mdl_mdev_find_pgpu(m, name))
		return -EEXIST;
	if (m->pgpus == MDL_MDEV_PGPUS_MAX)
		return -ENOSPC;
	p = &m->pgpu[m->pgpus++];
	snprintf(p->name, sizeof(p->name), "%s", name);
	snprintf(p->backend, sizeof(p->backend), "%s", backend);
	p->vram_bytes = mdl_align_down(vram_bytes, MIB);
	p->channels = channels;
	p->compute_units = compute_units;
	*ret_pgpu = p;
	return 0;
}

struct mdl_pgpu *mdl_mdev_pgpu(struct mdl_mdev *m, size_t i)
{
	return i < m->pgpus ? &m->pgpu[i] : NULL;
}

struct mdl_pgpu *mdl_mdev_find_pgpu(struct mdl_mdev *m, const char *name)
{
	for (size_t i = 0; i < m->pgpus; i++)
		if (!strcmp(m->pgpu[i].name, name))
			return &m->pgpu[i];
	return NULL;
}

static int __attribute__((format(printf, 4, 5)))
refuse(int err, char *why, size_t bytes, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, bytes, fmt, ap);
	va_end(ap);
	return err;
}

static int choose_type(struct mdl_mdev *m, const struct mdl_instance_request *req, char *why,
		       size_t why_bytes, struct mdl_pgpu **ret_pgpu, struct mdl_vgpu_type *ret_type)
{
	struct mdl_pgpu *p, *known = NULL;
	struct mdl_vgpu_type type;
	size_t used;
	int n;

	if (req->pgpu && !mdl_mdev_find_pgpu(m, req->pgpu))
		return refuse(-ENOENT, why, why_bytes, "unknown pGPU '%.63s'", req->pgpu);
	for (size_t i = 0; i < m->pgpus; i++) {
		p = &m->pgpu[i];
		if ((req->pgpu && strcmp(req->pgpu, p->name)) ||
		    !mdl_pgpu_find_type(p, req->type, &type))
			continue;
		if (mdl_pgpu_available(p, &type)) {
			*ret_pgpu = p;
			*ret_type = type;
			return 0;
		}
		known = known ? known : p;
	}
	if (!known) {
		n = snprintf(why, why_bytes, "unknown type '%.32s'; known:", req->type);
		used = mdl_min_u64((size_t)n, why_bytes - 1);
		p = req->pgpu ? mdl_mdev_find_pgpu(m, req->pgpu) : &m->pgpu[0];
		for (size_t i = 0; m->pgpus && mdl_pgpu_type(p, i, &type) && used < why_bytes - 1;
		     i++) {
			n = snprintf(why + used, why_bytes - used, " %s", type.name);
			used = mdl_min_u64(used + (size_t)n, why_bytes - 1);
		}
		return -ENOENT;
	}
	p = known;
	mdl_pgpu_find_type(p, req->type, &type);
	if (p->exclusive)
		return refuse(-EBUSY, why, why_bytes,
			      "pGPU %s is taken as a whole by a pass-full vGPU", p->name);
	if (type.class == MDL_VGPU_PASS)
		return refuse(-EBUSY, why, why_bytes,
			      "%s needs pGPU %s for itself; it has %u vGPU%s", type.name, p->name,
			      p->instances, p->instances == 1 ? "" : "s");
	if (type.vram_bytes > p->vram_bytes - p->vram_used)
		return refuse(-ENOSPC, why, why_bytes,
			      "no VRAM left for %s: %llu MiB of %llu MiB free on pGPU %s",
			      type.name, (unsigned long long)((p->vram_bytes - p->vram_used) / MIB),
			      (unsigned long long)(p->vram_bytes / MIB), p->name);
	return refuse(-ENOSPC, why, why_bytes, "no channels left for %s: %u of %u free on pGPU %s",
		      type.name, p->channels - p->channels_used, p->channels, p->name);
}

int mdl_instance_create(struct mdl_mdev *m, const struct mdl_instance_request *req, char *why,
			size_t why_bytes, struct mdl_instance **ret_instance)
{
	struct mdl_instance *i;
	struct mdl_vgpu_type type;
	struct mdl_pgpu *p = NULL;
	uuid_t uuid;
	int ret;

	if (req->uuid && (uuid_parse(req->uuid, uuid) || uuid_is_null(uuid)))
		return refuse(-EINVAL, why, why_bytes,
			      "bad UUID '%.48s': as 123e4567-e89b-42d3-a456-426614174000, not all zero",
			      req->uuid);
	if (req->name && !mdl_mdev_name_ok(req->name))
		return refuse(-EINVAL, why, why_bytes,
			      "bad name '%.64s': up to %d letters, digits, '.', '_', '-', not '.' or '-' first, no UUID",
			      req->name, MDL_MDEV_NAME_MAX);
	if (m->instances == MDL_MDEV_INSTANCES_MAX)
		return refuse(-EMFILE, why, why_bytes, "too many vGPUs (%d)",
			      MDL_MDEV_INSTANCES_MAX);
	ret = choose_type(m, req, why, why_bytes, &p, &type);
	if (ret)
		return ret;
	if (!req->uuid)
		uuid_generate_random(uuid);
	i = calloc(1, sizeof(*i));
	if (!i)
		return refuse(-ENOMEM, why, why_bytes, "out of memory");
	uuid_unparse_lower(uuid, i->uuid);
	if (req->name)
		snprintf(i->name, sizeof(i->name), "%s", req->name);
	else
		snprintf(i->name, sizeof(i->name), "vgpu-%.8s", i->uuid);
	if (mdl_instance_find(m, i->uuid) || mdl_instance_find(m, i->name)) {
		ret = refuse(-EEXIST, why, why_bytes, "a vGPU with %s '%s' exists already",
			     mdl_instance_find(m, i->uuid) ? "UUID" : "name",
			     mdl_instance_find(m, i->uuid) ? i->uuid : i->name);
		free(i);
		return ret;
	}
	i->type = type;
	i->pgpu = p;
	i->state = MDL_INSTANCE_STARTING;
	i->next = &m->head;
	i->prev = m->head.prev;
	i->prev->next = i->next->prev = i;
	m->instances++;
	p->instances++;
	p->vram_used += type.vram_bytes;
	p->channels_used += type.channels;
	p->exclusive = type.class == MDL_VGPU_PASS;
	*ret_instance = i;
	return 0;
}

void mdl_instance_remove(struct mdl_mdev *m, struct mdl_instance *i)
{
	struct mdl_pgpu *p = i->pgpu;

	assert(p->instances && p->vram_used >= i->type.vram_bytes &&
	       p->channels_used >= i->type.channels);
	p->instances--;
	p->vram_used -= i->type.vram_bytes;
	p->channels_used -= i->type.channels;
	p->exclusive = false;
	m->instances--;
	i->prev->next = i->next;
	i->next->prev = i->prev;
	free(i);
}

struct mdl_instance *mdl_instance_find(struct mdl_mdev *m, const char *uuid_or_name)
{
	char text[MDL_MDEV_UUID_BYTES] = "";
	uuid_t uuid;

	if (!uuid_parse(uuid_or_name, uuid))
		uuid_unparse_lower(uuid, text);
	for (struct mdl_instance *i = m->head.next; i != &m->head; i = i->next)
		if (!strcmp(i->uuid, text) || !strcmp(i->name, uuid_or_name))
			return i;
	return NULL;
}

struct mdl_instance *mdl_instance_next(struct mdl_mdev *m, struct mdl_instance *i)
{
	i = i ? i->next : m->head.next;
	return i == &m->head ? NULL : i;
}

size_t mdl_instance_count(const struct mdl_mdev *m)
{
	return m->instances;
}

/* From which states a state may be entered. */
static const uint8_t from[MDL_INSTANCE_STATES] = {
	[MDL_INSTANCE_STARTING] =
		1 << MDL_INSTANCE_READY | 1 << MDL_INSTANCE_ACTIVE | 1 << MDL_INSTANCE_STARTING,
	[MDL_INSTANCE_READY] =
		1 << MDL_INSTANCE_STARTING | 1 << MDL_INSTANCE_ACTIVE | 1 << MDL_INSTANCE_READY,
	[MDL_INSTANCE_ACTIVE] = 1 << MDL_INSTANCE_READY | 1 << MDL_INSTANCE_ACTIVE,
	[MDL_INSTANCE_FAILED] =
		1 << MDL_INSTANCE_STARTING | 1 << MDL_INSTANCE_READY | 1 << MDL_INSTANCE_ACTIVE,
};

bool mdl_instance_set_state(struct mdl_instance *i, enum mdl_instance_state state)
{
	if (!(from[state] >> i->state & 1))
		return false;
	i->state = state;
	return true;
}

const char *mdl_instance_state_name(enum mdl_instance_state state)
{
	static const char *const name[MDL_INSTANCE_STATES] = { "starting", "ready", "active",
							       "failed" };

	return (unsigned int)state < MDL_INSTANCE_STATES ? name[state] : "?";
}

bool mdl_mdev_consistent(struct mdl_mdev *m)
{
	size_t total = 0;

	for (size_t k = 0; k < m->pgpus; k++) {
		struct mdl_pgpu *p = &m->pgpu[k];
		uint64_t vram = 0, channels = 0;
		uint32_t n = 0, whole = 0;

		for (struct mdl_instance *i = m->head.next; i != &m->head; i = i->next) {
			if (i->pgpu != p)
				continue;
			vram += i->type.vram_bytes;
			channels += i->type.channels;
			whole += i->type.class == MDL_VGPU_PASS;
			n++;
		}
		if (vram != p->vram_used || vram > p->vram_bytes || channels != p->channels_used ||
		    channels > p->channels || n != p->instances || p->exclusive != (whole > 0) ||
		    (whole && n != 1))
			return false;
		total += n;
	}
	return total == m->instances;
}
