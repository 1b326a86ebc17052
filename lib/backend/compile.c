/* SPDX-License-Identifier: MIT */
/* What both ends of the compiler link share: transfers and the check of a guest's options. Stateless. See compile.h. */
#include "backend/compile.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/util.h"

static int wait_until(int fd, uint64_t deadline_ns)
{
	uint64_t now = mdl_now_ns();

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	return mdl_wait_readable(fd, (int)((deadline_ns - now) / MDL_NS_PER_MS) + 1) == 0 ? -ETIMEDOUT : 0;
}

int mdl_compile_read(int fd, void *buf, size_t bytes, uint64_t deadline_ns)
{
	for (char *p = buf; bytes;) {
		int err = deadline_ns ? wait_until(fd, deadline_ns) : 0;
		ssize_t n;

		if (err)
			return err;
		n = read(fd, p, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

int mdl_compile_write(int fd, const void *buf, size_t bytes)
{
	for (const char *p = buf; bytes;) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int read_string(int fd, size_t bytes, char **ret_text, uint64_t deadline_ns)
{
	mdl_autofree char *text = calloc(1, bytes + 1);
	int err = text ? mdl_compile_read(fd, text, bytes, deadline_ns) : -ENOMEM;

	if (!err)
		*ret_text = mdl_take_ptr(text);
	return err;
}

int mdl_compile_read_rest(int fd, const struct mdl_compile_reply *reply, char **ret_log, char **ret_output,
			  uint64_t deadline_ns)
{
	mdl_autofree char *log = NULL;
	int err;

	if (reply->log_bytes > MDL_PROGRAM_LOG_MAX || reply->output_bytes > MDL_COMPILE_BITCODE_MAX)
		return -EPROTO;
	err = read_string(fd, reply->log_bytes, &log, deadline_ns);
	if (!err)
		err = read_string(fd, reply->output_bytes, ret_output, deadline_ns);
	if (!err)
		*ret_log = mdl_take_ptr(log);
	return err;
}

static bool token_is(const char *token, size_t len, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(list[i]) == len && !memcmp(token, list[i], len))
			return true;
	return false;
}

/* What may follow -D: quotes and backslashes would let a later stage split one option into several. */
static bool definition_ok(const char *s, size_t len)
{
	if (!len || (s[0] >= '0' && s[0] <= '9'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~' || strchr("\"'\\`$", s[i]))
			return false;
	return true;
}

int mdl_compile_check_options(const char *options, const char **ret_bad, size_t *ret_bad_len)
{
	static const char *const allowed[] = {
		"-w", "-Werror", "-g", "-cl-std=CL1.0", "-cl-std=CL1.1", "-cl-std=CL1.2", "-cl-std=CL2.0",
		"-cl-std=CL3.0", "-cl-single-precision-constant", "-cl-denorms-are-zero",
		"-cl-fp32-correctly-rounded-divide-sqrt", "-cl-opt-disable", "-cl-strict-aliasing",
		"-cl-mad-enable", "-cl-no-signed-zeros", "-cl-unsafe-math-optimizations",
		"-cl-finite-math-only", "-cl-fast-relaxed-math", "-cl-uniform-work-group-size",
		"-cl-kernel-arg-info",
	};
	const char *p = options;
	bool value = false;	/* the token before was a bare -D */

	for (;;) {
		size_t len;
		bool ok;

		p += strspn(p, " ");
		len = strcspn(p, " ");
		if (!len)
			break;
		if (value) {
			ok = definition_ok(p, len);
			value = false;
		} else if (len >= 2 && !memcmp(p, "-D", 2)) {
			value = len == 2;
			ok = value || definition_ok(p + 2, len - 2);
		} else {
			ok = token_is(p, len, allowed, MDL_ARRAY_SIZE(allowed));
		}
		if (!ok) {
			*ret_bad = p;
			*ret_bad_len = len;
			return -EINVAL;
		}
		p += len;
	}
	if (value) {
		*ret_bad = "-D";
		*ret_bad_len = 2;
		return -EINVAL;
	}
	return 0;
}
