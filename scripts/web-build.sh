#!/usr/bin/env bash
# web-build.sh: builds the dashboard; the one place that knows how.
#
#   scripts/web-build.sh [--dev] [OUT]    OUT: where it goes; web/dist unless given
#   scripts/web-build.sh --compile        only the module, and
#   scripts/web-build.sh --tool           only the tool that packs it; for a first build, that does both at once
#
# cargo -> scripts/bindgen -> wasm-opt (not with --dev) -> OUT with index.html, style.css, icon.svg, web.js, web_bg.wasm.
# Without --dev all names but index.html's carry the hash of what is in the file (web-0123456789abcdef.js), so that a
# browser may keep them for ever (server/src/http/ui.rs lets it) and yet never shows an old page.
# OUT is replaced as a whole once everything is built, so half a build is never seen. Where nothing changed since the
# last time, it does nothing. Needs what scripts/wasm-setup.sh sets up.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh
TARGET=wasm32-unknown-unknown
PROFILE=wasm-release
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
        find web shared scripts/web-build.sh scripts/bindgen Cargo.toml Cargo.lock -path web/dist -prune -o -type f -print0 |
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
    say "compiling ($PROFILE)"
    cargo build -p web --bin web --target "$TARGET" --profile "$PROFILE"
}

tool() {
    cargo build --quiet --release --manifest-path scripts/bindgen/Cargo.toml --target-dir "$TARGET_DIR/bindgen"
}

need cargo
case $ONLY in compile | tool) "$ONLY"; exit ;; esac
[ "$PROFILE" = dev ] || need wasm-opt
print=$(fingerprint)
if [ -f "$OUT/index.html" ] && [ "$(cat "$OUT/.built-from" 2>/dev/null)" = "$print" ]; then
    say "$OUT: nothing changed"
    exit 0
fi

compile
tool
case $PROFILE in dev) folder=debug ;; *) folder=$PROFILE ;; esac
wasm=$TARGET_DIR/$TARGET/$folder/web.wasm

mkdir -p "$OUT"
new=$(mktemp -d "${OUT%/}.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
case $PROFILE in dev) packed=dev ;; *) packed=release ;; esac
"$TARGET_DIR/bindgen/release/bindgen" "$packed" "$wasm" "$new"
if [ "$PROFILE" != dev ]; then
    say "shrinking"
    wasm-opt -Oz "$new/web_bg.wasm" -o "$new/opt.wasm"
    mv "$new/opt.wasm" "$new/web_bg.wasm"
fi
cp web/ui/index.html web/ui/style.css web/ui/icon.svg "$new/"
sizes="web_bg.wasm $(size "$new/web_bg.wasm") bytes, web.js $(size "$new/web.js") bytes"
if [ "$PROFILE" != dev ]; then
    hash_name web_bg.wasm web.js index.html
    hash_name web.js index.html
    hash_name style.css index.html
    hash_name icon.svg index.html
fi
printf '%s\n' "$print" >"$new/.built-from"
chmod 755 "$new"

rm -rf "$OUT"
mv "$new" "$OUT"
trap - EXIT
say "$OUT: $sizes"
