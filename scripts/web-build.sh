#!/usr/bin/env bash
# web-build.sh: builds the dashboard; the one place that knows how.
#
#   scripts/web-build.sh [--dev] [OUT]    OUT: where it goes; web/dist unless given
#   scripts/web-build.sh --compile        only the modules, and
#   scripts/web-build.sh --tool           only the tool that packs them; for a first build, that does both at once
#
# cargo -> scripts/pack -> wasm-opt (not with --dev) -> OUT with index.html, style.css, icon.svg, and a script and a
# module each for the page (web.js, web_bg.wasm) and the simulator, which the page fetches only when it is asked for;
# not with --dev each of them compressed, too (.br, .gz), as the server sends them.
# Without --dev all names but index.html's carry the hash of what is in the file (web-0123456789abcdef.js), so that a
# browser may keep them for ever (server/src/http/ui.rs lets it) and yet never shows an old page.
# OUT is replaced as a whole once everything is built, so half a build is never seen. Where nothing changed since the
# last time, it does nothing. Needs what scripts/wasm-setup.sh sets up.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh
. scripts/progress.sh
TARGET=wasm32-unknown-unknown
PROFILE=wasm-release
MODULES=(web simulator)
# Flattened and looped anew, code compresses better; in the order of names, what is alike stands together. 2 % of the wire.
SHRINK=(--flatten --rereloop -Oz -Oz --reorder-functions-by-name --strip-debug --strip-producers)
ONLY=
case "${1:-}" in
    --dev) PROFILE=dev; shift ;;
    --compile | --tool) ONLY=${1#--}; shift ;;
esac
OUT=${1:-web/dist}
TARGET_DIR=${CARGO_TARGET_DIR:-target}

need() { have "$1" || die "no $1 in PATH. Run scripts/wasm-setup.sh first."; }
size() { wc -c <"$1" | tr -d ' '; }

# Everything that the result follows from, as one line.
fingerprint() {
    {
        echo "$PROFILE"
        rustc -V
        if [ "$PROFILE" != dev ]; then wasm-opt --version; fi
        find web simulator shared scripts/web-build.sh scripts/pack Cargo.toml Cargo.lock -path web/dist -prune -o -type f -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -d ' ' -f 1
}

# Gives the file $1 of the new build its hash as a part of its name, and names it so in the others given.
hash_name() {
    local old=$1 hashed
    hashed=${old%.*}-$(sha256sum <"$new/$old" | cut -c 1-16).${old##*.}
    mv "$new/$old" "$new/$hashed"
    shift
    local reader
    for reader in "$@"; do
        grep -q "[\"'/]${old//./\\.}[\"']" "$new/$reader" || die "$reader doesn't name $old"
        sed -i "s#\([\"'/]\)${old//./\\.}\([\"']\)#\1$hashed\2#g" "$new/$reader"
    done
}

compile() {
    say "the dashboard: compiling ($PROFILE)"
    counted "the dashboard" cargo build "${MODULES[@]/#/--package=}" --target "$TARGET" --profile "$PROFILE"
}

tool() {
    counted "what packs it" \
        cargo build --release --manifest-path scripts/pack/Cargo.toml --target-dir "$TARGET_DIR/pack"
}

need cargo
case $ONLY in compile | tool) "$ONLY"; exit ;; esac
[ "$PROFILE" = dev ] || { need wasm-opt && need gzip; }
print=$(fingerprint)
if [ -f "$OUT/index.html" ] && [ "$(cat "$OUT/.built-from" 2>/dev/null)" = "$print" ]; then
    say "$OUT: nothing changed"
    exit 0
fi

compile
tool
case $PROFILE in dev) folder=debug ;; *) folder=$PROFILE ;; esac

mkdir -p "$OUT"
new=$(mktemp -d "${OUT%/}.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
case $PROFILE in dev) packed=dev ;; *) packed=release ;; esac
for module in "${MODULES[@]}"; do
    "$TARGET_DIR/pack/release/pack" bind "$packed" "$TARGET_DIR/$TARGET/$folder/$module.wasm" "$new"
done
cp web/ui/index.html web/ui/style.css web/ui/icon.svg "$new/"
if [ "$PROFILE" != dev ]; then
    say "the dashboard: shrinking"
    for module in "${MODULES[@]}"; do
        wasm-opt "${SHRINK[@]}" "$new/${module}_bg.wasm" -o "$new/opt.wasm"
        mv "$new/opt.wasm" "$new/${module}_bg.wasm"
    done
    hash_name simulator_bg.wasm simulator.js
    hash_name simulator.js index.html
    hash_name web_bg.wasm web.js index.html
    hash_name web.js index.html
    hash_name style.css index.html
    hash_name icon.svg index.html
    "$TARGET_DIR/pack/release/pack" compress "$new"/*
    gzip -9nk "$new"/*.{html,css,js,svg,wasm}
fi
printf '%s\n' "$print" >"$new/.built-from"
chmod 755 "$new"

rm -rf "$OUT"
mv "$new" "$OUT"
trap - EXIT
say "$OUT: the page's module $(size "$OUT"/web_bg*.wasm) bytes, the simulator's $(size "$OUT"/simulator_bg*.wasm)"
