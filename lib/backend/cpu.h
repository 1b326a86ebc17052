/* SPDX-License-Identifier: MIT */
/* Inside the cpu backend: its objects and what its files offer each other. */
#ifndef MDL_BACKEND_CPU_H
#define MDL_BACKEND_CPU_H

#include <pthread.h>
#include <stdbool.h>

#include "backend/backend.h"
#include "backend/cl.h"
#include "backend/compile.h"

#define CPU_VARIANTS_MAX	32	/* remembered for each kernel; the oldest is forgotten and then found in PoCL's cache again */
#define CPU_BUFFERS_LOG2	12
#define CPU_BUFFERS_MAX		2048	/* half of the table: short probes */

/* What PoCL's machine code for a kernel depends on (PoCL 3.1, pocl_cache_kernel_cachedir_path). */
struct cpu_variant {
	size_t local[3];
	bool zero_offset, small_grid;
	bool done;
	int error;			/* once done: 0 or the errno that launch_ready() answers */
};

struct cpu_kernel {
	cl_kernel kernel;
	struct cpu_variant variant[CPU_VARIANTS_MAX];
	uint32_t next_variant;
};

struct cpu_program {			/* the compile thread's while its job runs, else the front end's */
	char *code, *options;		/* code: the source, and once it is compiled the bitcode */
	size_t code_bytes;
	cl_program program;
	struct mdl_program_built built;
	char *log;
	struct mdl_hw_kernel_info *info;
	struct cpu_kernel *kernel;
};

enum cpu_job_state { CPU_JOB_NONE, CPU_JOB_RUNNING, CPU_JOB_DONE, CPU_JOB_QUIT };

struct cpu_job {
	enum cpu_job_state state;	/* under lock; everything else belongs to the side that state names */
	struct mdl_compile_req req;
	struct cpu_program *program;
	uint32_t handle, kernel, variant;
	bool orphan;			/* unloaded meanwhile: drop the result. The front end's alone */
	uint32_t status;		/* result: enum mdl_hw_program_status */
};

struct cpu_buffer {
	uint64_t va;			/* 0: free slot */
	cl_mem mem;
};

struct mdl_backend {
	struct mdl_cl cl;
	size_t max_local, max_items[3], local_bytes;
	uint32_t compute_units;
	struct cpu_program *program[MDL_PROGRAM_MAX];
	struct cpu_buffer buffer[1u << CPU_BUFFERS_LOG2];
	uint32_t num_buffers;

	int compiler;			/* the compile thread's */
	int ready_fd;
	pthread_t thread;
	bool thread_started;
	pthread_mutex_t lock;		/* covers job.state */
	pthread_cond_t wake;
	struct cpu_job job;
};

/* cpu_compile.c */
int cpu_compile_start(struct mdl_backend *b);
void cpu_compile_stop(struct mdl_backend *b);
bool cpu_compile_busy(struct mdl_backend *b);
/* Hands b->job, filled in, to the compile thread. */
void cpu_compile_submit(struct mdl_backend *b);
/* Takes a finished job back: true once for each. */
bool cpu_compile_take(struct mdl_backend *b);

/* cpu_program.c */
int cpu_program_load(struct mdl_backend *b, uint32_t handle, const struct mdl_program_source *src);
void cpu_program_unload(struct mdl_backend *b, uint32_t handle);
int cpu_compile_poll(struct mdl_backend *b, uint32_t *ret_program, const struct mdl_program_built **ret_built);
/* What a program's status (MDL_PROGRAM_...) is as an error: -ETIMEDOUT, -ENOMEM, else -ENOEXEC; 0 for OK. */
int cpu_status_errno(uint32_t status);
void cpu_program_free(struct cpu_program *p);
/* Called by the compile thread when the companion has built p's source: opens the result here and describes its kernels. */
uint32_t cpu_program_open(struct mdl_backend *b, struct cpu_program *p);

/* cpu_launch.c */
int cpu_launch_ready(struct mdl_backend *b, const struct mdl_launch *l);
int cpu_launch(struct mdl_backend *b, const struct mdl_launch *l);
void cpu_buffers_drop(struct mdl_backend *b);

#endif
