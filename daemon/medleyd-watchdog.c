/* SPDX-License-Identifier: MIT */
#include "medleyd.h"

void watchdog_rearm(struct vgpu *v)
{
}
