#!/usr/bin/env bash
# One fault of `make failover`, so many runs: failover.sh FAULT N. Who takes milliseconds is struck together; HAProxy with its defaults takes ten
# seconds a run, and so has two worlds of its own at the same time.
set -euo pipefail
cd "$(dirname "$0")/.."
fault="$1" runs="$2"
run() { target/debug/portolan-lab failover run "$fault" "$1" target/failover "${@:2}"; }
case "$fault" in
    pop-*) run "$runs" ;;
    *)
        run $((runs / 2)) haproxy-default & first=$!
        run $((runs - runs / 2)) haproxy-default & second=$!
        run "$runs" portolan haproxy-tuned envoy
        wait "$first" && wait "$second"
        ;;
esac
