/* SPDX-License-Identifier: MIT */
/* A client of medleyd's API: one connection, one request at a time. */
#ifndef MDL_BENCH_API_H
#define MDL_BENCH_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct api {
	int fd;
	FILE *in;
};

/* False with a line on standard error. */
bool api_open(struct api *a, const char *path);
void api_close(struct api *a);
/* Takes params over (NULL: none). The result, the caller's; NULL with a line on standard error. */
json_t *api_call(struct api *a, const char *method, json_t *params);
/* The same, where only success matters. */
bool api_do(struct api *a, const char *method, json_t *params);

#endif
