#!/usr/bin/env bash
# Builds the dashboard and then the server, which has it inside. Installs what is missing for that.
#
#   scripts/build.sh           the binary that runs the fastest: target/release/grapevine (or where CARGO_TARGET_DIR is)
#   scripts/build.sh --quick   the one that is built the soonest: target/quick/grapevine
#   scripts/build.sh --tests   the tests, not run
#
# The first time, three things are done side by side: compiling the dashboard, building the tools that pack it, and, with
# what the other two leave of the CPU, the server's dependencies. The server itself comes last: it has the dashboard inside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh
. scripts/progress.sh
TARGET_DIR=${CARGO_TARGET_DIR:-target}

case "${1:-}" in
    "") what="$TARGET_DIR/release/grapevine" server=(cargo build -p server --release) ;;
    --quick) what="$TARGET_DIR/quick/grapevine" server=(cargo build -p server --profile quick) ;;
    --tests) what="the tests" server=(cargo build --tests -p shared -p server) ;;
    *) die "unknown argument '$1' (see the top of $0)" ;;
esac

dashboard() {
    scripts/web-build.sh
    say "the dashboard: there"
}

first_dashboard() {
    scripts/wasm-setup.sh --target
    { scripts/web-build.sh --tool && scripts/wasm-setup.sh; } &
    local tools=$!
    scripts/web-build.sh --compile
    wait "$tools"
    dashboard
}

# Cargo has no word for "only the dependencies": with this in place of rustc for the workspace's own crates, they fail
# and everything else is built, just as the real build wants it.
dependencies() {
    local refuse
    refuse=$(mktemp)
    # Cargo asks the compiler about itself and the target first; those questions are let through.
    cat >"$refuse" <<'SH'
#!/bin/sh
case " $* " in *" --crate-name ___ "* | *" -vV "*) exec "$@" ;; esac
exit 1
SH
    chmod +x "$refuse"
    RUSTC_WORKSPACE_WRAPPER=$refuse counted "the server" nice "${server[@]}" --keep-going >/dev/null || true
    rm -f "$refuse"
}

first_build() {
    say "first build: the dashboard and the server's dependencies side by side (minutes)"
    scripts/wasm-setup.sh --packages # here, because a question for a password needs the foreground
    set -m # a process group of its own for what runs beside, so that Ctrl+C can end all of it
    first_dashboard &
    local beside=$!
    trap 'kill -- -'"$beside"' 2>/dev/null || true' EXIT
    dependencies
    say "the server's dependencies: there"
    wait "$beside" || die "the dashboard was not built (see above)"
    trap - EXIT
}

if [ -e web/dist/index.html ] && scripts/wasm-setup.sh --check >/dev/null; then dashboard; else first_build; fi
say "building $what"
counted "the server" "${server[@]}"
# By itself: with the server, the dashboard's libraries would give the server's other features, and `cargo test -p server`
# would build those anew.
if [ "$what" = "the tests" ]; then counted "the page's tests" cargo build --tests -p web -p simulator; fi
say "$what: there"
