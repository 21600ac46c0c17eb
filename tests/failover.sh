#!/usr/bin/env bash
# One fault of `make failover`, so many runs: failover.sh FAULT N. Who takes milliseconds is struck together and alone on the machine; HAProxy
# with its defaults takes seconds, and has two worlds of its own at the same time afterwards. PART=fast or PART=slow does one of both.
set -euo pipefail
cd "$(dirname "$0")/.."
fault="$1" runs="$2" part="${PART:-all}"
run() { target/debug/portolan-lab failover run "$fault" "$1" target/failover "${@:2}"; }
case "$fault" in
    pop-*)
        [ "$part" = slow ] || run "$runs"
        exit 0
        ;;
esac
[ "$part" = slow ] || run "$runs" portolan haproxy-tuned envoy
if [ "$part" != fast ]; then
    run $((runs / 2)) haproxy-default & first=$!
    run $((runs - runs / 2)) haproxy-default & second=$!
    wait "$first" && wait "$second"
fi
