/* SPDX-License-Identifier: MIT */
/*
 * Scope-bound release of descriptors and heap memory, for user space. A variable marked mdl_autofd or mdl_autofree is released
 * when it leaves scope, unless its value was handed on with mdl_take_fd() or mdl_take_ptr().
 */
#ifndef MDL_BASE_CLEANUP_H
#define MDL_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void mdl_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void mdl_cleanup_free(void *ptr)
{
	free(*(void **)ptr);
}

#define mdl_autofd   __attribute__((cleanup(mdl_cleanup_close))) int
#define mdl_autofree __attribute__((cleanup(mdl_cleanup_free)))

/* Takes the descriptor out of *fd, leaving -1 behind: the caller of the enclosing function owns it now. */
static inline int mdl_take_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

#define mdl_take_ptr(p) ({ __typeof__(p) mdl_taken_ = (p); (p) = NULL; mdl_taken_; })

/* Closes *fd if it is open and marks it closed. */
static inline void mdl_close_fd(int *fd)
{
	mdl_cleanup_close(fd);
	*fd = -1;
}

#endif
