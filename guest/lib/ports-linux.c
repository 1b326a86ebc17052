/* SPDX-License-Identifier: MIT */
/* Ports of the library built for a Linux host. */
#include "port.h"

const struct mdl_port_ops *const mdl_ports[] = { &mdl_port_sysfs, &mdl_port_socket, NULL };
