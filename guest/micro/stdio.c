/* SPDX-License-Identifier: MIT */
/*
 * printf and relatives. stdout and stderr are the console; a line goes out as one. Of the
 * conversions: d i u x X o c s p % and f (e and g print as f), with flags, width, precision and the
 * length modifiers hh h l ll z j t. No wide characters, no positions.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "guest/micro/internal.h"
#include "guest/micro/micro.h"

#define DIGITS_MAX    64 /* binary would be the longest */
#define PRECISION_MAX 15 /* of f: what a double is good for */
#define LINE_BYTES    1024

struct sink {
	char *to; /* NULL: the console */
	size_t room, used; /* used counts on beyond the room */
};

struct spec {
	bool left, zero, plus, space, alt;
	int width, precision; /* precision -1: not given */
	int length; /* -2 hh, -1 h, 0, 1 l and ll, z, j, t */
};

static struct _IO_FILE console[2];
FILE *stdout = &console[0];
FILE *stderr = &console[1];

static char line[LINE_BYTES];
static size_t line_used;

void micro_stdio_flush(void)
{
	size_t n = line_used;

	line_used = 0;
	micro_console_write(line, n);
}

static void console_put(char c)
{
	line[line_used++] = c;
	if (c == '\n' || line_used == sizeof(line))
		micro_stdio_flush();
}

static void put(struct sink *s, char c)
{
	if (!s->to)
		console_put(c);
	else if (s->used < s->room)
		s->to[s->used] = c;
	s->used++;
}

static void put_many(struct sink *s, char c, int n)
{
	while (n-- > 0)
		put(s, c);
}

/* sign (or prefix) and body, padded to the width; zeros go between the two. */
static void put_field(struct sink *s, const struct spec *f, const char *sign, const char *body,
		      size_t n, int zeros)
{
	int pad = f->width - (int)strlen(sign) - (int)n - zeros;

	if (f->zero && !f->left && pad > 0) {
		zeros += pad;
		pad = 0;
	}
	if (!f->left)
		put_many(s, ' ', pad);
	for (; *sign; sign++)
		put(s, *sign);
	put_many(s, '0', zeros);
	for (size_t i = 0; i < n; i++)
		put(s, body[i]);
	if (f->left)
		put_many(s, ' ', pad);
}

static size_t digits(char *end, uint64_t v, unsigned int base, bool upper)
{
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	size_t n = 0;

	for (; v; v /= base, n++)
		*--end = set[v % base];
	return n;
}

static void put_number(struct sink *s, struct spec *f, uint64_t v, unsigned int base, bool upper,
		       const char *sign)
{
	char buf[DIGITS_MAX];
	size_t n = digits(buf + sizeof(buf), v, base, upper);
	int least = f->precision < 0 ? 1 : f->precision;

	if (f->precision >= 0)
		f->zero = false;
	put_field(s, f, sign, buf + sizeof(buf) - n, n, least > (int)n ? least - (int)n : 0);
}

static const char *sign_of(const struct spec *f, bool negative)
{
	return negative ? "-" : f->plus ? "+" : f->space ? " " : "";
}

static void put_float(struct sink *s, struct spec *f, double v)
{
	int places = f->precision < 0		    ? 6
		     : f->precision < PRECISION_MAX ? f->precision
						    : PRECISION_MAX;
	bool negative = __builtin_signbit(v);
	char buf[DIGITS_MAX];
	uint64_t whole, part, scale = 1;
	size_t n;

	v = negative ? -v : v;
	if (!(v < 1e19)) {
		const char *word = v != v ? "nan" : v > 1.7976931348623157e308 ? "inf" : "huge";

		f->zero = false;
		put_field(s, f, sign_of(f, negative), word, strlen(word), 0);
		return;
	}
	for (int i = 0; i < places; i++)
		scale *= 10;
	whole = (uint64_t)v;
	part = (uint64_t)((v - (double)whole) * (double)scale + 0.5);
	if (part >= scale) {
		whole++;
		part = 0;
	}
	memset(buf, '0', sizeof(buf));
	digits(buf + sizeof(buf), part, 10, false);
	n = (size_t)places;
	if (places)
		buf[sizeof(buf) - ++n] = '.';
	if (whole)
		n += digits(buf + sizeof(buf) - n, whole, 10, false);
	else
		buf[sizeof(buf) - ++n] = '0';
	put_field(s, f, sign_of(f, negative), buf + sizeof(buf) - n, n, 0);
}

static int64_t take_signed(va_list *ap, int length)
{
	int v;

	if (length > 0)
		return va_arg(*ap, int64_t);
	v = va_arg(*ap, int);
	return length == -2 ? (signed char)v : length == -1 ? (short)v : v;
}

static uint64_t take_unsigned(va_list *ap, int length)
{
	unsigned int v;

	if (length > 0)
		return va_arg(*ap, uint64_t);
	v = va_arg(*ap, unsigned int);
	return length == -2 ? (unsigned char)v : length == -1 ? (unsigned short)v : v;
}

static int parse_number(const char **fmt, va_list *ap)
{
	int v = 0;

	if (**fmt == '*') {
		(*fmt)++;
		return va_arg(*ap, int);
	}
	for (; **fmt >= '0' && **fmt <= '9'; (*fmt)++)
		v = v < 100000 ? v * 10 + (**fmt - '0') : v;
	return v;
}

static struct spec parse_spec(const char **fmt, va_list *ap)
{
	struct spec f = { .precision = -1 };

	for (;; (*fmt)++) {
		if (**fmt == '-')
			f.left = true;
		else if (**fmt == '0')
			f.zero = true;
		else if (**fmt == '+')
			f.plus = true;
		else if (**fmt == ' ')
			f.space = true;
		else if (**fmt == '#')
			f.alt = true;
		else
			break;
	}
	f.width = parse_number(fmt, ap);
	if (f.width < 0) {
		f.left = true;
		f.width = -f.width;
	}
	if (**fmt == '.') {
		(*fmt)++;
		f.precision = parse_number(fmt, ap);
	}
	for (; **fmt && strchr("hlzjt", **fmt); (*fmt)++)
		f.length = **fmt == 'h' ? f.length - 1 : 1;
	return f;
}

static void convert(struct sink *s, struct spec *f, char c, va_list *ap)
{
	const char *str;
	int64_t v;
	uint64_t u;
	char ch;

	switch (c) {
	case 'd':
	case 'i':
		v = take_signed(ap, f->length);
		put_number(s, f, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, false, sign_of(f, v < 0));
		break;
	case 'u':
		put_number(s, f, take_unsigned(ap, f->length), 10, false, "");
		break;
	case 'o':
		put_number(s, f, take_unsigned(ap, f->length), 8, false, f->alt ? "0" : "");
		break;
	case 'x':
	case 'X':
		u = take_unsigned(ap, f->length);
		put_number(s, f, u, 16, c == 'X', f->alt && u ? (c == 'X' ? "0X" : "0x") : "");
		break;
	case 'p':
		put_number(s, f, (uint64_t)(uintptr_t)va_arg(*ap, void *), 16, false, "0x");
		break;
	case 'c':
		ch = (char)va_arg(*ap, int);
		f->zero = false;
		put_field(s, f, "", &ch, 1, 0);
		break;
	case 's':
		str = va_arg(*ap, const char *);
		str = str ? str : "(null)";
		f->zero = false;
		put_field(s, f, "", str,
			  f->precision < 0 ? strlen(str) : strnlen(str, (size_t)f->precision), 0);
		break;
	case 'f':
	case 'F':
	case 'e':
	case 'g':
		put_float(s, f, va_arg(*ap, double));
		break;
	default:
		put(s, '%');
		if (c != '%')
			put(s, c);
	}
}

static int format(struct sink *s, const char *fmt, va_list ap_in)
{
	va_list ap;

	va_copy(ap, ap_in);
	while (*fmt) {
		if (*fmt != '%') {
			put(s, *fmt++);
			continue;
		}
		fmt++;
		struct spec f = parse_spec(&fmt, &ap);

		if (!*fmt)
			break;
		convert(s, &f, *fmt++, &ap);
	}
	va_end(ap);
	return (int)s->used;
}

int vsnprintf(char *to, size_t room, const char *fmt, va_list ap)
{
	char none;
	struct sink s = { .to = to ? to : &none, .room = room ? room - 1 : 0 };
	int n = format(&s, fmt, ap);

	if (room)
		to[s.used < s.room ? s.used : s.room] = 0;
	return n;
}

int vfprintf(FILE *f, const char *fmt, va_list ap)
{
	struct sink s = { 0 };
	int n = format(&s, fmt, ap);

	if (f == stderr)
		micro_stdio_flush();
	return n;
}

int vprintf(const char *fmt, va_list ap)
{
	return vfprintf(stdout, fmt, ap);
}

#define FORWARD(call)               \
	({                          \
		va_list ap_;        \
		int n_;             \
		va_start(ap_, fmt); \
		n_ = (call);        \
		va_end(ap_);        \
		n_;                 \
	})

int snprintf(char *to, size_t room, const char *fmt, ...)
{
	return FORWARD(vsnprintf(to, room, fmt, ap_));
}

int printf(const char *fmt, ...)
{
	return FORWARD(vfprintf(stdout, fmt, ap_));
}

int fprintf(FILE *f, const char *fmt, ...)
{
	return FORWARD(vfprintf(f, fmt, ap_));
}

int putchar(int c)
{
	console_put((char)c);
	return (unsigned char)c;
}

int fputs(const char *str, FILE *f)
{
	while (*str)
		console_put(*str++);
	if (f == stderr)
		micro_stdio_flush();
	return 0;
}

int puts(const char *str)
{
	fputs(str, stdout);
	return putchar('\n');
}

int fflush(FILE *f)
{
	micro_stdio_flush();
	return 0;
}

size_t fwrite(const void *data, size_t bytes, size_t n, FILE *f)
{
	for (size_t i = 0; i < bytes * n; i++)
		console_put(((const char *)data)[i]);
	return n;
}
