/* SPDX-License-Identifier: MIT */
/*
 * The cpu backend's compile thread: talks to the compiler companion, so that the front end never waits for a compiler, and then
 * opens what the companion built, which PoCL finds in its cache. One job at a time; b->job belongs to the front end unless its
 * state is RUNNING.
 */
#include "backend/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/fd.h"

static int ask_companion(struct mdl_backend *b, struct cpu_job *job, struct mdl_compile_reply *ret_reply, char **ret_log)
{
	struct cpu_program *p = job->program;
	mdl_autofree char *output = NULL;
	int err;

	err = mdl_compile_write(b->compiler, &job->req, sizeof(job->req));
	if (!err)
		err = mdl_compile_write(b->compiler, p->code, job->req.input_bytes);
	if (!err)
		err = mdl_compile_write(b->compiler, p->options, job->req.options_bytes);
	if (!err)
		err = mdl_compile_read(b->compiler, ret_reply, sizeof(*ret_reply), 0);
	if (!err)
		err = mdl_compile_read_rest(b->compiler, ret_reply, ret_log, &output, 0);
	if (!err && ret_reply->output_bytes) {
		/* From here on the bitcode is the program. */
		free(p->code);
		p->code = mdl_take_ptr(output);
		p->code_bytes = ret_reply->output_bytes;
	}
	return err;
}

static void run_job(struct mdl_backend *b, struct cpu_job *job)
{
	struct mdl_compile_reply reply;
	mdl_autofree char *log = NULL;
	int err = ask_companion(b, job, &reply, &log);

	if (err) {
		job->status = MDL_PROGRAM_NO_MEMORY;
		log = strdup("the compiler process ended\n");
	} else {
		job->status = reply.status;
	}
	if (job->req.kind != MDL_COMPILE_PROGRAM)
		return;
	free(job->program->log);
	job->program->log = mdl_take_ptr(log);
	if (job->status == MDL_PROGRAM_OK)
		job->status = cpu_program_open(b, job->program);
}

static void *compile_thread(void *arg)
{
	struct mdl_backend *b = arg;

	pthread_mutex_lock(&b->lock);
	for (;;) {
		while (b->job.state != CPU_JOB_RUNNING && b->job.state != CPU_JOB_QUIT)
			pthread_cond_wait(&b->wake, &b->lock);
		if (b->job.state == CPU_JOB_QUIT)
			break;
		pthread_mutex_unlock(&b->lock);
		run_job(b, &b->job);
		pthread_mutex_lock(&b->lock);
		if (b->job.state == CPU_JOB_RUNNING)
			b->job.state = CPU_JOB_DONE;
		mdl_eventfd_signal(b->ready_fd);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

int cpu_compile_start(struct mdl_backend *b)
{
	b->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->ready_fd < 0)
		return -errno;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->wake, NULL);
	if (pthread_create(&b->thread, NULL, compile_thread, b))
		return -EAGAIN;
	b->thread_started = true;
	return 0;
}

void cpu_compile_stop(struct mdl_backend *b)
{
	if (b->thread_started) {
		pthread_mutex_lock(&b->lock);
		b->job.state = CPU_JOB_QUIT;
		pthread_cond_signal(&b->wake);
		pthread_mutex_unlock(&b->lock);
		/* A job under way ends within the companion's limits. */
		pthread_join(b->thread, NULL);
		pthread_cond_destroy(&b->wake);
		pthread_mutex_destroy(&b->lock);
	}
	mdl_close_fd(&b->ready_fd);
	mdl_close_fd(&b->compiler);
}

bool cpu_compile_busy(struct mdl_backend *b)
{
	bool busy;

	pthread_mutex_lock(&b->lock);
	busy = b->job.state != CPU_JOB_NONE;
	pthread_mutex_unlock(&b->lock);
	return busy;
}

void cpu_compile_submit(struct mdl_backend *b)
{
	pthread_mutex_lock(&b->lock);
	b->job.state = CPU_JOB_RUNNING;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
}

bool cpu_compile_take(struct mdl_backend *b)
{
	bool done;

	mdl_eventfd_take(b->ready_fd);
	pthread_mutex_lock(&b->lock);
	done = b->job.state == CPU_JOB_DONE;
	if (done)
		b->job.state = CPU_JOB_NONE;
	pthread_mutex_unlock(&b->lock);
	return done;
}
