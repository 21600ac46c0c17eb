#!/usr/bin/env bash
# Runs `cargo test` with these arguments. Tests that fail are run once more, alone, when they are few: most of them are programs that
# talk to each other over real sockets and clocks, and a machine that stood still for a moment is no fault of ours. What failed beside the
# others and passed alone is told at the end, by name, and its first failure stays in the output. What fails twice has failed.
set -uo pipefail

# More than so many are no accident.
MAY=3

log=$(mktemp)
failed=$(mktemp)
trap 'rm -f "$log" "$failed"' EXIT

cargo test --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" != 0 ] || exit 0

# Of each target that failed: what cargo says would run it again, and its failed tests, a line each. A target that failed
# without one (it crashed, or did not build) has nothing that could be tried again.
awk '
    /^ *(Running|Doc-tests) / { n = 0 }
    /^test .* \.\.\. FAILED$/ { name[n++] = $2 }
    /^error: test failed, to rerun pass `/ {
        split($0, part, "`")
        if (n == 0) { print "-\t" part[2] }
        for (i = 0; i < n; i++) { print name[i] "\t" part[2] }
        n = 0
    }' "$log" >"$failed"
count=$(wc -l <"$failed")
if [ "$count" = 0 ] || [ "$count" -gt "$MAY" ] || grep -q '^-' "$failed"; then
    exit "$status"
fi

twice=0
while IFS=$'\t' read -r test target; do
    # For one package alone, cargo would choose other features and build everything anew.
    target=$(sed 's/^-p [^ ]* /--workspace /' <<<"$target")
    echo "again, alone: $test ($target)"
    # shellcheck disable=SC2086 # cargo's own words
    if ! cargo test $target -- --exact "$test" </dev/null; then
        twice=1
    fi
done <"$failed"
if [ "$twice" != 0 ]; then
    exit "$status"
fi
echo "$count tests failed beside others, and passed alone:"
cut -f1 "$failed"
