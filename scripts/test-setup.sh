#!/usr/bin/env bash
# What the tests need beside Rust: a RabbitMQ server and nginx (the tests start their own), Chromium with its driver, axe-core
# (which finds what keeps people from using the page; into the target folder), and a C++ compiler for libFuzzer. Safe to
# run again and again.
#
#   scripts/test-setup.sh                all of it
#   scripts/test-setup.sh --compiler     the compiler only
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh

RABBITMQ=/usr/lib/rabbitmq/bin/rabbitmq-server
# Debian asks it before a package starts its service; 101 forbids.
GUARD=/usr/sbin/policy-rc.d

# Where the tests look for it: CARGO_TARGET_TMPDIR.
AXE=${CARGO_TARGET_DIR:-target}/tmp/axe
AXE_VERSION=4.14.1

have_axe() { [ "$(cat "$AXE/version" 2>/dev/null)" = "$AXE_VERSION" ]; }

install_axe() {
    have npm || { have apt-get && apt_install nodejs npm; } || die "axe-core comes by npm, and there is no npm in PATH"
    say "npm install axe-core@$AXE_VERSION"
    mkdir -p "$AXE"
    npm install --silent --no-audit --no-fund --no-save --prefix "$AXE" "axe-core@$AXE_VERSION" >/dev/null ||
        die "npm could not install axe-core@$AXE_VERSION"
    echo "$AXE_VERSION" >"$AXE/version"
}

have_rabbitmq() { [ -x "$RABBITMQ" ]; }
have_nginx() { have nginx || [ -x /usr/sbin/nginx ]; } # not in everybody's PATH
have_browser() { have chromium && have chromedriver; }
have_compiler() { have c++; }
have_all() { have_rabbitmq && have_nginx && have_browser; }

restore_guard() {
    as_root rm -f "$GUARD"
    if [ -e "$GUARD.before-grapevine" ]; then as_root mv "$GUARD.before-grapevine" "$GUARD"; fi
}

forbids_start() {
    local answer=0
    if [ -x "$GUARD" ]; then "$GUARD" "$1" start >/dev/null 2>&1 || answer=$?; fi
    [ "$answer" = 101 ]
}

# Installs a package without what it would start now and after each boot (a broker on port 5672, a web server on 80):
# nobody asked for that.
install_quietly() {
    local package=$1
    if ! forbids_start "$package"; then
        trap restore_guard EXIT
        if [ -e "$GUARD" ]; then as_root mv "$GUARD" "$GUARD.before-grapevine"; fi
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$GUARD" >/dev/null
        as_root chmod 755 "$GUARD"
    fi
    apt_install "$package"
    if have systemctl; then as_root systemctl disable --quiet "$package" 2>/dev/null || true; fi
}

have_compiler || { have apt-get && apt_install g++; } || die "fuzzing needs a C++ compiler named c++ in PATH"
if [ "${1:-}" = --compiler ]; then exit; fi
have_axe || install_axe
if ! have_all; then
    have apt-get || die "the tests need RabbitMQ (with $RABBITMQ), nginx, and chromium and chromedriver of one version in
       PATH. Install them with your distribution's package manager."
    have_rabbitmq || install_quietly rabbitmq-server
    have_nginx || install_quietly nginx
    have_browser || apt_install chromium chromium-driver
    have_all || die "installed, yet $RABBITMQ, nginx, chromium or chromedriver is missing"
fi
say "RabbitMQ, nginx, Chromium and its driver, axe-core: there"
