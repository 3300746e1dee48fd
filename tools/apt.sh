#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Check for the programs that no pip package serves, and install what is missing when root.
# Usage: tools/apt.sh rtl|e2e|all     (NK_NO_INSTALL=1: only check)
set -eu
cd "$(dirname "$0")/.."
missing=
need() { # need PACKAGE COMMAND-THAT-SUCCEEDS-WHEN-IT-IS-THERE...
    package=$1; shift
    "$@" >/dev/null 2>&1 || case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
}
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1"; }

check() {
    missing=
    case "$1" in rtl|all)
        need g++ have g++
        need gcc have gcc
        need make have make
        need iverilog have iverilog           # second simulator; pyverilog's preprocessor
        need perl perl -MPod::Usage -e 1      # Verilator's start script
        # cocotb loads Python as a shared library, which Debian packs apart.
        [ ! -x .venv/bin/python ] || need libpython3-dev \
            .venv/bin/python -c 'import find_libpython as f, sys; sys.exit(not f.find_libpython())'
    esac
    case "$1" in e2e|all)                     # the unmodified programs of the end-to-end tests
        need curl have curl
        need iproute2 have ip
        need nginx have nginx
        need redis-server have redis-server
        need redis-tools have redis-benchmark
        need iperf3 have iperf3
    esac
    missing=${missing# }
}

check "${1:-all}"
[ -n "$missing" ] || exit 0
command="apt-get update && apt-get install -y --no-install-recommends $missing"
if [ "$(id -u)" = 0 ] && [ -z "${NK_NO_INSTALL:-}" ] && command -v apt-get >/dev/null; then
    echo "installing Debian packages: $missing"
    mkdir -p build
    # RUNLEVEL=1: the packages' own services (nginx, redis) stay stopped; the tests start theirs.
    install="env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends $missing"
    # The package list of a fresh machine is empty or old: then once more after an update.
    # shellcheck disable=SC2086
    if $install >build/apt.log 2>&1 || { apt-get update >>build/apt.log 2>&1 && $install >>build/apt.log 2>&1; }
    then
        check "${1:-all}"
        [ -n "$missing" ] || exit 0
    fi
    tail -5 build/apt.log >&2
fi
echo "Missing: $missing. As root, run:  $command" >&2
exit 1
