#!/usr/bin/env bash
# `make profile`: where the data path's time goes, by system call and by function (perf), and how many system calls a flow and a request
# take, beside the peers (strace). Writes target/profile/. What needs a program that is missing is named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

bash tests/peers.sh >/dev/null
cargo build --release --workspace --bin portolan --bin portolan-load
mkdir -p target/profile
ENVOY="$(bash tests/envoy.sh)"
export ENVOY
ulimit -n "$(ulimit -Hn)"
target/release/portolan-load profile "$@" | tee target/profile/README.md
