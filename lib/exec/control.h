/* SPDX-License-Identifier: MIT */
/* Messages on the control link: see control.c. */
#ifndef MDL_EXEC_CONTROL_H
#define MDL_EXEC_CONTROL_H

#include "exec/channel.h"

/* What an epoll event is about (epoll_data.u32); channels' doorbells: their index. */
#define MDL_EVENT_CONTROL	0x10000u
#define MDL_EVENT_GRANT		0x10001u
#define MDL_EVENT_COMPILED	0x10002u

int mdl_control_ready(struct mdl_exec *x);

/* Handles all messages that are there. -EPIPE: the device is gone. Other errors: it broke the protocol. */
int mdl_control_handle(struct mdl_exec *x);

/* Stops the channel at its packet and tells the guest and the device. */
int mdl_control_chan_error(struct mdl_exec *x, struct mdl_exec_chan *c);

void mdl_control_close_all(struct mdl_exec *x);

#endif
