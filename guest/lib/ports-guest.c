/* SPDX-License-Identifier: MIT */
/*
 * Ports of the library built for a Linux guest: no sockets, so that programs link statically with
 * the C library alone.
 */
#include "port.h"

const struct mdl_port_ops *const mdl_ports[] = { &mdl_port_sysfs, NULL };
