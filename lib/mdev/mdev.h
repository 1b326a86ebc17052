/* SPDX-License-Identifier: MIT */
/*
 * The mediated-device core: physical GPUs and what they have to give (VRAM, channels, compute
 * units), the types of virtual GPU that can be cut out of them, and the instances that exist. Every
 * byte and channel of a pGPU is either free or belongs to exactly one instance; creating takes
 * them, removing gives them back, and nothing else changes the accounts.
 *
 * It knows neither processes nor scheduling: medleyd hangs its own state on an instance (`owner`).
 * Nothing is kept on disk: after a restart of medleyd there are no instances (their VMs have lost
 * their device with the daemon's children).
 *
 * One thread.
 */
#ifndef MDL_MDEV_MDEV_H
#define MDL_MDEV_MDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDL_MDEV_PGPUS_MAX     16
#define MDL_MDEV_TYPES_MAX     24
#define MDL_MDEV_INSTANCES_MAX 1024
#define MDL_MDEV_NAME_MAX      63 /* characters */
#define MDL_MDEV_UUID_BYTES    37 /* text with its terminator */

enum mdl_vgpu_class {
	MDL_VGPU_SHARE,
	MDL_VGPU_PASS
};

struct mdl_vgpu_type {
	char name[24];
	enum mdl_vgpu_class class; /* PASS: the only one on its pGPU */
	uint64_t vram_bytes; /* a power of two */
	uint32_t channels, contexts;
};

struct mdl_pgpu {
	char name[MDL_MDEV_NAME_MAX + 1];
	char backend[16];
	uint64_t vram_bytes, vram_used;
	uint32_t channels, channels_used;
	uint32_t compute_units;
	uint32_t instances;
	bool exclusive; /* its one instance has it alone */
	void *owner;
};

/* What an instance goes through. FAILED: its device cannot be kept alive; only removal is left. */
enum mdl_instance_state {
	MDL_INSTANCE_STARTING, /* its device starts, or starts again */
	MDL_INSTANCE_READY, /* a VMM may connect */
	MDL_INSTANCE_ACTIVE, /* a VMM is connected */
	MDL_INSTANCE_FAILED,
	MDL_INSTANCE_STATES
};

struct mdl_instance {
	struct mdl_instance *prev, *next;
	char uuid[MDL_MDEV_UUID_BYTES]; /* lower case */
	char name[MDL_MDEV_NAME_MAX + 1];
	struct mdl_vgpu_type type; /* its own copy: what it was given */
	struct mdl_pgpu *pgpu;
	enum mdl_instance_state state;
	void *owner;
};

struct mdl_mdev;

int mdl_mdev_create(struct mdl_mdev **ret_mdev);
/* Removes all instances. */
void mdl_mdev_destroy(struct mdl_mdev *m);

/*
 * Adds a pGPU, which the registry owns. VRAM is rounded down to whole MiB. -EINVAL bad name, too
 * little VRAM (under 256 MiB), no channels or compute units; -EEXIST; -ENOSPC.
 */
int mdl_mdev_add_pgpu(struct mdl_mdev *m, const char *name, const char *backend,
		      uint64_t vram_bytes, uint32_t channels, uint32_t compute_units,
		      struct mdl_pgpu **ret_pgpu);
struct mdl_pgpu *mdl_mdev_pgpu(struct mdl_mdev *m, size_t i); /* NULL after the last */
struct mdl_pgpu *mdl_mdev_find_pgpu(struct mdl_mdev *m, const char *name);

/* The i-th type that a pGPU of this size offers; false after the last. */
bool mdl_pgpu_type(const struct mdl_pgpu *p, size_t i, struct mdl_vgpu_type *ret_type);
bool mdl_pgpu_find_type(const struct mdl_pgpu *p, const char *name, struct mdl_vgpu_type *ret_type);
/* How many more of the type fit now. */
uint32_t mdl_pgpu_available(const struct mdl_pgpu *p, const struct mdl_vgpu_type *type);

struct mdl_instance_request {
	const char *type; /* mandatory */
	const char *name; /* NULL: made from the UUID */
	const char *uuid; /* NULL: a new one */
	const char *pgpu; /* NULL: the first with room */
};

/*
 * Creates an instance, STARTING. On failure nothing has changed and `why` holds one line for the
 * user: -EINVAL bad name or UUID; -ENOENT unknown type or pGPU; -EEXIST name or UUID taken; -ENOSPC
 * no VRAM or channels left; -EBUSY a pass-through instance excludes it; -EMFILE too many instances;
 * -ENOMEM.
 */
int mdl_instance_create(struct mdl_mdev *m, const struct mdl_instance_request *req, char *why,
			size_t why_bytes, struct mdl_instance **ret_instance);
void mdl_instance_remove(struct mdl_mdev *m, struct mdl_instance *i);

/* By UUID or by name. NULL: none. */
struct mdl_instance *mdl_instance_find(struct mdl_mdev *m, const char *uuid_or_name);
/* In the order of creation; NULL for the first. */
struct mdl_instance *mdl_instance_next(struct mdl_mdev *m, struct mdl_instance *i);
size_t mdl_instance_count(const struct mdl_mdev *m);

/* Moves along the table of allowed states; false (and no change) for any other move. */
bool mdl_instance_set_state(struct mdl_instance *i, enum mdl_instance_state state);
const char *mdl_instance_state_name(enum mdl_instance_state state);

/*
 * 1 to MDL_MDEV_NAME_MAX of letters, digits, '.', '_', '-', not beginning with '.' or '-', and not
 * the form of a UUID.
 */
bool mdl_mdev_name_ok(const char *name);

/* Whether the accounts add up: for tests, and for assertions. */
bool mdl_mdev_consistent(struct mdl_mdev *m);

#endif
