/* SPDX-License-Identifier: MIT */
/* The executor's front end: see frontend.c. */
#ifndef MDL_EXEC_FRONTEND_H
#define MDL_EXEC_FRONTEND_H

#include "backend/backend.h"

struct mdl_frontend_config {	/* descriptors are borrowed for the life of the front end */
	const struct mdl_backend_ops *ops;
	struct mdl_backend *backend;
	uint32_t compute_units;
	int control, grant, want;
	struct mdl_lease *lease;
};

struct mdl_exec;

/* Makes the front end; allocates everything that it needs but channels. */
int mdl_frontend_create(const struct mdl_frontend_config *config, struct mdl_exec **ret_x);
void mdl_frontend_destroy(struct mdl_exec *x);

/* Works until the control link closes (0) or breaks (-errno). */
int mdl_frontend_run(struct mdl_exec *x);

#endif
