/* SPDX-License-Identifier: MIT */
/*
 * libmedley: the user-space driver library of the Medley GPU. The same library runs in a Linux
 * guest (PCI resources), in a guest without an operating system, and on the host over a vfio-user
 * socket.
 *
 * A device (mdl_gpu) has contexts (mdl_ctx: one address space each), buffers (mdl_buf: memory,
 * mapped into contexts), channels (mdl_chan: a queue of commands running in one context), programs
 * (mdl_prog) and their kernels (mdl_kern). A fence (mdl_fence) stands for the completion of
 * everything committed to a channel up to a point.
 *
 *	mdl_gpu_open("socket:/run/medley/vgpu/<uuid>.sock", &gpu);
 *	mdl_ctx_create(gpu, NULL, &ctx);
 *	mdl_chan_create(ctx, NULL, &chan);
 *	mdl_buf_alloc(ctx, bytes, MDL_PLACE_VRAM, &buf);
 *	memcpy(mdl_buf_ptr(buf), data, bytes);
 *	mdl_prog_create(ctx, &prog);
 *	mdl_prog_build(prog, chan, source, strlen(source), "", MDL_WAIT_FOREVER);
 *	mdl_kern_create(prog, "saxpy", &kern);
 *	mdl_kern_set_buffer(kern, 0, buf, 0);
 *	mdl_chan_launch(chan, kern, 1, (uint32_t[]){ n }, NULL, NULL);
 *	mdl_chan_finish(chan, MDL_WAIT_FOREVER);
 *
 * Errors: functions return 0 or a negative errno value; out-parameters (last, named ret_) are
 * untouched on failure. Common to all: -EINVAL bad argument; -ENOMEM no memory of the process;
 * -ENODEV or -EPIPE the device went away; -EIO the channel or context has faulted
 * (mdl_chan_error() tells why).
 *
 * Ownership: the caller owns what a create, alloc or open function returns and ends it with the
 * matching destroy, free or close, which accepts NULL. Destroy in reverse order: kernels before
 * programs, programs and channels before their context, buffers and contexts before the device.
 * Commands read buffers, programs and semaphores when they run, not when they are issued: keep
 * these alive until a fence says that the command is done. Arguments of kernels and data given to
 * mdl_chan_update() are copied when issued.
 *
 * Threads: a device and all that is made from it belong to one thread at a time; nothing is locked.
 * Different devices are independent. Nothing here is async-signal-safe.
 *
 * Left out: sharing buffers between devices, importing foreign memory, asynchronous program builds,
 * implicit synchronisation between channels (use semaphores), eviction (VRAM is what it is:
 * -ENOSPC).
 */
#ifndef MEDLEY_MEDLEY_H
#define MEDLEY_MEDLEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/medley_hw.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MDL_API
#define MDL_API __attribute__((visibility("default")))
#endif

struct mdl_gpu;
struct mdl_ctx;
struct mdl_buf;
struct mdl_chan;
struct mdl_prog;
struct mdl_kern;

/* Time limits are nanoseconds from now; 0 looks once; negative: no limit. */
#define MDL_WAIT_FOREVER (-1)

/* ---- Device ---- */

struct mdl_gpu_info {
	uint32_t version_major, version_minor;
	uint64_t features;
	uint64_t vram_bytes;
	uint64_t va_base, va_limit; /* what can be mapped: [va_base, va_limit) */
	uint32_t num_channels, num_contexts;
	uint32_t compute_units;
	uint32_t num_vectors; /* interrupt vectors that reach this process; 0: waiting polls */
	char port[16]; /* how it is reached: "socket", "sysfs", "micro", ... */
};

/*
 * Opens a device and resets it, so that it starts with zeroed VRAM and no contexts.
 *	"socket:PATH"		vfio-user socket of a vGPU (host)
 *	"sysfs:"		first Medley PCI function of this Linux guest (needs root)
 *	"sysfs:0000:00:04.0"	that PCI function
 *	"micro:"		the device of a guest/micro guest
 * NULL: the first of "sysfs:" and "micro:" that this build of the library has.
 * Errors: -EINVAL unknown scheme; -ENODEV no such device, or one with another interface version;
 * -EACCES, -EPERM no rights; those of connecting; -ETIMEDOUT the device does not get ready.
 */
MDL_API int mdl_gpu_open(const char *uri, struct mdl_gpu **ret_gpu);

/*
 * Resets the device and closes it. All that was made from it must have been destroyed. Accepts
 * NULL.
 */
MDL_API void mdl_gpu_close(struct mdl_gpu *gpu);

MDL_API void mdl_gpu_info(const struct mdl_gpu *gpu, struct mdl_gpu_info *ret_info);

/* The device's clock: nanoseconds since the vGPU was made. One trapped register read. */
MDL_API int mdl_gpu_timestamp(struct mdl_gpu *gpu, uint64_t *ret_ns);

/* Nanoseconds of the clock that time limits use (the port's monotonic clock). */
MDL_API uint64_t mdl_gpu_now_ns(struct mdl_gpu *gpu);

/*
 * Function-level reset: VRAM is zeroed, all contexts and channels are off. Afterwards existing
 * objects can only be destroyed (commands on them give -EIO) and new ones can be made. Errors:
 * -ETIMEDOUT.
 */
MDL_API int mdl_gpu_reset(struct mdl_gpu *gpu);

/*
 * Takes the oldest entry of the fault ring (struct mdl_hw_fault: error, context, channel, packet
 * tag, address, time).
 * -EAGAIN: none. Reading does not clear the channel's or the context's own error.
 */
MDL_API int mdl_gpu_next_fault(struct mdl_gpu *gpu, struct mdl_hw_fault *ret_fault);

/* Faults that were lost because the fault ring was full, since the last reset. */
MDL_API int mdl_gpu_faults_lost(struct mdl_gpu *gpu, uint32_t *ret_count);

/*
 * Raw access to BAR0 at a byte offset, width 4 or 8, for tests and measurements. Writing registers
 * that the library uses breaks the library's view of the device. Errors: -EINVAL offset or width;
 * -EPIPE.
 */
MDL_API int mdl_gpu_read_reg(struct mdl_gpu *gpu, uint32_t offset, uint32_t width,
			     uint64_t *ret_value);
MDL_API int mdl_gpu_write_reg(struct mdl_gpu *gpu, uint32_t offset, uint32_t width, uint64_t value);

/*
 * The VRAM aperture (BAR2) as this process sees it; mdl_gpu_info.vram_bytes long, valid until
 * close.
 */
MDL_API void *mdl_gpu_aperture(struct mdl_gpu *gpu);

/* Short English name of an enum mdl_hw_error ("page fault"); never NULL. */
MDL_API const char *mdl_error_name(uint32_t error);

/* ---- Placement of memory ---- */

enum mdl_place {
	MDL_PLACE_VRAM = 0, /* contiguous video memory, seen by the CPU through the aperture */
	MDL_PLACE_SYSTEM = 1, /* this machine's memory, page by page */
};

/* ---- Contexts ---- */

struct mdl_ctx_options {
	enum mdl_place page_tables; /* default: VRAM */
};

/*
 * Makes a context: an address space and an executor for it. options NULL: defaults. Takes
 * milliseconds. Errors: -EBUSY all contexts of the device are in use; -ENOSPC no VRAM for the page
 * tables; -ETIMEDOUT; -EIO the device refused (no executor).
 */
MDL_API int mdl_ctx_create(struct mdl_gpu *gpu, const struct mdl_ctx_options *options,
			   struct mdl_ctx **ret_ctx);

/*
 * Ends the context. Its channels, programs and home buffers must have been destroyed. Accepts NULL.
 */
MDL_API void mdl_ctx_destroy(struct mdl_ctx *ctx);

/* Number of the context's register window, as in fault entries. */
MDL_API uint32_t mdl_ctx_id(const struct mdl_ctx *ctx);
MDL_API struct mdl_gpu *mdl_ctx_gpu(const struct mdl_ctx *ctx);

struct mdl_ctx_state {
	uint32_t status; /* MDL_STATUS_* */
	uint32_t error; /* enum mdl_hw_error: what faulted it, or what its last invalidate found */
	uint64_t fault_va; /* address that belongs to it */
};
/* Reads the context's state from the device. */
MDL_API int mdl_ctx_state(struct mdl_ctx *ctx, struct mdl_ctx_state *ret_state);

/*
 * Recovers a context: resets it and starts a new executor with the same mappings. Buffers keep
 * their contents. Programs are lost (their kernels give -ESTALE until mdl_prog_build() again) and
 * so is the work of the context's channels: reset each of them with mdl_chan_reset() afterwards.
 * Errors: as mdl_ctx_create().
 */
MDL_API int mdl_ctx_reset(struct mdl_ctx *ctx);

/*
 * Reserves bytes (rounded up to pages) of address space aligned to align (a power of two, 0: page,
 * or 2 MiB for 2 MiB and more), for mdl_buf_map() at chosen addresses. Nothing is mapped. Errors:
 * -ENOSPC.
 */
MDL_API int mdl_ctx_reserve(struct mdl_ctx *ctx, uint64_t bytes, uint64_t align, uint64_t *ret_va);

/*
 * Gives a reservation back, named by its first address. -ENOENT: there is none; -EBUSY: something
 * is mapped in it.
 */
MDL_API int mdl_ctx_unreserve(struct mdl_ctx *ctx, uint64_t va);

/*
 * Makes earlier changes to the page tables effective in [va, va + bytes); bytes 0: everything. Only
 * needed after maps and unmaps with MDL_MAP_DEFER. Errors: -EIO an entry was refused
 * (mdl_ctx_state() tells which), nothing is mapped there.
 */
MDL_API int mdl_ctx_invalidate(struct mdl_ctx *ctx, uint64_t va, uint64_t bytes);

/*
 * The page-table entry that covers va as the library wrote it, for tests: 0 if none. level: 2 for a
 * 2 MiB leaf, 3 for a 4 KiB leaf.
 */
MDL_API uint64_t mdl_ctx_pte(const struct mdl_ctx *ctx, uint64_t va, uint32_t *ret_level);

/* ---- Buffers ---- */

/* Rights of a mapping and how to make it. */
#define MDL_MAP_READ  0x1u /* always granted */
#define MDL_MAP_WRITE 0x2u
#define MDL_MAP_RW    (MDL_MAP_READ | MDL_MAP_WRITE)
#define MDL_MAP_SMALL 0x4u /* 4 KiB pages only, also where 2 MiB pages fit */
#define MDL_MAP_DEFER 0x8u /* no invalidate: the caller makes one for several changes */
#define MDL_VA_ANY    0ull /* let the library choose */

/*
 * Makes a buffer of at least bytes (rounded up to 4 KiB pages; at most 2^40), not mapped anywhere.
 * VRAM contents are whatever was there, system memory is zeroed. Errors: -ENOSPC no VRAM; -ENOMEM
 * no system memory that the device can reach.
 */
MDL_API int mdl_buf_create(struct mdl_gpu *gpu, uint64_t bytes, enum mdl_place place,
			   struct mdl_buf **ret_buf);

/*
 * The usual case: mdl_buf_create() and mdl_buf_map() for reading and writing at an address that the
 * library chooses in ctx.
 */
MDL_API int mdl_buf_alloc(struct mdl_ctx *ctx, uint64_t bytes, enum mdl_place place,
			  struct mdl_buf **ret_buf);

/* Unmaps the buffer everywhere and frees it. No unfinished command may use it. Accepts NULL. */
MDL_API void mdl_buf_destroy(struct mdl_buf *buf);

/* The buffer for the CPU: all of it, contiguous, valid until destroy. Never NULL. */
MDL_API void *mdl_buf_ptr(const struct mdl_buf *buf);
MDL_API uint64_t mdl_buf_bytes(const struct mdl_buf *buf);

/* GPU address of the buffer's oldest mapping, 0 if it has none. */
MDL_API uint64_t mdl_buf_va(const struct mdl_buf *buf);

/* Offset of a VRAM buffer in VRAM; UINT64_MAX for system memory. */
MDL_API uint64_t mdl_buf_vram_offset(const struct mdl_buf *buf);

/*
 * Maps the whole buffer into a context. va: page aligned, inside a reservation or not reserved at
 * all, and not mapped; or MDL_VA_ANY. A buffer can be mapped several times. flags: MDL_MAP_*.
 * Errors: -EEXIST something is mapped there; -ENOSPC no address space, or no memory for page
 * tables; -ERANGE outside [va_base, va_limit); -EIO refused by the device. ret_va may be NULL.
 */
MDL_API int mdl_buf_map(struct mdl_buf *buf, struct mdl_ctx *ctx, uint64_t va, uint32_t flags,
			uint64_t *ret_va);

/*
 * Removes the mapping that starts at va. flags: 0 or MDL_MAP_DEFER (then the device may still reach
 * the buffer until mdl_ctx_invalidate(): do not destroy it before). -ENOENT: the buffer is not
 * mapped there.
 */
MDL_API int mdl_buf_unmap(struct mdl_buf *buf, struct mdl_ctx *ctx, uint64_t va, uint32_t flags);

/* ---- Channels ---- */

struct mdl_chan_options {
	uint32_t ring_log2; /* log2 of packets, MDL_RING_LOG2_MIN to _MAX; 0: 10 */
	/*
	 * Memory for kernel arguments and small updates in flight: a power of two, 4096 to 16 MiB;
	 * 0: 64 KiB.
	 */
	uint32_t args_bytes;
	enum mdl_place place; /* of ring, arguments and fence; default VRAM */
};

/*
 * Makes a channel and starts it. options NULL: defaults. Errors: -EBUSY no channel is free;
 * -ENOSPC; -ETIMEDOUT; -EIO.
 */
MDL_API int mdl_chan_create(struct mdl_ctx *ctx, const struct mdl_chan_options *options,
			    struct mdl_chan **ret_chan);

/* Stops the channel; unfinished commands are dropped. Accepts NULL. */
MDL_API void mdl_chan_destroy(struct mdl_chan *chan);

/* Number of the channel's register window, as in fault entries. */
MDL_API uint32_t mdl_chan_id(const struct mdl_chan *chan);

struct mdl_chan_error {
	uint32_t error; /* enum mdl_hw_error; MDL_ERR_NONE: the channel is well */
	uint64_t va; /* address that belongs to it, or 0 */
	uint64_t packet; /* the failed packet: counted from 0 since the channel was made or reset */
	uint32_t tag; /* its tag; 0 if that slot was reused */
	bool context_lost; /* the whole context is gone: mdl_ctx_reset(), then mdl_chan_reset() */
};
/* Tells why a channel stopped. Reads registers only when there is an error. */
MDL_API int mdl_chan_error(struct mdl_chan *chan, struct mdl_chan_error *ret_error);

/*
 * Empties the channel, clears its error and starts it again. Fences of before give -ECANCELED.
 * Errors: -EIO the context has faulted: reset it first; -ETIMEDOUT.
 */
MDL_API int mdl_chan_reset(struct mdl_chan *chan);

/* ---- Fences ---- */

/*
 * A point in a channel's commands. A plain value: copy it freely, nothing to release. Use only
 * while the channel exists. The library-made fence of a zeroed struct is complete.
 */
struct mdl_fence {
	struct mdl_chan *chan;
	uint64_t value;
	uint32_t epoch;
};

/*
 * 1: done; 0: not yet; -EIO: the channel stopped before it; -ECANCELED: the channel was reset. No
 * trap, no system call.
 */
MDL_API int mdl_fence_poll(const struct mdl_fence *fence);

/*
 * Waits: spins about 50 us, then sleeps until the device interrupts. Errors: as mdl_fence_poll(),
 * -ETIMEDOUT. When the fence's batch was not committed with MDL_COMMIT_IRQ and spinning does not
 * suffice, an interrupt-only packet is queued behind what is in the channel; if the ring is full,
 * waiting polls with growing sleeps (1 ms at most).
 */
MDL_API int mdl_fence_wait(const struct mdl_fence *fence, int64_t timeout_ns);

/*
 * How long mdl_fence_wait() spins before it sleeps; 50000 at the start; 0: never spin; UINT64_MAX:
 * never sleep.
 */
MDL_API void mdl_gpu_set_spin(struct mdl_gpu *gpu, uint64_t spin_ns);

/* ---- Commands ----
 * Each command is one packet. Outside begin/commit each is handed to the device at once. Addresses
 * are GPU virtual addresses in the channel's context and are checked by the device when the command
 * runs. Commands run in order, each after the one before has completed, unless
 * mdl_chan_set_overlap() allows otherwise. When the ring (or the argument memory) is full a command
 * waits for the oldest one to finish, for at most the time limit of the channel
 * (mdl_chan_set_limit(); 10 s at the start): -ETIMEDOUT.
 */

/* Time that a command may wait for room. */
MDL_API void mdl_chan_set_limit(struct mdl_chan *chan, int64_t timeout_ns);

/*
 * true: commands issued from now on may start before earlier ones have completed (barriers and
 * fences still order).
 */
MDL_API void mdl_chan_set_overlap(struct mdl_chan *chan, bool overlap);

/*
 * Tag of the commands issued from now on, repeated in errors and faults. At the start and 0: the
 * packet's number, cut to 32 bits.
 */
MDL_API void mdl_chan_set_tag(struct mdl_chan *chan, uint32_t tag);

/*
 * Starts a batch: commands are written but handed over together at commit, with one doorbell at
 * most. Not nested: -EBUSY. A batch larger than the ring is handed over in parts. -EIO: the channel
 * has stopped.
 */
MDL_API int mdl_chan_begin(struct mdl_chan *chan);

#define MDL_COMMIT_IRQ 0x1u /* somebody will sleep on this fence: raise an interrupt */

/*
 * Hands the batch over. *ret_fence (or NULL) completes with its last command. An empty batch gives
 * the channel's last fence.
 */
MDL_API int mdl_chan_commit(struct mdl_chan *chan, uint32_t flags, struct mdl_fence *ret_fence);

/* The fence of everything handed over so far. Costs nothing. */
MDL_API void mdl_chan_fence(const struct mdl_chan *chan, struct mdl_fence *ret_fence);

/* Waits until everything handed over has completed. A batch must not be open: -EBUSY. */
MDL_API int mdl_chan_finish(struct mdl_chan *chan, int64_t timeout_ns);

/* Copies bytes (0 is allowed). Overlapping ranges give undefined contents. */
MDL_API int mdl_chan_copy(struct mdl_chan *chan, uint64_t dst_va, uint64_t src_va, uint64_t bytes);

/*
 * Fills with a pattern of 1, 2, 4 or 8 bytes (low bytes of pattern); dst_va and bytes must be
 * multiples of pattern_bytes.
 */
MDL_API int mdl_chan_fill(struct mdl_chan *chan, uint64_t dst_va, uint64_t bytes, uint64_t pattern,
			  uint32_t pattern_bytes);

/* Copies height rows of width_bytes; pitches in bytes, not smaller than width_bytes. */
MDL_API int mdl_chan_copy_2d(struct mdl_chan *chan, uint64_t dst_va, uint32_t dst_pitch,
			     uint64_t src_va, uint32_t src_pitch, uint32_t width_bytes,
			     uint32_t height);

/*
 * Writes a few bytes (at most a quarter of the channel's args_bytes) of the caller's memory to
 * dst_va, in order with the other commands; data is copied before the call returns. -E2BIG.
 */
MDL_API int mdl_chan_update(struct mdl_chan *chan, uint64_t dst_va, const void *data,
			    uint32_t bytes);

/*
 * Waits until the 64-bit word at va (8-byte aligned) compares with value: MDL_SEM_EQ, _GE, _NE or
 * _AND_NZ.
 */
MDL_API int mdl_chan_sem_wait(struct mdl_chan *chan, uint64_t va, enum mdl_hw_sem_op op,
			      uint64_t value);

/* Updates the 64-bit word at va atomically: MDL_SEM_SET, _ADD or _OR. */
MDL_API int mdl_chan_sem_release(struct mdl_chan *chan, uint64_t va, enum mdl_hw_sem_op op,
				 uint64_t value);

/* Stores the device's clock (nanoseconds, as mdl_gpu_timestamp()) at va, 8-byte aligned. */
MDL_API int mdl_chan_timestamp(struct mdl_chan *chan, uint64_t va);

/* Completes after everything before it; later commands start after it. */
MDL_API int mdl_chan_barrier(struct mdl_chan *chan);

/*
 * Queues a packet as it is, for tests: nothing is checked; tag and fields are the caller's; the
 * library adds signal fields when the packet ends a batch and has no MDL_PKT_SIGNAL of its own
 * (else a barrier packet follows it).
 */
MDL_API int mdl_chan_packet(struct mdl_chan *chan, const struct mdl_hw_packet *packet);

/* ---- Programs and kernels ---- */

/* Makes an empty program of a context. Errors: -EBUSY the context has MDL_PROGRAM_MAX programs. */
MDL_API int mdl_prog_create(struct mdl_ctx *ctx, struct mdl_prog **ret_prog);

/*
 * Builds OpenCL C source (bytes long, at most MDL_PROGRAM_SOURCE_MAX) with compiler options ("" or
 * NULL: none), through a channel of the same context, and waits for it. May take seconds. Kernels
 * made from an earlier build of prog must be made again. Errors: -ENOEXEC the source does not
 * build: mdl_prog_log() says why; -ETIMEDOUT; -E2BIG too many kernels, or source or options too
 * long; -ENOSPC; -EOPNOTSUPP; -ENOMEM the compiler ran out of memory. After -ETIMEDOUT of the wait
 * itself the channel may still write to the library's memory: the program stays unusable until the
 * channel has finished or was reset.
 */
MDL_API int mdl_prog_build(struct mdl_prog *prog, struct mdl_chan *chan, const char *source,
			   size_t bytes, const char *options, int64_t timeout_ns);

/*
 * Log of the last build (warnings too), NUL-terminated, cut to 64 KiB; "" before. Valid until the
 * next build or destroy.
 */
MDL_API const char *mdl_prog_log(const struct mdl_prog *prog);

/*
 * Kernels of the last build. The pointers are valid until the next build or destroy; NULL: no such
 * index.
 */
MDL_API uint32_t mdl_prog_num_kernels(const struct mdl_prog *prog);
MDL_API const struct mdl_hw_kernel_info *mdl_prog_kernel(const struct mdl_prog *prog,
							 uint32_t index);

/*
 * Frees the program and queues its unloading on a channel of its context, if there is one that has
 * not faulted: launches queued before on that channel are safe, those on other channels must have
 * completed. Accepts NULL.
 */
MDL_API void mdl_prog_destroy(struct mdl_prog *prog);

/*
 * Looks a kernel up by name; its arguments start unset. Errors: -ENOENT no such kernel, or nothing
 * built.
 */
MDL_API int mdl_kern_create(struct mdl_prog *prog, const char *name, struct mdl_kern **ret_kern);
MDL_API void mdl_kern_destroy(struct mdl_kern *kern);
MDL_API const struct mdl_hw_kernel_info *mdl_kern_info(const struct mdl_kern *kern);

/*
 * Sets argument index. value: bytes (1 to MDL_ARG_BYTES_MAX) are copied. buffer: GPU address of
 * buf's mapping in the kernel's context, plus offset; buf NULL: null pointer. address: a GPU
 * address as it is. local: bytes of local memory for each work-group. Errors: -EINVAL no such
 * argument, or of another kind; -ERANGE offset past the buffer; -ENOENT buf is not mapped in the
 * context.
 */
MDL_API int mdl_kern_set_value(struct mdl_kern *kern, uint32_t index, const void *data,
			       uint32_t bytes);
MDL_API int mdl_kern_set_buffer(struct mdl_kern *kern, uint32_t index, const struct mdl_buf *buf,
				uint64_t offset);
MDL_API int mdl_kern_set_address(struct mdl_kern *kern, uint32_t index, uint64_t va);
MDL_API int mdl_kern_set_local(struct mdl_kern *kern, uint32_t index, uint32_t bytes);

/*
 * Launches a kernel with the arguments set now (they can be changed right after). dims 1 to 3;
 * global: work-items in each dimension, at least 1; local: work-group size, or NULL: the device
 * chooses; offset: global offset, or NULL: 0. Errors: -EINVAL also: local too large, or against the
 * source's required size; -ENODATA an argument is not set; -ESTALE the program was built anew or
 * lost.
 */
MDL_API int mdl_chan_launch(struct mdl_chan *chan, const struct mdl_kern *kern, uint32_t dims,
			    const uint32_t *global, const uint32_t *local, const uint64_t *offset);

#ifdef __cplusplus
}
#endif

#endif
