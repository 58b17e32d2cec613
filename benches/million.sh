#!/usr/bin/env bash
# Measures three local nodes of Plimsoll with a million keys of 64 bytes, and values of 256:
#
#     benches/million.sh [--keys N] [--realtime]
#
# It prints how fast they are written and for how long writes stand still meanwhile, the memory of
# each node, size and time of a backup, and how long it takes from the start of killed nodes until a
# linearizable read succeeds. docs/benchmarks.md tells more. Data goes to $TMPDIR; nothing is left.
set -euo pipefail
cd "$(dirname "$0")/.."
source benches/peers/servers.sh

keys=1000000
while [ $# -gt 0 ]; do
    case $1 in
    --keys) keys=${2:?"--keys N"} && shift ;;
    --realtime) run_prefix=(chrt -r 5) ;;
    *)
        sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift
done

# A field of a line of JSON without nesting.
field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" <<<"$line"; }

# A figure of all nodes in MB, in their order: VmRSS or VmHWM.
memory() {
    local pid
    for pid in "${plimsoll_pids[@]}"; do
        awk -v what="$1:" '$1 == what { printf "%d ", $2 / 1000 }' "/proc/$pid/status"
    done
}

largest() { tr ' ' '\n' <<<"$1" | sort -n | tail -n 1; }

# Kills nodes with `kill -9`, starts them, and prints the milliseconds from there to the
# first linearizable read through any of them.
killed_until_read() {
    local number began read_at addresses=""
    for number in "$@"; do
        kill -KILL "${plimsoll_pids[number]}"
        wait "${plimsoll_pids[number]}" 2>/dev/null || true
        forget "${plimsoll_pids[number]}"
    done
    began=$(date +%s%N)
    for number in "$@"; do
        start_plimsoll_node "$number"
        addresses+=${addresses:+,}127.0.0.1:$((plimsoll_base + (number - 1) * 10 + 1))=$started
    done
    "$peers" first-read --plimsoll "$addresses" --secret-file "$secret" >"$folder/read_at"
    read_at=$(cat "$folder/read_at")
    took_ms=$(((read_at - began) / 1000000))
}

row() { # what, wanted at most or nothing, measured, unit
    local verdict=""
    if [ -n "$2" ]; then
        verdict=$(awk -v figure="$3" -v most="$2" 'BEGIN { print figure < most ? "reached" : "missed" }')
    fi
    echo "| $1 | ${2:+< $2 $4} | $3 $4 | $verdict |"
}

build
make_folder
print_machine
echo "plimsoll: $("$plimsoll" --version), $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit known')"
start_plimsoll

line=$(timeout --foreground 900 "${run_prefix[@]}" "$peers" fill --plimsoll "$plimsoll_servers" --secret-file "$secret" --keys "$keys")
echo "$line"
sleep 5
rss=$(memory VmRSS) peak=$(memory VmHWM)
echo "RSS of the nodes: $rss MB; at most until now: $peak MB"
disk=$(du -sm "$folder/plimsoll/n1" | cut -f 1)

began=$(date +%s%N)
"$plimsoll" backup "$folder/backup" --cluster "$plimsoll_addresses" --secret-file "$secret" >/dev/null
backup_ms=$((($(date +%s%N) - began) / 1000000))
backup_mb=$(($(stat -c %s "$folder/backup") / 1000000))
rm "$folder/backup"
peak_backup=$(memory VmHWM)
echo "at most until after a backup: $peak_backup MB"

restarts=()
for _ in 1 2 3; do
    killed_until_read 1 2 3
    restarts+=("$took_ms")
done
killed_until_read 2
one_ms=$took_ms
sleep 3
rss_after=$(memory VmRSS)
echo "RSS after the restarts: $rss_after MB"

echo
echo "$keys keys of 64 bytes, values of 256 bytes, 256 clients:"
echo
echo "| what | aim | measured | |"
echo "|---|---|---|---|"
row "writes in a second" "" "$(field per_second)" ""
row "longest time without any answer to a write" "" "$(field stall_ms)" ms
row "slowest write" "" "$(field slowest_ms)" ms
row "RSS of the largest node, 5 s after the fill" 600 "$(largest "$rss")" MB
row "RSS of the largest node, after a restart" 600 "$(largest "$rss_after")" MB
row "most that any node ever had" "" "$(largest "$peak_backup")" MB
row "files of a node" "" "$disk" MB
row "backup, size" 400 "$backup_mb" MB
row "backup, time" "" "$backup_ms" ms
for took_ms in "${restarts[@]}"; do
    row "all nodes killed: from start to a read" 2000 "$took_ms" ms
done
row "one node killed: from start to a read through it" 2000 "$one_ms" ms
