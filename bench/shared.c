/* SPDX-License-Identifier: MIT */
/* See shared.h: what the shared measurements have in common. */
#include "shared.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double shared_quantile(double *value, size_t n, double q)
{
	if (!n)
		return 0;
	qsort(value, n, sizeof(*value), compare);
	return value[(size_t)(q * (double)(n - 1) + 0.5)];
}

double shared_median(double *value, size_t n)
{
	return shared_quantile(value, n, 0.5);
}

json_t *shared_number(double value)
{
	return json_real(round(value * 1e5) / 1e5);
}

void shared_add(json_t *out, const char *prefix, const char *suffix, double value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_%s", prefix, suffix);
	json_object_set_new(out, key, shared_number(value));
}

void shared_print(const json_t *figures)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)figures, key, value) {
		if (json_is_real(value))
			printf("%-28s %.5g\n", key, json_real_value(value));
		else if (json_is_integer(value))
			printf("%-28s %lld\n", key, (long long)json_integer_value(value));
		else if (json_is_string(value))
			printf("%-28s %s\n", key, json_string_value(value));
	}
}
