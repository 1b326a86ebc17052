/* SPDX-License-Identifier: MIT */
/* See host-light.h. Three threads: the caller's, the worker, and the heavy one, which lives only while it is measured. */
#include "host-light.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"

#define TRIPS	     200000u /* of a calibration */
#define CALIBRATIONS 9

struct host_light {
	int cpu;
	uint32_t trips; /* of one piece of work */
	uint64_t took_ns; /* the last one, by the worker's clock */
	volatile uint32_t result, heavy_result; /* of each thread: so that the work is not left out */
	pthread_t worker, heavy;
	sem_t begin, done;
	atomic_bool quit, heavy_quit;
};

/* As the guests' kernel: shifts that depend on each other. */
static uint32_t work(uint32_t trips)
{
	uint32_t x = 2463534242u;

	for (uint32_t i = 0; i < trips; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
	}
	return x;
}

static void *run_worker(void *arg)
{
	struct host_light *h = arg;
	uint64_t start;

	for (;;) {
		while (sem_wait(&h->begin) < 0)
			;
		if (atomic_load(&h->quit))
			return NULL;
		start = mdl_now_ns();
		h->result = work(h->trips);
		h->took_ns = mdl_now_ns() - start;
		sem_post(&h->done);
	}
}

static void *run_heavy(void *arg)
{
	struct host_light *h = arg;

	while (!atomic_load(&h->heavy_quit))
		h->heavy_result = work(100);
	return NULL;
}

/* On the CPU; of real-time priority, above everything ordinary, or ordinary. 0 or an error number. */
static int start_thread(struct host_light *h, bool realtime, void *(*run)(void *), pthread_t *ret)
{
	struct sched_param param = { .sched_priority = realtime ? 1 : 0 };
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	CPU_ZERO(&set);
	CPU_SET(h->cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, realtime ? SCHED_FIFO : SCHED_OTHER);
	pthread_attr_setschedparam(&attr, &param);
	err = pthread_create(ret, &attr, run, h);
	pthread_attr_destroy(&attr);
	return err;
}

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / MDL_NS_PER_S),
			       .tv_nsec = (long)(ns % MDL_NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

static uint64_t one(struct host_light *h)
{
	uint64_t start = mdl_now_ns();

	sem_post(&h->begin);
	while (sem_wait(&h->done) < 0)
		;
	return mdl_now_ns() - start;
}

/* The fastest of some. */
static void calibrate(struct host_light *h, uint64_t work_ns)
{
	uint64_t fastest = UINT64_MAX;

	h->trips = TRIPS;
	for (int i = 0; i < CALIBRATIONS; i++) {
		one(h);
		fastest = mdl_min_u64(fastest, h->took_ns);
	}
	h->trips = (uint32_t)mdl_max_u64(1, TRIPS * work_ns / fastest);
}

struct host_light *host_light_start(int cpu, uint64_t work_ns)
{
	struct host_light *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return NULL;
	h->cpu = cpu;
	sem_init(&h->begin, 0, 0);
	sem_init(&h->done, 0, 0);
	err = start_thread(h, true, run_worker, &h->worker);
	if (err) {
		fprintf(stderr, "medley-bench: no thread of real-time priority: %s\n", strerror(err));
		free(h);
		return NULL;
	}
	calibrate(h, work_ns);
	return h;
}

size_t host_light_measure(struct host_light *h, bool heavy, uint64_t period_ns, uint64_t length_ns,
			  double *ret_ns, size_t room)
{
	uint64_t next, end;
	size_t n = 0;

	atomic_store(&h->heavy_quit, false);
	if (heavy && start_thread(h, false, run_heavy, &h->heavy)) {
		fprintf(stderr, "medley-bench: no heavy thread on the host\n");
		return 0;
	}
	next = mdl_now_ns();
	end = next + length_ns;
	while (next < end && n < room) {
		sleep_until(next);
		ret_ns[n++] = (double)one(h);
		/* As the guest: who is late does not catch up. */
		next = mdl_max_u64(next + period_ns, mdl_now_ns());
	}
	atomic_store(&h->heavy_quit, true);
	if (heavy)
		pthread_join(h->heavy, NULL);
	return n;
}

void host_light_stop(struct host_light *h)
{
	if (!h)
		return;
	atomic_store(&h->quit, true);
	sem_post(&h->begin);
	pthread_join(h->worker, NULL);
	sem_destroy(&h->begin);
	sem_destroy(&h->done);
	free(h);
}
