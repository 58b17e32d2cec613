# What benches/cluster.sh and benches/million.sh share: three servers each of Plimsoll, etcd and NATS, on
# free ports of the loopback, with their data in one temporary folder. It is sourced, not run.
#
# Whoever sources it stands in the root of the repository and has set -euo pipefail. On exit every
# server that was started here is stopped, by its process id, and the folder is removed.

run_prefix=()
pids=()
folder=""

# Makes the folder of the run, in $TMPDIR: on the disk that is measured.
make_folder() {
    folder=$(mktemp -d "${TMPDIR:-/tmp}/plimsoll-bench.XXXXXX")
    trap clean EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

clean() {
    local status=$? pid
    trap '' HUP INT TERM
    if [ "$status" -ne 0 ]; then
        echo "failed with $status; the ends of what the servers said:" >&2
        tail -n 3 "$folder"/*/*.log >&2 2>/dev/null || true
    fi
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for _ in $(seq 50); do
        is_any_alive || break
        sleep 0.1
    done
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
    exit "$status"
}

is_any_alive() {
    local pid
    for pid in "${pids[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then return 0; fi
    done
    return 1
}

# Starts a server in the background, with its output in a file; its process id is in $started. A
# program that is run through chrt has that id too.
start() {
    local log=$1
    shift
    "${run_prefix[@]}" "$@" >>"$log" 2>&1 &
    started=$!
    pids+=("$started")
}

# Forgets a server that was killed.
forget() {
    local pid kept=()
    for pid in "${pids[@]}"; do
        if [ "$pid" != "$1" ]; then kept+=("$pid"); fi
    done
    pids=("${kept[@]}")
}

# Finds a block of so many ports that nobody listens on, below those that the system gives out.
next_base=$((20000 + RANDOM % 8000))
free_ports() {
    local count=$1 port taken
    taken=$(awk 'FNR > 1 && $4 == "0A" { sub(/.*:/, "", $2); print $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    base=$next_base
    port=$base
    while [ "$port" -lt $((base + count)) ]; do
        if grep -qix "$(printf '%04X' "$port")" <<<"$taken"; then base=$((port + 1)); fi
        port=$((port + 1))
    done
    next_base=$((base + count))
}

build() {
    echo "building plimsoll and the load generator (release)" >&2
    cargo build --quiet --release --bin plimsoll
    cargo build --quiet --release --manifest-path benches/peers/Cargo.toml --target-dir target
    plimsoll=$PWD/target/release/plimsoll
    peers=$PWD/target/release/plimsoll-peers
}

# Each of these sets a list HOST:PORT=PID,... as the load generator takes it.

start_plimsoll() {
    local number port
    free_ports 30
    plimsoll_base=$base
    "$plimsoll" init "$folder/plimsoll" --nodes 3 --base-port "$base" >/dev/null
    secret=$folder/plimsoll/secret
    plimsoll_servers="" plimsoll_addresses="" plimsoll_pids=()
    for number in 1 2 3; do start_plimsoll_node "$number"; done
    for number in 1 2 3; do
        port=$((plimsoll_base + (number - 1) * 10 + 1))
        plimsoll_addresses+=${plimsoll_addresses:+,}127.0.0.1:$port
        plimsoll_servers+=${plimsoll_servers:+,}127.0.0.1:$port=${plimsoll_pids[number]}
    done
}

start_plimsoll_node() {
    start "$folder/plimsoll/n$1.log" "$plimsoll" node --config "$folder/plimsoll/n$1/plimsoll.yaml"
    plimsoll_pids[$1]=$started
}

start_etcd() {
    local number cluster="" port
    free_ports 6
    mkdir "$folder/etcd"
    for number in 0 1 2; do
        cluster+=${cluster:+,}n$number=http://127.0.0.1:$((base + 2 * number + 1))
    done
    etcd_servers=""
    for number in 0 1 2; do
        port=$((base + 2 * number))
        # The defaults, but for room: every write of the run is kept until it is compacted.
        start "$folder/etcd/n$number.log" etcd --name "n$number" --data-dir "$folder/etcd/n$number" \
            --listen-client-urls "http://127.0.0.1:$port" \
            --advertise-client-urls "http://127.0.0.1:$port" \
            --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
            --initial-cluster "$cluster" --initial-cluster-state new \
            --initial-cluster-token "$(basename "$folder")" \
            --quota-backend-bytes $((8 << 30)) --log-level error
        etcd_servers+=${etcd_servers:+,}127.0.0.1:$port=$started
    done
}

start_nats() {
    local number routes="" port
    free_ports 6
    mkdir "$folder/nats"
    for number in 0 1 2; do routes+="${routes:+, }\"nats://127.0.0.1:$((base + 2 * number + 1))\""; done
    nats_servers=""
    for number in 0 1 2; do
        port=$((base + 2 * number))
        cat >"$folder/nats/n$number.conf" <<CONFIGURATION
server_name: n$number
host: 127.0.0.1
port: $port
jetstream { store_dir: "$folder/nats/n$number" }
cluster { name: bench, host: 127.0.0.1, port: $((port + 1)), routes: [$routes] }
CONFIGURATION
        start "$folder/nats/n$number.log" nats-server --config "$folder/nats/n$number.conf"
        nats_servers+=${nats_servers:+,}127.0.0.1:$port=$started
    done
}

# The processor, the memory and the disk of the run, for whoever reads the figures.
print_machine() {
    local model filesystem
    filesystem=$(df --output=fstype "$folder" | tail -n 1)
    model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    echo "machine: $(nproc) processors${model:+ ($model)}, load $(cut -d ' ' -f 1 /proc/loadavg) before the run;" \
        "data on $filesystem"
}
