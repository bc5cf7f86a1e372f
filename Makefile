# One command for each thing to do. The work is in scripts/.
.PHONY: help setup build run install uninstall dev test fuzz soak bench bench-report fix clean

TARGET := $(or $(CARGO_TARGET_DIR),target)
# What runs the fastest, and what is built the soonest.
RELEASE := $(TARGET)/release/grapevine
QUICK := $(TARGET)/quick/grapevine
# Where it is installed; DESTDIR is for who packs it.
PREFIX ?= /usr/local
INSTALLED = $(DESTDIR)$(PREFIX)/bin/grapevine

help: ## say what there is (this)
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

setup: ## install what building needs: the WASM target and wasm-opt (undo: scripts/wasm-setup.sh --undo)
	@scripts/wasm-setup.sh

build: ## the binary that runs the fastest, with the dashboard inside: target/release/grapevine
	@scripts/build.sh

run: ## build what changed, the soonest way (target/quick/grapevine), and start it: make run ARGS="--peers 7"
	@scripts/build.sh --quick
	@"$(QUICK)" serve $(ARGS)

# Builds nothing, so that it can be run as root.
install: ## copy what make build built to PREFIX/bin: sudo make install, or make install PREFIX=$HOME/.local
	@test -x "$(RELEASE)" || { echo "error: $(RELEASE) isn't there: run make build first" >&2; exit 1; }
	@install -D -m 755 "$(RELEASE)" "$(INSTALLED)"
	@echo "$(INSTALLED): there"

uninstall: ## remove what make install copied (the same PREFIX)
	@rm -f "$(INSTALLED)"

dev: ## serve web/ anew at each change, in front of a running server; installs Trunk
	@scripts/wasm-setup.sh --dev
	@bash -c '. scripts/say.sh && exec trunk serve'

test: ## install what the tests need (RabbitMQ, nginx, Chromium, g++) and run all of them
	@scripts/test.sh

fuzz: ## look for inputs that break a parser or the protocol: make fuzz SECONDS=600 (each; 60 unless told)
	@scripts/test-setup.sh --compiler
	@scripts/fuzz.sh $(SECONDS)

soak: ## simulate many random faults: make soak SEEDS=5000..9000 (5,000 seeds that the tests don't try, unless told)
	@GRAPEVINE_SEEDS=$(or $(SEEDS),1000..6000) cargo test --release -p shared --test it convergence_ -- --nocapture

bench: ## measure the core: codec, merge, reconciliation, a simulated overlay
	@cargo bench -p shared --bench core

bench-report: build ## measure the overlay on real TCP and write docs/BENCHMARKS.md (some 40 minutes; needs node)
	@node scripts/bench-report.mjs $(RUNS)

fix: ## format, and let clippy repair what it can
	@cargo fmt --all
	@cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

clean: ## remove what was built (not what was installed)
	@cargo clean
	@rm -rf web/dist
