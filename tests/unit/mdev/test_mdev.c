/* SPDX-License-Identifier: MIT */
/*
 * The mediated-device core: types, accounts, exclusion, names, and that the books always balance.
 */
#include "mdev/mdev.h"

#include "base/util.h"
#include "tests/unit/check.h"

#define GIB (1ull << 30)

static struct mdl_mdev *m;
static struct mdl_pgpu *gpu;
static char why[256];

static void setup(uint64_t vram, uint32_t channels)
{
	CHECK_EQ(mdl_mdev_create(&m), 0);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "cpu0", "cpu", vram, channels, 2, &gpu), 0);
}

static int make(const char *type, const char *name, const char *uuid, struct mdl_instance **ret)
{
	struct mdl_instance_request req = { .type = type, .name = name, .uuid = uuid };

	why[0] = 0;
	return mdl_instance_create(m, &req, why, sizeof(why), ret);
}

static void types_of_a_pgpu(void)
{
	static const char *const names[] = { "share-256m", "share-512m", "share-1g",
					     "share-2g",   "share-4g",	 "pass-full" };
	struct mdl_vgpu_type t;
	size_t i;

	setup(5 * GIB, 2048);
	for (i = 0; mdl_pgpu_type(gpu, i, &t); i++) {
		CHECK(i < MDL_ARRAY_SIZE(names));
		CHECK_STR(t.name, names[i]);
		CHECK(mdl_is_pow2(t.vram_bytes) && t.vram_bytes <= gpu->vram_bytes);
		CHECK(t.channels >= 1 && t.channels <= 256 && t.contexts >= 1 && t.contexts <= 64);
	}
	CHECK_EQ(i, MDL_ARRAY_SIZE(names));
	CHECK(mdl_pgpu_find_type(gpu, "share-1g", &t) && t.vram_bytes == GIB);
	CHECK(!mdl_pgpu_find_type(gpu, "share-8g", &t) && !mdl_pgpu_find_type(gpu, "", &t));
	CHECK(mdl_pgpu_find_type(gpu, "share-2g", &t));
	CHECK_EQ(mdl_pgpu_available(gpu, &t), 2);
	mdl_mdev_destroy(m);

	CHECK_EQ(mdl_mdev_create(&m), 0);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "x", "cpu", GIB / 4 - 1, 1, 1, &gpu), -EINVAL);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "x", "cpu", GIB / 4, 0, 1, &gpu), -EINVAL);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "x", "cpu", GIB / 4, 1, 0, &gpu), -EINVAL);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "a b", "cpu", GIB, 1, 1, &gpu), -EINVAL);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "x", "cpu", GIB / 4, 1, 1, &gpu), 0);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "x", "cpu", GIB / 4, 1, 1, &gpu), -EEXIST);
	for (char name[3] = "a"; name[0] < 'p'; name[0]++)
		CHECK_EQ(mdl_mdev_add_pgpu(m, name, "cpu", UINT64_MAX, UINT32_MAX, 1, &gpu), 0);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "z", "cpu", GIB, 1, 1, &gpu), -ENOSPC);
	for (i = 0; mdl_pgpu_type(mdl_mdev_find_pgpu(m, "a"), i, &t); i++)
		CHECK(i < MDL_MDEV_TYPES_MAX * 2);
	mdl_mdev_destroy(m);
}

static void room_runs_out(void)
{
	struct mdl_instance *i;

	setup(GIB, 2048);
	CHECK_EQ(make("share-512m", "a", NULL, &i), 0);
	CHECK_EQ(make("share-256m", "b", NULL, &i), 0);
	CHECK_EQ(make("share-512m", "c", NULL, &i), -ENOSPC);
	CHECK(strstr(why, "256 MiB of 1024 MiB free"));
	CHECK_EQ(make("share-256m", "c", NULL, &i), 0);
	CHECK_EQ(make("share-256m", "d", NULL, &i), -ENOSPC);
	CHECK(strstr(why, "0 MiB"));
	CHECK(mdl_mdev_consistent(m));
	mdl_instance_remove(m, mdl_instance_find(m, "a"));
	CHECK_EQ(make("share-512m", "d", NULL, &i), 0);
	CHECK(mdl_mdev_consistent(m));
	mdl_mdev_destroy(m);

	setup(GIB, 70); /* channels before VRAM */
	CHECK_EQ(make("share-256m", "a", NULL, &i), 0);
	CHECK_EQ(make("share-256m", "b", NULL, &i), 0);
	CHECK_EQ(make("share-256m", "c", NULL, &i), -ENOSPC);
	CHECK(strstr(why, "no channels left") && strstr(why, "6 of 70"));
	CHECK(mdl_mdev_consistent(m));
	mdl_mdev_destroy(m);
}

static void pass_full_excludes(void)
{
	struct mdl_instance *i;

	setup(GIB, 2048);
	CHECK_EQ(make("share-256m", "a", NULL, &i), 0);
	CHECK_EQ(make("pass-full", "p", NULL, &i), -EBUSY);
	CHECK(strstr(why, "has 1 vGPU"));
	mdl_instance_remove(m, mdl_instance_find(m, "a"));
	CHECK_EQ(make("pass-full", "p", NULL, &i), 0);
	CHECK_EQ(i->type.vram_bytes, GIB);
	CHECK_EQ(make("share-256m", "a", NULL, &i), -EBUSY);
	CHECK_EQ(make("pass-full", "q", NULL, &i), -EBUSY);
	CHECK(strstr(why, "pass-full"));
	CHECK(mdl_mdev_consistent(m));
	mdl_instance_remove(m, mdl_instance_find(m, "p"));
	CHECK_EQ(make("share-256m", "a", NULL, &i), 0);
	mdl_mdev_destroy(m);
}

static void several_pgpus(void)
{
	struct mdl_instance_request req = { .type = "share-1g", .pgpu = "cpu1" };
	struct mdl_instance *i;
	struct mdl_pgpu *second;

	setup(GIB, 2048);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "cpu1", "cpu", 2 * GIB, 2048, 2, &second), 0);
	CHECK_EQ(make("share-1g", NULL, NULL, &i), 0);
	CHECK(i->pgpu == gpu);
	CHECK_EQ(make("share-1g", NULL, NULL, &i), 0);
	CHECK(i->pgpu == second);
	CHECK_EQ(mdl_instance_create(m, &req, why, sizeof(why), &i), 0);
	CHECK(i->pgpu == second);
	CHECK_EQ(mdl_instance_create(m, &req, why, sizeof(why), &i), -ENOSPC);
	req.pgpu = "cpu9";
	CHECK_EQ(mdl_instance_create(m, &req, why, sizeof(why), &i), -ENOENT);
	CHECK(strstr(why, "cpu9"));
	CHECK(mdl_mdev_consistent(m));
	mdl_mdev_destroy(m);
}

static void names_and_uuids(void)
{
	static const char *const bad_names[] = {
		"",
		"-x",
		".x",
		"a/b",
		"a b",
		"a\n",
		"\xc3\xa4",
		"../../etc/passwd",
		"0b1d6c2e-3f54-4a76-9b98-aabbccddeeff",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	static const char *const bad_uuids[] = { "",
						 "x",
						 "0b1d6c2e-3f54-4a76-9b98-aabbccddeef",
						 "0b1d6c2e-3f54-4a76-9b98-aabbccddeefff",
						 "0b1d6c2e 3f54-4a76-9b98-aabbccddeeff",
						 "00000000-0000-0000-0000-000000000000",
						 "../../../../../../../../etc/passwd00" };
	struct mdl_instance *i, *j;

	setup(4 * GIB, 2048);
	for (size_t k = 0; k < MDL_ARRAY_SIZE(bad_names); k++) {
		CHECK_EQ(make("share-256m", bad_names[k], NULL, &i), -EINVAL);
		CHECK(strstr(why, "bad name"));
	}
	for (size_t k = 0; k < MDL_ARRAY_SIZE(bad_uuids); k++) {
		CHECK_EQ(make("share-256m", NULL, bad_uuids[k], &i), -EINVAL);
		CHECK(strstr(why, "bad UUID"));
	}
	CHECK_EQ(make("share-3g", NULL, NULL, &i), -ENOENT);
	CHECK_STR(
		why,
		"unknown type 'share-3g'; known: share-256m share-512m share-1g share-2g share-4g pass-full");
	CHECK_EQ(mdl_instance_count(m), 0);

	CHECK_EQ(make("share-256m", "desk.top_1-a", "0B1D6C2E-3F54-4A76-9B98-AABBCCDDEEFF", &i), 0);
	CHECK_STR(i->uuid, "0b1d6c2e-3f54-4a76-9b98-aabbccddeeff");
	CHECK(mdl_instance_find(m, "0b1d6C2e-3f54-4a76-9b98-aabbccddeeFF") == i);
	CHECK(mdl_instance_find(m, "desk.top_1-a") == i);
	CHECK(!mdl_instance_find(m, "") && !mdl_instance_find(m, "desk"));
	CHECK_EQ(make("share-256m", "desk.top_1-a", NULL, &j), -EEXIST);
	CHECK(strstr(why, "name 'desk.top_1-a'"));
	CHECK_EQ(make("share-256m", NULL, "0b1d6c2e-3f54-4a76-9b98-aabbccddeeff", &j), -EEXIST);
	CHECK(strstr(why, "UUID"));
	CHECK_EQ(make("share-256m", NULL, NULL, &j), 0);
	CHECK(!strncmp(j->name, "vgpu-", 5) && !strncmp(j->name + 5, j->uuid, 8));
	CHECK(mdl_instance_next(m, NULL) == i && mdl_instance_next(m, i) == j &&
	      !mdl_instance_next(m, j));
	CHECK(mdl_mdev_consistent(m));
	mdl_mdev_destroy(m);
}

static void states(void)
{
	struct mdl_instance *i;

	setup(GIB, 2048);
	CHECK_EQ(make("share-256m", NULL, NULL, &i), 0);
	CHECK_EQ(i->state, MDL_INSTANCE_STARTING);
	CHECK(!mdl_instance_set_state(i, MDL_INSTANCE_ACTIVE));
	CHECK(mdl_instance_set_state(i, MDL_INSTANCE_READY));
	CHECK(mdl_instance_set_state(i, MDL_INSTANCE_ACTIVE));
	CHECK(mdl_instance_set_state(i, MDL_INSTANCE_READY));
	CHECK(mdl_instance_set_state(i, MDL_INSTANCE_STARTING));
	CHECK(mdl_instance_set_state(i, MDL_INSTANCE_FAILED));
	CHECK(!mdl_instance_set_state(i, MDL_INSTANCE_READY));
	CHECK_STR(mdl_instance_state_name(i->state), "failed");
	mdl_mdev_destroy(m);
}

/*
 * Random creations and removals on two pGPUs: the books balance after each, and nothing is left at
 * the end.
 */
static void books_balance(void)
{
	static const char *const types[] = { "share-256m", "share-512m", "share-1g",
					     "share-2g",   "pass-full",	 "nonsense" };
	struct mdl_instance *i, *j;
	struct mdl_pgpu *second;
	int made = 0, refused = 0;

	setup(5 * GIB, 300);
	CHECK_EQ(mdl_mdev_add_pgpu(m, "cpu1", "cpu", 2 * GIB, 4096, 2, &second), 0);
	srand(7);
	for (int k = 0; k < 50000; k++) {
		if (rand() % 2) {
			if (!make(types[rand() % 6], rand() % 2 ? NULL : "same", NULL, &i))
				made++;
			else
				refused++;
		} else if (mdl_instance_count(m)) {
			int n = rand() % (int)mdl_instance_count(m);

			for (j = mdl_instance_next(m, NULL); n--; j = mdl_instance_next(m, j))
				;
			mdl_instance_remove(m, j);
		}
		CHECK(mdl_mdev_consistent(m));
	}
	CHECK(made > 1000 && refused > 1000);
	while ((i = mdl_instance_next(m, NULL)))
		mdl_instance_remove(m, i);
	CHECK(!gpu->vram_used && !second->vram_used && !gpu->channels_used &&
	      !second->channels_used);
	mdl_mdev_destroy(m);
}

static const struct check_case cases[] = {
	{ "types of a pGPU", types_of_a_pgpu },
	{ "room runs out", room_runs_out },
	{ "pass-full excludes others", pass_full_excludes },
	{ "several pGPUs", several_pgpus },
	{ "names and UUIDs", names_and_uuids },
	{ "states", states },
	{ "the books balance", books_balance },
};

CHECK_MAIN(cases)
