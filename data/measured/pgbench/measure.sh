#!/usr/bin/env bash
# Measure statement times of pgbench on a throw-away PostgreSQL: no network, no privileges, nothing left behind.
#
#   measure.sh [output directory]        default: the directory of this script
#
# Environment: MEASURE_S (60), WARMUP_S (10), RATE (units of work per second, 80), SCALE (10, at least 3), CLIENTS (2),
# SEED (20261124), PG_BIN (where PostgreSQL's programs are). The rate is low on purpose: the times must be service
# times, without waiting for a core, a lock or each other.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here}
pg_bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
scale=${SCALE:-10} rate=${RATE:-80} clients=${CLIENTS:-2} seed=${SEED:-20261124}
measure_s=${MEASURE_S:-60} warmup_s=${WARMUP_S:-10}

for program in initdb postgres psql pgbench pg_isready; do
    [ -x "$pg_bin/$program" ] || { echo "measure.sh: no $program in $pg_bin; install postgresql-15 or set PG_BIN" >&2; exit 1; }
done

# PostgreSQL refuses to run as root: the server then runs as the user postgres, the clients as whoever called.
server_user=()
if [ "$(id -u)" = 0 ]; then
    server_user=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi

room=$(mktemp -d "${TMPDIR:-/tmp}/pgbench.XXXXXX")
server='' client=''
clean_up() {
    trap - EXIT INT TERM HUP
    if [ -n "$client" ] && kill -TERM "$client" 2>/dev/null; then wait "$client" || true; fi
    # SIGINT is PostgreSQL's "fast shutdown": it drops the sessions and stops in order.
    if [ -n "$server" ] && kill -INT "$server" 2>/dev/null; then wait "$server" || true; fi
    rm -rf "$room"
}
trap clean_up EXIT
trap 'clean_up; exit 130' INT
trap 'clean_up; exit 143' TERM HUP
[ ${#server_user[@]} = 0 ] || chown postgres: "$room"
cd "$room"

# bash answers a signal only between foreground programs, but at once while it waits for one in the background.
run() {
    "$@" &
    client=$!
    wait "$client"
    client=''
}

export PGHOST=$room PGUSER=bench PGDATABASE=postgres
run "${server_user[@]}" "$pg_bin/initdb" --pgdata="$room/data" --username=bench --auth=trust --encoding=UTF8 --locale=C \
    >"$room/initdb.log"

# No TCP port; parallel plans off so that a statement's time is the time of one core.
"${server_user[@]}" "$pg_bin/postgres" -D "$room/data" -k "$room" -c listen_addresses= \
    -c shared_buffers=256MB -c max_parallel_workers_per_gather=0 \
    -c shared_preload_libraries=pg_stat_statements -c pg_stat_statements.track_planning=on \
    2>"$room/server.log" &
server=$!
for _ in $(seq 150); do
    "$pg_bin/pg_isready" --quiet && break
    kill -0 "$server" 2>/dev/null || { cat "$room/server.log" >&2; exit 1; }
    sleep 0.2
done

run "$pg_bin/psql" -qX -c 'CREATE EXTENSION pg_stat_statements'
run "$pg_bin/pgbench" --initialize --quiet --scale="$scale" 2>"$room/init.log"

# Half reads of one row, 45 % TPC-B transactions, 5 % reports. "extended" keeps the parameters out of the text, as JDBC
# does; with "prepared" pg_stat_statements 1.10 counts a session's BEGIN and END once only.
mix=(--protocol=extended --no-vacuum --client="$clients" --jobs=1 --rate="$rate" --scale="$scale" --random-seed="$seed"
    --builtin=select-only@50 --builtin=tpcb-like@45 --file="$here/report.sql@5")
run "$pg_bin/pgbench" "${mix[@]}" --time="$warmup_s" >"$room/warm-up.txt" 2>&1
run "$pg_bin/psql" -qX -o /dev/null -c 'CHECKPOINT' -c 'SELECT pg_stat_statements_reset()'
run "$pg_bin/pgbench" "${mix[@]}" --time="$measure_s" --report-per-command >"$room/pgbench.txt" 2>"$room/pgbench.err" ||
    { cat "$room/pgbench.err" >&2; exit 1; }
run "$pg_bin/psql" -qX -o "$room/pg_stat_statements.csv" -c "COPY (
    SELECT query, calls, rows, total_exec_time, mean_exec_time, min_exec_time, max_exec_time, stddev_exec_time,
           plans, total_plan_time, mean_plan_time, shared_blks_hit, shared_blks_read, wal_bytes
      FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     ORDER BY calls DESC, query) TO STDOUT WITH (FORMAT csv, HEADER)"

# How often each script ran, as pgbench counted it: the composition that pg_stat_statements cannot tell.
count() { awk -v script="SQL script $1:" 'index($0, script) { found = 1 } found && /transactions \(/ { print $2; exit }' "$room/pgbench.txt"; }
cat >"$room/units.yaml" <<END_OF_UNITS
# Written by measure.sh: what one run of each pgbench script does, and how often it ran (pgbench.txt).
name: pgbench-measured
description: pgbench at a light load - half one-row reads, 45 % TPC-B transactions, 5 % reports over 250,000 accounts
source: measured - statement times by pg_stat_statements and counts by pgbench, see data/measured/pgbench; assumed - think time, clients, network
units:
  - name: select_only
    count: $(count 1)
    statements: [select_pgbench_accounts_abalance]
    transaction: false
  - name: tpcb_like
    count: $(count 2)
    statements: [update_pgbench_accounts, select_pgbench_accounts_abalance, update_pgbench_tellers, update_pgbench_branches, insert_pgbench_history]
    transaction: true
  - name: report
    count: $(count 3)
    statements: [select_pgbench_accounts_bid]
    transaction: false
END_OF_UNITS

mkdir -p "$out"
cat "$room/units.yaml" >"$out/units.yaml"
sed "s|$here/||" "$room/pgbench.txt" >"$out/pgbench.txt"
cat "$room/pg_stat_statements.csv" >"$out/pg_stat_statements.csv"
