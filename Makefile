# What people and CI type. Everything is built in one profile (dev), so tests and demo share one build.

SHELL := /bin/bash
TOOLS := $(CURDIR)/target/tools
# Tools that no package manager could give are unpacked below target/.
export PATH := $(TOOLS)/bin:$(TOOLS)/cmake/data/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench build-needs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build-needs ## three regions, an edge and clients on loopback; one region dies; figures
	cargo build --workspace --bin portolan
	target/debug/portolan demo

test: build-needs ## every test; peers that are missing are installed when we may, else their tests are skipped and named
	@bash tests/peers.sh
	@bash tests/aws-clients.sh
	cargo build --workspace --lib --bins --tests
	cargo test --workspace

lint: build-needs ## format, clippy, docs, licences and duplicates
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --quiet
	@bash .ci/need.sh cargo-deny
	cargo deny --log-level warn check bans licenses sources

bench: build-needs ## micro benches, and the load harness beside its peers (takes minutes; see benches/)
	@bash tests/peers.sh
	cargo bench --workspace

build-needs:
	@bash .ci/need.sh cargo cc cmake
