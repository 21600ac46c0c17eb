#!/usr/bin/env bash
# Looks for the programs that the tests run as judges beside Portolan, installs the missing ones when it may (Debian, root or
# sudo without a password), and says which tests are skipped otherwise and why. It never fails: a missing peer costs tests, not the run.
set -uo pipefail

# program : Debian package : what its absence skips
peers=(
    "haproxy:haproxy:PROXY protocol read and written by HAProxy"
    "nginx:nginx-light:PROXY protocol read by nginx"
    "dnsdist:dnsdist:PROXY protocol read by dnsdist"
    "unbound:unbound:PROXY protocol read by unbound"
    "kdig:knot-dnsutils:a DNS client over UDP"
    "dnsperf:dnsperf:DNS load over UDP"
    "iperf3:iperf3:a measured stream over UDP"
    "redis-server:redis-server:a server of a real protocol through the edge"
    "redis-cli:redis-tools:a client of a real protocol through the edge"
    "bird:bird2:BGP in the lab, and with it every test of several PoPs"
    "strace:strace:the system calls of a short flow, counted"
    "nft:nftables:ranges of ports brought by a firewall"
    "curl:curl:HTTP and PROXY headers by curl"
    "valgrind:valgrind:instruction counts of the data path"
)
# PostgreSQL refuses to run as root, so there its test is skipped anyway.
if [ "$(id -u)" != 0 ]; then
    peers+=(
        "postgres:postgresql:a server-first protocol through the edge"
        "psql:postgresql-client:a client of a server-first protocol through the edge"
    )
fi
for folder in /usr/lib/postgresql/*/bin; do
    PATH="$PATH:$folder"
done
export PATH="$PATH:/usr/sbin:/sbin"

have() { command -v "$1" >/dev/null 2>&1; }

stream_module() { [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || nginx -V 2>&1 | grep -q -- '--with-stream\( \|$\)'; }

packages=()
for peer in "${peers[@]}"; do
    IFS=: read -r program package _ <<<"$peer"
    have "$program" || packages+=("$package")
done
stream_module 2>/dev/null || packages+=(libnginx-mod-stream)

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() {
    have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }
}

# Debian starts a service when its package is installed. invoke-rc.d asks this file first; 101 means no.
install_packages() {
    local policy=/usr/sbin/policy-rc.d placed=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && placed=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1
    local package
    for package in "$@"; do
        as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 \
            || echo "peers: could not install $package"
    done
    [ -z "$placed" ] || as_root rm -f "$policy"
}

if [ "${#packages[@]}" -gt 0 ]; then
    if may_install; then
        echo "peers: installing ${packages[*]}"
        install_packages "${packages[@]}"
    else
        echo "peers: may not install ${packages[*]} (needs Debian, and root or sudo)"
    fi
fi

present=()
for peer in "${peers[@]}"; do
    IFS=: read -r program package skips <<<"$peer"
    if have "$program"; then
        present+=("$program")
    else
        echo "peers: no $program: skipped: $skips (apt-get install $package)"
    fi
done
# moto is not packaged by Debian. It goes below target/, with nothing of the system's touched.
moto="$(dirname "$0")/../target/tools/moto"
if [ ! -x "$moto/bin/moto_server" ] && ! have moto_server; then
    echo "peers: installing moto"
    { python3 -m venv "$moto" && "$moto/bin/pip" install --quiet 'moto[server]==5.*'; } >/dev/null 2>&1 || rm -rf "$moto"
fi
if [ -x "$moto/bin/moto_server" ] || have moto_server; then
    present+=("moto_server")
else
    echo "peers: no moto_server: skipped: Route 53 and AWS by moto (python3-venv, pip install 'moto[server]')"
fi
echo "peers: found ${present[*]:-none}"
exit 0
