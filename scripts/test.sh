#!/usr/bin/env bash
# What `make test` does: sets up what the tests need, builds and runs them, fuzzes each target for 10 s, and sums up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/say.sh

OUT=${CARGO_TARGET_DIR:-target}
LOG=$OUT/test.log

say "on two quiet cores this takes about 20 minutes the first time, and later some 6 and what changed"
scripts/test-setup.sh
scripts/build.sh --tests
mkdir -p "$OUT"
say "running the tests"
# One after the other and through a pipe; the last lines of each are what cargo prints.
{ cargo test -p shared -p server && cargo test -p web -p simulator; } 2>&1 | tee "$LOG"
scripts/fuzz.sh 10
passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$LOG" | awk '{ n += $1 } END { print n + 0 }')
say "all $passed tests passed, and fuzzing found nothing"
