#!/usr/bin/env bash
# Puts AWS's command line and boto3 into a virtual environment below target/, for the tests that judge the API by them. It never
# fails: without them those tests are skipped and named.
set -uo pipefail
cd "$(dirname "$0")/.."

venv=target/aws-clients
wanted=tests/aws-clients.txt
done=$venv/.installed

if [ -e "$done" ] && cmp -s "$wanted" "$done"; then
    exit 0
fi
command -v python3 >/dev/null 2>&1 || { echo "aws-clients: no python3: skipped: the API judged by awscli and boto3"; exit 0; }

# Two test runs may begin at once; the lock ends with the descriptor.
mkdir -p target
exec 9>target/aws-clients.lock
flock 9
if [ -e "$done" ] && cmp -s "$wanted" "$done"; then
    exit 0
fi
echo "aws-clients: installing $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$venv"
if python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >"$venv/install.log" 2>&1; then
    cp "$wanted" "$done"
else
    echo "aws-clients: could not install (python3-venv and a package index are needed): skipped: the API judged by awscli and boto3"
    tail -n 3 "$venv/install.log" 2>/dev/null
fi
exit 0
