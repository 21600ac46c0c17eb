#!/usr/bin/env bash
# python.sh NAME WHAT: puts what tests/NAME.txt lists into a virtual environment below target/, for tests that are judged by it: WHAT says
# which. It never fails: without it those tests are skipped and named.
set -uo pipefail
cd "$(dirname "$0")/.."

name=$1 what=${2:-tests that are judged by it}
venv=target/$name
wanted=tests/$name.txt
done=$venv/.installed

# Its programs name their interpreter by its whole path, so an environment that was moved is none.
stands() { [ -e "$done" ] && cmp -s <(pwd && cat "$wanted") "$done"; }

if stands; then
    exit 0
fi
command -v python3 >/dev/null 2>&1 || { echo "$name: no python3: skipped: $what"; exit 0; }

# Two test runs may begin at once; the lock ends with the descriptor.
mkdir -p target
exec 9>"$venv.lock"
flock 9
if stands; then
    exit 0
fi
echo "$name: installing $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$venv"
if python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >"$venv/install.log" 2>&1; then
    (pwd && cat "$wanted") >"$done"
else
    echo "$name: could not install (python3-venv and a package index are needed): skipped: $what"
    tail -n 3 "$venv/install.log" 2>/dev/null
fi
exit 0
