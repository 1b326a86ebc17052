/* SPDX-License-Identifier: MIT */
/* What the VMM may still do once the guest runs. */
#ifndef MDL_VMM_SANDBOX_H
#define MDL_VMM_SANDBOX_H

/*
 * No new privileges, and an allow-list of system calls: run the CPU, talk to devices over open
 * sockets, write to open files. Nothing can be opened, mapped executable or started. For the
 * calling thread, for good. Negative errno if the kernel refuses.
 */
int mdl_vm_sandbox_enter(void);

#endif
