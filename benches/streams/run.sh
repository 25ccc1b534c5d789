#!/usr/bin/env bash
# Pipelines beside Kafka Streams: the same records and the same work, exactly once on both sides,
# one after the other and round by round in turn; prints the table of docs/plugins.md. Needs a JDK
# and Maven. Both brokers run at once, and only one of them works.
# usage: run.sh [ROUNDS] [RECORDS]          (5 and 1,000,000)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=${1:-5} records=${2:-1000000}
tools=${MILLSTREAM_CI_TOOLS:-$HOME/.cache/millstream-ci}
if [ -z "${MILLSTREAM_COMPARE_KAFKA:-}" ]; then
    (cd "$root" && cargo build --quiet --release --bin millstream)
    mkdir -p "$tools"
    exec "$root/.ci/with-kafka" "$tools" "$0" "$rounds" "$records"
fi
kafka=$MILLSTREAM_COMPARE_KAFKA
millstream=${CARGO_TARGET_DIR:-$root/target}/release/millstream
folder=$(mktemp -d)
broker=
end() {
    [ -z "$broker" ] || { kill "$broker" 2>/dev/null && wait "$broker"; } || true
    rm -rf "$folder"
}
trap end EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
ours=127.0.0.1:$(free_port) http=127.0.0.1:$(free_port)
"$millstream" serve --data "$folder/data" --kafka "$ours" --http "$http" >"$folder/log" 2>&1 &
broker=$!
until (: >"/dev/tcp/${http%:*}/${http#*:}") 2>/dev/null; do
    kill -0 "$broker" || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
javac -cp "$tools/kafka-node/libs/*" -d "$folder/classes" "$here/Bench.java"
java=(java -Xmx1g -cp "$folder/classes:$tools/kafka-node/libs/*" Bench)
bench() { "${java[@]}" "$@" 2>>"$folder/log"; }

cp "$root"/plugins/yardstick/packed-*.wasm "$folder"
identity="[[pipeline.step]]
filter = 'filter'
config = { work = 'identity' }"
mask="[[pipeline.step]]
transform = 'transformer'"

deploy=("$millstream" deploy --server "http://$http")

# NAME SOURCE STEPS: the manifest of a pipeline of these steps.
manifest() {
    cat >"$folder/$1.toml" <<TOML
[plugin]
filter.component = "packed-filter.wasm"
transformer.component = "packed-transformer.wasm"
[[topic]]
name = "$1"
partitions = 4
[[pipeline]]
name = "$1"
source = "$2"
output = "$1"
$3
TOML
}

runs=0
# ROW CODEC WORK STEPS: one round on each side; WORK is `-` where Kafka Streams has no such row.
round() {
    runs=$((runs + 1))
    manifest "p$runs" "in.$2" "$4"
    echo "$1,millstream,$(bench pipeline "http://$http" "p$runs" "$records" \
        "${deploy[@]}" "$folder/p$runs.toml")" >>"$folder/figures"
    curl -fsS -X DELETE "http://$http/v1/pipelines/p$runs" "http://$http/v1/topics/p$runs" >>"$folder/log"
    [ "$3" = - ] && return
    echo "$1,streams,$(bench streams "$kafka" "$3" "in.$2" "p$runs" "$records")" >>"$folder/figures"
}

for codec in none lz4; do
    for bootstrap in "$ours" "$kafka"; do
        bench fill "$bootstrap" "in.$codec" "$records" "$codec"
    done
done
for _ in $(seq "$rounds"); do
    for codec in none lz4; do
        round "copy, from $codec" $codec copy "$identity"
        round "two copies, from $codec" $codec - "$identity
$identity"
        round "mask, from $codec" $codec mask "$mask"
        round "two masks, from $codec" $codec - "$mask
$mask"
    done
done

for bootstrap in "$ours" "$kafka"; do
    bench fill "$bootstrap" in.slow 4 none
done
manifest out.slow in.slow "$identity"
"${deploy[@]}" "$folder/out.slow.toml" >>"$folder/log" 2>&1
"${java[@]}" streams "$kafka" copy in.slow out.slow 2>>"$folder/log" &
app=$!
sleep 15
for _ in $(seq "$rounds"); do
    echo "latency,millstream,$(bench latency "$ours" in.slow out.slow 10)" >>"$folder/figures"
    echo "latency,streams,$(bench latency "$kafka" in.slow out.slow 10)" >>"$folder/figures"
done
kill "$app"

python3 "$here/table.py" "$folder/figures"
