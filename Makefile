# Two doors: `make demo` shows the main job on real input, `make test` runs every test. Both install what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# A build cache outside the checkout is used when it is there, never needed.
ifneq ($(wildcard $(HOME)/.cache/steward-target),)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/steward-target
endif
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: demo test chaos soak lint mutants bench bench-peers

demo:
	scripts/setup
	cargo build --release --locked -p steward-node -p steward-tests --bin steward --bin demo
	scripts/models $(TARGET)/release/steward
	$(TARGET)/release/demo --steward $(TARGET)/release/steward

test:
	scripts/setup --tests
	cargo build --locked -p steward-node --bin steward
	scripts/models $(TARGET)/debug/steward
	scripts/test

# Clusters that are killed, cut apart, grown and shrunk, and nodes of a build that dies between two steps. As root:
# networks are cut in namespaces, and disks lose their power.
chaos:
	scripts/setup --tests
	cargo build --locked -p steward-node --bin steward --features failpoints
	cp $(TARGET)/debug/steward $(TARGET)/debug/steward-failpoints
	cargo build --locked -p steward-node --bin steward
	cargo build --locked -p steward-node --features previous --bin steward-previous
	cargo test --locked -p steward-tests --features chaos --test cluster -- --test-threads 1 --nocapture
	$(MAKE) soak

# The part of it that needs one node and no root: 100,000 webhooks and a kill, noisy accounts, hostile senders. Optimised:
# waits of bystanders are held against limits, and the senders share the machine with the node.
soak:
	cargo build --release --locked -p steward-node --bin steward
	cargo test --release --locked -p steward-tests --features chaos --test chaos -- --test-threads 1 --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features steward-tests/chaos,steward-node/failpoints,steward-node/previous -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

mutants:
	scripts/mutants

bench:
	cargo build --release --locked -p steward-node -p steward-tests --bin steward --bin bench
	$(TARGET)/release/bench --steward $(TARGET)/release/steward $(if $(ONLY),--only $(ONLY))

bench-peers:
	scripts/bench-peers
