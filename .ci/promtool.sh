#!/usr/bin/env bash
# promtool for the tests of the alert rules, out of Debian's package of Prometheus. The package is
# unpacked and not installed: it would start a server.
#
# Anything that fails ends the script with a message and a status other than 0.
set -euo pipefail

fail() { echo "promtool.sh: $*" >&2; exit 1; }

if ! command -v promtool >/dev/null; then
    [ "$(id -u)" -eq 0 ] || fail "promtool is missing: install Prometheus"
    export DEBIAN_FRONTEND=noninteractive
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    apt-get update -qq || fail "apt-get update failed"
    cd "$folder"
    apt-get download -qq prometheus || fail "apt-get could not download prometheus"
    dpkg-deb --extract prometheus_*.deb unpacked || fail "the package could not be unpacked"
    install unpacked/usr/bin/promtool /usr/local/bin/promtool
fi
promtool --version || fail "promtool does not run"
