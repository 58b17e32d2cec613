#!/usr/bin/env bash
# Runs fuzz targets in turn, each for so many seconds, and adds a row for each to EXECUTIONS.md:
#
#     fuzz/run.sh SECONDS [TARGET...]
#
# Ends with 1 if a target has found something; README.md tells what to do then.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:?"how many seconds for each target: fuzz/run.sh SECONDS [TARGET...]"}
shift
if [ $# -eq 0 ]; then
    for file in fuzz_targets/*.rs; do set -- "$@" "$(basename "$file" .rs)"; done
fi

# No sanitizer: there is no unsafe code here but in Lua's and SQLite's C, which it would not reach.
fuzz() { cargo +nightly fuzz "$1" --sanitizer none "${@:2}"; }

fuzz build
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- ../src src fuzz_targets || commit="$commit, changed"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
count() { find "$1" -type f | wc -l; }

for target in "$@"; do
    mkdir -p "found/$target" "artifacts/$target"
    options=(-max_total_time="$seconds" -timeout=40 -rss_limit_mb=2048 -print_final_stats=1)
    # Scripts of some length from the start, short ones do little; but not longer than they are read.
    case $target in conditional_write | lua_*) options+=(-len_control=0 -max_len=384) ;; esac
    [ ! -f "dictionaries/$target.dict" ] || options+=(-dict="dictionaries/$target.dict")
    before=$(count "artifacts/$target")
    fuzz run "$target" "found/$target" "corpus/$target" -- "${options[@]}" >"$log" 2>&1 || status=1
    findings=$(($(count "artifacts/$target") - before))
    [ "$findings" -eq 0 ] || grep -a -A 2 panicked "$log" || true
    row="| $(date -u +%F) | $target | $(stat number_of_executed_units) | $(stat average_exec_per_sec)"
    row="$row | $(stat new_units_added) | $findings | $commit |"
    echo "$row" | tee -a EXECUTIONS.md
done
exit "$status"
