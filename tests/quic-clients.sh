#!/usr/bin/env bash
# Puts aioquic into a virtual environment below target/, for the test that judges UDP by a QUIC client that moves. It never
# fails: without it that test is skipped and named.
set -uo pipefail
cd "$(dirname "$0")/.."

venv=target/quic-clients
wanted=tests/quic-clients.txt
done=$venv/.installed

if [ -e "$done" ] && cmp -s "$wanted" "$done"; then
    exit 0
fi
command -v python3 >/dev/null 2>&1 || { echo "quic-clients: no python3: skipped: a QUIC client that moves"; exit 0; }

# Two test runs may begin at once; the lock ends with the descriptor.
mkdir -p target
exec 9>target/quic-clients.lock
flock 9
if [ -e "$done" ] && cmp -s "$wanted" "$done"; then
    exit 0
fi
echo "quic-clients: installing $(grep -v '^#' "$wanted" | tr '\n' ' ')"
rm -rf "$venv"
if python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >"$venv/install.log" 2>&1; then
    cp "$wanted" "$done"
else
    echo "quic-clients: could not install (python3-venv and a package index are needed): skipped: a QUIC client that moves"
    tail -n 3 "$venv/install.log" 2>/dev/null
fi
exit 0
