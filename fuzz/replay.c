/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target once for each file of the corpus folders named on the command line: what the
 * normal tests link in place of libFuzzer. Fails if there was none, so that a moved corpus does not
 * pass unseen.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1u << 20)

static int replay(const char *folder, const char *name)
{
	static uint8_t buf[INPUT_MAX];
	char path[4096];
	uint8_t *data;
	size_t size;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return -1;
	}
	size = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	/* On the heap and no larger than the input: sanitizers see a read behind it. */
	data = malloc(size ? size : 1);
	if (!data)
		return -1;
	memcpy(data, buf, size);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int done = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *e;

		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		while ((e = readdir(dir))) {
			if (e->d_name[0] == '.')
				continue;
			if (replay(argv[i], e->d_name) < 0)
				failed++;
			else
				done++;
		}
		closedir(dir);
	}
	printf("%u inputs, %u unreadable\n", done, failed);
	return !done || failed;
}
