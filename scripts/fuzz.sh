#!/usr/bin/env bash
# Builds the fuzz targets of shared/fuzz and runs each of them for some seconds, from the corpus that is checked in.
#
#   scripts/fuzz.sh [SECONDS]                    each target, 60 s unless told otherwise
#   scripts/fuzz.sh [SECONDS] TARGET...          these targets
#   scripts/fuzz.sh --replay TARGET FILE         one input, e.g. a crash
#
# It is libFuzzer, with coverage, on a stable compiler: what cargo-fuzz would ask a nightly one for are LLVM's passes, and
# those can be named. Inputs that are found go to target/fuzz/found/TARGET; who wants to keep one copies it into
# shared/fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh

TARGETS=(content frame lines manifest node queue)
# Build scripts and macros run here and aren't instrumented: naming the target, though it is the host's, keeps them apart.
HOST=x86_64-unknown-linux-gnu
OUT=target/fuzz
# An input that takes longer (seconds), or more memory (MiB), is a finding.
LIMITS=(-timeout=10 -rss_limit_mb=1024 -max_len=4096)

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    say "fuzzing is set up for Linux on x86_64 only: left out"
    exit
fi
have c++ || die "libFuzzer is compiled with c++, which is missing (scripts/test-setup.sh installs it)"

build() {
    local flags=(
        -Cpasses=sancov-module
        -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
        -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares
        --cfg fuzzing
        -Cdebug-assertions
        -Ccodegen-units=1
    )
    RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$OUT \
        cargo build --release --manifest-path shared/fuzz/Cargo.toml --target "$HOST"
}

run() {
    local target=$1 seconds=$2
    local found=$OUT/found/$target crashes=$OUT/crashes/$target
    local log=$OUT/$target.log
    mkdir -p "$found" "$crashes"
    if "$OUT/$HOST/release/$target" "${LIMITS[@]}" -max_total_time="$seconds" -artifact_prefix="$crashes/" \
        -print_final_stats=1 "$found" "shared/fuzz/corpus/$target" >"$log" 2>&1; then
        say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, nothing found"
        return
    fi
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    grep -m 1 -A 3 -E 'panicked at|ERROR: libFuzzer' "$log" >&2 || tail -n 20 "$log" >&2
    die "$target: found $input; the log is $log. Replay: scripts/fuzz.sh --replay $target $input"
}

if [ "${1:-}" = --replay ]; then
    [ $# = 3 ] || die "which target and which file? (see the top of $0)"
    build
    exec "$OUT/$HOST/release/$2" "${LIMITS[@]}" "$3"
fi
seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || die "'$seconds' is no number of seconds (see the top of $0)"
if [ $# -gt 1 ]; then TARGETS=("${@:2}"); fi
say "building the fuzz targets"
build
for target in "${TARGETS[@]}"; do run "$target" "$seconds"; done
