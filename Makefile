# SPDX-License-Identifier: MIT
#
# The two commands of a fresh machine are here: make demo, make check. Each target sets up what it
# needs (packages, stock QEMU, guest kernel), configures with Meson once, builds with Ninja, then
# does its thing. What is fetched is kept under build/ and survives "make clean"; "make distclean"
# removes all of it.

B      := build
PREFIX ?= /usr/local
CACHES := bin qemu-root guest-kernel cache

.PHONY: demo check build bench format install clean distclean setup vm

demo: build vm
	@tools/demo --build $(B) $${IMAGE:+--image "$$IMAGE"}

check: build vm
	@tools/run-tests $(B)

bench: build
	@for name in kernel aperture copy submit trap context fairness preempt overhead latency watchdog; do \
		$(B)/bench/medley-bench $$name || exit 1; \
	done

build: setup
	@test -f $(B)/build.ninja || meson setup $(B) . --prefix $(PREFIX)
	@ninja -C $(B)

# Packages; says nothing when all are there.
setup:
	@tools/setup

# Stock QEMU with vfio-user and the guest kernel of the virtual machines.
vm: setup
	@tools/fetch-qemu
	@tools/fetch-kernel

format: setup
	@git ls-files '*.c' '*.h' | xargs -r clang-format -i

# The prefix of the first configuration may be another one.
install: build
	@meson configure $(B) -Dprefix=$(PREFIX)
	@meson install -C $(B)

clean:
	@test ! -d $(B) || find $(B) -mindepth 1 -maxdepth 1 $(CACHES:%=! -name %) -exec rm -rf {} +
	@echo "clean: kept what was fetched (QEMU, guest kernel); make distclean removes that too"

distclean:
	@rm -rf $(B)
