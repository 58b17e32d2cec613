#!/usr/bin/env bash
# Measures three local nodes of Plimsoll against etcd and NATS KV, on this machine, in one run and in turn:
#
#     benches/cluster.sh [--quick] [--install] [--realtime] [--no-etcd] [--no-nats]
#
#   --quick     three short rounds on 1 and 256 clients, under three minutes after the build;
#               without it five long ones on 1, 16, 64 and 256, under twenty
#   --install   install Debian's etcd-server and nats-server where they are missing (needs root)
#   --realtime  run servers and clients under `chrt -r 5`, where other work shares the machine
#
# It prints a line of JSON for each measurement, then tables, ratios and which aims are reached.
# docs/benchmarks.md tells what is measured. Data goes to $TMPDIR; nothing is left there.
set -euo pipefail
cd "$(dirname "$0")/.."
source benches/peers/servers.sh

rounds=5 milliseconds=2000 clients=1,16,64,256 limit=1140
wants_install="" wants_etcd=1 wants_nats=1
for argument in "$@"; do
    case $argument in
    --quick) rounds=3 milliseconds=400 clients=1,256 limit=170 ;;
    --install) wants_install=1 ;;
    --realtime) run_prefix=(chrt -r 5) ;;
    --no-etcd) wants_etcd="" ;;
    --no-nats) wants_nats="" ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done

# Debian puts servers where not every user's PATH leads.
PATH=$PATH:/usr/sbin:/sbin
is_there() { command -v "$1" >/dev/null; }

if [ -n "$wants_install" ]; then
    missing=()
    is_there etcd || missing+=(etcd-server)
    is_there nats-server || missing+=(nats-server)
    if [ ${#missing[@]} -gt 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
            echo "not installed: ${missing[*]}" >&2
    fi
fi
if [ ${#run_prefix[@]} -gt 0 ] && ! "${run_prefix[@]}" true 2>/dev/null; then
    echo "--realtime: chrt is not allowed here" >&2
    exit 2
fi

build
make_folder
print_machine
echo "plimsoll: $("$plimsoll" --version), $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit known')"
start_plimsoll
contenders=(--plimsoll "$plimsoll_servers" --secret-file "$secret")

if [ -z "$wants_etcd" ]; then
    echo "etcd: skipped: --no-etcd"
elif is_there etcd; then
    echo "etcd: $(etcd --version | head -n 1)"
    start_etcd
    contenders+=(--etcd "$etcd_servers")
else
    echo "etcd: skipped: there is no etcd here; --install installs it"
fi

if [ -z "$wants_nats" ]; then
    echo "nats: skipped: --no-nats"
elif is_there nats-server; then
    echo "nats: $(nats-server --version)"
    start_nats
    contenders+=(--nats "$nats_servers")
else
    echo "nats: skipped: there is no nats-server here; --install installs it"
fi

# The generator stops by itself; the limit is for a server that stands still.
timeout --foreground "$limit" "${run_prefix[@]}" "$peers" contest "${contenders[@]}" --folder "$folder" \
    --rounds "$rounds" --milliseconds "$milliseconds" --clients "$clients"
