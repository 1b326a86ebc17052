/* SPDX-License-Identifier: MIT */
/*
 * From a processor exception in guest work to a GPU fault: the handlers report CTX_FAULT on the control link and end the process.
 * State is process-wide, because a signal handler has no other way to it: one executor for each process.
 */
#ifndef MDL_EXEC_FAULT_H
#define MDL_EXEC_FAULT_H

#include <stdint.h>

#define MDL_EXIT_FAULT	3	/* exit status after a reported fault */

/* Installs the handlers, with an alternate stack for the calling thread. 0 or -errno. */
int mdl_fault_install(int control_link);

/* Gives the calling thread an alternate stack, so that an overflow of its own is reported, too. Without one it kills unreported. */
void mdl_fault_thread_stack(void);

/* Which context this is, for reports. */
void mdl_fault_set_context(uint16_t ctx);

/* Which packet is being worked on. */
void mdl_fault_set_packet(uint16_t chan, uint32_t tag);

/* Reports and ends the process, as the handlers do: for an address that is known to be bad before it is touched. */
void mdl_fault_raise(uint16_t error, uint64_t va, uint16_t access, uint32_t info) __attribute__((noreturn));

#endif
