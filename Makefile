# The commands of a contributor. Each is short for something the README explains.

# Rust may have been installed a moment ago, by the first of these commands.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
# cargo-nextest where there is one: it runs each test in a process of its own.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
DENY := $(shell command -v cargo-deny 2>/dev/null)
# Tests of the image at once: most emulated nodes have one processor and take one core, and each with its browser wants
# 4 GiB.
MACHINES ?= $(shell cores=$$(nproc); room=$$(awk '/^MemAvailable/ { print int($$2 / 4194304) }' /proc/meminfo); \
	echo $$((room < 1 ? 1 : room < cores ? room : cores)))

.PHONY: run image test test-long check fix bench setup

## Build and boot Ashlar in QEMU; prints the console's address. Ctrl-C ends it.
run:
	@image/setup.sh
	@$(CARGO) image run

## The bootable disk image.
image:
	@image/setup.sh
	@$(CARGO) image build

## Everything: the image, the unit tests, then the tests of the whole system in virtual machines.
test:
	@image/setup.sh test
	@$(CARGO) image build
	buildroot/board/ashlar/check-config.test
ifdef NEXTEST
	$(CARGO) nextest run
	$(CARGO) nextest run --package ashlar-web
	$(CARGO) nextest run --package ashlar-tests --no-fail-fast --test-threads $(MACHINES) --no-tests pass
else
	$(CARGO) test
	$(CARGO) test --package ashlar-web
	$(CARGO) test --package ashlar-tests --no-fail-fast -- --test-threads $(MACHINES)
endif

## 50 kills of the supervisor, and schemathesis over the whole API: long.
test-long:
	@image/setup.sh test
	@$(CARGO) image build
	ASHLAR_KILLS=50 $(CARGO) test --package ashlar-tests --test supervisor --test schemathesis -- --test-threads 1

## Looks and never writes: format, lints, layers, licences.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --package ashlar-web --all-targets -- -D warnings
	$(CARGO) clippy --locked --package ashlar-tests --all-targets -- -D warnings
	$(CARGO) test --locked --package ashlar --test layers
ifdef DENY
	$(CARGO) deny check
endif

## What of check a program can mend.
fix:
	$(CARGO) clippy --fix --allow-dirty --allow-staged --all-targets
	$(CARGO) fmt --all

## The figures of the image, from one run.
bench:
	@image/setup.sh
	@$(CARGO) image bench

## Install what this machine lacks for all of the above.
setup:
	@image/setup.sh test
