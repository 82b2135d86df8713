#!/usr/bin/env bash
# Headless Chromium and its driver for the tests of the web page, from Debian's packages.
#
# Anything that fails ends the script with a message and a status other than 0.
set -euo pipefail

fail() { echo "chromium.sh: $*" >&2; exit 1; }

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    [ "$(id -u)" -eq 0 ] ||
        fail "Chromium is missing: install it with 'apt-get install chromium chromium-driver'"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || fail "apt-get update failed"
    apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core \
        </dev/null || fail "apt-get could not install Chromium"
fi
chromium --version || fail "chromium does not run"
chromedriver --version || fail "chromedriver does not run"
