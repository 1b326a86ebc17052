/* SPDX-License-Identifier: MIT */
/* Ports of the library built for guests without an operating system. */
#include "port.h"

const struct mdl_port_ops *const mdl_ports[] = { &mdl_port_micro, NULL };
