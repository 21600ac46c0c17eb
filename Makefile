# What people and CI type. Everything is built in one profile (dev), so tests and demo share one build.

SHELL := /bin/bash
TOOLS := $(CURDIR)/target/tools
# What could not be tested here, a line each, told at the end.
SKIPPED := $(CURDIR)/target/skipped
# Tools that no package manager could give are unpacked below target/.
export PATH := $(TOOLS)/bin:$(TOOLS)/cmake/data/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo lab test lint bench profile soak failover build-needs

# Tests of what bytes, ends and resets come to, which are run by every way of relaying.
BY_ANY_ENGINE := byte_for_byte reset half_close closes_first both_directions stalled

# Of a soak: how long, and what everything random comes from (empty: random).
SECONDS := 3600
SEED :=

# How many runs of each fault; which faults; KEEP=1 adds to the runs that are there.
N ?= 20
FAULTS ?= killed silent silent-idle unreachable hung pop-silent pop-killed pop-drained
# How long it is disturbed in search of false alarms; empty: not at all.
MINUTES ?= 10

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build-needs ## three regions, an edge and clients on loopback; one region dies; figures
	cargo build --workspace --bin portolan
	target/debug/portolan demo

lab: build-needs ## a shell in a world of regions, routers, PoPs and clients on this machine (root, BIRD)
	@bash tests/peers.sh
	cargo build --workspace --bin portolan --bin portolan-lab
	target/debug/portolan-lab shell

test: build-needs ## every test; peers that are missing are installed when we may, else their tests are skipped and named
	@bash tests/peers.sh
	@bash tests/python.sh aws-clients "the API judged by awscli and boto3"
	@bash tests/python.sh quic-clients "a QUIC client that moves"
	cargo build --workspace --lib --bins --tests
	@rm -f $(SKIPPED)
	PORTOLAN_TESTS_SKIPPED=$(SKIPPED) bash tests/run.sh --workspace; status=$$?; \
		for engine in PORTOLAN_TESTS_IO_ENGINE=io_uring PORTOLAN_TESTS_SPLICE=1; do \
			env PORTOLAN_TESTS_SKIPPED=$(SKIPPED) $$engine bash tests/run.sh --workspace --test relay --test upgrade -- $(BY_ANY_ENGINE) || status=1; \
		done; \
		[ ! -e $(SKIPPED) ] || { echo "$$(wc -l <$(SKIPPED)) tests, or parts of tests, were skipped:"; sort $(SKIPPED); }; exit $$status
	$(MAKE) --no-print-directory soak SECONDS=120

lint: build-needs ## format, clippy, docs, licences and duplicates
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --quiet
	@bash .ci/need.sh cargo-deny
	cargo deny --log-level warn check bans licenses sources

soak: build-needs ## traffic of every kind while everything happens to edge and endpoints, all accounted for (SECONDS=3600 SEED=)
	cargo build --workspace --bins
	target/debug/portolan-soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) --json target/soak.json

bench: build-needs ## beside the peers, with tables and charts in benches/results/ (seventeen minutes); QUICK=1 in two
	@bash benches/run.sh

profile: build-needs ## where the data path's time goes, and its system calls beside the peers'
	@bash benches/profile.sh

failover: build-needs ## faults in the lab, N times each, beside HAProxy and Envoy; writes benches/results/failover.md (root, BIRD; an hour)
	@bash tests/peers.sh
	cargo build --workspace --bin portolan --bin portolan-lab
	$(if $(KEEP),,rm -rf target/failover)
	export ENVOY="$$(bash tests/envoy.sh)" && for fault in $(FAULTS); do bash tests/failover.sh $$fault $(N) || exit 1; done
	$(if $(MINUTES),ENVOY="$$(bash tests/envoy.sh)" target/debug/portolan-lab failover disturb $(MINUTES) target/failover)
	target/debug/portolan-lab failover report target/failover benches/results

build-needs:
	@bash .ci/need.sh cargo cc cmake
