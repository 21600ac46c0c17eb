#!/usr/bin/env bash
# `make bench`: builds for release, makes sure that the peers are there (or names them), runs the micro benches and the load workloads,
# and writes tables, charts and raw figures to benches/results/. QUICK=1 takes two minutes, leaves the micro benches out and writes
# to target/bench/, since a quick run is no result to keep. ARGS is passed on to portolan-load (ARGS="--only bulk,idle").
set -euo pipefail
cd "$(dirname "$0")/.."

bash tests/peers.sh
cargo build --release --workspace --bin portolan --bin portolan-load

ENVOY="$(bash tests/envoy.sh)"
export ENVOY

# Thousands of idle flows need as many descriptors, twice.
ulimit -n "$(ulimit -Hn)"

load() { target/release/portolan-load "$@" ${ARGS:-}; }
if [ -n "${QUICK:-}" ]; then
    load --quick --out target/bench
    echo "bench: written to target/bench/"
else
    cargo bench --workspace --bench pick --bench flow_table --bench ranges
    load --out benches/results
    echo "bench: written to benches/results/"
fi
