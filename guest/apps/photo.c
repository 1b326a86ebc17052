/* SPDX-License-Identifier: MIT */
/*
 * mdl-photo: the demo's job. Blurs a picture, finds its edges and counts its brightness, on a
 * Medley GPU or, with --reference, in plain C. The same program runs on the host, in Linux guests
 * and without an operating system (formats: photo.h).
 */
#include "photo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

static const char usage[] =
	"usage: mdl-photo [--device URI] [--iterations N] IN OUT\n"
	"       mdl-photo --reference IN OUT\n"
	"IN, OUT: files or block devices; not given in a guest without an operating system\n";

struct options {
	const char *device, *in, *out;
	uint32_t iterations; /* 0: the input says */
	bool reference;
};

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--reference")) {
			o->reference = true;
		} else if (!strcmp(argv[i], "--device") && i + 1 < argc) {
			o->device = argv[++i];
		} else if (!strcmp(argv[i], "--iterations") && i + 1 < argc) {
			unsigned long n = strtoul(argv[++i], NULL, 10);

			if (!n || n > 1000000)
				return -EINVAL;
			o->iterations = (uint32_t)n;
		} else if (argv[i][0] != '-' && !o->in) {
			o->in = argv[i];
		} else if (argv[i][0] != '-' && !o->out) {
			o->out = argv[i];
		} else {
			return -EINVAL;
		}
	}
	return app_has_files() && !o->out ? -EINVAL : 0;
}

/* The input's header must make sense before anything is computed from it. */
static int check_input(const void *data, size_t bytes, struct photo_in *ret_in)
{
	struct photo_in in;

	if (bytes < sizeof(in))
		return -EBADMSG;
	memcpy(&in, data, sizeof(in));
	if (memcmp(in.magic, PHOTO_IN_MAGIC, 4) || !in.width || !in.height ||
	    in.width > PHOTO_SIDE_MAX || in.height > PHOTO_SIDE_MAX ||
	    (uint64_t)in.width * in.height > PHOTO_PIXELS_MAX ||
	    bytes - sizeof(in) < (size_t)in.width * in.height * 4)
		return -EBADMSG;
	*ret_in = in;
	return 0;
}

static int work(const struct options *o, const void *data, size_t bytes, struct photo_out *ret_out,
		void **ret_result)
{
	struct photo_in in;
	struct photo_out out = { .magic = PHOTO_OUT_MAGIC };
	const uint8_t *pixels = (const uint8_t *)data + sizeof(in);
	uint8_t *result;
	int r = check_input(data, bytes, &in);

	if (r < 0)
		return r;
	out.width = in.width;
	out.height = in.height;
	out.iterations = o->iterations ? o->iterations : in.iterations ? in.iterations : 1;
	*ret_out = out;
	/* Header and result in one piece, as they are written. */
	result = calloc(1, sizeof(out) + photo_layout(in.width, in.height).bytes);
	if (!result)
		return -ENOMEM;
	if (o->reference)
		r = photo_cpu(in.width, in.height, pixels, result + sizeof(out));
	else
		r = photo_gpu(o->device ? o->device : app_default_device(), pixels, ret_out,
			      result + sizeof(out));
	*ret_result = result;
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	struct photo_out out = { .magic = PHOTO_OUT_MAGIC };
	void *data = NULL, *result = NULL;
	size_t bytes = 0;
	int r, r_in;

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return 2;
	}
	r = r_in =
		app_input(o.in, sizeof(struct photo_in) + PHOTO_PIXELS_MAX * 4ull, &data, &bytes);
	if (r == 0)
		r = work(&o, data, bytes, &out, &result);
	app_input_end(data, bytes);
	out.status = (uint32_t)-r;
	if (r == 0) {
		memcpy(result, &out, sizeof(out));
		r = app_output(o.out, result,
			       sizeof(out) + photo_layout(out.width, out.height).bytes);
	} else {
		app_output(o.out, &out, sizeof(out));
	}
	free(result);
	if (r < 0) {
		if (r == -EBADMSG)
			puts("mdl-photo: the input is not a picture in this program's form");
		else if (r_in < 0)
			printf("mdl-photo: cannot read the input: %s\n", strerror(-r));
		else
			printf("mdl-photo: failed: %s\n", strerror(-r));
		return 1;
	}
	printf("mdl-photo: %ux%u, %u iterations, %llu commands, %llu kernels, %llu ms\n", out.width,
	       out.height, out.iterations, (unsigned long long)out.packets,
	       (unsigned long long)out.kernels, (unsigned long long)(out.elapsed_ns / 1000000));
	return 0;
}
